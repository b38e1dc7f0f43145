//! Transactions that commit or vanish, and say which.

use std::fmt;
use std::str::FromStr;

use tokio_postgres::Row;

use crate::batch::Batch;
use crate::copy::{CopyIn, CopyOut};
use crate::error::{Answer, Error, Kind, Result, Stake};
use crate::row::FromRow;
use crate::session::pipeline::Outcome;
use crate::session::{Block, Rows, Session, Start, statements};
use crate::sql::{Sql, quote_identifier};

/// A transaction, or a savepoint in one: statements that are kept together or not at all.
///
/// It borrows its session, or the transaction around it, until it is committed, rolled back or dropped. **Dropping it
/// rolls back**, so `?` inside costs nothing but the transaction. It sends nothing by itself: BEGIN travels with the
/// first statement, and a transaction without a statement never reaches the server.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction<'s> {
    session: &'s mut Session,
    /// How many blocks are around this one.
    depth: usize,
}

impl<'s> Transaction<'s> {
    pub(crate) fn open(session: &'s mut Session, start: Start) -> Transaction<'s> {
        let depth = session.account.blocks.len();
        session.account.blocks.push(Block::new(start));
        Transaction { session, depth }
    }

    /// Keeps what was done: COMMIT, or RELEASE for a savepoint.
    ///
    /// PostgreSQL answers the COMMIT of a failed transaction with ROLLBACK and no error. Here it is one: COMMIT is sent
    /// only if every statement was answered well, else ROLLBACK is. A failed savepoint that was rolled back does not
    /// count.
    ///
    /// # Errors
    ///
    /// * [`Kind::RolledBack`] if a statement had failed or was not answered; nothing is stored;
    /// * [`Kind::Server`] if PostgreSQL refuses, say for a deferred constraint; nothing is stored, the session is usable;
    /// * [`Kind::Unavailable`] or [`Kind::Timeout`] if the connection was lost, or the deadline had passed, before COMMIT
    ///   was written; nothing is stored;
    /// * [`Kind::OutcomeUnknown`] if the connection was lost, or no answer came in time, after COMMIT was written. With
    ///   [`TransactionOptions::with_id`] the error has the transaction's id, for
    ///   [`Database::transaction_status`](crate::Database::transaction_status).
    ///
    /// # Cancel safety
    ///
    /// Dropped before its first poll, it rolls back. After that it is not known whether COMMIT was carried out; the
    /// connection is closed.
    pub async fn commit(self) -> Result<()> {
        self.session.settle(self.depth + 1);
        let Some(block) = self.session.account.blocks.get(self.depth) else { return Ok(()) };
        let dry_run = block.options().is_some_and(|options| options.force_rollback);
        if let Some(cause) = &block.failed {
            let cause = cause.as_ref().map_or(String::new(), |code| format!(" ({})", code.code()));
            let error = format!(
                "a statement of this transaction had failed{cause}, so it was rolled back, not committed"
            );
            let _ = self.undo().await; // either way nothing of it is stored
            return Err(Error::new(Kind::RolledBack, error));
        }
        if !block.begun {
            return Ok(());
        }
        if self.session.account.check().is_err() {
            return Err(Error::new(
                Kind::RolledBack,
                "a statement of this transaction was not answered: its connection is closed and nothing is stored",
            ));
        }
        if dry_run {
            return self.undo().await;
        }
        // what is not written is not unknown: on a closed connection, or past the deadline, nothing is stored
        self.session.ready().inspect_err(|error| self.session.db.count(error))?;
        self.keep().await
    }

    /// Undoes what was done; the session, or the transaction around it, goes on.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] or [`Kind::Timeout`] if the connection was lost or did not answer. Nothing is stored even
    /// then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future rolls back all the same.
    pub async fn rollback(self) -> Result<()> {
        self.undo().await
    }

    /// Begins a savepoint with a name of its own. It sends nothing until its first statement.
    pub fn transaction(&mut self) -> Transaction<'_> {
        self.session.settle(self.depth + 1);
        let name = self.session.account.next_savepoint();
        Transaction::open(self.session, Start::Savepoint(name))
    }

    /// Begins a savepoint with this name, which is quoted, so that it is just a name whatever it holds.
    pub fn savepoint(&mut self, name: &str) -> Transaction<'_> {
        self.session.settle(self.depth + 1);
        Transaction::open(self.session, Start::Savepoint(quote_identifier(name)))
    }

    /// Any number of statements in one round trip, inside this transaction.
    pub fn batch<'t, 'q, I>(&'t mut self, statements: I) -> Batch<'t, 'q>
    where
        I: IntoIterator,
        I::Item: Into<Sql<'q>>,
    {
        let depth = self.depth + 1;
        self.session.settle(depth);
        Batch::new(self.session, depth, statements.into_iter().map(Into::into).collect())
    }

    /// Sends a statement and reads its rows one by one; see [`Session::fetch_stream`].
    ///
    /// # Errors
    ///
    /// As [`Session::fetch_stream`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the stream before its end closes the connection, which rolls this transaction back.
    pub async fn fetch_stream<'t, 'q, T: FromRow>(
        &'t mut self,
        sql: impl Into<Sql<'q>>,
    ) -> Result<Rows<'t, T>> {
        let sql = sql.into();
        Rows::open(self.session, self.depth + 1, &sql).await
    }

    /// Starts `COPY … FROM STDIN`: write the data, then [`finish`](CopyIn::finish).
    ///
    /// COPY has to be prepared, which is one round trip more than another statement.
    ///
    /// # Errors
    ///
    /// As [`execute`](Transaction::execute).
    ///
    /// # Cancel safety
    ///
    /// As [`execute`](Transaction::execute).
    pub async fn copy_in(&mut self, statement: &str) -> Result<CopyIn<'_>> {
        CopyIn::open(self.session, self.depth + 1, statement).await
    }

    /// Starts `COPY … TO STDOUT`, and gives its data as a stream.
    ///
    /// # Errors
    ///
    /// As [`execute`](Transaction::execute).
    ///
    /// # Cancel safety
    ///
    /// As [`execute`](Transaction::execute).
    pub async fn copy_out(&mut self, statement: &str) -> Result<CopyOut<'_>> {
        CopyOut::open(self.session, self.depth + 1, statement).await
    }

    /// This transaction's id, where [`TransactionOptions::with_id`] asked for it and a statement was sent.
    pub fn id(&self) -> Option<TransactionId> {
        self.session.account.blocks.first().and_then(|block| block.id)
    }

    statements! {
        impl for self in (&mut self), from Transaction::outcome
    }

    async fn outcome(&mut self, sql: Sql<'_>) -> Result<Outcome> {
        self.session.statement(self.depth + 1, &sql).await
    }

    async fn keep(self) -> Result<()> {
        let Some(block) = self.session.account.blocks.get(self.depth) else { return Ok(()) };
        let id = block.id;
        let stake = match block.options() {
            Some(options) if options.read_only != Some(true) => Stake::Commit,
            _ => Stake::Nothing,
        };
        let keep = block.keep();
        let answer = self.session.flight(&[&keep]).await?.answers.pop();
        if answer.is_some() {
            self.session.account.blocks.truncate(self.depth);
        }
        match answer {
            Some(Ok(_)) => Ok(()),
            // a RELEASE that failed leaves the transaction around it failed: judge() enters that
            Some(Err(error)) => {
                let lost = Answer::of(&error) == Answer::Lost;
                let error = self.session.judge(error, stake);
                Err(if lost { error.in_transaction(id) } else { error })
            }
            None => Err(Error::deadline(stake).in_transaction(id)),
        }
    }

    async fn undo(self) -> Result<()> {
        self.session.settle(self.depth + 1);
        let Some(block) = self.session.account.blocks.get(self.depth) else { return Ok(()) };
        if !block.begun || self.session.account.check().is_err() {
            return Ok(()); // nothing was sent, or the connection is closed, which undoes it
        }
        let undo = block.undo();
        let sent = undo.len();
        let answers = self.session.flight(&undo.iter().collect::<Vec<_>>()).await?.answers;
        if answers.len() < sent {
            return Err(Error::deadline(Stake::Nothing));
        }
        self.session.account.blocks.truncate(self.depth);
        for answer in answers {
            answer.map_err(|error| {
                self.session.account.broken = true;
                self.session.judge(error, Stake::Nothing)
            })?;
        }
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        self.session.settle(self.depth);
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("depth", &self.depth).finish_non_exhaustive()
    }
}

/// How a transaction is to be. What is not set is as the server has it.
///
/// PostgreSQL documentation, "SET TRANSACTION".
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct TransactionOptions {
    isolation: Option<Isolation>,
    read_only: Option<bool>,
    deferrable: Option<bool>,
    force_rollback: bool,
    with_id: bool,
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
