//! Several statements in one round trip, alone or as one transaction.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::retry::Retry;
use crate::row::FromRow;
use crate::session::pipeline::Outcome;
use crate::session::{Failed, Session, Want, one, optional};
use crate::sql::Sql;
use crate::transaction::Transaction;
use crate::transaction_options::TransactionOptions;

/// Statements that are written at once and answered in one round trip. Await it, or make it [`atomic`](Batch::atomic).
///
/// Without `atomic` each statement of a session's batch is in autocommit: those behind a failed one run all the same.
/// In a transaction's batch they fail with it.
///
/// # Errors
///
/// The first statement that failed decides; [`Error::statement_index`] says which it was, counted from 0, and no result of a
/// later one is given. An unknown outcome decides before other failures. Where another statement of the batch succeeded and is
/// stored by itself, the error is not [retryable](Error::is_retryable), since the batch would store that again. Otherwise as
/// [`Session::execute`]; nothing is sent if any statement can't be encoded.
///
/// An atomic batch is retried by itself, at most twice and with jitter, after a serialization failure or a deadlock. A single statement
/// that commits by itself (CALL, DO, REINDEX …) is not: a part of it may be stored. The COMMIT is in the same flight, so a lost
/// connection means [`Kind::OutcomeUnknown`](crate::Kind::OutcomeUnknown).
///
/// # Time
///
/// Each statement has its own time: the server counts it for each, and so do we, from the answer before. So a batch of a hundred
/// statements may take a hundred times [`Settings::statement_timeout`](crate::Settings::statement_timeout). What bounds the whole is
/// [`Database::with_deadline`](crate::Database::with_deadline). [`timeout`](Batch::timeout) gives its statements another time.
///
/// # Behind a transaction pooler
///
/// Without [`Settings::pooler_pipelines`](crate::Settings::pooler_pipelines) the statements of a batch in autocommit are sent one by
/// one, each in a round trip of its own. An atomic batch needs one round trip everywhere.
///
/// # Cancel safety
///
/// Dropping the future before its first poll sends nothing. After that the connection is closed; an atomic batch is
/// stored whole or not at all.
#[must_use = "a batch does nothing until it is awaited"]
pub struct Batch<'s, 'q> {
    session: &'s mut Session,
    depth: usize,
    statements: Vec<Sql<'q>>,
    atomic: bool,
    timeout: Option<Duration>,
}

impl<'s, 'q> Batch<'s, 'q> {
    pub(crate) fn new(session: &'s mut Session, depth: usize, statements: Vec<Sql<'q>>) -> Batch<'s, 'q> {
        Batch { session, depth, statements, atomic: false, timeout: None }
    }

    /// Makes the batch one transaction: BEGIN, the statements and COMMIT in one round trip. A single statement is one by itself
    /// and is sent alone, unless a pooler stands in between, where the limits travel with it. A CALL that commits inside is not
    /// atomic then. In a transaction's batch it is one already, and nothing changes.
    pub fn atomic(mut self) -> Batch<'s, 'q> {
        self.atomic = self.depth == 0;
        self
    }

    /// Says how long each statement may take that has no [`timeout`](Sql::timeout) of its own.
    pub fn timeout(mut self, limit: Duration) -> Batch<'s, 'q> {
        self.timeout = Some(limit);
        self
    }

    async fn run(self) -> Result<Results> {
        let outcomes = match self.atomic {
            true => self.run_atomic().await?,
            false if self.goes_one_by_one() => self.run_one_by_one().await?,
            false => {
                let Batch { session, depth, statements, timeout, .. } = self;
                let outcomes = session.statements(depth, &statements, timeout, Want::All).await;
                outcomes.map_err(|error| if statements.len() == 1 { error.at(0) } else { error })?
            }
        };
        Ok(Results(outcomes.into_iter().map(Some).collect()))
    }

    /// Whether a statement may be written only when the one ahead of it is answered.
    fn goes_one_by_one(&self) -> bool {
        self.depth == 0 && self.statements.len() > 1 && !self.session.scope.settings().pipelines()
    }

    /// Those behind a failed one run all the same, as they do in one flight.
    async fn run_one_by_one(self) -> Result<Vec<Outcome>> {
        self.session.check_all(0, &self.statements).await?;
        let (mut outcomes, mut failed) = (Vec::new(), Failed::default());
        for (position, sql) in self.statements.iter().enumerate() {
            let sent = self.session.statements(0, std::slice::from_ref(sql), self.timeout, Want::All).await;
            match sent {
                Ok(outcome) => {
                    outcomes.extend(outcome);
                    failed.is_stored |= !sql.is_reading();
                }
                Err(error) => failed.enter(error.at(position)),
            }
        }
        failed.result(outcomes)
    }

    async fn run_atomic(self) -> Result<Vec<Outcome>> {
        let Batch { session, statements, timeout, .. } = self;
        let has_pooler = session.scope.settings().pooler.is_some();
        // a statement by itself is a transaction; behind a pooler the limits must travel with it
        let alone = statements.is_empty() || statements.len() == 1 && !has_pooler;
        if statements.len() == 1 && has_pooler {
            // to its caller it is in no transaction
            session.before_flight(0, &statements).await.map_err(|error| error.at(0))?;
        }
        let mut retry = Retry::new(session.scope.clone());
        loop {
            let sent = match alone {
                true => {
                    session.statements(0, &statements, timeout, Want::All).await.map_err(|error| error.at(0))
                }
                false => {
                    let options = TransactionOptions::new();
                    let options = timeout.map_or(options.clone(), |limit| options.timeout(limit));
                    session.atomic(&statements, options, Want::All).await
                }
            };
            match sent {
                // not on a connection that was lost behind the error
                Err(error) if session.ready().is_ok() && retry.again(&error).await => {}
                done => return done,
            }
        }
    }
}

impl Session {
    /// Any number of statements in one round trip, each in autocommit; [`Batch::atomic`] makes them one transaction.
    pub fn batch<'s, 'q, I>(&'s mut self, statements: I) -> Batch<'s, 'q>
    where
        I: IntoIterator,
        I::Item: Into<Sql<'q>>,
    {
        self.settle(0);
        Batch::new(self, 0, statements.into_iter().map(Into::into).collect())
    }
}

impl Transaction<'_> {
    /// Any number of statements in one round trip, inside this transaction.
    pub fn batch<'t, 'q, I>(&'t mut self, statements: I) -> Batch<'t, 'q>
    where
        I: IntoIterator,
        I::Item: Into<Sql<'q>>,
    {
        let (session, depth) = self.parts();
        session.settle(depth);
        Batch::new(session, depth, statements.into_iter().map(Into::into).collect())
    }

    /// Sends the last statements and COMMIT in one flight, which saves the round trip of [`commit`](Transaction::commit). Use it where
    /// nothing depends on their results: an audit row, the answer that is kept for a repeated request.
    ///
    /// If one of the statements fails, PostgreSQL answers the COMMIT behind it with ROLLBACK. So it is as honest as two flights are.
    ///
    /// For a savepoint, and in a [dry run](crate::TransactionOptions::force_rollback), the statements and the end are two flights.
    ///
    /// # Errors
    ///
    /// If a statement fails or can't be sent, its error, and nothing of the transaction is stored. [`Error::statement_index`] says which of
    /// several it was, counted from 0.
    /// Otherwise as [`commit`](Transaction::commit): with a lost connection it is
    /// [`Kind::OutcomeUnknown`](crate::Kind::OutcomeUnknown), since COMMIT was written.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its first poll, it rolls back. After that it is not known whether COMMIT was carried out; the connection is closed.
    pub async fn commit_with<'q, I>(mut self, statements: I) -> Result<Results>
    where
        I: IntoIterator,
        I::Item: Into<Sql<'q>>,
    {
        let statements: Vec<Sql<'q>> = statements.into_iter().map(Into::into).collect();
        let results = |outcomes: Vec<Outcome>| Results(outcomes.into_iter().map(Some).collect());
        let stake = self.stake_of_last_flight().filter(|_| !statements.is_empty());
        let has_failed = self.has_failed();
        let (session, depth) = self.parts();
        if let Some(stake) = stake {
            return session.send_and_commit(&statements, stake, Want::All).await.map(results);
        }
        let outcomes = match has_failed {
            true => Vec::new(), // nothing is sent, and the commit says why
            false => session.statements(depth, &statements, None, Want::All).await?,
        };
        self.commit().await?;
        Ok(results(outcomes))
    }
}

impl<'s, 'q: 's> IntoFuture for Batch<'s, 'q> {
    type Output = Result<Results>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Results>> + Send + 's>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// What the statements of a batch gave, each by its position, counted from 0.
pub struct Results(Vec<Option<Outcome>>);

impl Results {
    /// How many statements there were.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there was no statement.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many rows a statement inserted, updated, deleted or selected.
    ///
    /// # Errors
    ///
    /// [`Kind::Refused`](crate::Kind::Refused) if there is no such statement, or its rows were taken already.
    pub fn affected(&self, statement: usize) -> Result<u64> {
        match self.0.get(statement) {
            Some(Some(outcome)) => Ok(outcome.affected),
            _ => Err(missing(statement)),
        }
    }

    /// Takes the one row a statement must have given.
    ///
    /// # Errors
    ///
    /// As [`Session::fetch_one`], and [`Kind::Refused`](crate::Kind::Refused) if there is no such statement, or its rows were taken already.
    pub fn fetch_one<T: FromRow>(&mut self, statement: usize) -> Result<T> {
        one(self.take(statement)?).map_err(|error| error.at(statement))
    }

    /// Takes the row of a statement, or `None` where it gave none.
    ///
    /// # Errors
    ///
    /// As [`Session::fetch_optional`], and [`Kind::Refused`](crate::Kind::Refused) as in [`fetch_one`](Results::fetch_one).
    pub fn fetch_optional<T: FromRow>(&mut self, statement: usize) -> Result<Option<T>> {
        optional(self.take(statement)?).map_err(|error| error.at(statement))
    }

    /// Takes all rows of a statement.
    ///
    /// # Errors
    ///
    /// As [`Session::fetch_all`], and [`Kind::Refused`](crate::Kind::Refused) as in [`fetch_one`](Results::fetch_one).
    pub fn fetch_all<T: FromRow>(&mut self, statement: usize) -> Result<Vec<T>> {
        crate::row::from_rows(self.take(statement)?.rows).map_err(|error| error.at(statement))
    }

    fn take(&mut self, statement: usize) -> Result<Outcome> {
        self.0.get_mut(statement).and_then(Option::take).ok_or_else(|| missing(statement))
    }
}

fn missing(statement: usize) -> Error {
    Error::refused("the batch has no such statement, or its rows were taken already").at(statement)
}

impl fmt::Debug for Batch<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("statements", &self.statements).field("atomic", &self.atomic).finish()
    }
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").field("statements", &self.0.len()).finish()
    }
}
