//! A router's answer to a Worker's request.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Request as HttpRequest};
use futures_util::stream::once;
use http_body_util::BodyExt;
use pgspan::Database;
use tower_service::Service;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use worker::js_sys::{Array, Uint8Array};
use worker::send::{SendFuture, SendWrapper};
use worker::{Headers, Request, Response, ResponseBody, Result, web_sys};

/// A body that says it is no longer than this is taken from the runtime in one piece; a longer one in those it comes in, so that
/// a router's own limit ends it before it fills the memory. 256 KiB: what pgspan's application takes.
const WHOLE_MOST: u64 = 256 * 1024;

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
pub async fn respond(router: Router, request: Request) -> Result<Response> {
    answer(router, take(request.inner())?).await
}

/// The same from a database for this request alone, which the router finds in the request's extensions.
pub(crate) async fn respond_from(database: Database, router: Router, request: Request) -> Result<Response> {
    let mut request = take(request.inner())?;
    request.extensions_mut().insert(database);
    answer(router, request).await
}

async fn answer(mut router: Router, request: HttpRequest<Body>) -> Result<Response> {
    let response = match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|_| "the answer's body broke off")?.to_bytes();
    let body = if body.is_empty() { ResponseBody::Empty } else { ResponseBody::Body(body.into()) };
    let response = Response::from_body(body)?;
    Ok(response.with_status(parts.status.as_u16()).with_headers(Headers::from(&parts.headers)))
}

/// The request as axum has it. The `worker` crate's own conversion also asks for the abort signal, the redirect mode and
/// Cloudflare's properties, and for the headers one by one: measured, a sixth of what a small request costs.
fn take(request: &web_sys::Request) -> Result<HttpRequest<Body>> {
    let method = Method::from_bytes(request.method().as_bytes()).map_err(|_| "the method is none")?;
    let headers = headers(&request.headers());
    let body = match method {
        Method::GET | Method::HEAD => Body::empty(),
        _ => body(request, &headers),
    };
    let mut taken = HttpRequest::builder().method(method).uri(request.url()).body(body)?;
    *taken.headers_mut() = headers;
    Ok(taken)
}

/// All in one string, since what crosses from JavaScript costs by the piece: `name,value` a line.
fn headers(headers: &web_sys::Headers) -> HeaderMap {
    let lines = String::from(Array::from(headers).join("\n"));
    let pairs = lines.lines().filter_map(|line| {
        let (name, value) = line.split_once(',')?;
        Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    });
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(name, value);
    }
    map
}

fn body(request: &web_sys::Request, headers: &HeaderMap) -> Body {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_none_or(|length| length > WHOLE_MOST) {
        return request.body().map_or_else(Body::empty, |body| Body::new(worker::Body::new(body)));
    }
    let request = SendWrapper::new(Clone::clone(request)); // not JavaScript's, which copies the body
    let whole = async move {
        let buffer = JsFuture::from(request.array_buffer()?).await?;
        Ok::<_, JsValue>(Bytes::from(Uint8Array::new(&buffer).to_vec()))
    };
    let whole = async { whole.await.map_err(|_| "the request's body broke off") };
    Body::from_stream(once(SendFuture::new(whole)))
}
