//! Statements: their text and parameters, what their words say, and how they are sent.

mod check;
mod encoded;
mod open;
mod statement;

pub(crate) use encoded::{Encoded, reason};
pub use statement::Sql;
pub(crate) use statement::quote_identifier;
