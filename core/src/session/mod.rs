//! A connection of one's own: what is sent on it, what is known of it, and when it may be given back.

mod account;
mod atomic;
pub(crate) mod fetch;
mod flight;
mod limit;
mod log;
pub(crate) mod pipeline;
#[allow(clippy::module_inception, reason = "the file of the type, beside those of its parts")]
mod session;

pub(crate) use account::{Block, Start};
pub(crate) use fetch::{fetches, one, optional};
pub(crate) use flight::{Failed, Line, Role, limit_set_by};
pub(crate) use limit::Limit;
pub(crate) use log::{Unfinished, ended, log_flight, log_start};
pub(crate) use pipeline::Want;
pub use session::Session;
pub(crate) use session::{Behind, only_in_transaction, stake};
