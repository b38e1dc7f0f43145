//! A session: one connection of its own, in autocommit, and the rule of its return.

use std::fmt;
use std::future::poll_fn;
use std::time::Duration;

use pgspan_scan::{Command, Effect, Inspection};
use tokio_postgres::Client;

use super::account::Account;
use super::fetch::fetches;
use super::limit::Limit;
use super::pipeline::{Answer, Outcome, Want, send_and_forget};
use crate::error::{Error, Kind, Result, Stake, Verdict, must_not_be_reused};
use crate::port::Lease;
use crate::prepared::Prepared;
use crate::scope::Scope;
use crate::settings::Recycle;
use crate::sql::Sql;
use crate::transaction_id::TransactionId;

/// A connection no one else uses, in autocommit: each statement is its own transaction unless you begin one.
///
/// Taken with [`Database::session`](crate::Database::session). When it is dropped the connection goes back to the pool if it is
/// idle and clean; if a statement is unanswered, or changed the session's state, it is closed instead, and PostgreSQL rolls back
/// what was open. So nothing of one session is ever seen by the next.
pub struct Session {
    pub(crate) scope: Scope,
    pub(crate) lease: Option<Box<dyn Lease>>,
    pub(crate) account: Account,
}

impl Session {
    pub(crate) fn new(scope: Scope, lease: Box<dyn Lease>) -> Session {
        Session { scope, lease: Some(lease), account: Account::default() }
    }

    /// Says that this session's state was changed in a way its statements do not show, such as a function of yours that calls
    /// `set_config(…, false)`, so that its connection is closed rather than given to another.
    pub fn taint(&mut self) {
        self.account.tainted = true;
    }

    /// Says how long each statement of this session may take from now on, instead of
    /// [`Settings::statement_timeout`](crate::Settings::statement_timeout). The server keeps the limit, and we wait half a second
    /// longer. The limit travels with the next statement; the next session on this connection has the usual one.
    pub fn set_timeout(&mut self, limit: Duration) {
        self.account.wanted = Limit::Of(limit);
    }

    fetches! {
        impl for self in (&mut self), from Session::outcome
    }

    async fn outcome(&mut self, sql: Sql<'_>, want: Want) -> Result<Outcome> {
        self.statement(0, &sql, want).await
    }
}

/// Before a flight.
impl Session {
    /// Everything that is asked before a flight, of the connection and of the statements.
    pub(crate) async fn before_flight(&mut self, depth: usize, statements: &[Sql<'_>]) -> Result<()> {
        self.settle(depth);
        let ready = match self.ready() {
            Ok(()) => self.answered().await,
            Err(error) => Err(error),
        };
        ready.inspect_err(|error| {
            self.scope.count(error);
            self.account.fail(None);
        })?;
        for (position, sql) in statements.iter().enumerate() {
            self.admit(depth, sql).map_err(|error| match statements.len() {
                1 => error,
                _ => error.at(position),
            })?;
        }
        Ok(())
    }

    /// Looks at the words of a statement: some are refused, some leave something behind in the session.
    fn admit(&mut self, depth: usize, sql: &Sql<'_>) -> Result<()> {
        let admitted = sql.check().and_then(|inspection| self.admit_effect(depth, &inspection));
        admitted.inspect_err(|_| self.account.fail(None))
    }

    pub(crate) fn admit_effect(&mut self, depth: usize, inspection: &Inspection) -> Result<()> {
        match inspection.effect {
            Effect::None => {}
            Effect::OnlyInTransaction if depth == 0 => return Err(only_in_transaction()),
            Effect::OnlyInTransaction => {}
            Effect::SessionState if self.scope.settings().pooler.is_some() => {
                return Err(Error::refused(
                    "behind a transaction pooler a statement can't change the session's state: use SET LOCAL in a transaction",
                ));
            }
            Effect::SessionState => self.account.tainted = true,
        }
        if inspection.command == Command::Forget {
            self.prepared().into_iter().for_each(Prepared::clear);
        }
        Ok(())
    }

    /// Waits for the end of every answer, also of those that nobody reads, where nothing may be written before.
    async fn answered(&mut self) -> Result<()> {
        let is_begun = self.account.blocks.first().is_some_and(|block| block.begun);
        let must_wait = self.account.draining || !self.scope.settings().pipelines();
        if is_begun || !must_wait {
            return Ok(());
        }
        let Some(lease) = &self.lease else { return Ok(()) };
        let watch = lease.watch();
        let limit = self.account.limit().deadline(self.scope.settings());
        let answered = poll_fn(|cx| watch.poll_answered(cx));
        self.scope.within(limit, answered).await.map_err(|_| {
            self.account.broken = true;
            Error::deadline(Stake::Nothing)
        })?;
        self.account.draining = false;
        Ok(())
    }

    /// Whether a statement can be sent at all.
    pub(crate) fn ready(&self) -> Result<()> {
        self.account.check()?;
        if self.client().is_none_or(Client::is_closed) {
            return Err(self.refusal().unwrap_or_else(|| Error::unavailable("the connection is closed")));
        }
        self.scope.check_deadline()
    }

    /// Undoes the blocks beyond `depth`, whose guards are gone. Nothing is awaited: what follows on this connection is
    /// answered after it.
    pub(crate) fn settle(&mut self, depth: usize) {
        let undo =
            self.account.blocks.drain(depth.min(self.account.blocks.len())..).find(|block| block.begun);
        let Some(undo) = undo else { return };
        if self.account.check().is_err() {
            return; // the connection will be closed, which undoes everything
        }
        self.forget(&undo.undo());
    }

    /// Sends statements of ours and waits for none of their answers.
    pub(crate) fn forget(&self, statements: &[Sql<'_>]) {
        let Some(lease) = &self.lease else { return };
        lease.watch().forget(statements.len() as u64);
        for sql in statements {
            send_and_forget(lease.client(), sql);
        }
    }
}

/// After a flight.
impl Session {
    /// What came of the blocks' beginnings, and so of the statements behind them.
    pub(crate) fn judge_opening(
        &mut self,
        opening: &[&Sql<'_>],
        opened: Vec<Answer>,
        behind: Behind,
    ) -> Result<()> {
        let failed = opened.iter().filter(|answer| answer.is_err()).count();
        for (sql, answer) in opening.iter().zip(opened) {
            match answer {
                Ok(outcome) => {
                    let id = outcome.rows.first().and_then(TransactionId::read);
                    if let (Some(id), Some(block)) = (id, self.account.blocks.first_mut()) {
                        block.id = Some(id);
                    }
                }
                Err(error) => {
                    self.account.fail_opening(failed, error.code());
                    self.account.broken |= behind != Behind::Failed;
                    let no_block = sql.text() == "BEGIN" && Verdict::of(&error) == Verdict::Definite;
                    let error = self.judge(error, Stake::Nothing, sql);
                    if behind == Behind::Succeeded || behind == Behind::Unknown && no_block {
                        return Err(Error::new(
                            Kind::OutcomeUnknown,
                            "BEGIN failed and a statement behind it did not: it may be committed by itself",
                        ));
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Enters an error into the account, and says what it is.
    pub(crate) fn enter(&mut self, error: &tokio_postgres::Error) -> Verdict {
        let verdict = Verdict::of(error);
        match verdict {
            Verdict::Definite => {
                // where the transaction is read only by its own options, it is not the server that is
                let leaves = error.code().is_some_and(must_not_be_reused) && !self.account.is_read_only();
                self.account.tainted |= leaves;
                self.account.fail(error.code());
            }
            Verdict::NotSent => self.account.fail(None),
            Verdict::Lost => self.account.broken = true,
        }
        verdict
    }

    /// Enters an error into the account and the statistics, and makes it ours.
    pub(crate) fn judge(&mut self, error: tokio_postgres::Error, stake: Stake, sql: &Sql<'_>) -> Error {
        let refusal = match self.enter(&error) {
            Verdict::Lost => self.refusal(),
            Verdict::Definite | Verdict::NotSent => None,
        };
        let asked = sql.asked(self.scope.settings().error_detail);
        let error = refusal.unwrap_or_else(|| Error::answer(error, stake, asked));
        self.scope.count(&error);
        error
    }

    /// Why the server never let this connection in, so that nothing ran on it.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.lease.as_ref().and_then(|lease| lease.refusal())
    }

    /// Where statements are kept prepared, if they are to be.
    pub(crate) fn prepared(&self) -> Option<&Prepared> {
        self.lease.as_ref().filter(|_| self.scope.settings().prepare)?.prepared()
    }

    pub(crate) fn client(&self) -> Option<&Client> {
        self.lease.as_ref().map(|lease| lease.client())
    }
}

pub(crate) fn only_in_transaction() -> Error {
    Error::refused(
        "SET LOCAL, SET TRANSACTION and SET CONSTRAINTS have an effect only inside a transaction: begin one with \
         session.transaction()",
    )
}

/// What became of the statements behind the beginning of a block; of several, the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Behind {
    /// They did not run, or the server said that they failed.
    Failed,
    /// No answer came.
    Unknown,
    Succeeded,
}

impl Behind {
    pub(crate) fn of<T>(answer: Option<&Result<T, tokio_postgres::Error>>) -> Behind {
        match answer {
            Some(Ok(_)) => Behind::Succeeded,
            Some(Err(error)) if Verdict::of(error) != Verdict::Lost => Behind::Failed,
            Some(Err(_)) | None => Behind::Unknown,
        }
    }

    pub(crate) fn of_all<'a>(answers: impl Iterator<Item = Option<&'a Answer>>) -> Behind {
        answers.map(Behind::of).max().unwrap_or(Behind::Failed)
    }
}

/// What an answer that never comes would leave open.
pub(crate) fn stake(depth: usize, sql: &Sql<'_>) -> Stake {
    match depth == 0 && !sql.is_reading() {
        true => Stake::Commit,
        false => Stake::Nothing,
    }
}

/// The rule of return: clean connections go back, others are ended by being dropped.
impl Drop for Session {
    fn drop(&mut self) {
        self.settle(0);
        let Some(lease) = &self.lease else { return };
        let is_draining = self.account.draining && lease.watch().unanswered() > 0;
        if !self.account.is_clean()
            || is_draining
            || lease.client().is_closed()
            || lease.watch().contradicts_idle()
        {
            self.lease = None;
            return;
        }
        if self.account.kept != Limit::Default {
            self.forget(&[Limit::Default.set(false)]);
        }
        if self.scope.settings().recycle == Recycle::DiscardAll {
            lease.prepared().into_iter().for_each(Prepared::clear);
            self.forget(&[Sql::new("DISCARD ALL")]);
        }
        if let Some(lease) = self.lease.take() {
            lease.recycle();
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("account", &self.account).finish_non_exhaustive()
    }
}
