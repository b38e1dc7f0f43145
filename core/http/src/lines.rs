//! A list of any length as a body of lines.

use std::io;

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use futures_util::stream::try_unfold;
use pgspan::Database;
use serde::Serialize;

use crate::context::RequestContext;
use crate::problem::Problem;

/// A list of any length as the body of an answer, a JSON value a line (NDJSON): an extractor. It is read page by page while it is sent,
/// so that it takes the memory of a page, and no connection is held while the client is slow.
///
/// ```
/// use axum::response::Response;
/// use pgspan::{FromRow, sql};
/// use pgspan_http::{Lines, Problem};
/// use serde::Serialize;
///
/// #[derive(FromRow, Serialize)]
/// struct Product { id: i64, name: String }
///
/// async fn export(lines: Lines) -> Result<Response, Problem> {
///     lines
///         .pages(|db, after: Option<i64>| async move {
///             let after = after.unwrap_or(0);
///             let page = sql!("SELECT id, name FROM products WHERE id > {after} ORDER BY id LIMIT 1000");
///             let products: Vec<Product> = db.fetch_all(page.reads_only()).await?;
///             let next = products.last().map(|last| last.id);
///             Ok((products, next))
///         })
///         .await
/// }
/// # let _ = axum::Router::<()>::new().route("/", axum::routing::get(export));
/// ```
///
/// Each page is a statement of its own, so the list is no snapshot: rows that are added behind the place it has reached are in it.
///
/// A Worker sends an answer as a whole, so there the whole list is in its memory.
#[derive(Debug, Clone)]
pub struct Lines {
    context: RequestContext,
}

impl Lines {
    /// Reads pages until one has no `next`, which the following page is asked for with. The first is asked for with `None`.
    ///
    /// Each page has as long as a request has ([`Options::request_timeout`](crate::Options::request_timeout)), from when the client has
    /// taken the one before.
    ///
    /// # Errors
    ///
    /// Those of the first page. When a later one fails, the answer breaks off, so that no client takes what it has for the whole list;
    /// the cause is logged.
    pub async fn pages<K, T, F, P>(self, page: F) -> Result<Response, Problem>
    where
        K: Send + 'static,
        T: Serialize,
        F: Fn(Database, Option<K>) -> P + Send + 'static,
        P: Future<Output = Result<(Vec<T>, Option<K>), Problem>> + Send,
    {
        let RequestContext { db, whole, options, id } = self.context;
        let (first, next) = page(db, None).await?;
        let first = Step::Send(write(&first)?, next);
        let body = try_unfold((page, first), move |(page, step)| {
            let db = whole.with_deadline(options.request_timeout);
            let id = id.clone();
            async move {
                let break_off = |problem: Problem| {
                    problem.log(&id);
                    io::Error::other("the list broke off")
                };
                let (lines, next) = match step {
                    Step::Send(lines, next) => (lines, next),
                    Step::Ask(after) => {
                        let (rows, next) = page(db, Some(after)).await.map_err(&break_off)?;
                        (write(&rows).map_err(&break_off)?, next)
                    }
                    Step::End => return Ok(None),
                };
                let is_empty = lines.is_empty(); // whatever is said to come behind it
                let sent = (lines, (page, next.map_or(Step::End, Step::Ask)));
                Ok::<_, io::Error>((!is_empty).then_some(sent))
            }
        });
        Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response())
    }
}

impl<S: Sync> FromRequestParts<S> for Lines {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Lines, Problem> {
        Ok(Lines { context: RequestContext::of(parts)?.clone() })
    }
}

enum Step<K> {
    Send(Bytes, Option<K>),
    Ask(K),
    End,
}

fn write<T: Serialize>(rows: &[T]) -> Result<Bytes, Problem> {
    let mut lines = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut lines, row).map_err(Problem::internal)?;
        lines.push(b'\n');
    }
    Ok(lines.into())
}
