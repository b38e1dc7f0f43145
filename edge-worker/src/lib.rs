//! The Cloudflare Workers host of pgspan.
//!
//! A Worker of yours needs three lines: read the settings, connect, and hand its router to [`respond`].
//!
//! ```ignore
//! #[worker::event(fetch)]
//! async fn fetch(request: worker::Request, env: worker::Env, ctx: worker::Context) -> worker::Result<worker::Response> {
//!     let connection = pgspan_edge::Connections::from_env(&env).map_err(|faults| format!("{faults:?}"))?;
//!     let answer = pgspan_edge::respond(my_router(connection.database()), request).await;
//!     connection.close_with(&ctx);
//!     answer
//! }
//! ```
//!
//! A Worker may not use another request's socket, so each request has connections of its own, closed with it; or a Durable
//! Object holds them between requests, as pgspan's own Worker does ([`Pool`], with `entry.mjs` in front of it).

mod backoff;
mod clock;
mod connection;
mod driver;
#[cfg(feature = "app")]
mod entry;
#[cfg(feature = "app")]
mod log;
mod login;
#[cfg(feature = "app")]
#[allow(missing_docs, missing_debug_implementations, reason = "what the macro for the object writes")]
mod object;
mod pool;
mod respond;
mod settings;
mod socket;

pub use driver::Connections;
#[cfg(feature = "app")]
pub use object::Pool;
pub use respond::respond;
pub use settings::lookup;
