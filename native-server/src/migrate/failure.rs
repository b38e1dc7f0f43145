//! What became of a step of a migration, in words, and whether trying again may help.

use std::time::Duration;

use pgspan::{Error, Kind, Result};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::migration::Migration;
use crate::tls;

/// For what takes a healthy server milliseconds.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

pub(super) async fn run(client: &Client, sql: &str, what: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(|error| failed(what, error))
}

pub(super) async fn answered<T>(limit: Duration, answer: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(limit, answer).await.unwrap_or_else(|_| {
        Err(Error::new(Kind::Timeout, format!("the server did not answer within {} s", limit.as_secs())))
    })
}

/// A migration failed, and perhaps its text is not SQL alone.
pub(super) fn not_applied(
    Migration { version, name, sql }: &Migration,
    error: tokio_postgres::Error,
) -> Error {
    let is_syntax = error.code() == Some(&SqlState::SYNTAX_ERROR);
    let failed = failed(&format!("apply migration {version:04} ({name})"), error);
    let why = match is_syntax {
        true if sql.starts_with('\u{feff}') => "its text begins with a byte order mark: save it without one",
        true if sql.lines().any(|line| line.starts_with('\\')) => {
            "a line of it begins with a backslash, which psql alone understands: take it out"
        }
        _ => return failed,
    };
    failed.with_prefix(why)
}

/// The server's primary message is shown, since it speaks of the schema; DETAIL, which quotes rows, is not.
pub(super) fn failed(what: &str, error: tokio_postgres::Error) -> Error {
    let why = match error.as_db_error() {
        Some(db) if db.code() == &SqlState::LOCK_NOT_AVAILABLE => {
            format!("a lock was not free in time ({}): run it again", db.code().code())
        }
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => tls::reason(&error),
    };
    let kind = match error.code() {
        Some(code) if !may_heal(code) => Kind::Server,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("could not {what}: {why}"))
}

/// Whether trying again may help: another held a lock, or the server is full, or ends (PostgreSQL documentation, appendix A).
fn may_heal(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    let ends =
        matches!(*code, SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW);
    let lock = matches!(*code, SqlState::LOCK_NOT_AVAILABLE | SqlState::QUERY_CANCELED);
    ends || lock || matches!(class, "08" | "40" | "53")
}
