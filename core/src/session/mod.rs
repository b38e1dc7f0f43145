//! A session: one connection of its own, in autocommit, and the rule of its return.

mod account;
mod anywhere;
pub(crate) mod pipeline;
mod statements;
mod stream;

pub(crate) use account::{Account, Block, Start};
pub use anywhere::Statements;
pub(crate) use statements::{one, optional, statements};
pub use stream::Rows;
pub(crate) use stream::Sent;

use std::fmt;

use tokio_postgres::Client;

use crate::batch::Batch;
use crate::database::Database;
use crate::driver::Lease;
use crate::error::{Answer as Verdict, Error, Kind, Result, Stake, must_not_be_reused};
use crate::prepared::Prepared;
use crate::row::FromRow;
use crate::settings::Recycle;
use crate::sql::{Effect, Sql};
use crate::transaction::{Transaction, TransactionId, TransactionOptions};
use pipeline::{Answer, Around, Keep, Outcome, Pipeline, perform, send_and_forget};

/// A connection no one else uses, in autocommit: each statement is its own transaction unless you begin one.
///
/// Taken with [`Database::session`]. When it is dropped the connection goes back to the pool if it is idle and clean;
/// if a statement is unanswered, or changed the session's state, it is closed instead, and PostgreSQL rolls back what
/// was open. So nothing of one session is ever seen by the next.
pub struct Session {
    pub(crate) db: Database,
    pub(crate) lease: Option<Box<dyn Lease>>,
    pub(crate) account: Account,
}

impl Session {
    pub(crate) fn new(db: Database, lease: Box<dyn Lease>) -> Session {
        Session { db, lease: Some(lease), account: Account::default() }
    }

    /// Begins a transaction with the server's defaults. It sends nothing yet: BEGIN travels with the first statement.
    pub fn transaction(&mut self) -> Transaction<'_> {
        self.transaction_with(TransactionOptions::new())
    }

    /// Begins a transaction with an isolation level, read only, deferrable, as a dry run, or with its id.
    pub fn transaction_with(&mut self, options: TransactionOptions) -> Transaction<'_> {
        self.settle(0);
        Transaction::open(self, Start::Begin(options))
    }

    /// Any number of statements in one round trip, each in autocommit; [`Batch::atomic`] makes them one transaction.
    pub fn batch<'s, 'q, I>(&'s mut self, statements: I) -> Batch<'s, 'q>
    where
        I: IntoIterator,
        I::Item: Into<Sql<'q>>,
    {
        self.settle(0);
        Batch::new(self, 0, statements.into_iter().map(Into::into).collect())
    }

    /// Says that this session's state was changed in a way its statements do not show, such as
    /// `set_config(…, false)` or a session advisory lock, so that its connection is closed rather than given to another.
    pub fn taint(&mut self) {
        self.account.tainted = true;
    }

    /// Sends a statement and reads its rows one by one, in constant memory.
    ///
    /// The rows come as fast as they are read: a slow reader holds the connection, and the server counts the time
    /// against `statement_timeout`. Where the reader may be slow use keyset pages or a cursor in a transaction.
    ///
    /// # Errors
    ///
    /// As [`fetch_all`](Session::fetch_all); each row may be an error too, and is the last one then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the stream before its end, or the future, closes the connection: the server would go on sending.
    pub async fn fetch_stream<'s, 'q, T: FromRow>(
        &'s mut self,
        sql: impl Into<Sql<'q>>,
    ) -> Result<Rows<'s, T>> {
        let sql = sql.into();
        Rows::open(self, 0, &sql).await
    }

    statements! {
        impl for self in (&mut self), from Session::outcome
    }

    async fn outcome(&mut self, sql: Sql<'_>) -> Result<Outcome> {
        self.statement(0, &sql).await
    }
}

/// How statements reach the connection. `depth` is the number of blocks around the statement.
impl Session {
    /// One statement, with the beginning of every block that has not begun, in one flight.
    pub(crate) async fn statement(&mut self, depth: usize, sql: &Sql<'_>) -> Result<Outcome> {
        let opening = self.prepare(depth, std::slice::from_ref(sql))?;
        let sent: Vec<&Sql<'_>> = opening.iter().chain([sql]).collect();
        let stake = stake(depth, sql);
        let flight = self.flight(&sent).await?;
        let mut answers = flight.answers.into_iter();
        let opened: Vec<Answer> = answers.by_ref().take(opening.len()).collect();
        let answer = answers.next();
        self.judge_opening(&opening, opened, Behind::of(answer.as_ref()))?;
        match answer {
            Some(Ok(outcome)) => Ok(outcome),
            Some(Err(error)) => Err(self.judge(error, stake)),
            None => Err(Error::deadline(stake)),
        }
    }

    /// Everything that is asked before a flight; gives what must be sent ahead of it.
    pub(crate) fn prepare(&mut self, depth: usize, statements: &[Sql<'_>]) -> Result<Vec<Sql<'static>>> {
        self.settle(depth);
        self.ready().inspect_err(|error| {
            self.db.count(error);
            self.account.fail(None);
        })?;
        for sql in statements {
            match sql.check() {
                Ok(Effect::None) => {}
                Ok(Effect::SessionState) if self.db.settings().pooler.is_some() => {
                    self.account.fail(None);
                    return Err(Error::refused(
                        "behind a transaction pooler a statement can't change the session's state: use SET LOCAL in a transaction",
                    ));
                }
                Ok(Effect::SessionState) => self.account.tainted = true,
                Err(error) => {
                    self.account.fail(None);
                    return Err(error);
                }
            }
        }
        let opening = self.account.opening(&self.db.settings().transaction_limits());
        Ok(opening)
    }

    /// Writes statements at once and awaits their answers in order. On a deadline the answers that came are given.
    pub(crate) async fn flight(&mut self, statements: &[&Sql<'_>]) -> Result<Flight> {
        let Some(lease) = &self.lease else {
            return Err(Error::new(Kind::Unusable, "the session is closed"));
        };
        // From here on, dropping this future leaves the count behind, and so ends the connection.
        self.account.unanswered += statements.len();
        self.account.mark_begun();
        let mut answers = Vec::with_capacity(statements.len());
        let client = lease.client();
        let around = match (self.account.blocks.is_empty(), statements.len()) {
            (false, _) => Around::Transaction,
            (true, 1) => Around::Nothing,
            (true, _) => Around::Others,
        };
        let keep = self.prepared().map(|prepared| Keep { prepared, around });
        let sent = Pipeline::new(statements.iter().map(|sql| perform(client, keep, sql)), &mut answers);
        let _ = self.db.flight(self.db.settings().statement_deadline(), sent).await;
        self.account.unanswered -= answers.len();
        Ok(Flight { answers })
    }

    /// What came of the blocks' beginnings, and so of the statements behind them.
    pub(crate) fn judge_opening(
        &mut self,
        opening: &[Sql<'_>],
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
                    let error = self.judge(error, Stake::Nothing);
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

    /// Enters an error into the account and the statistics, and makes it ours.
    pub(crate) fn judge(&mut self, error: tokio_postgres::Error, stake: Stake) -> Error {
        let mut refusal = None;
        match Verdict::of(&error) {
            Verdict::Definite => {
                self.account.tainted |= error.code().is_some_and(must_not_be_reused);
                self.account.fail(error.code());
            }
            Verdict::NotSent => self.account.fail(None),
            Verdict::Lost => {
                self.account.broken = true;
                refusal = self.refusal();
            }
        }
        let error = refusal.unwrap_or_else(|| Error::answer(error, stake));
        self.db.count(&error);
        error
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
        if let Some(client) = self.client() {
            for sql in undo.undo() {
                send_and_forget(client, sql.text());
            }
        }
    }

    /// Whether a statement can be sent at all.
    pub(crate) fn ready(&self) -> Result<()> {
        self.account.check()?;
        if self.client().is_none_or(Client::is_closed) {
            return Err(self.refusal().unwrap_or_else(|| Error::unavailable("the connection is closed")));
        }
        self.db.check_deadline()
    }

    /// Why the server never let this connection in, so that nothing ran on it.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.lease.as_ref().and_then(|lease| lease.refusal())
    }

    /// Where statements are kept prepared, if they are to be.
    fn prepared(&self) -> Option<&Prepared> {
        self.lease.as_ref().filter(|_| self.db.settings().prepares())?.prepared()
    }

    pub(crate) fn client(&self) -> Option<&Client> {
        self.lease.as_ref().map(|lease| lease.client())
    }
}

/// The answers that came in time, in the order of the statements.
pub(crate) struct Flight {
    pub(crate) answers: Vec<Answer>,
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

    pub(crate) fn of_all(answers: &[Answer], sent: usize) -> Behind {
        (0..sent).map(|position| Behind::of(answers.get(position))).max().unwrap_or(Behind::Failed)
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
        let Some(lease) = self.lease.take() else { return };
        if !self.account.is_clean() || lease.client().is_closed() {
            return;
        }
        if self.db.settings().recycle == Recycle::DiscardAll {
            lease.prepared().into_iter().for_each(Prepared::clear);
            send_and_forget(lease.client(), "DISCARD ALL");
        }
        lease.recycle();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("account", &self.account).finish_non_exhaustive()
    }
}
