//! What is logged of statements: their text, their time and their rows, and never a value.

use std::time::Duration;

use super::pipeline::Answer;
use crate::scope::Scope;
use crate::sql::Sql;

/// Logs a flight: each at `debug`, slow ones as a warning.
pub(crate) fn log_flight<'q>(
    scope: &Scope,
    waited: Duration,
    statements: impl Iterator<Item = (&'q Sql<'q>, Option<&'q Answer>)>,
) {
    let is_slow = waited >= scope.settings().slow_statement;
    if !is_slow && !tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
        return;
    }
    let (mut texts, mut rows, mut failed) = (Vec::new(), 0, None);
    for (sql, answer) in statements {
        texts.push(sql.shown());
        match answer {
            Some(Ok(outcome)) => rows += outcome.affected,
            Some(Err(error)) => failed = failed.or(Some(error.code().map_or("lost", |code| code.code()))),
            None => failed = failed.or(Some("no answer")),
        }
    }
    let (statement, ms, outcome) = (texts.join("; "), waited.as_secs_f64() * 1e3, failed.unwrap_or("ok"));
    if is_slow {
        tracing::warn!(target: TARGET, statement, ms, rows, round_trips = 1, outcome, "a slow statement");
    } else {
        tracing::debug!(target: TARGET, statement, ms, rows, round_trips = 1, outcome, "a statement");
    }
}

const TARGET: &str = "pgspan::statement";
