//! What this host answers by itself, in the form that `pgspan-http` has for errors.

use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An answer that is no router's, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: &'static str,
}

impl Problem {
    pub(crate) const MALFORMED: Problem =
        Problem::new(StatusCode::BAD_REQUEST, "malformed_request", "the request can't be read");
    pub(crate) const INTERNAL: Problem =
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong here");
    pub(crate) const BUSY: Problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "too many requests are being answered now",
    );
    pub(crate) const UNAVAILABLE: Problem =
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the database can't be reached now");
    pub(crate) const OUTCOME_UNKNOWN: Problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "commit_outcome_unknown",
        "the answer of the database was lost: it may be stored or not. Look before you repeat it",
    );

    const fn new(status: StatusCode, code: &'static str, detail: &'static str) -> Problem {
        Problem { status, code, detail }
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// The answer, with the caller's id if it is one, else a new one. It is logged, with the cause.
    pub(crate) fn answer(&self, headers: &HeaderMap, cause: &str) -> Response<Bytes> {
        let Problem { status, code, detail } = self;
        let (title, number) = (status.canonical_reason().unwrap_or_default(), status.as_u16());
        let retryable = *code == "unavailable";
        let id = request_id(headers);
        let request_id = id.to_str().unwrap_or_default(); // letters, digits and hyphens
        tracing::warn!(request_id, status = number, code, cause);
        let mut answer = Response::new(Bytes::from(format!(
            r#"{{"type":"about:blank","title":"{title}","status":{number},"code":"{code}","detail":"{detail}","retryable":{retryable},"request_id":"{request_id}"}}"#
        )));
        *answer.status_mut() = *status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if retryable {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        headers.insert(REQUEST_ID, id);
        answer
    }
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_one = |id: &&HeaderValue| {
        let id = id.as_bytes();
        (1..=64).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    headers.get(REQUEST_ID).filter(is_one).cloned().unwrap_or_else(|| {
        let new = getrandom::u64().and_then(|first| Ok(format!("{first:016x}{:016x}", getrandom::u64()?)));
        new.ok().and_then(|id| id.try_into().ok()).unwrap_or(HeaderValue::from_static("none"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_s_id_is_taken_if_it_is_one_and_a_new_one_made_if_not() {
        let id = |given: &str| {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(given).unwrap())]);
            request_id(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(id("a-B-7"), "a-B-7");
        for none in ["", "a b", "\"", &"x".repeat(65)] {
            let new = id(none);
            assert!(new.len() == 32 && new.bytes().all(|byte| byte.is_ascii_hexdigit()), "{none}: {new}");
        }
        assert_ne!(id(""), id(""));
    }
}
