//! What went wrong, as `application/problem+json` (RFC 9457), the same for every cause.

use std::fmt;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An answer that is no success: what a handler of a service returns as its error.
///
/// The body is made by the [`Envelope`](crate::Envelope), which knows the request's id, and logs what is the server's fault:
///
/// ```json
/// {"type":"about:blank","title":"Conflict","status":409,"code":"sold_out","detail":"none is left","retryable":false,"request_id":"…"}
/// ```
///
/// An error of the database becomes one by `?`: [the table](crate#errors-of-the-database) says which. For an error type of your
/// own write one `impl From`:
///
/// ```
/// use axum::http::StatusCode;
/// use pgspan_http::Problem;
///
/// enum ShopError {
///     SoldOut,
///     Database(pgspan::Error),
/// }
///
/// impl From<ShopError> for Problem {
///     fn from(error: ShopError) -> Problem {
///         match error {
///             ShopError::SoldOut => Problem::new(StatusCode::CONFLICT, "sold_out", "none is left"),
///             // a constraint's own code, instead of unique_violation
///             ShopError::Database(error) if error.constraint() == Some("products_sku_key") => {
///                 Problem::from(error).with_code("sku_taken", "another product has this number")
///             }
///             ShopError::Database(error) => error.into(),
///         }
///     }
/// }
///
/// async fn order() -> Result<&'static str, Problem> {
///     Err(ShopError::SoldOut)?
/// }
/// # let sold_out = Problem::from(ShopError::SoldOut);
/// # assert_eq!((sold_out.status(), sold_out.code()), (StatusCode::CONFLICT, "sold_out"));
/// ```
#[derive(Debug, Clone)]
pub struct Problem(Box<Fault>);

#[derive(Debug, Clone)]
struct Fault {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retryable: bool,
    sqlstate: Option<String>,
    constraint: Option<String>,
    /// One more of the answer's headers.
    header: Option<(HeaderName, &'static str)>,
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
    /// A problem with a code of your own. Callers tell problems apart by their `code`, so it stays the same for ever; the
    /// `detail` is for people. It must not have a secret in it, nor PostgreSQL's DETAIL, which quotes values.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem(Box::new(Fault {
            status,
            code,
            detail: detail.into(),
            retryable: false,
            sqlstate: None,
            constraint: None,
            header: None,
            cause: None,
        }))
    }

    /// 400 `malformed_request`: it can't be read at all.
    pub fn malformed(detail: &str) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "malformed_request", detail)
    }

    /// 422 `invalid_request`: a field is not what it must be, for example `invalid("names[3]", "must not be blank")`.
    pub fn invalid(field: &str, fault: impl fmt::Display) -> Problem {
        Problem::not_valid(field, &fault)
    }

    fn not_valid(field: &str, fault: &dyn fmt::Display) -> Problem {
        let field: String = field.chars().take(64).collect(); // an unknown field's name is the caller's
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", format!("{field}: {fault}"))
    }

    /// 403 `forbidden`.
    pub fn forbidden(detail: &str) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404 `not_found`.
    pub fn not_found(detail: &str) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 409 `conflict`: it contradicts what is stored.
    pub fn conflict(detail: &str) -> Problem {
        Problem::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 500 `internal`. The cause is logged and not shown.
    pub fn internal(cause: impl fmt::Display) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong here")
            .because(cause)
    }

    /// Gives it a code and a detail of your own. Status, `retryable`, SQLSTATE and constraint stay.
    #[must_use]
    pub fn with_code(mut self, code: &'static str, detail: impl Into<String>) -> Problem {
        (self.0.code, self.0.detail) = (code, detail.into());
        self
    }

    /// Sets what is logged, if the status is 500 or above.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Problem {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// Sets whether the same request may be sent again. A 503 that may be is sent with `retry-after: 1`.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Problem {
        self.0.retryable = retryable;
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What callers tell it by.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// What people are told.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    pub(crate) fn unauthorized(challenge: &'static str, detail: &str) -> Problem {
        let mut problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
        problem.0.header = Some((WWW_AUTHENTICATE, challenge));
        problem
    }

    pub(crate) fn method_not_allowed() -> Problem {
        let detail = "this path does not have that method; Allow lists those it has";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    pub(crate) fn too_large(most_kib: u32) -> Problem {
        let detail = format!("the body must be at most {most_kib} KiB");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// The body stopped arriving, which is the client's fault: nothing is logged.
    pub(crate) fn request_timeout() -> Problem {
        let detail = "the body did not arrive in time";
        Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail).retryable(true)
    }

    pub(crate) fn unsupported_media_type(detail: &str) -> Problem {
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// The body is compressed. RFC 9110, 15.5.16: `Accept-Encoding` says what would be taken.
    pub(crate) fn unsupported_encoding() -> Problem {
        let mut problem = Problem::unsupported_media_type("a body must not be compressed");
        problem.0.header = Some((ACCEPT_ENCODING, "identity"));
        problem
    }

    pub(crate) fn headers_too_large() -> Problem {
        let detail = "at most 100 headers, and 16 KiB of them with the path and the query";
        Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", detail)
    }

    pub(crate) fn misconfigured(faults: &str) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "misconfigured", faults).because(faults)
    }

    pub(crate) fn not_ready(cause: impl fmt::Display) -> Problem {
        let detail = "not ready: the database can't be reached, or its schema is missing";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).because(cause).retryable(true)
    }

    pub(crate) fn of_database(mut self, sqlstate: Option<String>, constraint: Option<String>) -> Problem {
        (self.0.sqlstate, self.0.constraint) = (sqlstate, constraint);
        self
    }

    /// Logs what is the server's fault.
    pub(crate) fn log(&self, id: &HeaderValue) {
        let Problem(problem) = self;
        if problem.status.is_server_error() {
            tracing::warn!(
                request_id = id.to_str().unwrap_or_default(),
                status = problem.status.as_u16(),
                code = problem.code,
                sqlstate = problem.sqlstate.as_deref(),
                cause = problem.cause.as_deref().unwrap_or_default()
            );
        }
    }

    /// Gives a problem its body, and logs it once if it is ours. Other answers pass.
    pub(crate) fn render(mut response: Response, id: &HeaderValue) -> Response {
        let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
        problem.log(id);
        let Problem(problem) = problem;
        let body = Members {
            r#type: "about:blank",
            title: problem.status.canonical_reason().unwrap_or_default(),
            status: problem.status.as_u16(),
            code: problem.code,
            detail: &problem.detail,
            retryable: problem.retryable,
            sqlstate: problem.sqlstate.as_deref(),
            constraint: problem.constraint.as_deref(),
            request_id: id.to_str().unwrap_or_default(),
        };
        *response.body_mut() = Body::from(serde_json::to_vec(&body).unwrap_or_default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if problem.retryable && problem.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some((name, value)) = problem.header {
            headers.insert(name, HeaderValue::from_static(value));
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
