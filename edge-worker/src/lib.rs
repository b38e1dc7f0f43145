//! The Cloudflare Workers host of pgspan.
//!
//! A Worker of yours needs three lines: read the settings, connect, and hand its router to [`respond`].
//!
//! ```no_run
//! #[worker::event(fetch)]
//! async fn fetch(
//!     request: worker::Request,
//!     env: worker::Env,
//!     ctx: worker::Context,
//! ) -> worker::Result<worker::Response> {
//!     let connections = pgspan_edge::Connections::from_env(&env).map_err(|faults| format!("{faults:?}"))?;
//!     let answer = pgspan_edge::respond(my_router(connections.database()), request).await;
//!     connections.close_with(&ctx);
//!     answer
//! }
//! # fn my_router(database: pgspan::Database) -> axum::Router {
//! #     axum::Router::new().with_state(database)
//! # }
//! # fn main() {}
//! ```
//!
//! A Worker may not use another request's socket, so each request has connections of its own, closed with it; or a Durable
//! Object holds them between requests. [`PoolObject`] is all of such an object but its name:
//!
//! ```no_run
//! use axum::Router;
//! use axum::http::StatusCode;
//! use pgspan_edge::PoolObject;
//! use worker::{DurableObject, Env, Request, Response, Result, State, durable_object, wasm_bindgen};
//!
//! #[durable_object(fetch)]
//! pub struct Pool(PoolObject);
//!
//! impl DurableObject for Pool {
//!     fn new(_: State, env: Env) -> Pool {
//!         Pool(PoolObject::new(&env, |database| database.map_or_else(misconfigured, my_router)))
//!     }
//!
//!     async fn fetch(&self, request: Request) -> Result<Response> {
//!         self.0.fetch(request).await
//!     }
//! }
//!
//! fn misconfigured(faults: Vec<pgspan::Error>) -> Router {
//!     let faults = format!("{faults:?}");
//!     Router::new().fallback(async move || (StatusCode::INTERNAL_SERVER_ERROR, faults.clone()))
//! }
//! # fn my_router(database: pgspan::Database) -> Router {
//! #     Router::new().with_state(database)
//! # }
//! # fn main() {}
//! ```
//!
//! `entry.mjs`, in this crate's folder, goes in front of both: it hands a request to an object (the class `Pool`, the binding
//! `POOL`) or to the fetch event. After a panic it fails all requests that would else wait for ever, and ends the object, whose
//! connections close; the next request is well. pgspan's own Worker, in the folder `worker`, is made like this too.

mod backoff;
mod cancel;
mod clock;
mod connection;
mod dialler;
mod driver;
mod link;
mod lock;
mod log;
mod login;
mod object;
mod pool;
mod respond;
mod settings;
mod socket;
mod sockets;
mod time;

pub use driver::Connections;
pub use log::log_to_console;
pub use object::PoolObject;
pub use respond::respond;
pub use settings::lookup;
