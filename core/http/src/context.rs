//! What the envelope gives to every handler: the database, with the request's deadline and without it, and the options.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderValue;
use axum::http::request::Parts;
use pgspan::Database;

use crate::options::Options;
use crate::problem::Problem;

/// An extension of every request that passed the envelope.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext {
    pub(crate) db: Database,
    /// The same without the request's deadline, for what outlives the beginning of the answer.
    pub(crate) whole: Database,
    pub(crate) options: Arc<Options>,
    /// The request's id.
    pub(crate) id: HeaderValue,
}

impl RequestContext {
    pub(crate) fn of(parts: &Parts) -> Result<&RequestContext, Problem> {
        parts
            .extensions
            .get()
            .ok_or_else(|| Problem::internal("this route lacks its envelope: lay it by pgspan_http::service"))
    }
}

/// The database as this request may use it: an extractor.
///
/// Everything done through it ends with the request's deadline ([`Options::request_timeout`]), and is counted in the
/// answer's `server-timing`. It is the database that the request brought with it, as on a Worker, or else the one that the
/// [`service`](crate::service) was made with. A handler that takes a `State<Database>` instead has neither deadline nor count.
#[derive(Debug, Clone)]
pub struct Db(pub Database);

impl<S: Sync> FromRequestParts<S> for Db {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Db, Problem> {
        Ok(Db(RequestContext::of(parts)?.db.clone()))
    }
}
