//! What kinds of errors there are.

/// What went wrong, by what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// PostgreSQL answered with an error; [`Error::sqlstate`](crate::Error::sqlstate) says which. Nothing of the statement is stored,
    /// unless it commits by itself while it runs (`CALL`, `VACUUM` …).
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
    /// The statement can't be sent as it is: a parameter does not fit its type, there are too many, the whole is too large. Nothing
    /// was sent.
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
