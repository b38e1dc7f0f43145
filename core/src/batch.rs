//! Several statements in one round trip, alone or as one transaction.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;

use bytes::BytesMut;

use crate::error::{Answer as Verdict, Error, Kind, Result, Stake};
use crate::retry::Retry;
use crate::row::FromRow;
use crate::session::pipeline::Outcome;
use crate::session::{Behind, Block, Session, Start, one, optional, stake};
use crate::sql::Sql;
use crate::transaction::TransactionOptions;

/// Statements that are written at once and answered in one round trip. Await it, or make it [`atomic`](Batch::atomic).
///
/// Without `atomic` each statement of a session's batch is in autocommit: those behind a failed one run all the same.
/// In a transaction's batch they fail with it.
///
/// # Errors
///
/// The first statement that failed decides; [`Error::statement`] says which it was, counted from 0, and no result of a
/// later one is given. Otherwise as [`Session::execute`]; nothing is sent if a parameter of any statement does not fit.
///
/// An atomic batch is retried by itself, at most twice and with jitter, after a serialization failure or a deadlock. Its
/// COMMIT is in the same flight, so a lost connection means [`Kind::OutcomeUnknown`].
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
}

impl<'s, 'q> Batch<'s, 'q> {
    pub(crate) fn new(session: &'s mut Session, depth: usize, statements: Vec<Sql<'q>>) -> Batch<'s, 'q> {
        Batch { session, depth, statements, atomic: false }
    }

    /// Makes the batch one transaction: BEGIN, the statements and COMMIT in one round trip. A single statement is one by itself
    /// and is sent alone, unless a pooler stands in between, where the limits travel with it; a CALL that commits inside is not
    /// atomic then. In a transaction's batch it is one already, and nothing changes.
    pub fn atomic(mut self) -> Batch<'s, 'q> {
        self.atomic = self.depth == 0;
        self
    }

    async fn run(self) -> Result<Results> {
        for (position, sql) in self.statements.iter().enumerate() {
            if let Err(error) = encode(sql) {
                self.session.account.fail(None);
                return Err(error.at(position));
            }
        }
        if !self.atomic {
            return self.session.pipelined(self.depth, &self.statements).await;
        }
        let mut retry = Retry::new(self.session.db.clone());
        loop {
            match self.session.one_flight(&self.statements).await {
                // not on a connection that was lost behind the error
                Err(error) if self.session.ready().is_ok() && retry.again(&error).await => {}
                done => return done,
            }
        }
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
    /// [`Kind::Refused`] if there is no such statement, or its rows were taken already.
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
    /// As [`Session::fetch_one`], and [`Kind::Refused`] if there is no such statement, or its rows were taken already.
    pub fn fetch_one<T: FromRow>(&mut self, statement: usize) -> Result<T> {
        one(self.take(statement)?).map_err(|error| error.at(statement))
    }

    /// Takes the row of a statement, or `None` where it gave none.
    ///
    /// # Errors
    ///
    /// As [`Session::fetch_optional`], and [`Kind::Refused`] as in [`fetch_one`](Results::fetch_one).
    pub fn fetch_optional<T: FromRow>(&mut self, statement: usize) -> Result<Option<T>> {
        optional(self.take(statement)?).map_err(|error| error.at(statement))
    }

    /// Takes all rows of a statement.
    ///
    /// # Errors
    ///
    /// As [`Session::fetch_all`], and [`Kind::Refused`] as in [`fetch_one`](Results::fetch_one).
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

/// Whether every parameter can be written. In a flight of several statements this must be known before the first is
/// sent, since the others, and a COMMIT, would not wait.
fn encode(sql: &Sql<'_>) -> Result<()> {
    let mut scratch = BytesMut::new();
    for (position, param) in sql.params().iter().enumerate() {
        scratch.clear();
        param.value().to_sql_checked(param.ty(), &mut scratch).map_err(|source| {
            Error::new(Kind::Parameter, format!("error serializing parameter {position}")).with_source(source)
        })?;
    }
    Ok(())
}

impl Session {
    /// Statements in one flight, in the transaction at `depth` or each in autocommit.
    async fn pipelined(&mut self, depth: usize, statements: &[Sql<'_>]) -> Result<Results> {
        if statements.is_empty() {
            return Ok(Results(Vec::new()));
        }
        let opening = self.prepare(depth, statements)?;
        let sent: Vec<&Sql<'_>> = opening.iter().chain(statements).collect();
        let mut answers = self.flight(&sent).await?.answers;
        let rest = answers.split_off(opening.len().min(answers.len()));
        self.judge_opening(&opening, answers, Behind::of_all(&rest, statements.len()))?;
        let mut outcomes = Vec::with_capacity(statements.len());
        let mut failure = None;
        // every answer goes into the account, the first failure is the batch's
        for (position, answer) in rest.into_iter().enumerate() {
            let stake = statements.get(position).map_or(Stake::Nothing, |sql| stake(depth, sql));
            match answer {
                Ok(outcome) => outcomes.push(Some(outcome)),
                Err(error) => {
                    let error = self.judge(error, stake).at(position);
                    failure.get_or_insert(error);
                    outcomes.push(None);
                }
            }
        }
        match failure {
            Some(error) => Err(error),
            None if outcomes.len() < statements.len() => {
                let stakes = statements.iter().skip(outcomes.len()).map(|sql| stake(depth, sql));
                let stake = if stakes.into_iter().any(|stake| stake == Stake::Commit) {
                    Stake::Commit
                } else {
                    Stake::Nothing
                };
                Err(Error::deadline(stake).at(outcomes.len()))
            }
            None => Ok(Results(outcomes)),
        }
    }

    /// BEGIN, the statements and COMMIT in one flight; a single statement alone, unless limits must travel with it.
    async fn one_flight(&mut self, statements: &[Sql<'_>]) -> Result<Results> {
        self.settle(0);
        let no_limits = self.db.settings().transaction_limits().is_empty();
        if statements.is_empty() || statements.len() == 1 && no_limits {
            return self.pipelined(0, statements).await; // a statement by itself is a transaction
        }
        self.account.blocks.push(Block::new(Start::Begin(TransactionOptions::new())));
        let opening = match self.prepare(1, statements) {
            Ok(opening) => opening,
            Err(error) => {
                self.account.blocks.clear();
                return Err(error);
            }
        };
        let commit = Sql::new("COMMIT");
        let sent: Vec<&Sql<'_>> = opening.iter().chain(statements).chain([&commit]).collect();
        let stake = match statements.iter().all(Sql::is_reading) {
            true => Stake::Nothing,
            false => Stake::Commit,
        };
        let mut answers = self.flight(&sent).await?.answers;
        let committed = match answers.len() == sent.len() {
            true => answers.pop(),
            false => None,
        };
        let rest = answers.split_off(opening.len().min(answers.len()));
        let behind = Behind::of_all(&rest, statements.len());
        // The middle decides: a COMMIT behind a failed statement is answered without an error.
        let mut outcomes = Vec::with_capacity(statements.len());
        let mut failure: Option<(usize, tokio_postgres::Error)> = None;
        for (position, answer) in rest.into_iter().enumerate() {
            match answer {
                Ok(outcome) => outcomes.push(Some(outcome)),
                Err(error) => {
                    self.account.broken |= Verdict::of(&error) == Verdict::Lost;
                    failure.get_or_insert((position, error));
                }
            }
        }
        if let Some(Err(error)) = &committed {
            self.account.broken |= Verdict::of(error) == Verdict::Lost;
        }
        let opened = self.judge_opening(&opening, answers, behind);
        let result = match (opened, failure, committed) {
            (Err(error), _, _) if error.is_outcome_unknown() => Err(error),
            // lost before BEGIN was answered: all that was written behind it may have been carried out
            (Err(_), _, _) if self.account.broken && self.refusal().is_none() => {
                Err(Error::new(stake_kind(stake), "the connection was lost"))
            }
            (Err(error), _, _) => Err(error),
            (Ok(()), Some((position, error)), _) => {
                let definite = Verdict::of(&error) == Verdict::Definite;
                Err(self.judge(error, if definite { Stake::Nothing } else { stake }).at(position))
            }
            (Ok(()), None, Some(Err(error))) => Err(self.judge(error, stake)),
            (Ok(()), None, None) => Err(Error::deadline(stake)),
            (Ok(()), None, Some(Ok(_))) => Ok(Results(outcomes)),
        };
        // COMMIT was answered, so there is no block any more; if not, the connection is closed anyway
        self.account.blocks.clear();
        result
    }
}

fn stake_kind(stake: Stake) -> Kind {
    match stake {
        Stake::Commit => Kind::OutcomeUnknown,
        Stake::Nothing => Kind::Unavailable,
    }
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
