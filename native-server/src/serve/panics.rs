//! What is answered when a handler panicked.

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};

use crate::random::hex;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The caller's id, if it is a decent one.
pub(super) fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let decent = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    ((1..=64).contains(&id.len()) && id.as_bytes().iter().all(decent)).then(|| id.clone())
}

/// 500, in the form of all errors.
pub(super) fn answer(id: Option<HeaderValue>) -> Response {
    let id = id.or_else(|| HeaderValue::try_from(hex()).ok());
    let id = id.unwrap_or_else(|| HeaderValue::from_static("none"));
    let text = id.to_str().unwrap_or_default(); // letters, digits and hyphens
    tracing::error!(request_id = text, status = 500, "a handler panicked");
    let body = format!(
        r#"{{"type":"about:blank","title":"Internal Server Error","status":500,"code":"internal","detail":"something went wrong here","retryable":false,"request_id":"{text}"}}"#
    );
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REQUEST_ID, id);
    response
}
