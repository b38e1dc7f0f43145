//! Reads the text of a statement: for `sql!` at compile time, and for pgspan at run time.
//!
//! The rules are PostgreSQL's own (documentation, 4.1 "Lexical Structure", with `standard_conforming_strings` on). Nothing here
//! understands SQL; it knows what is a word, and what is a string, a quoted identifier or a comment. No text makes it panic, and
//! its time is linear in the text's length.
//!
//! * [`named`] replaces `{name}` by `$1`, for `sql!`.
//! * [`inspect`] says what a statement does to its session, as far as its words show it.
//! * [`redact`] hides the values in a text, for logs.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]
#![cfg_attr(not(test), warn(clippy::string_slice, clippy::panic))]

mod cursor;
#[cfg(test)]
mod generated;
mod inspect;
mod named;
mod problem;
mod quoted;
mod redact;
mod time_limit;
mod tokens;

pub use inspect::{Command, Effect, Inspection, inspect, parameters};
pub use named::{Named, named};
pub use problem::Problem;
pub use redact::redact;
pub use time_limit::TimeLimit;
