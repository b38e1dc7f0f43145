//! The one error of this library: what failed, whether it may be tried again, and whether anything was committed.

mod kind;
mod server;
mod verdict;

use std::error::Error as StdError;
use std::fmt;

use crate::sqlstate::{SqlState, class_name};

pub use kind::Kind;
pub(crate) use server::Asked;
pub use server::ErrorDetail;
pub use server::ServerError;
pub(crate) use verdict::{Stake, Verdict, must_not_be_reused};

/// What this library's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a session, a statement or a connection.
///
/// You will mostly ask it questions: [`is_unique_violation`](Error::is_unique_violation),
/// [`is_retryable`](Error::is_retryable), [`is_outcome_unknown`](Error::is_outcome_unknown), or match on
/// [`kind`](Error::kind). Its `Display` and `Debug`, and those of its sources, hold no parameter, no value of a row and no password.
/// PostgreSQL's message, which may quote values, is shown only where it is about the statement's text or a login; DETAIL is not.
/// [`server`](Error::server) has both for who wants them, and [`ErrorDetail::Full`] shows them everywhere.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    /// What was being done or refused, in our words.
    context: String,
    statement: Option<usize>,
    /// The id of the transaction whose outcome is unknown.
    transaction: Option<u64>,
    /// A part of what was asked for may be stored: the statement commits by itself while it runs, or another of its batch succeeded.
    partly: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
    server: Option<ServerError>,
}

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
        self.server()?.constraint()
    }

    /// The table concerned, where the server named one.
    pub fn table(&self) -> Option<&str> {
        self.server()?.table()
    }

    /// The column concerned, where the server named one.
    pub fn column(&self) -> Option<&str> {
        self.server()?.column()
    }

    /// PostgreSQL's error with all its texts, which may quote values.
    pub fn server(&self) -> Option<&ServerError> {
        self.0.server.as_ref()
    }

    /// Which statement of a batch the error is about, counted from 0: the first that failed by itself. `None` for a statement that
    /// was not in a batch.
    pub fn statement_index(&self) -> Option<usize> {
        self.0.statement
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

    /// It took too long: a deadline of ours passed ([`Kind::Timeout`]), or the server ended it by `statement_timeout` or a cancel
    /// (57014).
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
    /// True for [`Kind::Unavailable`] and [`Kind::Timeout`], and for serialization failures, deadlocks, lock and statement
    /// timeouts, and servers that are starting, stopping, full or read-only. False for an unknown outcome, for a login that
    /// the server refuses because of a setting (a wrong password, a role or a database that does not exist, an option), and for a statement
    /// outside of a transaction that commits by itself while it runs (CALL, DO, VACUUM, CLUSTER, REINDEX, CREATE INDEX
    /// CONCURRENTLY …), or beside which another of its batch succeeded: a part may be stored.
    pub fn is_retryable(&self) -> bool {
        if self.0.partly {
            return false;
        }
        let code = self.sqlstate().map(SqlState::code);
        let class = code.and_then(|code| code.get(..2));
        match self.kind() {
            Kind::Timeout => true,
            Kind::Unavailable => {
                let message = self.server().map(ServerError::message);
                message.and_then(refused_option).is_none()
                    && matches!(class, None | Some("08" | "25" | "40" | "53" | "55" | "57" | "58" | "XX"))
            }
            Kind::Server => match code {
                Some("40001" | "40P01" | "55P03" | "57014" | "25006" | "57P01" | "57P02" | "57P03") => true,
                Some("08P01") => false, // a mistake in the statement or its parameters
                _ => matches!(class, Some("08" | "53")),
            },
            _ => false,
        }
    }

    /// Whether the transaction may be done again at once: it gave way to another, and nothing of it is stored.
    pub(crate) fn gave_way(&self) -> bool {
        !self.0.partly && (self.is_serialization_failure() || self.is_deadlock())
    }

    /// Only of a statement that failed: behind an unknown outcome a code says nothing about it.
    fn is(&self, code: &SqlState) -> bool {
        self.kind() == Kind::Server && self.sqlstate() == Some(code)
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
            partly: false,
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
    /// A server's answer (28P01, 3D000, 53300 …) keeps its SQLSTATE, and is shown with the server's own sentence, which
    /// speaks of roles, databases and settings. A refusal of start-up options says what to set.
    pub fn connect(error: tokio_postgres::Error) -> Error {
        let context = match error.as_db_error().map(|db| refused_option(db.message())) {
            Some(Some(RefusedOption::All)) => {
                "could not connect: the server refuses start-up options, as transaction poolers do: set \
                 DATABASE_POOLER=transaction"
                    .to_owned()
            }
            Some(Some(RefusedOption::One(option, setting))) => {
                format!("could not connect: the server refuses the start-up option {option} ({setting})")
            }
            _ => "could not connect".to_owned(),
        };
        let asked = Asked {
            text: "",
            is_fixed: true,
            has_parameters: false,
            has_open: false,
            commits_by_itself: false,
            detail: ErrorDetail::Safe,
        };
        Error::unavailable(context).by_postgres(error, asked, true)
    }

    /// Whether the server let nobody in because it does not know, or can't have, `client_connection_check_interval`, which
    /// pgspan sets by a start-up option (see [`Settings::startup_options`](crate::Settings::startup_options)): a server on
    /// Windows, PostgreSQL before 14, or 14 on macOS. A driver connects again without it.
    pub fn refuses_connection_check(&self) -> bool {
        let message = self.server().map(ServerError::message);
        message.and_then(refused_option) == Some(RefusedOption::One(CONNECTION_CHECK, OF_PGSPAN))
    }

    /// The same error for another who waited for the same, without its source.
    #[must_use]
    pub fn again(&self) -> Error {
        let Inner { kind, context, statement, transaction, partly, server, .. } = &*self.0;
        Error(Box::new(Inner {
            kind: *kind,
            context: context.clone(),
            statement: *statement,
            transaction: *transaction,
            partly: *partly,
            source: None,
            server: server.clone(),
        }))
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
    pub(crate) fn answer(error: tokio_postgres::Error, stake: Stake, asked: Asked<'_>) -> Error {
        let mut ours = match Verdict::of(&error) {
            Verdict::Definite => Error::new(Kind::Server, "the statement failed"),
            Verdict::NotSent => return Error::new(Kind::Parameter, "the statement can't be encoded"),
            Verdict::Lost => Error::new(stake.lost(), "the connection was lost"),
        };
        ours.0.partly = asked.commits_by_itself && stake == Stake::Commit;
        ours.by_postgres(error, asked, false)
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

    /// The same error of a statement beside which another is stored, or a part of which is.
    pub(crate) fn partly(mut self) -> Error {
        self.0.partly = true;
        self
    }

    pub(crate) fn at(mut self, statement: usize) -> Error {
        self.0.statement = Some(statement);
        self
    }

    /// The same error of a statement in another place of its batch, or in none.
    pub(crate) fn moved_to(mut self, statement: Option<usize>) -> Error {
        self.0.statement = statement;
        self
    }

    pub(crate) fn transaction(&self) -> Option<u64> {
        self.0.transaction
    }

    pub(crate) fn with_transaction(mut self, id: Option<u64>) -> Error {
        self.0.transaction = id;
        self
    }

    fn by_postgres(mut self, error: tokio_postgres::Error, asked: Asked<'_>, at_login: bool) -> Error {
        match error.as_db_error() {
            Some(db) => self.0.server = Some(ServerError::new(db, asked, at_login)),
            None => self.0.source = Some(Box::new(Cause(error))),
        }
        self
    }
}

/// An error of tokio-postgres that is shown as it displays. Its own Debug has the names of all SQLSTATEs and types, which make a Worker
/// larger.
struct Cause(tokio_postgres::Error);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// A start-up option that the server refuses.
#[derive(Debug, PartialEq, Eq)]
enum RefusedOption<'m> {
    All,
    /// Its name, and the setting it comes from.
    One(&'m str, &'static str),
}

const CONNECTION_CHECK: &str = "client_connection_check_interval";
const OF_PGSPAN: &str = "set by pgspan";

/// Reads it from the server's sentence, which has the option in quotes.
fn refused_option(message: &str) -> Option<RefusedOption<'_>> {
    if message.contains("unsupported startup parameter") {
        return Some(RefusedOption::All);
    }
    let (_, named) = message.split_once("parameter \"")?;
    let (option, _) = named.split_once('"')?;
    let setting = match option {
        "statement_timeout" => "STATEMENT_TIMEOUT_MS",
        "lock_timeout" => "LOCK_TIMEOUT_MS",
        "idle_in_transaction_session_timeout" => "IDLE_IN_TRANSACTION_TIMEOUT_MS",
        CONNECTION_CHECK => OF_PGSPAN,
        _ => "in the URL's options",
    };
    Some(RefusedOption::One(option, setting))
}

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
