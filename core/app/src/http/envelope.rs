//! What every request and every answer has in common: an id, limits, a deadline, headers, and one way to fail.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::FutureExt;
use pgspan::Database;
use tower_layer::{Layer, layer_fn};
use tower_service::Service;
use uuid::Uuid;

use super::App;
use super::problem::Problem;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Below hyper's own limits, so that the answer is ours and the same on both hosts.
const HEADERS_MOST: usize = 100;
const HEADERS_BYTES: usize = 16 * 1024;

/// Lays the envelope around every route of the application.
pub(super) fn envelope(app: Arc<App>) -> impl Layer<Route, Service = Enveloped> + Clone {
    layer_fn(move |route| Enveloped { app: app.clone(), route }) // not `from_fn`, which costs each request more
}

#[derive(Clone)]
pub(super) struct Enveloped {
    app: Arc<App>,
    route: Route,
}

impl Service<Request> for Enveloped {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.route, cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = request_id(request.headers());
        let db = request.extensions().get().unwrap_or(&self.app.db);
        let db = db.with_deadline(self.app.options.request_timeout);
        let answer = refuse(&self.app, &request).map(|()| {
            request.extensions_mut().insert(db.clone());
            self.route.call(request)
        });
        Box::pin(async move {
            let response = match answer {
                Err(problem) => problem.into_response(),
                // a panic of one request is an error of that request; where panics abort (a Worker), the host says so
                Ok(answer) => match AssertUnwindSafe(answer).catch_unwind().await {
                    Ok(Ok(response)) => response,
                    Err(_) => Problem::internal("a handler panicked").into_response(),
                },
            };
            Ok(finish(response, id, &db))
        })
    }
}

/// What every answer carries.
fn finish(response: Response, id: HeaderValue, db: &Database) -> Response {
    let mut response = seal(response, id);
    if let (round_trips @ 1.., waited) = db.round_trips() {
        let (millis, micros) = (waited.as_millis(), waited.subsec_micros() % 1000);
        let timing = format!("db;dur={millis}.{micros:03};desc=\"{round_trips} round trips\"");
        let timing = HeaderValue::from_maybe_shared(Bytes::from(timing)).ok();
        response.headers_mut().extend(timing.map(|timing| (SERVER_TIMING, timing)));
    }
    response
}

/// The same for an answer that no database was asked for.
pub(super) fn seal(response: Response, id: HeaderValue) -> Response {
    let mut response = Problem::render(response, &id);
    let headers = response.headers_mut();
    headers.reserve(4); // these, and the timing
    headers.insert(X_REQUEST_ID, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What is refused whatever the path. A write looks at its media type first, and then at its host by itself.
fn refuse(app: &App, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let lines: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if headers.len() > HEADERS_MOST || lines + target > HEADERS_BYTES {
        return Err(Problem::headers_too_large());
    }
    match *request.method() {
        Method::POST => Ok(()),
        _ => app.options.writes.check_host(request.uri(), headers),
    }
}

/// The caller's id if it is one, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let theirs = headers.get(X_REQUEST_ID).filter(|id| {
        let id = id.as_bytes();
        (1..=64).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    });
    match theirs {
        Some(id) => id.clone(),
        None => {
            let mut text = Uuid::encode_buffer();
            let id = Uuid::new_v4();
            HeaderValue::from_str(id.hyphenated().encode_lower(&mut text))
                .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
        }
    }
}
