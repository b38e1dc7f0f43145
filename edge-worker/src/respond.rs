//! A router's answer to a Worker's request.

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use tower_service::Service;
use worker::{Headers, HttpRequest, Response, ResponseBody, Result};

/// Lets a router answer a request. The body is collected and sent as one piece, which costs a Worker half of what a
/// stream does.
///
/// # Errors
///
/// When the runtime refuses the answer, say for a header it does not allow.
///
/// # Cancel safety
///
/// That of the router's handlers.
pub async fn respond(mut router: Router, request: HttpRequest) -> Result<Response> {
    let response = match router.call(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|_| "the answer's body broke off")?.to_bytes();
    let body = if body.is_empty() { ResponseBody::Empty } else { ResponseBody::Body(body.into()) };
    let response = Response::from_body(body)?;
    Ok(response.with_status(parts.status.as_u16()).with_headers(Headers::from(&parts.headers)))
}
