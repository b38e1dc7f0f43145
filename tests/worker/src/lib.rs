//! Somebody else's Worker: a router of its own on `pgspan-edge`, behind pgspan's `entry.mjs`.
//!
//! It is what the crate's documentation tells its user to write, and does what no application should: it panics.

mod connections;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use pgspan::{Database, Error, sql};
use pgspan_edge::{Connections, PoolObject, log_to_console, respond};
use worker::{Context, DurableObject, Env, Request, Response, Result, durable_object, event, wasm_bindgen};

#[event(fetch)]
async fn fetch(request: Request, env: Env, ctx: Context) -> Result<Response> {
    log_to_console();
    let connections = Connections::from_env(&env).map_err(|faults| format!("{faults:?}"))?;
    let answer = respond(router(connections.database()), request).await;
    connections.close_with(&ctx);
    answer
}

/// The object that `entry.mjs` asks.
#[durable_object(fetch)]
pub struct Pool(PoolObject);

impl DurableObject for Pool {
    fn new(_: worker::State, env: Env) -> Pool {
        log_to_console();
        Pool(PoolObject::new(&env, |database| database.map_or_else(misconfigured, router)))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        self.0.fetch(request).await
    }
}

fn router(database: Database) -> Router {
    Router::new()
        .route("/livez", get(async || "alive"))
        .route("/backend", get(backend))
        .route("/wait", get(wait))
        .route("/panic", get(panic))
        .merge(connections::router())
        .with_state(database)
}

fn misconfigured(faults: Vec<Error>) -> Router {
    let faults = format!("{faults:?}");
    Router::new().fallback(async move || (StatusCode::INTERNAL_SERVER_ERROR, faults.clone()))
}

/// Which process of PostgreSQL answers.
async fn backend(State(database): State<Database>) -> std::result::Result<String, Failure> {
    let pid: i32 = database.session().await?.fetch_one(sql!("SELECT pg_backend_pid()")).await?;
    Ok(pid.to_string())
}

/// Waits, in a transaction, for a lock that the test holds.
async fn wait(State(database): State<Database>) -> std::result::Result<String, Failure> {
    let mut session = database.session().await?;
    let mut transaction = session.transaction();
    transaction.execute(sql!("SELECT pg_advisory_xact_lock(1)")).await?;
    transaction.commit().await?;
    Ok("the lock was free".to_owned())
}

/// Panics in a transaction.
async fn panic(State(database): State<Database>) -> std::result::Result<String, Failure> {
    let mut session = database.session().await?;
    let mut transaction = session.transaction();
    transaction.execute(sql!("SELECT 1")).await?;
    panic!("CANARY: what a panic says may quote values");
}

struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> axum::response::Response {
        (StatusCode::SERVICE_UNAVAILABLE, self.0.to_string()).into_response()
    }
}
