//! How a transaction is to be: values, set before it begins.

use std::time::Duration;

/// How a transaction is to be. What is not set is as the server has it.
///
/// PostgreSQL documentation, "SET TRANSACTION".
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct TransactionOptions {
    isolation: Option<Isolation>,
    pub(crate) read_only: Option<bool>,
    deferrable: Option<bool>,
    pub(crate) force_rollback: bool,
    with_id: bool,
    timeout: Option<Duration>,
}

/// How far a transaction is kept apart from others (PostgreSQL documentation, 13.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// Each statement sees what was committed before it. PostgreSQL's default.
    ReadCommitted,
    /// The whole transaction sees what was committed before its first statement.
    RepeatableRead,
    /// As if transactions ran one after another; be ready to [retry](crate::Database::retry).
    Serializable,
}

impl TransactionOptions {
    /// The server's defaults.
    pub fn new() -> TransactionOptions {
        TransactionOptions::default()
    }

    /// Sets the isolation level.
    pub fn isolation(mut self, level: Isolation) -> TransactionOptions {
        self.isolation = Some(level);
        self
    }

    /// Refuses (or, on a server that is read-only by default, allows) statements that write.
    pub fn read_only(mut self, yes: bool) -> TransactionOptions {
        self.read_only = Some(yes);
        self
    }

    /// Lets a serializable read-only transaction wait at its start rather than fail later.
    pub fn deferrable(mut self, yes: bool) -> TransactionOptions {
        self.deferrable = Some(yes);
        self
    }

    /// A dry run: `commit` rolls back, and is an error only if the transaction would not have got so far.
    pub fn force_rollback(mut self) -> TransactionOptions {
        self.force_rollback = true;
        self
    }

    /// Asks for the transaction's id in the flight of its first statement, so that an unknown outcome can be found out.
    /// It costs no round trip, but a transaction id even where nothing is written.
    pub fn with_id(mut self) -> TransactionOptions {
        self.with_id = true;
        self
    }

    /// Says how long each statement of the transaction may take, its COMMIT too, instead of
    /// [`Settings::statement_timeout`](crate::Settings::statement_timeout). The server keeps the limit (`SET LOCAL
    /// statement_timeout`, in the flight of the first statement), and we wait half a second longer.
    pub fn timeout(mut self, limit: Duration) -> TransactionOptions {
        self.timeout = Some(limit);
        self
    }

    pub(crate) fn own_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(crate) fn asks_for_id(&self) -> bool {
        self.with_id
    }

    /// The statement behind BEGIN. Not part of it: what is pipelined behind a failed BEGIN would commit by itself,
    /// while a failed SET TRANSACTION fails the block.
    pub(crate) fn set_transaction(&self) -> Option<String> {
        let mode = |set: Option<bool>, yes: &'static str, no: &'static str| {
            set.map(|set| if set { yes } else { no })
        };
        let isolation = self.isolation.map(|level| match level {
            Isolation::ReadCommitted => "ISOLATION LEVEL READ COMMITTED",
            Isolation::RepeatableRead => "ISOLATION LEVEL REPEATABLE READ",
            Isolation::Serializable => "ISOLATION LEVEL SERIALIZABLE",
        });
        let modes: Vec<&str> = [
            isolation,
            mode(self.read_only, "READ ONLY", "READ WRITE"),
            mode(self.deferrable, "DEFERRABLE", "NOT DEFERRABLE"),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!modes.is_empty()).then(|| format!("SET TRANSACTION {}", modes.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_not_set_are_left_to_the_server() {
        assert_eq!(TransactionOptions::new().set_transaction(), None);
        let options =
            TransactionOptions::new().isolation(Isolation::Serializable).read_only(true).deferrable(false);
        assert_eq!(
            options.set_transaction().unwrap(),
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, NOT DEFERRABLE"
        );
    }
}
