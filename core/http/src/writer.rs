//! A caller who may write.

use axum::extract::FromRequestParts;
use axum::http::Method;
use axum::http::request::Parts;

use crate::context::RequestContext;
use crate::problem::Problem;

/// A caller who may write, by [`Options::writes`](crate::Options::writes): an extractor. Put it before the
/// [`JsonBody`](crate::JsonBody), so that nobody's body is read who may not write.
///
/// ```
/// use axum::Json;
/// use pgspan_http::{Db, JsonBody, Problem, Writer};
///
/// # #[derive(serde::Deserialize)]
/// # struct New {}
/// async fn create(_: Writer, Db(db): Db, JsonBody(new): JsonBody<New>) -> Result<Json<i64>, Problem> {
/// #   let _ = new;
///     let mut session = db.session().await?;
///     // …
/// #   drop(session);
///     Ok(Json(7))
/// }
/// ```
///
/// In this order:
///
/// * A POST whose `content-type` is not `application/json` is 415 `unsupported_media_type`, whether or not it has a body: that is
///   what a form of another site could send. Other methods a page of another site can't send unasked.
/// * While [everyone may write](crate::Writes::Anonymous), another host or a page of another site is 403 `forbidden`.
/// * Without a token 401 `unauthorized`, with `www-authenticate: Bearer`; with a wrong one the same, with `error="invalid_token"`.
/// * Where no one may write, 403 `forbidden`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Writer;

impl<S: Sync> FromRequestParts<S> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Writer, Problem> {
        let writes = &RequestContext::of(parts)?.options.writes;
        match parts.method {
            Method::POST => writes.check_form(&parts.uri, &parts.headers)?,
            _ => writes.check_origin(&parts.uri, &parts.headers)?,
        }
        writes.check_token(&parts.headers)?;
        Ok(Writer)
    }
}
