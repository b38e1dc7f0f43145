//! What is logged of statements: their text, their time and their rows, and never a value.

use std::time::Duration;

use super::pipeline::{Answer, Outcome};
use crate::scope::Scope;
use crate::sql::Sql;

/// Logs a flight: each at `debug`, slow ones as a warning.
pub(crate) fn log_flight<'q>(
    scope: &Scope,
    waited: Duration,
    statements: impl Iterator<Item = (&'q Sql<'q>, Option<&'q Answer>)>,
) {
    if is_logged(scope, waited) {
        let rows = |outcome: &Outcome| outcome.affected;
        let statements =
            statements.map(|(sql, answer)| (sql, answer.map(|answer| answer.as_ref().map(rows))));
        log(scope, waited, &statements.collect::<Vec<_>>());
    }
}

/// Logs the start of a statement that is answered bit by bit.
pub(crate) fn log_start<T>(
    scope: &Scope,
    waited: Duration,
    sql: &Sql<'_>,
    answer: Option<&Result<T, tokio_postgres::Error>>,
) {
    if is_logged(scope, waited) {
        log(scope, waited, &[(sql, answer.map(|answer| answer.as_ref().map(|_| 0)))]);
    }
}

/// A statement that is answered bit by bit, until its end is logged. It borrows nothing, so that whoever drops it late holds up nobody.
pub(crate) struct Unfinished {
    /// Its text, and when it began, if it is logged at all.
    logged: Option<(String, Scope, Duration)>,
    /// How many rows came.
    pub(crate) rows: u64,
}

impl Unfinished {
    pub(crate) fn new(scope: &Scope, sql: &Sql<'_>) -> Unfinished {
        let is_logged = tracing::enabled!(target: TARGET, tracing::Level::DEBUG);
        let logged = is_logged.then(|| (sql.shown().into_owned(), scope.clone(), scope.now()));
        Unfinished { logged, rows: 0 }
    }

    /// Logs its end, once. How long it took is also a matter of its reader, so that it is no warning.
    pub(crate) fn end(&mut self, outcome: &str) {
        let Some((statement, scope, begun)) = self.logged.take() else { return };
        let (ms, rows) = (scope.now().saturating_sub(begun).as_secs_f64() * 1e3, self.rows);
        tracing::debug!(target: TARGET, statement, ms, rows, outcome, "the end of a statement");
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.end("given up");
    }
}

/// How a statement ended, in a word.
pub(crate) fn ended(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("lost", |code| code.code())
}

fn is_slow(scope: &Scope, waited: Duration) -> bool {
    waited >= scope.settings().slow_statement
}

fn is_logged(scope: &Scope, waited: Duration) -> bool {
    is_slow(scope, waited) || tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
}

/// What came of a statement: its rows, or its error; `None` if no answer came.
type Came<'a> = Option<Result<u64, &'a tokio_postgres::Error>>;

fn log(scope: &Scope, waited: Duration, statements: &[(&Sql<'_>, Came<'_>)]) {
    let (mut texts, mut rows, mut failed) = (Vec::new(), 0, None);
    for (sql, came) in statements {
        texts.push(sql.shown());
        match came {
            Some(Ok(affected)) => rows += affected,
            Some(Err(error)) => failed = failed.or(Some(ended(error))),
            None => failed = failed.or(Some("no answer")),
        }
    }
    let (statement, ms, outcome) = (texts.join("; "), waited.as_secs_f64() * 1e3, failed.unwrap_or("ok"));
    if is_slow(scope, waited) {
        tracing::warn!(target: TARGET, statement, ms, rows, round_trips = 1, outcome, "a slow statement");
    } else {
        tracing::debug!(target: TARGET, statement, ms, rows, round_trips = 1, outcome, "a statement");
    }
}

const TARGET: &str = "pgspan::statement";
