//! What every HTTP service on pgspan needs, on top of axum and below any host.
//!
//! A service is a router with this crate's extractors in its handlers. The same router is served natively (`pgspan-server`) and by
//! a Cloudflare Worker (`pgspan-edge`), with the same answers to the byte.
//!
//! ```
//! use axum::http::StatusCode;
//! use axum::routing::get;
//! use axum::{Json, Router};
//! use pgspan::{Database, FromRow, sql};
//! use pgspan_http::{Db, JsonBody, Options, Paging, Problem, Query, Writer, service};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(FromRow, Serialize)]
//! struct Product {
//!     id: i64,
//!     name: String,
//! }
//!
//! #[derive(Serialize)]
//! struct Page {
//!     products: Vec<Product>,
//!     next: Option<i64>,
//! }
//!
//! async fn list(Db(db): Db, query: Query) -> Result<Json<Page>, Problem> {
//!     let paging: Paging<i64> = Paging::finish(query, 20, 100)?;
//!     let (after, one_more) = (paging.after.unwrap_or(0), paging.one_more());
//!     let page = sql!("SELECT id, name FROM products WHERE id > {after} ORDER BY id LIMIT {one_more}");
//!     let rows = db.fetch_all(page.reads_only()).await?;
//!     let (products, next) = paging.cut(rows, |last: &Product| last.id);
//!     Ok(Json(Page { products, next }))
//! }
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct New {
//!     name: String,
//! }
//!
//! async fn create(
//!     _: Writer,
//!     Db(db): Db,
//!     JsonBody(New { name }): JsonBody<New>,
//! ) -> Result<(StatusCode, Json<Product>), Problem> {
//!     if name.trim().is_empty() {
//!         return Err(Problem::invalid("name", "must not be blank"));
//!     }
//!     let insert = sql!("INSERT INTO products (name) VALUES ({name}) RETURNING id, name");
//!     Ok((StatusCode::CREATED, Json(db.fetch_one(insert).await?)))
//! }
//!
//! pub fn router(db: Database, options: Options) -> Router {
//!     let routes = Router::new().route("/products", get(list).post(create));
//!     service(routes, db, options, || sql!("SELECT to_regclass('products') IS NOT NULL").reads_only())
//! }
//! ```
//!
//! Such a router can be tested without a server, against what a server seldom does: a deadlock, an answer that is lost. `pgspan`'s
//! feature `testing` is for that, and the example of `pgspan_app::router` shows it.
//!
//! # What is in it
//!
//! | | |
//! | --- | --- |
//! | [`service`] | your routes, `/livez`, `/readyz`, 404 and 405, and the envelope around all |
//! | [`Envelope`] | request id, deadline, `server-timing`, what a panic answers, limits of the headers |
//! | [`Db`] | the database of this request |
//! | [`Query`], [`Paging`], [`JsonBody`] | input, read strictly |
//! | [`Lines`] | a list of any length, sent line by line |
//! | [`Writer`], [`Writes`] | who may write |
//! | [`Problem`] | everything that is no success, as `application/problem+json` (RFC 9457) |
//! | [`misconfigured`] | what answers where the settings are wrong and the host can't refuse to start |
//!
//! Input is read before a connection is taken. So what a caller gets wrong never costs the database anything.
//!
//! # Errors of the database
//!
//! A [`pgspan::Error`] becomes a [`Problem`] by `?`, as this table says. `detail` never has PostgreSQL's message or DETAIL in it, since
//! these quote values; the log has the cause. `sqlstate` is there if PostgreSQL gave one, `constraint` if it named one.
//!
//! | what happened | SQLSTATE | status | `code` | `retryable` |
//! | --- | --- | --- | --- | --- |
//! | it exists already | 23505 | 409 | `unique_violation` | no |
//! | foreign key, exclusion, restrict | 23503, 23P01, 23001 | 409 | `conflict` | no |
//! | check, not null, data exception, program limit | 23514, 23502, 22…, 54… | 422 | `invalid_data` | no |
//! | serialization failure, deadlock, lock timeout | 40001, 40P01, 55P03 | 503 | `contention` | yes |
//! | a table is missing: the migrations were not applied | 42P01 | 503 | `unavailable` | yes |
//! | statement timeout, or the deadline, with nothing stored | 57014 | 504 | `timeout` | yes |
//! | the database can't be reached, is full, or shuts down | 08…, 53…, 57P01 to 57P03, 28…, 3D000 | 503 | `unavailable` | where time may heal it |
//! | the server is read-only | 25006 | 503 | `read_only` | yes |
//! | an answer was lost that may have stored something | any | 503 | `commit_outcome_unknown` | no |
//! | COMMIT was answered with ROLLBACK | 25P02 | 500 | `rolled_back` | no |
//! | a setting is wrong | | 500 | `misconfigured` | no |
//! | anything else | | 500 | `internal` | no |
//!
//! A 503 that is retryable has `retry-after: 1`. For a code of your own, such as one for a certain constraint, see [`Problem`].

mod context;
mod envelope;
mod errors;
mod json;
mod lines;
mod options;
mod paging;
mod problem;
mod query;
mod readiness;
mod service;
mod writer;
mod writes;

pub use context::Db;
pub use envelope::{Envelope, Enveloped};
pub use json::JsonBody;
pub use lines::Lines;
pub use options::Options;
pub use paging::Paging;
pub use problem::Problem;
pub use query::{Parameter, Query};
pub use service::{misconfigured, service};
pub use writer::Writer;
pub use writes::{Token, Writes};
