//! A statement with its parameters.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use pgspan_scan::{Inspection, inspect};

use super::open::is_open;
use crate::error::{Asked, ErrorDetail};
use crate::param::{Bound, Param, bind};

/// A statement: its text, and references to the values of its parameters.
///
/// Made by [`sql!`](crate::sql) where the text is known at compile time, and by [`Sql::new`] where it is not. It can be
/// bound to a variable, cloned, put into a batch and sent again. Values are always parameters, never part of the text.
#[derive(Clone)]
pub struct Sql<'a> {
    pub(super) text: Cow<'a, str>,
    /// The text again, where it is part of the program.
    fixed: Option<&'static str>,
    /// What its words say, where the macro looked already.
    inspection: Option<Inspection>,
    pub(super) params: Vec<Bound<'a>>,
    /// Where [`bind`](Sql::bind) put each `$n` into the text.
    placed: Vec<usize>,
    reads: bool,
    timeout: Option<Duration>,
}

impl<'a> Sql<'a> {
    /// Starts a statement whose text is made at run time. Append with [`push`](Sql::push), [`bind`](Sql::bind) and
    /// [`push_identifier`](Sql::push_identifier).
    ///
    /// ```
    /// # use pgspan::Sql;
    /// # let (name, descending) = (Some("Bob"), true);
    /// let mut query = Sql::new("SELECT id, name FROM users");
    /// if let Some(name) = &name {
    ///     query = query.push(" WHERE name = ").bind(name);
    /// }
    /// query = query.push(" ORDER BY ").push_identifier("id");
    /// if descending {
    ///     query = query.push(" DESC");
    /// }
    /// assert_eq!(query.text(), r#"SELECT id, name FROM users WHERE name = $1 ORDER BY "id" DESC"#);
    /// ```
    pub fn new(text: impl Into<Cow<'a, str>>) -> Sql<'a> {
        Sql {
            text: text.into(),
            fixed: None,
            inspection: None,
            params: Vec::new(),
            placed: Vec::new(),
            reads: false,
            timeout: None,
        }
    }

    /// What [`sql!`](crate::sql) expands to.
    #[doc(hidden)]
    pub fn from_macro(text: &'static str, inspection: Inspection, params: Vec<Bound<'a>>) -> Sql<'a> {
        Sql { fixed: Some(text), inspection: Some(inspection), params, ..Sql::new(text) }
    }

    /// Appends text as it is. Never give it what a user typed: that is [`bind`](Sql::bind)'s.
    #[must_use]
    pub fn push(mut self, text: &str) -> Sql<'a> {
        if self.inspection.is_some() && !self.params.is_empty() {
            self.placed = pgspan_scan::parameters(&self.text); // all of them are the macro's
        }
        (self.fixed, self.inspection) = (None, None);
        self.text.to_mut().push_str(text);
        self
    }

    /// Appends a parameter with this value. Its `$1`, `$2`, … comes by itself: one that is written by hand is refused when the
    /// statement is sent.
    #[must_use]
    pub fn bind<P: Param>(self, value: &'a P) -> Sql<'a> {
        let mut sql = self.push(""); // from here on it is made at run time
        sql.params.push(bind(value));
        sql.placed.push(sql.text.len());
        let number = sql.params.len();
        sql.push(&format!("${number}"))
    }

    /// Appends the name of a table, a column, … as a quoted identifier, which is just a name whatever it holds.
    #[must_use]
    pub fn push_identifier(self, name: &str) -> Sql<'a> {
        self.push(&quote_identifier(name))
    }

    /// Says that this statement changes nothing, so that a lost answer loses nothing.
    ///
    /// The library can't know: without this, an autocommit statement whose answer never comes is
    /// [`Kind::OutcomeUnknown`](crate::Kind::OutcomeUnknown); with it, it is `Unavailable` or `Timeout`, which may be
    /// tried again. It is a promise of yours and not checked.
    #[must_use]
    pub fn reads_only(mut self) -> Sql<'a> {
        self.reads = true;
        self
    }

    /// Says how long this statement may take, instead of [`Settings::statement_timeout`](crate::Settings::statement_timeout) and
    /// of what its session, batch or transaction says. The server keeps the limit, and we wait half a second longer.
    ///
    /// The limit travels in the same flight, so that it costs no round trip. From a [`Database`](crate::Database) such a statement
    /// takes a connection of its own. For a stream or a COPY it is how long each row or piece may take, not how long the whole may.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Sql<'a> {
        self.timeout = Some(limit);
        self
    }

    /// The text as PostgreSQL gets it, with `$1`, `$2`, …
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn fixed_text(&self) -> Option<&'static str> {
        self.fixed
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.reads
    }

    pub(crate) fn own_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// What its words say.
    pub(crate) fn inspect(&self) -> Inspection {
        self.inspection.unwrap_or_else(|| inspect(&self.text, &self.placed))
    }

    /// For an error of this statement.
    pub(crate) fn asked(&self, detail: ErrorDetail) -> Asked<'_> {
        let is_fixed = self.fixed.is_some();
        Asked {
            text: &self.text,
            is_fixed,
            has_parameters: self.has_parameters(),
            has_open: self.params.iter().any(|param| is_open(param.ty())),
            commits_by_itself: self.commits_by_itself(),
            detail,
        }
    }

    /// For the log: the text, without the values that one made at run time may hold.
    pub(crate) fn shown(&self) -> Cow<'_, str> {
        match self.fixed {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(pgspan_scan::redact(&self.text)),
        }
    }
}

/// A literal is a statement without parameters. Text that is not known at compile time needs [`Sql::new`].
impl From<&'static str> for Sql<'_> {
    fn from(text: &'static str) -> Self {
        Sql { fixed: Some(text), ..Sql::new(text) }
    }
}

impl<'a> From<&Sql<'a>> for Sql<'a> {
    fn from(sql: &Sql<'a>) -> Self {
        sql.clone()
    }
}

impl fmt::Debug for Sql<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sql").field("text", &self.shown()).field("params", &self.params).finish()
    }
}

/// A name as a quoted identifier (PostgreSQL documentation, 4.1.1). One that holds a NUL can't be sent.
pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_just_a_name() {
        assert_eq!(quote_identifier("s1; drop table students"), "\"s1; drop table students\"");
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn a_statement_does_not_show_its_values() {
        let name = "s3cr3t-CANARY";
        let shown = format!("{:?}", Sql::new("SELECT ").bind(&name));
        assert!(shown.contains("$1") && !shown.contains("CANARY"), "{shown}");
        let shown = format!("{:?}", Sql::new(format!("SELECT '{name}'")));
        assert!(shown.contains("SELECT '") && !shown.contains("CANARY"), "{shown}");
    }
}
