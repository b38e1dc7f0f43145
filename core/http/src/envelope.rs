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
use tower_layer::Layer;
use tower_service::Service;
use uuid::Uuid;

use crate::context::RequestContext;
use crate::options::Options;
use crate::problem::Problem;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Below hyper's own limits, so that the answer is ours and the same on both hosts.
const HEADERS_MOST: usize = 100;
const HEADERS_BYTES: usize = 16 * 1024;

/// A layer around the routes of a service. [`service`](crate::service) lays it; lay it yourself around a router that is made
/// in another way: `router.layer(Envelope::new(db, options))`, after all of its routes and fallbacks.
///
/// * Every answer has the headers `x-request-id` (the caller's, if it is 1 to 64 letters, digits and hyphens; else a new one),
///   `x-content-type-options: nosniff` and `cache-control: no-store`; and `server-timing` where PostgreSQL was asked: how long it
///   was waited for, and for how many round trips.
/// * A request has a deadline ([`Options::request_timeout`]), for everything that is done through [`Db`](crate::Db).
/// * A [`Problem`] gets its body, and is logged once (`warn`, with its cause) if its status is 500 or above.
/// * A handler that panics is answered 500 `internal`, where panics unwind. Where they abort, as in a Worker, the host says so.
/// * More than 100 headers, or than 16 KiB of them with the path and the query, are 431 `headers_too_large`. This is below the
///   hosts' own limits, so that the answer is the same on all of them.
/// * While [everyone may write](crate::Writes::Anonymous), only loopback hosts are answered.
#[derive(Debug, Clone)]
pub struct Envelope {
    db: Database,
    options: Arc<Options>,
}

impl Envelope {
    /// For requests that are answered from this database, unless they bring one of their own as an extension.
    pub fn new(db: Database, options: Options) -> Envelope {
        Envelope { db, options: Arc::new(options) }
    }
}

impl Layer<Route> for Envelope {
    type Service = Enveloped;

    fn layer(&self, route: Route) -> Enveloped {
        Enveloped { around: self.clone(), route }
    }
}

/// A route in its [`Envelope`].
#[derive(Debug, Clone)]
pub struct Enveloped {
    around: Envelope,
    route: Route,
}

// Not axum's `from_fn`, which costs each request more.
impl Service<Request> for Enveloped {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.route, cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = request_id(request.headers());
        let Envelope { db, options } = &self.around;
        let whole = request.extensions().get().unwrap_or(db).clone();
        let db = whole.with_deadline(options.request_timeout);
        let answer = refuse(options, &request).map(|()| {
            let (db, options) = (db.clone(), options.clone());
            request.extensions_mut().insert(RequestContext { db, whole, options, id: id.clone() });
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
        let plural = if round_trips == 1 { "" } else { "s" };
        let timing = format!("db;dur={millis}.{micros:03};desc=\"{round_trips} round trip{plural}\"");
        let timing = HeaderValue::from_maybe_shared(Bytes::from(timing)).ok();
        response.headers_mut().extend(timing.map(|timing| (SERVER_TIMING, timing)));
    }
    response
}

/// The same for an answer that no database was asked for.
pub(crate) fn seal(response: Response, id: HeaderValue) -> Response {
    let mut response = Problem::render(response, &id);
    let headers = response.headers_mut();
    headers.reserve(4); // these, and the timing
    headers.insert(X_REQUEST_ID, id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What is refused whatever the path. A POST looks at its media type first, and then at its host by itself.
fn refuse(options: &Options, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let lines: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if headers.len() > HEADERS_MOST || lines + target > HEADERS_BYTES {
        return Err(Problem::headers_too_large());
    }
    match *request.method() {
        Method::POST => Ok(()),
        _ => options.writes.check_host(request.uri(), headers),
    }
}

/// The caller's id if it is one, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
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
