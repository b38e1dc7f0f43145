//! A service: its own routes, the probes, and the envelope around them.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use pgspan::{Database, Error, Sql};
use serde::Serialize;

use crate::context::Db;
use crate::envelope::{Envelope, request_id, seal};
use crate::options::Options;
use crate::problem::Problem;
use crate::readiness::Readiness;

/// A whole service of these routes, the same on both hosts. Build it once: that costs more than a request.
///
/// It adds
///
/// * `GET /livez`, which is answered 200 as long as the process answers at all;
/// * `GET /readyz`, which is answered 200 if a connection can be had and `is_ready` gives `true`, else 503. It asks at most
///   once a second, whoever asks, so that probes do not become load;
/// * 404 `not_found` for any other path (in place of a fallback of the routes') and 405 `method_not_allowed` for any other
///   method;
/// * the [`Envelope`] around all of it.
///
/// `is_ready` is the statement that asks whether the schema is there, for example
/// `|| sql!("SELECT to_regclass('users') IS NOT NULL").reads_only()`.
///
/// A request that brings a [`Database`] of its own, as an extension, is answered from that. This is how one router serves all
/// requests of a Worker, where each has connections of its own.
///
/// # Panics
///
/// If the routes have a `/livez` or a `/readyz` of their own.
pub fn service(
    routes: Router,
    db: Database,
    options: Options,
    is_ready: impl Fn() -> Sql<'static> + Send + Sync + 'static,
) -> Router {
    let readiness = Arc::new(Readiness::new(is_ready));
    routes
        .route("/livez", get(livez))
        .route("/readyz", get(move |Db(db)| readyz(readiness.clone(), db)))
        .fallback(async || Problem::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(Envelope::new(db, options))
}

/// What a host serves that can't start because of its settings: every request is answered 500 `misconfigured`, with what is
/// wrong.
///
/// It is for hosts that can't refuse to start, as a Worker can't.
pub fn misconfigured(faults: &[Error]) -> Router {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let problem = Problem::misconfigured(&faults.join("; "));
    Router::new()
        .fallback(async move |headers: HeaderMap| seal(problem.into_response(), request_id(&headers)))
}

/// What a probe is told.
#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// Alive: this process answers.
async fn livez() -> Json<Health> {
    Json(Health { status: "live" })
}

async fn readyz(readiness: Arc<Readiness>, db: Database) -> Result<Json<Health>, Problem> {
    readiness.ask(&db).await?;
    Ok(Json(Health { status: "ready" }))
}
