//! What the server answers by itself: a bound is reached, a body stopped arriving, a handler panicked, or the server drains.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};

use super::on_panic::OnPanic;
use crate::random::hex;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The caller's id, if it is a decent one.
pub(super) fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let decent = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    ((1..=64).contains(&id.len()) && id.as_bytes().iter().all(decent)).then(|| id.clone())
}

/// A bound that is reached.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    Requests,
    Bodies,
}

/// There is no room for the request now: 503, at once.
pub(super) fn refused(why: Refusal, id: Option<&HeaderValue>) -> Response {
    let (cause, members) = match why {
        Refusal::Requests => (
            "as many requests are being answered as may be (MAX_REQUESTS)",
            r#""title":"Service Unavailable","status":503,"code":"unavailable","detail":"too many requests are being answered now","retryable":true"#,
        ),
        Refusal::Bodies => (
            "the bodies in memory hold as much as they may (MAX_BODIES_KIB)",
            r#""title":"Service Unavailable","status":503,"code":"unavailable","detail":"too much is being sent or received now","retryable":true"#,
        ),
    };
    let id = id_or_new(id);
    tracing::warn!(
        request_id = id.to_str().unwrap_or_default(),
        status = 503,
        cause,
        "a request was refused"
    );
    retryable(problem(StatusCode::SERVICE_UNAVAILABLE, members, id))
}

/// The body stopped arriving: 408.
pub(super) fn late(id: Option<&HeaderValue>) -> Response {
    let members = r#""title":"Request Timeout","status":408,"code":"request_timeout","detail":"the body stopped arriving","retryable":true"#;
    problem(StatusCode::REQUEST_TIMEOUT, members, id_or_new(id))
}

/// A handler panicked: 500, or what the program answers then.
pub(super) fn panicked(id: Option<&HeaderValue>, on_panic: Option<&OnPanic>) -> Response {
    let given = id.and_then(|id| id.to_str().ok());
    let own = on_panic.map(|on_panic| on_panic.answer(given));
    let id = id_or_new(id);
    let (request_id, status) =
        (id.to_str().unwrap_or_default(), own.as_ref().map_or(500, |own| own.status().as_u16()));
    tracing::error!(request_id, status, "a handler panicked");
    if let Some(own) = own {
        return own;
    }
    let members = r#""title":"Internal Server Error","status":500,"code":"internal","detail":"something went wrong here","retryable":false"#;
    problem(StatusCode::INTERNAL_SERVER_ERROR, members, id)
}

/// The server is about to stop: 503, as of one whose database can't be reached.
pub(super) fn draining(headers: &HeaderMap) -> Response {
    let id = id_or_new(request_id(headers).as_ref());
    let members = r#""title":"Service Unavailable","status":503,"code":"unavailable","detail":"not ready: this server is about to stop","retryable":true"#;
    retryable(problem(StatusCode::SERVICE_UNAVAILABLE, members, id))
}

fn id_or_new(id: Option<&HeaderValue>) -> HeaderValue {
    let id = id.cloned().or_else(|| HeaderValue::try_from(hex()).ok());
    id.unwrap_or_else(|| HeaderValue::from_static("none"))
}

fn retryable(mut response: Response) -> Response {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// An answer in the form of all errors.
fn problem(status: StatusCode, members: &str, id: HeaderValue) -> Response {
    let text = id.to_str().unwrap_or_default(); // letters, digits and hyphens
    let body = format!(r#"{{"type":"about:blank",{members},"request_id":"{text}"}}"#);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REQUEST_ID, id);
    response
}
