//! Several statements in one flight: all are written at once, and answered in order.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::TryStreamExt;
use futures_util::future::{MaybeDone, join, maybe_done};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, RowStream, Statement};

use crate::prepared::{Claim, Prepared, Way};
use crate::sql::{Encoded, Sql};

/// What PostgreSQL answered to a statement.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Those that were wanted.
    pub(crate) rows: Vec<Row>,
    /// How many came.
    pub(crate) came: usize,
    /// More come, which nobody waits for.
    pub(crate) is_cut: bool,
    pub(crate) affected: u64,
}

/// Which rows are kept. The others are read and dropped, so that they need no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Nothing,
    /// The first. Others are read to their end, for the connection's sake, unless there are far too many.
    One,
    All,
}

impl Want {
    fn keeps(self, kept: usize) -> bool {
        match self {
            Want::Nothing => false,
            Want::One => kept == 0,
            Want::All => true,
        }
    }
}

pub(crate) type Answer = Result<Outcome, tokio_postgres::Error>;

/// Where a statement may be kept prepared.
#[derive(Clone, Copy)]
pub(crate) struct Keep<'c> {
    pub(crate) prepared: &'c Prepared,
    pub(crate) around: Around,
    /// Whether it may be prepared and sent in one flight.
    pub(crate) pipelines: bool,
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
pub(crate) async fn perform(
    client: &Client,
    keep: Option<Keep<'_>>,
    encoded: &Encoded<'_>,
    want: Want,
) -> Answer {
    let (Some(keep), Some(text)) = (keep, encoded.sql().fixed_text()) else {
        return typed(client, encoded, want).await;
    };
    match keep.prepared.way(text, encoded.types()) {
        Way::Typed => typed(client, encoded, want).await,
        Way::First(claim) => Box::pin(first(client, claim, keep, encoded, want)).await, // rare, and large
        Way::Prepared(statement) => match bound(client, &statement, encoded, want).await {
            Err(error) if is_stale(&error) && !encoded.sql().commits_by_itself() => {
                keep.prepared.forget(text);
                match keep.around {
                    Around::Nothing => Box::pin(typed(client, encoded, want)).await,
                    Around::Others | Around::Transaction => Err(error),
                }
            }
            answer => answer,
        },
    }
}

/// Prepares a statement ahead of sending it whole. In this order, since what fails in a transaction fails all behind it: so
/// the statement itself is answered with an error if its preparation aborted the transaction.
async fn first(
    client: &Client,
    claim: Claim<'_>,
    keep: Keep<'_>,
    encoded: &Encoded<'_>,
    want: Want,
) -> Answer {
    let types: Vec<Type> = encoded.types().cloned().collect();
    let preparing = client.prepare_typed(encoded.text(), &types);
    if !keep.pipelines && keep.around != Around::Transaction {
        claim.enter(preparing.await);
        return typed(client, encoded, want).await;
    }
    let (statement, answer) = join(preparing, typed(client, encoded, want)).await;
    let aborted = |error: &tokio_postgres::Error| error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
    match (statement, answer) {
        (Err(cause), Err(error)) if aborted(&error) && !aborted(&cause) => {
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
/// columns than before. Nothing of it ran: it is found before that, in these functions of the server's. Where the error has a context
/// they were called inside the statement, by a function that ran.
fn is_stale(error: &tokio_postgres::Error) -> bool {
    let Some(error) = error.as_db_error().filter(|error| error.where_().is_none()) else { return false };
    matches!(
        (Some(error.code()), error.routine()),
        (Some(&SqlState::INVALID_SQL_STATEMENT_NAME), Some("FetchPreparedStatement"))
            | (Some(&SqlState::FEATURE_NOT_SUPPORTED), Some("RevalidateCachedQuery"))
    )
}

async fn typed(client: &Client, encoded: &Encoded<'_>, want: Want) -> Answer {
    collect(stream(client, encoded).await?, want).await
}

/// Sends a statement whole with its first poll; gives its rows as they come.
pub(crate) async fn stream(
    client: &Client,
    encoded: &Encoded<'_>,
) -> Result<RowStream, tokio_postgres::Error> {
    client.query_typed_raw(encoded.text(), encoded.typed_values()).await
}

async fn bound(client: &Client, statement: &Statement, encoded: &Encoded<'_>, want: Want) -> Answer {
    collect(client.query_raw(statement, encoded.values()).await?, want).await
}

async fn collect(stream: RowStream, want: Want) -> Answer {
    let mut stream = std::pin::pin!(stream);
    let (mut rows, mut came, mut is_cut) = (Vec::new(), 0, false);
    while let Some(row) = stream.try_next().await? {
        came += 1;
        if want.keeps(rows.len()) {
            rows.push(row);
        }
        is_cut = want == Want::One && came > FAR_TOO_MANY;
        if is_cut {
            break;
        }
    }
    Ok(Outcome { rows, came, is_cut, affected: stream.rows_affected().unwrap_or(0) })
}

/// So many rows where one was expected are read to their end within a moment. More could take as long as the statement may.
const FAR_TOO_MANY: usize = 1_000;

/// Sends a statement of ours in one poll and does not wait for its answer, which the connection reads and drops.
pub(crate) fn send_and_forget(client: &Client, sql: &Sql<'_>) {
    let Ok(encoded) = Encoded::of(sql) else { return };
    let mut sent = std::pin::pin!(typed(client, &encoded, Want::Nothing));
    let _ = sent.as_mut().poll(&mut Context::from_waker(futures_util::task::noop_waker_ref()));
}

/// Futures that are each sent by their first poll and answered in order.
pub(crate) struct Pipeline<F: Future> {
    waiting: VecDeque<Pin<Box<MaybeDone<F>>>>,
    sent: bool,
}

impl<F: Future> Pipeline<F> {
    pub(crate) fn new(futures: impl Iterator<Item = F>) -> Self {
        Pipeline { waiting: futures.map(maybe_done).map(Box::pin).collect(), sent: false }
    }

    /// The next answer; `None` behind the last. The first poll of the first call sends all.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the next call goes on.
    pub(crate) async fn next(&mut self) -> Option<F::Output> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        if !self.sent {
            self.sent = true;
            for future in &mut self.waiting {
                let _ = future.as_mut().poll(cx); // writes it; a MaybeDone keeps what is ready already
            }
        }
        let Some(future) = self.waiting.front_mut() else { return Poll::Ready(None) };
        if future.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let answer = future.as_mut().take_output();
        self.waiting.pop_front();
        Poll::Ready(answer)
    }
}
