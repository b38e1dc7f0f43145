//! What the server answers by itself: a handler panicked, or the server drains.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};

use crate::random::hex;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The caller's id, if it is a decent one.
pub(super) fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let decent = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    ((1..=64).contains(&id.len()) && id.as_bytes().iter().all(decent)).then(|| id.clone())
}

/// A handler panicked: 500.
pub(super) fn panicked(id: Option<HeaderValue>) -> Response {
    let id = id_or_new(id);
    tracing::error!(request_id = id.to_str().unwrap_or_default(), status = 500, "a handler panicked");
    let members = r#""title":"Internal Server Error","status":500,"code":"internal","detail":"something went wrong here","retryable":false"#;
    problem(StatusCode::INTERNAL_SERVER_ERROR, members, id)
}

/// The server is about to stop: 503, as of one whose database can't be reached.
pub(super) fn draining(headers: &HeaderMap) -> Response {
    let id = id_or_new(request_id(headers));
    let members = r#""title":"Service Unavailable","status":503,"code":"unavailable","detail":"not ready: this server is about to stop","retryable":true"#;
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, members, id);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn id_or_new(id: Option<HeaderValue>) -> HeaderValue {
    let id = id.or_else(|| HeaderValue::try_from(hex()).ok());
    id.unwrap_or_else(|| HeaderValue::from_static("none"))
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
