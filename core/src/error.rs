//! The one error of this library: what failed, whether it may be tried again, and whether anything was committed.

use std::error::Error as StdError;
use std::fmt;

use tokio_postgres::error::{DbError, Severity};

use crate::sqlstate::{SqlState, class_name, condition_name};
use crate::transaction::TransactionId;

/// What this library's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a session, a statement or a connection.
///
/// You will mostly ask it questions: [`is_unique_violation`](Error::is_unique_violation),
/// [`is_retryable`](Error::is_retryable), [`is_outcome_unknown`](Error::is_outcome_unknown), or match on
/// [`kind`](Error::kind). Its `Display` and `Debug` never hold a value, a password, or PostgreSQL's message and
/// DETAIL, which quote values; [`server`](Error::server) has those for who wants them.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    /// What was being done or refused, in our words.
    context: String,
    statement: Option<usize>,
    transaction: Option<TransactionId>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    server: Option<ServerError>,
}

/// What went wrong, by what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// PostgreSQL answered with an error; [`Error::sqlstate`] says which.
    Server,
    /// No connection could be had, or one was lost while nothing could have been committed.
    Unavailable,
    /// A deadline of ours passed while nothing could have been committed.
    Timeout,
    /// The answer to something that may have been committed never came. See
    /// [`Database::transaction_status`](crate::Database::transaction_status).
    OutcomeUnknown,
    /// A commit that would not have been one: a statement had failed or was never answered. Nothing is stored.
    RolledBack,
    /// A parameter does not fit its type; nothing was sent.
    Parameter,
    /// A row does not fit what was asked for: a column is missing, surplus, NULL or of another type.
    Row,
    /// A row was expected and none came.
    NoRows,
    /// More rows came than were asked for.
    TooManyRows,
    /// The library refuses this statement or call and says what to use instead; nothing was sent.
    Refused,
    /// This session has a statement without an answer and can't be used again. Take another.
    Unusable,
    /// A setting is missing or does not make sense.
    Config,
}

/// PostgreSQL's own error, whose texts may quote values.
///
/// `Display` and `Debug` show the SQLSTATE and its name only; ask for [`message`](ServerError::message) and the
/// others where it is safe to show them.
#[derive(Clone)]
pub struct ServerError(Box<DbError>);

impl Error {
    /// Which kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The five characters PostgreSQL gives an error, if it gave one (or stands behind it: 25P02 for
    /// [`Kind::RolledBack`]).
    pub fn sqlstate(&self) -> Option<&SqlState> {
        match (&self.0.server, self.0.kind) {
            (Some(server), _) => Some(server.code()),
            (None, Kind::RolledBack) => Some(&SqlState::IN_FAILED_SQL_TRANSACTION),
            (None, _) => None,
        }
    }

    /// The name of the SQLSTATE's class, such as "integrity constraint violation".
    pub fn class_name(&self) -> Option<&'static str> {
        self.sqlstate().map(class_name)
    }

    /// The constraint that was violated, where the server named one.
    pub fn constraint(&self) -> Option<&str> {
        self.server()?.0.constraint()
    }

    /// The table concerned, where the server named one.
    pub fn table(&self) -> Option<&str> {
        self.server()?.0.table()
    }

    /// The column concerned, where the server named one.
    pub fn column(&self) -> Option<&str> {
        self.server()?.0.column()
    }

    /// PostgreSQL's error with all its texts, which may quote values.
    pub fn server(&self) -> Option<&ServerError> {
        self.0.server.as_ref()
    }

    /// Which statement of a batch failed, counted from 0.
    pub fn statement(&self) -> Option<usize> {
        self.0.statement
    }

    /// The transaction whose outcome is unknown, where its id was asked for in time
    /// ([`TransactionOptions::with_id`](crate::TransactionOptions::with_id)).
    pub fn transaction_id(&self) -> Option<TransactionId> {
        self.0.transaction
    }

    /// A value that must be unique exists already (23505), in a statement or at COMMIT.
    pub fn is_unique_violation(&self) -> bool {
        self.is(&SqlState::UNIQUE_VIOLATION)
    }

    /// A row refers to one that is not there, or is referred to (23503).
    pub fn is_foreign_key_violation(&self) -> bool {
        self.is(&SqlState::FOREIGN_KEY_VIOLATION)
    }

    /// A CHECK constraint says no (23514).
    pub fn is_check_violation(&self) -> bool {
        self.is(&SqlState::CHECK_VIOLATION)
    }

    /// A NULL where none may be (23502).
    pub fn is_not_null_violation(&self) -> bool {
        self.is(&SqlState::NOT_NULL_VIOLATION)
    }

    /// An EXCLUDE constraint says no (23P01).
    pub fn is_exclusion_violation(&self) -> bool {
        self.is(&SqlState::EXCLUSION_VIOLATION)
    }

    /// Two transactions could not be put in an order (40001); [`Database::retry`](crate::Database::retry) is for it.
    pub fn is_serialization_failure(&self) -> bool {
        self.is(&SqlState::T_R_SERIALIZATION_FAILURE)
    }

    /// Two transactions waited for each other, and this one was chosen to give way (40P01).
    pub fn is_deadlock(&self) -> bool {
        self.is(&SqlState::T_R_DEADLOCK_DETECTED)
    }

    /// A deadline of ours, `statement_timeout` or a cancel ended it (57014).
    pub fn is_timeout(&self) -> bool {
        self.kind() == Kind::Timeout || self.is(&SqlState::QUERY_CANCELED)
    }

    /// The answer to something that may have been committed never came.
    pub fn is_outcome_unknown(&self) -> bool {
        self.kind() == Kind::OutcomeUnknown
    }

    /// There is no connection, or it was lost while nothing could have been committed.
    pub fn is_unavailable(&self) -> bool {
        self.kind() == Kind::Unavailable
    }

    /// Trying the same again, later, may work and can do no harm: nothing was committed, and the cause passes.
    ///
    /// True for [`Kind::Unavailable`], [`Kind::Timeout`], serialization failures, deadlocks, lock and statement
    /// timeouts, and servers that are starting, stopping, full or read-only. Never for an unknown outcome.
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            Kind::Unavailable | Kind::Timeout => true,
            Kind::Server => self.sqlstate().is_some_and(|code| {
                matches!(
                    code.code(),
                    "40001" | "40P01" | "55P03" | "57014" | "25006" | "57P01" | "57P02" | "57P03"
                ) || matches!(code.code().get(..2), Some("08" | "53"))
            }),
            _ => false,
        }
    }

    fn is(&self, code: &SqlState) -> bool {
        self.sqlstate() == Some(code)
    }
}

/// For drivers: how an error is made.
impl Error {
    /// An error of this kind; `context` says what failed, in lower case, without values or secrets.
    pub fn new(kind: Kind, context: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            context: context.into(),
            statement: None,
            transaction: None,
            source: None,
            server: None,
        }))
    }

    /// No connection could be had; shorthand for [`Error::new`] with [`Kind::Unavailable`].
    pub fn unavailable(context: impl Into<String>) -> Error {
        Error::new(Kind::Unavailable, context)
    }

    /// A connection that could not be opened: nothing was sent, nothing ran.
    ///
    /// A server's answer (28P01, 3D000, 53300 …) keeps its SQLSTATE. A refusal of start-up options, which poolers
    /// send as 08P01, says what to set.
    pub fn connect(error: tokio_postgres::Error) -> Error {
        let context = match error.as_db_error() {
            Some(db) if db.message().contains("unsupported startup parameter") => {
                "the server refuses start-up options, as transaction poolers do: set DATABASE_POOLER=transaction"
            }
            _ => "could not connect",
        };
        Error::unavailable(context).by_postgres(error)
    }

    /// The same error with words before its own, in lower case and without values or secrets.
    #[must_use]
    pub fn with_prefix(mut self, prefix: &str) -> Error {
        self.0.context = format!("{prefix}: {}", self.0.context);
        self
    }

    /// The same error with the one that caused it, for [`source`](StdError::source).
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }
}

impl Error {
    /// An error that came instead of the answer to a statement.
    pub(crate) fn answer(error: tokio_postgres::Error, stake: Stake) -> Error {
        let lost = |kind| Error::new(kind, "the connection was lost");
        match Answer::of(&error) {
            Answer::Definite => Error::new(Kind::Server, "the statement failed"),
            Answer::NotSent => Error::new(Kind::Parameter, error.to_string()),
            Answer::Lost => lost(stake.lost()),
        }
        .by_postgres(error)
    }

    /// A deadline that passed while something was unanswered.
    pub(crate) fn deadline(stake: Stake) -> Error {
        let kind = match stake {
            Stake::Nothing => Kind::Timeout,
            Stake::Commit => Kind::OutcomeUnknown,
        };
        Error::new(kind, "no answer within the deadline")
    }

    pub(crate) fn refused(context: impl Into<String>) -> Error {
        Error::new(Kind::Refused, context)
    }

    pub(crate) fn row(context: impl Into<String>) -> Error {
        Error::new(Kind::Row, context)
    }

    pub(crate) fn at(mut self, statement: usize) -> Error {
        self.0.statement = Some(statement);
        self
    }

    pub(crate) fn in_transaction(mut self, id: Option<TransactionId>) -> Error {
        self.0.transaction = id;
        self
    }

    fn by_postgres(mut self, error: tokio_postgres::Error) -> Error {
        match error.as_db_error() {
            Some(db) => self.0.server = Some(ServerError(Box::new(db.clone()))),
            None => self.0.source = Some(Box::new(error)),
        }
        self
    }
}

/// What an unanswered statement may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stake {
    /// Nothing lasting: it only reads, or its transaction can't have been committed.
    Nothing,
    /// It may be committed: a COMMIT, a one-flight transaction, or a statement in autocommit.
    Commit,
}

impl Stake {
    fn lost(self) -> Kind {
        match self {
            Stake::Nothing => Kind::Unavailable,
            Stake::Commit => Kind::OutcomeUnknown,
        }
    }
}

/// What an error says of its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The server answered: it failed, and nothing of it remains.
    Definite,
    /// It never left: a parameter could not be encoded.
    NotSent,
    /// The connection ended, or what came makes no sense: nothing is known.
    Lost,
}

impl Answer {
    pub(crate) fn of(error: &tokio_postgres::Error) -> Answer {
        match error.as_db_error() {
            Some(db) if ends_the_connection(db) => Answer::Lost,
            Some(_) => Answer::Definite,
            // tokio-postgres does not show its error's kind; a test pins these words.
            None if error.to_string().starts_with("error serializing parameter") => Answer::NotSent,
            None => Answer::Lost,
        }
    }
}

/// Whether the server ends the connection with this error, so that it does not speak of the statement alone.
fn ends_the_connection(db: &DbError) -> bool {
    let fatal = match db.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        None => matches!(db.severity(), "FATAL" | "PANIC"),
    };
    fatal || must_not_be_reused(db.code()) && db.code() != &SqlState::READ_ONLY_SQL_TRANSACTION
}

/// Whether a connection that answered this belongs to a server that is leaving or must not be written to.
pub(crate) fn must_not_be_reused(code: &SqlState) -> bool {
    code.code().starts_with("08") || code.code().starts_with("57P0") || code.code() == "25006"
}

impl ServerError {
    /// The SQLSTATE.
    pub fn code(&self) -> &SqlState {
        self.0.code()
    }

    /// The primary message. It may quote values.
    pub fn message(&self) -> &str {
        self.0.message()
    }

    /// DETAIL. It usually quotes values.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail()
    }

    /// HINT: what PostgreSQL suggests.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint()
    }

    /// CONTEXT: where in functions and internal statements it happened.
    pub fn context(&self) -> Option<&str> {
        self.0.where_()
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", condition_name(self.code()), self.code().code())?;
        match (self.0.constraint(), self.0.table(), self.0.column()) {
            (Some(constraint), _, _) => write!(f, " on constraint {constraint}"),
            (None, Some(table), Some(column)) => write!(f, " on column {table}.{column}"),
            (None, Some(table), None) => write!(f, " on table {table}"),
            (None, None, _) => Ok(()),
        }
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerError({self})")
    }
}

impl StdError for ServerError {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.0.kind {
            Kind::OutcomeUnknown => "outcome unknown: ",
            _ => "",
        };
        write!(f, "{what}{}", self.0.context)?;
        if let Some(server) = &self.0.server {
            write!(f, ": {server}")?;
        }
        if let Some(statement) = self.0.statement {
            write!(f, ", in statement {statement} of the batch")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match (&self.0.server, &self.0.source) {
            (Some(server), _) => Some(server),
            (None, Some(source)) => Some(&**source),
            (None, None) => None,
        }
    }
}
