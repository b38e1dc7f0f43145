//! What is wrong with a text, and where.

use std::fmt;

use crate::cursor::Cursor;

/// Why a text is refused, what to write instead, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub(crate) message: String,
    /// Counted from one.
    pub(crate) line: usize,
    /// In characters, counted from one.
    pub(crate) column: usize,
}

impl Problem {
    /// What is wrong at this place.
    pub(crate) fn new(place: &Cursor<'_>, message: impl Into<String>) -> Self {
        let before = place.before();
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            message: message.into(),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {}, column {} of the SQL)", self.message, self.line, self.column)
    }
}

impl std::error::Error for Problem {}
