//! Traces for OpenTelemetry: a span for each request, and nothing of the caller's in it.
//!
//! | | |
//! | --- | --- |
//! | name | the method and the route, as in `GET /users` |
//! | `http.request.method`, `http.route`, `http.response.status_code` | as the metrics have them |
//! | `request_id` | as in the log |
//! | `error.type` | the status, where it is 500 or above |
//!
//! What a statement or a parameter says is in no span, nor is a line of the log. A `traceparent` header (W3C Trace Context)
//! makes a span part of its caller's trace; `tracestate` and `baggage`, whose texts are the caller's, are not read.
//!
//! OpenTelemetry's own variables are read from the environment: `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
//! `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`, `OTEL_EXPORTER_OTLP_HEADERS`, and `OTEL_BSP_…` for the queue.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::{HeaderMap, Uri};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Status, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use pgspan::{Error, Kind, Result};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::metrics::known;
use crate::serve::REQUEST_ID;

/// One delivery. The specification's default; nobody waits for it but the end of the program, which has its own limit.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(10);

/// Sends the spans of a router's requests to a collector, in batches and beside the requests.
///
/// What can't be delivered is dropped, and an error in the log says so; requests never wait for it.
pub struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Traces of the program with this name for the collector at this URL, its path included, over HTTP and as protobuf. Spans are delivered every 5 s,
    /// or when there are 512, on the runtime this is called on.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] if the exporter can't be built with what `OTEL_…` variables say, or outside a tokio runtime.
    pub fn new(collector: &Uri, name: &'static str, version: &'static str) -> Result<Traces> {
        let fault = |error: &str| Error::new(Kind::Config, format!("traces can't be exported: {error}"));
        let runtime = Handle::try_current().map_err(|_| fault("there is no tokio runtime"))?;
        let client = HyperClient::with_default_connector(DELIVERY_DEADLINE, None);
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(OnRuntime { runtime, client: Arc::new(client) })
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(collector.to_string())
            .build()
            .map_err(|error| fault(&error.to_string()))?;
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(name, version))
            .with_batch_exporter(exporter)
            .build();
        Ok(Traces { tracer: provider.tracer(name), provider })
    }

    /// The same router, whose requests have spans: from the end of the headers to the answer's head.
    pub fn watch(&self, router: Router) -> Router {
        let tracer = self.tracer.clone();
        router.layer(from_fn(move |request: Request, next: Next| {
            let span = begin(&tracer, &request);
            async move {
                let response = next.run(request).await;
                end(span, &response);
                response
            }
        }))
    }

    /// Delivers what is left, within `limit`, and ends the export.
    ///
    /// # Cancel safety
    ///
    /// The delivery goes on, until the runtime ends.
    pub async fn finish(self, limit: Duration) {
        // it blocks until the exporter's own thread is done
        let delivered = spawn_blocking(move || self.provider.shutdown_with_timeout(limit)).await;
        if !matches!(delivered, Ok(Ok(()))) {
            tracing::warn!("the last traces were not delivered in time");
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").finish_non_exhaustive()
    }
}

fn begin(tracer: &SdkTracer, request: &Request) -> impl Span + use<> {
    let method = known(request.method());
    let route = request.extensions().get().map(MatchedPath::as_str);
    let mut attributes = vec![KeyValue::new("http.request.method", method)];
    attributes.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
    let name = route.map_or(method.to_owned(), |route| format!("{method} {route}"));
    let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes);
    let caller =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Caller(request.headers()));
    tracer.build_with_context(builder, &caller)
}

fn end(mut span: impl Span, response: &Response) {
    let status = response.status();
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if let Some(id) = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()) {
        span.set_attribute(KeyValue::new("request_id", id.to_owned()));
    }
    if status.is_server_error() {
        span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
        span.set_status(Status::error(""));
    }
    span.end();
}

/// Of a caller's headers, the one that has no text of its own: a version, two numbers and a flag.
struct Caller<'r>(&'r HeaderMap);

const TRACEPARENT: &str = "traceparent";

impl Extractor for Caller<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).filter(|_| key == TRACEPARENT)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// Who is traced: this program, unless the environment says otherwise.
fn resource(name: &'static str, version: &'static str) -> Resource {
    let ours = [("service.name", name), ("service.version", version)];
    let resource = Resource::builder_empty()
        .with_attributes(ours.map(|(key, value)| KeyValue::new(key, value)))
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

/// A client whose connections live on the runtime: the exporter has a thread of its own, where there is none.
#[derive(Debug)]
struct OnRuntime {
    runtime: Handle,
    client: Arc<HyperClient>,
}

type Sending<'s> = Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, HttpError>> + Send + 's>>;

impl HttpClient for OnRuntime {
    fn send_bytes<'s, 'f>(&'s self, request: http::Request<Bytes>) -> Sending<'f>
    where
        's: 'f,
        Self: 'f,
    {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move { client.send_bytes(request).await });
        Box::pin(async move { sending.await? })
    }
}
