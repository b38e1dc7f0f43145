//! The four ways to send a statement, the same on a session, a transaction and a database.

/// Writes `execute`, `fetch_one`, `fetch_optional` and `fetch_all` over a function that sends a statement and keeps the rows that
/// are wanted.
macro_rules! fetches {
    (impl for $self:ident in ($($receiver:tt)+), from $outcome:path) => {
        /// Sends a statement and says how many rows it inserted, updated, deleted or selected. Rows that it gives are not kept.
        ///
        /// # Errors
        ///
        /// [`Kind::Server`](crate::Kind::Server) with the SQLSTATE if PostgreSQL says no;
        /// [`Parameter`](crate::Kind::Parameter) or [`Refused`](crate::Kind::Refused) if it was not sent;
        /// [`Unavailable`](crate::Kind::Unavailable), [`Timeout`](crate::Kind::Timeout) or
        /// [`OutcomeUnknown`](crate::Kind::OutcomeUnknown) if no answer came, by what may have been committed.
        ///
        /// # Cancel safety
        ///
        /// Dropping the future before its first poll sends nothing. After that the statement is under way: on a session
        /// the connection is closed and the statement cancelled on the server, and an open transaction is rolled back;
        /// on a shared connection the statement runs on, at most for `statement_timeout`.
        pub async fn execute<'q>($($receiver)+, sql: impl Into<$crate::Sql<'q>>) -> $crate::Result<u64> {
            Ok($outcome($self, sql.into(), $crate::session::pipeline::Want::Nothing).await?.affected)
        }

        /// Sends a statement and reads the one row there must be. Others are counted and not kept. Behind the thousandth the error comes at once.
        /// The next statement of a session waits for the rest; if the session is dropped before, the server is asked to cancel the statement.
        ///
        /// # Errors
        ///
        /// As `execute`, and [`NoRows`](crate::Kind::NoRows), [`TooManyRows`](crate::Kind::TooManyRows), or
        /// [`Row`](crate::Kind::Row) if the row is not a `T`.
        ///
        /// # Cancel safety
        ///
        /// As `execute`.
        pub async fn fetch_one<'q, T: $crate::FromRow>(
            $($receiver)+,
            sql: impl Into<$crate::Sql<'q>>,
        ) -> $crate::Result<T> {
            $crate::session::fetch::one($outcome($self, sql.into(), $crate::session::pipeline::Want::One).await?)
        }

        /// Sends a statement and reads one row, or `None` where there is none.
        ///
        /// # Errors
        ///
        /// As `execute`, and [`TooManyRows`](crate::Kind::TooManyRows), or [`Row`](crate::Kind::Row) if the row is not
        /// a `T`.
        ///
        /// # Cancel safety
        ///
        /// As `execute`.
        pub async fn fetch_optional<'q, T: $crate::FromRow>(
            $($receiver)+,
            sql: impl Into<$crate::Sql<'q>>,
        ) -> $crate::Result<Option<T>> {
            $crate::session::fetch::optional($outcome($self, sql.into(), $crate::session::pipeline::Want::One).await?)
        }

        /// Sends a statement and reads all rows.
        ///
        /// # Errors
        ///
        /// As `execute`, and [`Row`](crate::Kind::Row) if a row is not a `T`.
        ///
        /// # Cancel safety
        ///
        /// As `execute`.
        pub async fn fetch_all<'q, T: $crate::FromRow>(
            $($receiver)+,
            sql: impl Into<$crate::Sql<'q>>,
        ) -> $crate::Result<Vec<T>> {
            $crate::row::from_rows($outcome($self, sql.into(), $crate::session::pipeline::Want::All).await?.rows)
        }
    };
}

pub(crate) use fetches;

use super::pipeline::Outcome;
use crate::error::{Error, Kind, Result};
use crate::row::{FromRow, from_rows};

pub(crate) fn one<T: FromRow>(outcome: Outcome) -> Result<T> {
    optional(outcome)?.ok_or_else(|| Error::new(Kind::NoRows, "no row came where one was expected"))
}

pub(crate) fn optional<T: FromRow>(outcome: Outcome) -> Result<Option<T>> {
    match outcome.came {
        0 | 1 => Ok(from_rows(outcome.rows)?.pop()),
        rows if outcome.is_cut => Err(Error::new(
            Kind::TooManyRows,
            format!(
                "{rows} rows came where one was expected, and more were to come: they were not waited for"
            ),
        )),
        rows => Err(Error::new(Kind::TooManyRows, format!("{rows} rows came where one was expected"))),
    }
}
