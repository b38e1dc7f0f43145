//! A transaction's id, and what became of the transaction.

use std::fmt;
use std::str::FromStr;

use tokio_postgres::Row;

use crate::error::{Error, Kind, Result};

/// PostgreSQL's id of a transaction (`xid8`), to ask later what became of it.
///
/// Its `Display` and `FromStr` are PostgreSQL's, so that it can be kept in a log or a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(u64);

impl TransactionId {
    pub(crate) const QUERY: &'static str = "SELECT pg_current_xact_id()::text AS pgspan_transaction_id";

    /// Reads it from the answer to [`QUERY`](TransactionId::QUERY), and from no other.
    pub(crate) fn read(row: &Row) -> Option<TransactionId> {
        row.try_get::<_, &str>("pgspan_transaction_id").ok()?.parse().ok()
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TransactionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<TransactionId> {
        let id = text
            .parse()
            .map_err(|_| Error::new(Kind::Parameter, "a transaction id is a number below 2^64"))?;
        Ok(TransactionId(id))
    }
}

impl Error {
    /// The transaction whose outcome is unknown, where its id was asked for in time
    /// ([`TransactionOptions::with_id`](crate::TransactionOptions::with_id)).
    pub fn transaction_id(&self) -> Option<TransactionId> {
        self.transaction().map(TransactionId)
    }

    pub(crate) fn in_transaction(self, id: Option<TransactionId>) -> Error {
        self.with_transaction(id.map(|id| id.0))
    }
}

/// What became of a transaction, by [`Database::transaction_status`](crate::Database::transaction_status).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransactionStatus {
    /// It is stored.
    Committed,
    /// It is not, and never will be.
    Aborted,
    /// It still runs: the server has not noticed yet that the connection is gone. Ask again.
    InProgress,
    /// It is too old for the server to know.
    Forgotten,
}
