//! The Cloudflare Workers host of pgspan.
//!
//! A Worker of yours needs three lines: read the settings, connect, and hand its router to [`respond`].
//!
//! ```ignore
//! #[worker::event(fetch)]
//! async fn fetch(request: worker::HttpRequest, env: worker::Env, ctx: worker::Context) -> worker::Result<worker::Response> {
//!     let connection = pgspan_edge::Connections::from_env(&env).map_err(|faults| format!("{faults:?}"))?;
//!     let answer = pgspan_edge::respond(my_router(connection.database()), request).await;
//!     connection.close_with(&ctx);
//!     answer
//! }
//! ```
//!
//! Each request has connections of its own, closed with it: a Worker may not use another request's socket.

mod driver;
#[cfg(feature = "app")]
mod entry;
#[cfg(feature = "app")]
mod log;
mod respond;
mod settings;
mod socket;

pub use driver::{Connections, SocketDriver};
pub use respond::respond;
pub use settings::lookup;
