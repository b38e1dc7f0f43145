//! Transactions that commit or vanish, and say which.

use std::fmt;

use crate::error::{Error, Kind, Result, Stake, Verdict};
use crate::session::pipeline::Outcome;
use crate::session::{Block, Line, Role, Session, Start, Want, fetches};
use crate::sql::{Sql, quote_identifier};
use crate::transaction_id::TransactionId;
use crate::transaction_options::TransactionOptions;

impl Session {
    /// Begins a transaction with the server's defaults. It sends nothing yet: BEGIN travels with the first statement.
    pub fn transaction(&mut self) -> Transaction<'_> {
        self.transaction_with(TransactionOptions::new())
    }

    /// Begins a transaction with an isolation level, read only, deferrable, as a dry run, with a time limit, or with its id.
    pub fn transaction_with(&mut self, options: TransactionOptions) -> Transaction<'_> {
        self.settle(0);
        Transaction::open(self, Start::Begin(options))
    }
}

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
        let dry_run = block.is_dry_run();
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
        self.session.ready().inspect_err(|error| self.session.scope.count(error))?;
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

    /// This transaction's id, where [`TransactionOptions::with_id`] asked for it and a statement was sent.
    pub fn id(&self) -> Option<TransactionId> {
        self.session.account.blocks.first().and_then(|block| block.id)
    }

    fetches! {
        impl for self in (&mut self), from Transaction::outcome
    }

    async fn outcome(&mut self, sql: Sql<'_>, want: Want) -> Result<Outcome> {
        self.session.statement(self.depth + 1, &sql, want).await
    }

    /// Its session, and how many blocks are around a statement in it.
    pub(crate) fn parts(&mut self) -> (&mut Session, usize) {
        (self.session, self.depth + 1)
    }

    /// Whether a statement of it failed, so that it can't be committed.
    pub(crate) fn has_failed(&self) -> bool {
        self.session.account.blocks.get(self.depth).is_some_and(|block| block.failed.is_some())
    }

    /// What a lost answer to its COMMIT leaves open, if COMMIT may be sent behind further statements: not from a savepoint, not in a dry
    /// run, and not after a failure.
    pub(crate) fn stake_of_last_flight(&mut self) -> Option<Stake> {
        self.session.settle(self.depth + 1);
        let block = self.session.account.blocks.get(self.depth)?;
        let may = block.failed.is_none() && !block.is_dry_run() && self.session.account.check().is_ok();
        block.stake_of_commit().filter(|_| may)
    }

    /// The end of this transaction as a flight.
    fn ending(&self, statements: impl IntoIterator<Item = Sql<'static>>) -> Vec<Line<'static>> {
        let limit = self.session.account.limit();
        statements.into_iter().map(|sql| Line::ours(sql, Role::Ending, limit)).collect()
    }

    async fn keep(self) -> Result<()> {
        let Some(block) = self.session.account.blocks.get(self.depth) else { return Ok(()) };
        let id = block.id;
        let stake = block.stake_of_commit();
        let (is_commit, stake) = (stake.is_some(), stake.unwrap_or(Stake::Nothing));
        let keep = self.ending([block.keep()]);
        let answer = self.session.flight(&keep, Want::Nothing).await?.pop();
        match answer {
            Some(Ok(_)) => {
                self.session.account.blocks.truncate(self.depth + 1);
                self.session.account.close_block();
                Ok(())
            }
            // a RELEASE that failed leaves the transaction around it failed: judge() enters that
            Some(Err(error)) => {
                self.session.account.blocks.truncate(self.depth);
                let lost = Verdict::of(&error) == Verdict::Lost;
                let sql = Sql::new(if is_commit { "COMMIT" } else { "RELEASE" });
                let error = self.session.judge(error, stake, &sql);
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
        let undo = self.ending(block.undo());
        let answers = self.session.flight(&undo, Want::Nothing).await?;
        if answers.len() < undo.len() {
            return Err(Error::deadline(Stake::Nothing));
        }
        self.session.account.blocks.truncate(self.depth);
        for answer in answers {
            answer.map_err(|error| {
                self.session.account.broken = true;
                self.session.judge(error, Stake::Nothing, &Sql::new("ROLLBACK"))
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
