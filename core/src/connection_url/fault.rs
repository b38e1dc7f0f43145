//! What is wrong with a URL.

use std::fmt;

use crate::error::{Error, Kind};

/// The text never holds a value of the URL.
pub(super) fn fault(text: impl fmt::Display) -> Error {
    Error::new(Kind::Config, format!("DATABASE_URL: {text}"))
}
