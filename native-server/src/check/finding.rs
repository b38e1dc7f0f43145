//! What `check` finds.

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// `tls`, `login`, `database`, `connection`, `pooler`, `server` or `schema`.
    pub what: &'static str,
    /// One line, without a host, a user or a secret.
    pub text: String,
    /// Whether the program can work with it.
    pub good: bool,
}

pub(super) fn good(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, text: text.into(), good: true }
}

pub(super) fn bad(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, text: text.into(), good: false }
}
