//! The Cloudflare Workers host of pgspan.
//!
//! A Worker may not use another request's socket. So a Durable Object holds the connections between requests (the mode `pool`), or
//! each request has connections of its own, closed with it (`socket`, and `hyperdrive` to Cloudflare's pool).
//!
//! # With a Durable Object
//!
//! [`PoolObject`] is all of the object but its name, and [`forward`] sends requests to it. This is a whole Worker:
//!
//! ```no_run
//! use axum::Router;
//! use axum::http::StatusCode;
//! use pgspan_edge::{PoolObject, forward, log_to_console};
//! use worker::web_sys::Response as Answer;
//! use worker::{
//!     Context, DurableObject, Env, Request, Response, Result, State, durable_object, event, wasm_bindgen,
//! };
//!
//! #[event(fetch)]
//! async fn fetch(request: Request, env: Env, _: Context) -> Result<Answer> {
//!     log_to_console();
//!     forward(request, &env).await.or_else(|unanswered| unanswered.answer())
//! }
//!
//! #[durable_object(fetch)]
//! pub struct Pool(PoolObject);
//!
//! impl DurableObject for Pool {
//!     fn new(state: State, env: Env) -> Pool {
//!         log_to_console();
//!         Pool(PoolObject::new(&state, &env, |database| database.map_or_else(misconfigured, my_router)))
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
//! In `wrangler.toml` the binding is called `POOL`, and `class_name` is the struct's name. Alarms, WebSockets and methods of the object
//! get their database from [`PoolObject::database`]. A second database is a second class with a binding of its own, made by
//! [`PoolObject::from_variables`] and reached by [`forward_to`].
//!
//! # Without one
//!
//! ```no_run
//! use pgspan_edge::{Connections, log_to_console, respond};
//!
//! #[worker::event(fetch)]
//! async fn fetch(
//!     request: worker::Request,
//!     env: worker::Env,
//!     ctx: worker::Context,
//! ) -> worker::Result<worker::Response> {
//!     log_to_console();
//!     let connections = Connections::from_env(&env, &ctx).map_err(|faults| format!("{faults:?}"))?;
//!     respond(my_router(connections.database()), request).await
//! }
//! # fn my_router(database: pgspan::Database) -> axum::Router {
//! #     axum::Router::new().with_state(database)
//! # }
//! # fn main() {}
//! ```
//!
//! [`Connections`] close when they are dropped. A schedule, a queue or a mail takes its database from them in the same way, in the mode
//! `pool` too. A router that is built once for all requests is answered by [`Connections::answer`].
//!
//! # The entry
//!
//! `entry.mjs`, in this crate's folder, is a module in JavaScript that can go in front of such a Worker: copy it beside the folder
//! `build` and make it the `main` of `wrangler.toml`. It does what [`forward`] does without entering the program, so it is faster; and
//! after a panic it has an answer for each request that was in flight, where the runtime would answer with a bare 500. What else the
//! program has (schedules, queues, objects) passes through it. pgspan's own Worker, in the folder `worker`, is made like this.

mod backoff;
mod cancel;
mod clock;
mod connection;
mod dialler;
mod driver;
mod forward;
mod link;
mod lock;
mod log;
mod login;
mod object;
mod panic;
mod pool;
mod problem;
mod requests;
mod respond;
mod settings;
mod shards;
mod socket;
mod sockets;
mod time;
mod upload;
mod variables;

pub use driver::{Connections, WaitUntil};
pub use forward::{Unanswered, forward, forward_to};
pub use log::log_to_console;
pub use object::PoolObject;
pub use respond::respond;
pub use variables::{lookup, variable};
