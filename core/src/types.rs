//! PostgreSQL's types as Rust has them, from `postgres-types`.

#[doc(inline)]
pub use tokio_postgres::types::*;

use std::fmt;

/// Why a type has no place for a value; nothing of the value is told.
#[derive(Debug)]
pub(crate) struct Unheld(pub(crate) &'static str);

impl fmt::Display for Unheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it {}", self.0)
    }
}

impl std::error::Error for Unheld {}
