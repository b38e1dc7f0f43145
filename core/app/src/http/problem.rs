//! What went wrong, as `application/problem+json` (RFC 9457), the same for every cause.

use std::fmt;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use pgspan::{Error, Kind};
use serde::Serialize;

/// An answer that is no success. It becomes a body in [`render`](Problem::render), where the request's id is known.
#[derive(Debug, Clone)]
pub(super) struct Problem(Box<Fault>);

#[derive(Debug, Clone)]
struct Fault {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retryable: bool,
    sqlstate: Option<String>,
    constraint: Option<String>,
    challenge: Option<&'static str>,
    /// For the log alone; without values, as all of pgspan's errors are.
    cause: Option<String>,
}

#[derive(Serialize)]
struct Members<'p> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'p str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sqlstate: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    constraint: Option<&'p str>,
    request_id: &'p str,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem(Box::new(Fault {
            status,
            code,
            detail: detail.into(),
            retryable: false,
            sqlstate: None,
            constraint: None,
            challenge: None,
            cause: None,
        }))
    }

    pub(super) fn malformed(detail: &str) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "malformed_request", detail)
    }

    pub(super) fn invalid(field: &str, fault: fmt::Arguments<'_>) -> Problem {
        let field: String = field.chars().take(64).collect(); // an unknown field's name is the caller's
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", format!("{field}: {fault}"))
    }

    pub(super) fn unauthorized(challenge: &'static str, detail: &str) -> Problem {
        let mut problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
        problem.0.challenge = Some(challenge);
        problem
    }

    pub(super) fn forbidden(detail: &str) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub(super) fn not_found() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
    }

    pub(super) fn method_not_allowed() -> Problem {
        let detail = "this path does not have that method; Allow lists those it has";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    pub(super) fn too_large() -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body must be at most 256 KiB")
    }

    /// The body stopped arriving, which is the client's fault: nothing is logged.
    pub(super) fn request_timeout() -> Problem {
        let detail = "the body did not arrive in time";
        let mut problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail);
        problem.0.retryable = true;
        problem
    }

    pub(super) fn unsupported_media_type(detail: &str) -> Problem {
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    pub(super) fn headers_too_large() -> Problem {
        let detail = "at most 100 headers, and 16 KiB of them with the path and the query";
        Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", detail)
    }

    pub(super) fn internal(cause: &str) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong here")
            .because(cause)
    }

    pub(super) fn misconfigured(faults: &str) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "misconfigured", faults).because(faults)
    }

    pub(super) fn not_ready(cause: impl fmt::Display) -> Problem {
        let detail = "not ready: the database can't be reached, or its schema is missing";
        let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).because(cause);
        problem.0.retryable = true;
        problem
    }

    /// What is logged.
    fn because(mut self, cause: impl fmt::Display) -> Problem {
        self.0.cause = Some(cause.to_string());
        self
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> &'static str {
        self.0.code
    }

    #[cfg(test)]
    pub(super) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Gives a problem its body, and logs it once if it is ours. Other answers pass.
    pub(super) fn render(mut response: Response, id: &HeaderValue) -> Response {
        let Some(Problem(problem)) = response.extensions_mut().remove::<Problem>() else { return response };
        let request_id = id.to_str().unwrap_or_default();
        if problem.status.is_server_error() {
            let cause = problem.cause.as_deref().unwrap_or_default();
            let sqlstate = problem.sqlstate.as_deref();
            tracing::warn!(
                request_id,
                status = problem.status.as_u16(),
                code = problem.code,
                sqlstate,
                cause
            );
        }
        let body = Members {
            r#type: "about:blank",
            title: problem.status.canonical_reason().unwrap_or_default(),
            status: problem.status.as_u16(),
            code: problem.code,
            detail: &problem.detail,
            retryable: problem.retryable,
            sqlstate: problem.sqlstate.as_deref(),
            constraint: problem.constraint.as_deref(),
            request_id,
        };
        *response.body_mut() = Body::from(serde_json::to_vec(&body).unwrap_or_default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if problem.retryable && problem.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(challenge) = problem.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let kind = classify(&error);
        let (status, code, detail) = kind;
        let not_migrated = kind == NOT_MIGRATED;
        let cause = match not_migrated {
            true => format!("not migrated: apply the migrations ({error})"),
            false => error.to_string(),
        };
        let mut problem = Problem::new(status, code, detail).because(cause);
        problem.0.retryable = not_migrated || error.is_retryable();
        problem.0.sqlstate = error.sqlstate().map(|code| code.code().to_owned());
        problem.0.constraint = error.constraint().map(str::to_owned);
        problem
    }
}

/// The contract's table of errors.
fn classify(error: &Error) -> (StatusCode, &'static str, &'static str) {
    const UNAVAILABLE: (StatusCode, &str, &str) =
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the database can't be reached now");
    const TIMEOUT: (StatusCode, &str, &str) =
        (StatusCode::GATEWAY_TIMEOUT, "timeout", "it took too long and was ended; nothing was stored");
    const READ_ONLY: (StatusCode, &str, &str) =
        (StatusCode::SERVICE_UNAVAILABLE, "read_only", "the database accepts no writes now");
    let sqlstate = error.sqlstate().map(|code| code.code()).unwrap_or_default();
    match error.kind() {
        Kind::OutcomeUnknown => (
            StatusCode::SERVICE_UNAVAILABLE,
            "commit_outcome_unknown",
            "the answer of the database was lost: it may be stored or not. Look before you repeat it",
        ),
        Kind::Unavailable if sqlstate == "25006" => READ_ONLY,
        Kind::Unavailable => UNAVAILABLE,
        Kind::Timeout => TIMEOUT,
        Kind::RolledBack => ROLLED_BACK,
        Kind::Config => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "misconfigured",
            "a setting is missing or wrong; the log names it",
        ),
        Kind::Server => match (sqlstate, sqlstate.get(..2).unwrap_or_default()) {
            ("23505", _) => {
                (StatusCode::CONFLICT, "unique_violation", "it exists already; nothing was stored")
            }
            ("23503" | "23P01" | "23001", _) => {
                (StatusCode::CONFLICT, "conflict", "it contradicts what is stored; nothing was stored")
            }
            ("23514" | "23502", _) | (_, "22" | "54") => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_data",
                "the database refuses these values; nothing was stored",
            ),
            ("40001" | "40P01" | "55P03", _) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "contention",
                "others were working on the same; nothing was stored",
            ),
            ("42P01", _) => NOT_MIGRATED,
            ("57014", _) => TIMEOUT,
            ("25006", _) => READ_ONLY,
            ("25P02", _) => ROLLED_BACK,
            ("57P01" | "57P02" | "57P03" | "3D000", _) | (_, "08" | "53" | "28") => UNAVAILABLE,
            _ => INTERNAL,
        },
        _ => INTERNAL,
    }
}

const ROLLED_BACK: (StatusCode, &str, &str) =
    (StatusCode::INTERNAL_SERVER_ERROR, "rolled_back", "a part of it failed, so nothing was stored");
/// A table of the application is not there.
const NOT_MIGRATED: (StatusCode, &str, &str) =
    (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the database is not set up for this program yet");
const INTERNAL: (StatusCode, &str, &str) =
    (StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong here");
