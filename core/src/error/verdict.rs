//! What an answer, or a missing one, says of its statement.

use tokio_postgres::error::{DbError, Severity};

use super::kind::Kind;
use crate::sqlstate::SqlState;

/// What an unanswered statement may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stake {
    /// Nothing lasting: it only reads, or its transaction can't have been committed.
    Nothing,
    /// It may be committed: a COMMIT, a one-flight transaction, or a statement in autocommit.
    Commit,
}

impl Stake {
    /// What it is when the connection was lost.
    pub(crate) fn lost(self) -> Kind {
        match self {
            Stake::Nothing => Kind::Unavailable,
            Stake::Commit => Kind::OutcomeUnknown,
        }
    }
}

/// What an error says of its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The server answered: it failed, and nothing of it remains.
    Definite,
    /// It never left: it could not be encoded.
    NotSent,
    /// The connection ended, or what came makes no sense: nothing is known.
    Lost,
}

impl Verdict {
    pub(crate) fn of(error: &tokio_postgres::Error) -> Verdict {
        match error.as_db_error() {
            Some(db)
                if ends_the_connection(db) || db.code() == &SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN =>
            {
                Verdict::Lost
            }
            Some(_) => Verdict::Definite,
            // tokio-postgres does not show its error's kind; a test pins these words.
            None if NOT_SENT.iter().any(|words| error.to_string().starts_with(words)) => Verdict::NotSent,
            None => Verdict::Lost,
        }
    }
}

const NOT_SENT: [&str; 2] = ["error serializing parameter", "error encoding message to server"];

/// Whether the connection ends with this error, so that it does not speak of the statement alone.
///
/// PostgreSQL ends a connection with FATAL. What it says as ERROR is about the statement, whatever its code: a function may raise any.
/// PostgreSQL's own errors name the routine they come from. One without a routine comes from a pooler or a proxy, and of those the
/// classes 08 and 57P0 say that the server is gone.
fn ends_the_connection(db: &DbError) -> bool {
    let fatal = match db.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        None => matches!(db.severity(), "FATAL" | "PANIC"),
    };
    let code = db.code().code();
    fatal || db.routine().is_none() && (code.starts_with("08") || code.starts_with("57P0"))
}

/// Whether a connection on which a statement failed so belongs to a server that must not be written to, so that it should
/// not be used again: after a fail-over the URL leads to another.
pub(crate) fn must_not_be_reused(code: &SqlState) -> bool {
    code == &SqlState::READ_ONLY_SQL_TRANSACTION
}
