//! Several statements in one flight: all are written at once, and answered in order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::TryStreamExt;
use futures_util::future::{MaybeDone, join, maybe_done};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, RowStream};

use crate::param::Bound;
use crate::prepared::{Claim, Prepared, Way};
use crate::sql::Sql;

/// What PostgreSQL answered to a statement.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    pub(crate) affected: u64,
}

pub(crate) type Answer = Result<Outcome, tokio_postgres::Error>;

/// Where a statement may be kept prepared.
#[derive(Clone, Copy)]
pub(crate) struct Keep<'c> {
    pub(crate) prepared: &'c Prepared,
    pub(crate) around: Around,
}

/// What a statement is sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Around {
    /// A flight of its own, in autocommit: if it can't have run it may be sent again.
    Nothing,
    /// A flight with others, each in autocommit.
    Others,
    Transaction,
}

/// Sends a statement with its first poll, and reads all of its answer.
///
/// The unnamed statement with known parameter types: one round trip, nothing left behind on the server. Or a prepared one,
/// where there is a place to keep it: prepared in the same flight the first time, and bound from then on.
pub(crate) async fn perform(client: &Client, keep: Option<Keep<'_>>, sql: &Sql<'_>) -> Answer {
    let Some(Keep { prepared, around }) = keep else { return typed(client, sql).await };
    match prepared.way(sql) {
        Way::Typed => typed(client, sql).await,
        Way::First(claim) => Box::pin(first(client, claim, around, sql)).await, // rare, and large
        Way::Prepared(statement) => {
            let params = sql.params().iter().map(Bound::value);
            let answer = match client.query_raw(&statement, params).await {
                Ok(stream) => collect(stream).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if is_stale(&error) => {
                    prepared.forget(sql);
                    match around {
                        Around::Nothing => Box::pin(typed(client, sql)).await,
                        Around::Others | Around::Transaction => Err(error),
                    }
                }
                answer => answer,
            }
        }
    }
}

/// Prepares a statement ahead of sending it whole. In this order, since what fails in a transaction fails all behind it: so
/// the statement itself is answered with an error if its preparation aborted the transaction.
async fn first(client: &Client, claim: Claim<'_>, around: Around, sql: &Sql<'_>) -> Answer {
    let types: Vec<Type> = sql.params().iter().map(|param| param.ty().clone()).collect();
    let (statement, answer) = join(client.prepare_typed(sql.text(), &types), typed(client, sql)).await;
    let aborted = |error: &tokio_postgres::Error| error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
    match (statement, answer) {
        (Err(cause), Err(error)) if aborted(&error) && !aborted(&cause) => {
            claim.give_up();
            Err(cause)
        }
        // what fails behind the statement is a look-up of a type of its result, and aborts the transaction all the same
        (Err(cause), Ok(_)) if around == Around::Transaction => {
            claim.give_up();
            Err(cause)
        }
        (statement, answer) => {
            claim.enter(statement);
            answer
        }
    }
}

/// Whether a prepared statement can't be used any more: the server has none of that name, or what it gives would have other
/// columns than before. Nothing of it ran: it is found before that, in these functions of the server's.
fn is_stale(error: &tokio_postgres::Error) -> bool {
    let routine = error.as_db_error().and_then(|error| error.routine());
    matches!(
        (error.code(), routine),
        (Some(&SqlState::INVALID_SQL_STATEMENT_NAME), Some("FetchPreparedStatement"))
            | (Some(&SqlState::FEATURE_NOT_SUPPORTED), Some("RevalidateCachedQuery"))
    )
}

async fn typed(client: &Client, sql: &Sql<'_>) -> Answer {
    let params = sql.params().iter().map(|param| (param.value(), param.ty().clone()));
    collect(client.query_typed_raw(sql.text(), params).await?).await
}

async fn collect(stream: RowStream) -> Answer {
    let mut stream = std::pin::pin!(stream);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(row);
    }
    Ok(Outcome { rows, affected: stream.rows_affected().unwrap_or(0) })
}

/// Sends a statement in one poll and does not wait for its answer, which the connection reads and drops.
pub(crate) fn send_and_forget(client: &Client, text: &str) {
    let sql = Sql::new(text);
    let mut sent = std::pin::pin!(typed(client, &sql));
    let _ = sent.as_mut().poll(&mut Context::from_waker(futures_util::task::noop_waker_ref()));
}

/// Drives futures that are each sent by their first poll and answered in order.
///
/// Dropped in the middle, or after a deadline, `answers` holds those that came.
pub(crate) struct Pipeline<'p, F: Future> {
    waiting: VecDeque<Pin<Box<MaybeDone<F>>>>,
    sent: bool,
    answers: &'p mut Vec<F::Output>,
}

impl<'p, F: Future> Pipeline<'p, F> {
    pub(crate) fn new(futures: impl Iterator<Item = F>, answers: &'p mut Vec<F::Output>) -> Self {
        Pipeline { waiting: futures.map(maybe_done).map(Box::pin).collect(), sent: false, answers }
    }
}

impl<F: Future> Unpin for Pipeline<'_, F> {}

impl<F: Future> Future for Pipeline<'_, F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if !this.sent {
            this.sent = true;
            for future in &mut this.waiting {
                let _ = future.as_mut().poll(cx); // writes it; a MaybeDone keeps what is ready already
            }
        }
        while let Some(future) = this.waiting.front_mut() {
            if future.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.answers.extend(future.as_mut().take_output());
            this.waiting.pop_front();
        }
        Poll::Ready(())
    }
}
