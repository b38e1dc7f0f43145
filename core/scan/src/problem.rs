//! What is wrong with a text, and where.

use std::fmt;

/// Why a text is refused, what to write instead, and where.
#[derive(Debug, PartialEq)]
pub struct Problem {
    pub(crate) message: String,
    /// Counted from one.
    pub(crate) line: usize,
    /// In characters, counted from one.
    pub(crate) column: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {}, column {} of the SQL)", self.message, self.line, self.column)
    }
}
