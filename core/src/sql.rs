//! A statement with its parameters, and what its first words say about it.

use std::borrow::Cow;
use std::fmt;

use crate::error::{Error, Result};
use crate::param::{Bound, Param, bind};

/// A statement: its text, and references to the values of its parameters.
///
/// Made by [`sql!`](crate::sql) where the text is known at compile time, and by [`Sql::new`] where it is not. It can be
/// bound to a variable, cloned, put into a batch and sent again. Values are always parameters, never part of the text.
#[derive(Clone)]
pub struct Sql<'a> {
    text: Cow<'a, str>,
    /// The text again, where it is part of the program.
    fixed: Option<&'static str>,
    params: Vec<Bound<'a>>,
    reads: bool,
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
        Sql { text: text.into(), fixed: None, params: Vec::new(), reads: false }
    }

    /// What [`sql!`](crate::sql) expands to.
    #[doc(hidden)]
    pub fn from_macro(text: &'static str, params: Vec<Bound<'a>>) -> Sql<'a> {
        Sql { text: Cow::Borrowed(text), fixed: Some(text), params, reads: false }
    }

    /// Appends text as it is. Never give it what a user typed: that is [`bind`](Sql::bind)'s.
    #[must_use]
    pub fn push(mut self, text: &str) -> Sql<'a> {
        self.fixed = None;
        self.text.to_mut().push_str(text);
        self
    }

    /// Appends a parameter with this value.
    #[must_use]
    pub fn bind<P: Param>(mut self, value: &'a P) -> Sql<'a> {
        self.params.push(bind(value));
        let number = self.params.len();
        self.push(&format!("${number}"))
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

    /// The text as PostgreSQL gets it, with `$1`, `$2`, …
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn fixed_text(&self) -> Option<&'static str> {
        self.fixed
    }

    pub(crate) fn params(&self) -> &[Bound<'a>] {
        &self.params
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.reads
    }

    pub(crate) fn is_copy(&self) -> bool {
        Words(&self.text).next_upper() == "COPY" && !self.text.contains('\0')
    }

    /// What the first words say; an error where no statement may say so.
    pub(crate) fn check(&self) -> Result<Effect> {
        if self.text.contains('\0') {
            return Err(Error::new(crate::Kind::Parameter, "the statement's text holds U+0000"));
        }
        effect(&self.text)
    }
}

/// A literal is a statement without parameters. Text that is not known at compile time needs [`Sql::new`].
impl From<&'static str> for Sql<'_> {
    fn from(text: &'static str) -> Self {
        Sql::from_macro(text, Vec::new())
    }
}

impl<'a> From<&Sql<'a>> for Sql<'a> {
    fn from(sql: &Sql<'a>) -> Self {
        sql.clone()
    }
}

impl fmt::Debug for Sql<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sql").field("text", &self.text).field("params", &self.params).finish()
    }
}

/// A name as a quoted identifier (PostgreSQL documentation, 4.1.1).
pub(crate) fn quote_identifier(name: &str) -> String {
    // a NUL can be in no identifier; PostgreSQL would cut the whole statement there
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// What a statement leaves behind in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing but data.
    None,
    /// A setting, a prepared statement, a temporary table, a subscription: the connection is not given to another.
    SessionState,
}

/// Looks at the first words alone; what a function does inside can't be seen.
fn effect(text: &str) -> Result<Effect> {
    let mut words = Words(text);
    let first = words.next_upper();
    let refuse = |instead: &str| Err(Error::refused(format!("{first} is refused as a statement: {instead}")));
    match first.as_str() {
        "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" => refuse("use session.transaction()"),
        "SAVEPOINT" | "RELEASE" => refuse("use transaction.savepoint(name) after session.transaction()"),
        "COPY" => refuse("use transaction.copy_in(…) or transaction.copy_out(…) after session.transaction()"),
        "PREPARE" if words.next_upper() == "TRANSACTION" => {
            refuse("session.transaction() has no second phase")
        }
        "PREPARE" | "DEALLOCATE" | "LISTEN" | "UNLISTEN" | "DISCARD" | "LOAD" | "RESET" => {
            Ok(Effect::SessionState)
        }
        "SET" => Ok(match words.next_upper().as_str() {
            "LOCAL" | "CONSTRAINTS" | "TRANSACTION" => Effect::None,
            _ => Effect::SessionState,
        }),
        "CREATE" => Ok(match words.next_upper().as_str() {
            "TEMP" | "TEMPORARY" | "GLOBAL" | "LOCAL" => Effect::SessionState,
            "OR" if words.next_upper() == "REPLACE" => temporary(&words.next_upper()),
            _ => Effect::None,
        }),
        "DECLARE" if text.to_ascii_uppercase().contains("WITH HOLD") => Ok(Effect::SessionState),
        _ => Ok(Effect::None),
    }
}

fn temporary(word: &str) -> Effect {
    match word {
        "TEMP" | "TEMPORARY" => Effect::SessionState,
        _ => Effect::None,
    }
}

/// The words of a statement, past white space, comments, and the empty statements and parentheses before the first.
struct Words<'a>(&'a str);

impl Words<'_> {
    fn next_upper(&mut self) -> String {
        self.skip();
        let end = self.0.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word.to_ascii_uppercase()
    }

    fn skip(&mut self) {
        loop {
            let text = self
                .0
                .trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '(' || c == '\u{b}');
            self.0 = if let Some(comment) = text.strip_prefix("--") {
                comment.split_once(['\n', '\r']).map_or("", |(_, rest)| rest)
            } else if let Some(comment) = text.strip_prefix("/*") {
                after_block_comment(comment)
            } else {
                self.0 = text;
                return;
            };
        }
    }
}

/// Block comments nest.
fn after_block_comment(mut text: &str) -> &str {
    let mut depth = 1;
    while depth > 0 {
        let (open, close) = (text.find("/*"), text.find("*/"));
        text = match (open, close) {
            (Some(open), Some(close)) if open < close => {
                depth += 1;
                text.get(open + 2..).unwrap_or_default()
            }
            (_, Some(close)) => {
                depth -= 1;
                text.get(close + 2..).unwrap_or_default()
            }
            (_, None) => return "",
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_control_is_refused_with_what_to_use_instead() {
        for text in [
            "BEGIN",
            "begin;",
            " start transaction",
            "COMMIT",
            "end",
            "ROLLBACK TO a",
            "abort",
            "SAVEPOINT a",
            "RELEASE a",
            "PREPARE TRANSACTION 'x'",
            "-- a\nCOMMIT",
            "/* a /* b */ */ COMMIT",
            ";;COMMIT",
            "COMMIT PREPARED 'x'",
            "COPY users FROM STDIN",
            "\t/**/begin",
        ] {
            let error = Sql::new(text).check().unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Refused, "{text}");
            assert!(error.to_string().contains("transaction"), "{text}: {error}");
        }
    }

    #[test]
    fn what_changes_the_session_is_told_from_what_does_not() {
        for text in [
            "SET timezone = 'UTC'",
            "set session x = 1",
            "LISTEN a",
            "PREPARE a AS SELECT 1",
            "CREATE TEMP TABLE a()",
            "create or replace temporary view a as select 1",
            "DISCARD ALL",
            "RESET ALL",
            "DEALLOCATE a",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        ] {
            assert_eq!(Sql::new(text).check().unwrap(), Effect::SessionState, "{text}");
        }
        for text in [
            "SELECT 1",
            "SET LOCAL timezone = 'UTC'",
            "SET CONSTRAINTS ALL DEFERRED",
            "CREATE TABLE a()",
            "create or replace view a as select 1",
            "DECLARE c CURSOR FOR SELECT 1",
            "",
            "()",
            "/* unclosed",
            "--",
            "SET TRANSACTION READ ONLY",
            "WITH a AS (SELECT 1) SELECT 1",
            "endless()",
            "INSERT INTO commit VALUES (1)",
        ] {
            assert_eq!(Sql::new(text).check().unwrap(), Effect::None, "{text}");
        }
    }

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
    }
}
