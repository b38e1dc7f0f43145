//! What every HTTP service on [pgspan](pgspan) needs, on top of axum and below any host.
mod context;
mod envelope;
mod errors;
mod json;
mod options;
mod problem;
mod query;
mod readiness;
mod service;
mod writer;
mod writes;

pub use context::Db;
pub use envelope::{Envelope, Enveloped};
pub use json::JsonBody;
pub use options::Options;
pub use problem::Problem;
pub use query::{Parameter, Query};
pub use service::{misconfigured, service};
pub use writer::Writer;
pub use writes::{Token, Writes};
