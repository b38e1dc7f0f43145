//! Somebody else's Worker: a router of its own on `pgspan-edge`, with pgspan's `entry.mjs` before it or without.
//!
//! It is what the crate's documentation tells its user to write, and does what no application should: it panics.

mod connections;

use std::cell::OnceCell;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use futures_util::StreamExt;
use pgspan::{Database, Error, sql};
use pgspan_edge::{Connections, PoolObject, forward, forward_to, log_to_console, lookup, respond, variable};
use worker::{
    Context, Delay, DurableObject, Env, MessageBatch, Request, Response, Result, ScheduleContext,
    ScheduledEvent, State, WebSocket, WebSocketIncomingMessage, WebSocketPair, durable_object, event,
    wasm_bindgen, web_sys,
};

#[event(fetch)]
async fn fetch(request: Request, env: Env, ctx: Context) -> Result<web_sys::Response> {
    log_to_console();
    // behind `entry.mjs` no request comes here that an object can answer
    if lookup(&env)("PGSPAN_CONNECT").is_none_or(|connect| connect == "pool") {
        return forward(request, &env).await.or_else(|unanswered| unanswered.answer());
    }
    if request.path() == "/other" {
        return forward_to("Other", request, &env).await.or_else(|unanswered| unanswered.answer());
    }
    let connections = Connections::from_env(&env, &ctx).map_err(|faults| format!("{faults:?}"))?;
    let answer = respond(router(connections.database()), request).await?;
    Ok(answer.into())
}

/// Stores that it was called, over connections of its own.
#[event(scheduled)]
async fn scheduled(event: ScheduledEvent, env: Env, ctx: ScheduleContext) {
    log_to_console();
    let stored = async {
        let connections = Connections::from_env(&env, &ctx).map_err(|faults| format!("{faults:?}"))?;
        note(&connections.database(), &event.cron()).await.map_err(|error| error.to_string())
    };
    if let Err(error) = stored.await {
        worker::console_error!("scheduled: {error}");
    }
}

/// Stores what came, over connections of its own.
#[event(queue)]
async fn queue(batch: MessageBatch<String>, env: Env, ctx: Context) -> Result<()> {
    log_to_console();
    let connections = Connections::from_env(&env, &ctx).map_err(|faults| format!("{faults:?}"))?;
    for message in batch.messages()? {
        note(&connections.database(), message.body()).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn note(database: &Database, what: &str) -> std::result::Result<(), Error> {
    let mut session = database.session().await?;
    session.execute(sql!("INSERT INTO noted (what) VALUES ({what})")).await?;
    Ok(())
}

/// The object that requests are sent to.
#[durable_object]
pub struct Pool {
    object: PoolObject,
    state: State,
}

impl DurableObject for Pool {
    fn new(state: State, env: Env) -> Pool {
        log_to_console();
        let object = PoolObject::new(&state, &env, |database| database.map_or_else(misconfigured, router));
        Pool { object, state }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        if request.path() == "/set-alarm" {
            self.state.storage().set_alarm(Duration::from_millis(300)).await?;
        }
        if request.path() == "/socket" {
            let WebSocketPair { client, server } = WebSocketPair::new()?;
            self.state.accept_web_socket(&server);
            return Response::from_websocket(client);
        }
        self.object.fetch(request).await
    }

    /// Stores what it is told, over a connection of the pool, and says which process of PostgreSQL did.
    async fn websocket_message(&self, socket: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let database = self.object.database().ok_or("the settings are wrong")?;
        if let WebSocketIncomingMessage::String(text) = message {
            note(&database, &text).await.map_err(|error| error.to_string())?;
            let backend = backend(Shared(database)).await.map_err(|Failure(error)| error.to_string())?;
            socket.send_with_str(backend)?;
        }
        Ok(())
    }

    async fn websocket_close(&self, _: WebSocket, _: usize, _: String, _: bool) -> Result<()> {
        Ok(())
    }

    /// Stores that it was called, over a connection of the pool.
    async fn alarm(&self) -> Result<Response> {
        let database = self.object.database().ok_or("the settings are wrong")?;
        note(&database, "alarm").await.map_err(|error| error.to_string())?;
        Response::empty()
    }
}

/// An object of a second database, whose URL comes from a store of secrets: later than the object.
#[durable_object(fetch)]
pub struct Other {
    state: State,
    env: Env,
    object: OnceCell<PoolObject>,
}

impl DurableObject for Other {
    fn new(state: State, env: Env) -> Other {
        log_to_console();
        Other { state, env, object: OnceCell::new() }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        if self.object.get().is_none() {
            let url = secret(&self.env).await;
            self.object.get_or_init(|| {
                let variables = |name: &str| match name {
                    "DATABASE_URL" => Ok(url.clone()),
                    name => variable(&self.env, name),
                };
                let router =
                    |database: std::result::Result<_, _>| database.map_or_else(misconfigured, router);
                PoolObject::from_variables(&self.state, &self.env, variables, router)
            });
        }
        self.object.get().ok_or("it was made above")?.fetch(request).await
    }
}

/// Stands for a store of secrets, which answers when it likes.
async fn secret(env: &Env) -> Option<String> {
    Delay::from(Duration::from_millis(20)).await;
    lookup(env)("OTHER_URL")
}

fn router(database: Database) -> Router {
    Router::new()
        .route("/livez", get(async || "alive"))
        .route("/backend", get(backend))
        .route("/other", get(name))
        .route("/wait", get(wait))
        .route("/panic", get(panic))
        .route("/answer", any(answer))
        .route("/refuse", any(async || (StatusCode::UNAUTHORIZED, "no")))
        .route("/first-piece", any(first_piece))
        .route("/broken", any(broken))
        .route("/all", any(async |body: Bytes| body.len().to_string()))
        .merge(connections::router())
        .with_state(database)
}

fn misconfigured(faults: Vec<Error>) -> Router {
    let faults = format!("{faults:?}");
    Router::new().fallback(async move || (StatusCode::INTERNAL_SERVER_ERROR, faults.clone()))
}

/// Which process of PostgreSQL answers.
async fn backend(Shared(database): Shared<Database>) -> std::result::Result<String, Failure> {
    let pid: i32 = database.session().await?.fetch_one(sql!("SELECT pg_backend_pid()")).await?;
    Ok(pid.to_string())
}

/// Answers as the query says: `status`, `body`, and any number of `header=name:value`, whose values are in hexadecimal.
async fn answer(uri: Uri) -> axum::response::Response {
    let mut answer = axum::response::Response::default();
    for (name, value) in uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
        match (name, value.split_once(':')) {
            ("status", _) => *answer.status_mut() = value.parse().unwrap_or_default(),
            ("body", _) => *answer.body_mut() = Body::from(value.to_owned()),
            ("header", Some((name, hex))) => {
                let bytes = (0..hex.len())
                    .step_by(2)
                    .filter_map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok());
                let value = HeaderValue::from_bytes(&bytes.collect::<Vec<u8>>());
                if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value) {
                    answer.headers_mut().append(name, value);
                }
            }
            _ => {}
        }
    }
    answer
}

/// An answer whose body breaks off.
async fn broken() -> Body {
    let pieces = [Ok("the first piece"), Err(std::io::Error::other("CANARY"))];
    Body::from_stream(futures_util::stream::iter(pieces))
}

/// Reads the first piece of the body, and answers.
async fn first_piece(body: Body) -> String {
    let piece = body.into_data_stream().next().await;
    piece.and_then(Result::ok).map_or(0, |piece| piece.len()).to_string()
}

/// Which database answers.
async fn name(Shared(database): Shared<Database>) -> std::result::Result<String, Failure> {
    Ok(database.fetch_one(sql!("SELECT current_database()::text")).await?)
}

/// Waits, in a transaction, for a lock that the test holds.
async fn wait(Shared(database): Shared<Database>) -> std::result::Result<String, Failure> {
    let mut session = database.session().await?;
    let mut transaction = session.transaction();
    transaction.execute(sql!("SELECT pg_advisory_xact_lock(1)")).await?;
    transaction.commit().await?;
    Ok("the lock was free".to_owned())
}

/// Panics in a transaction.
async fn panic(Shared(database): Shared<Database>) -> std::result::Result<String, Failure> {
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
