//! A router's answer to a Worker's request.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Request as HttpRequest, Response as HttpResponse, StatusCode};
use http_body_util::BodyExt;
use pgspan::Database;
use tower_service::Service;
use worker::js_sys::Array;
use worker::{EncodeBody, Request, Response, ResponseBody, Result, web_sys};

use crate::problem::Problem;
use crate::upload::Upload;

/// Lets a router answer a request. The answer's body is collected and sent as one piece, which costs a Worker half of what
/// a stream does. What the router left of the request's body is taken first: at most 1 MiB of it, for a second.
///
/// A request that can't be read is answered 400. An answer that the runtime can't send (its status is below 200 or above
/// 599), or whose body breaks off, becomes a 500. In a header, bytes that are no UTF-8 are sent as U+FFFD. A body that has a
/// `content-encoding` is sent as it is.
///
/// # Errors
///
/// When the runtime refuses the 500, too.
///
/// # Cancel safety
///
/// That of the router's handlers.
pub async fn respond(router: Router, request: Request) -> Result<Response> {
    answer(router, None, request).await
}

/// The same from a database for this request alone, which the router finds in the request's extensions.
pub(crate) async fn respond_from(database: Database, router: Router, request: Request) -> Result<Response> {
    answer(router, Some(database), request).await
}

/// Answers without a router. A body that is not drained ends its connection.
pub(crate) async fn refuse(
    problem: Problem,
    cause: &str,
    request: Request,
    drains: bool,
) -> Result<Response> {
    let (request, _) = Incoming::read(&request);
    if drains {
        request.upload.drain().await;
    }
    request.fail(problem, cause)
}

async fn answer(mut router: Router, database: Option<Database>, request: Request) -> Result<Response> {
    let (request, headers) = Incoming::read(&request);
    let Some(mut taken) = request.take(headers) else {
        request.upload.drain().await;
        return request.fail(Problem::MALFORMED, "its method or its URL is none");
    };
    if let Some(database) = database {
        taken.extensions_mut().insert(database);
    }
    let is_head = taken.method() == Method::HEAD;
    let (parts, body) = match router.call(taken).await {
        Ok(answer) => answer.into_parts(),
        Err(never) => match never {},
    };
    let body = body.collect().await;
    request.upload.drain().await;
    let written = match body {
        Ok(body) => write(HttpResponse::from_parts(parts, body.to_bytes()), is_head),
        Err(_) => Err("its body broke off".into()),
    };
    written.or_else(|error| request.fail(Problem::INTERNAL, &format!("the answer can't be sent: {error}")))
}

/// A request as the runtime has it.
struct Incoming<'r> {
    request: &'r web_sys::Request,
    upload: Upload,
}

impl<'r> Incoming<'r> {
    fn read(request: &'r Request) -> (Incoming<'r>, HeaderMap) {
        let request = request.inner();
        let headers = headers(&request.headers());
        (Incoming { request, upload: Upload::new(request, &headers) }, headers)
    }

    /// The request as axum has it; none if it can't be one. The `worker` crate's own conversion also asks for the abort signal,
    /// the redirect mode and Cloudflare's properties, and for the headers one by one: measured, a sixth of what a small request
    /// costs.
    fn take(&self, headers: HeaderMap) -> Option<HttpRequest<Body>> {
        let method = Method::from_bytes(self.request.method().as_bytes()).ok()?;
        let request = HttpRequest::builder().method(method).uri(self.request.url());
        let mut request = request.body(self.upload.body()).ok()?;
        *request.headers_mut() = headers;
        Some(request)
    }

    fn fail(&self, problem: Problem, cause: &str) -> Result<Response> {
        write(problem.answer(&headers(&self.request.headers()), cause), false)
    }
}

/// All in one string, since what crosses from JavaScript costs by the piece: `name,value` a line.
pub(crate) fn headers(headers: &web_sys::Headers) -> HeaderMap {
    let lines = String::from(Array::from(headers).join("\n"));
    let pairs = lines.lines().filter_map(|line| {
        let (name, value) = line.split_once(',')?;
        Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    });
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        if map.try_append(name, value).is_err() {
            break; // more than a map holds, and than the runtime lets through
        }
    }
    map
}

/// The answer as the runtime has it. The `worker` crate's own conversion panics where this is an error.
pub(crate) fn write(answer: HttpResponse<Bytes>, is_head: bool) -> Result<Response> {
    let (parts, body) = answer.into_parts();
    let status = parts.status.as_u16();
    if !(200..=599).contains(&status) {
        return Err(format!("the runtime sends no status {status}").into());
    }
    let has_no_body =
        matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    let body = match has_no_body || body.is_empty() {
        true => ResponseBody::Empty,
        false => ResponseBody::Body(body.into()),
    };
    let answer = Response::from_body(body)?.with_status(status);
    for (name, value) in &parts.headers {
        // what the body is, the runtime knows; it has none of a HEAD request, whose answer tells the length all the same
        if name == CONTENT_LENGTH && !is_head {
            continue;
        }
        answer.headers().append(name.as_str(), &String::from_utf8_lossy(value.as_bytes()))?;
    }
    Ok(match parts.headers.contains_key(CONTENT_ENCODING) {
        true => answer.with_encode_body(EncodeBody::Manual),
        false => answer,
    })
}
