//! Several statements in one flight: all are written at once, and answered in order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::TryStreamExt;
use futures_util::future::{MaybeDone, maybe_done};
use tokio_postgres::{Client, Row};

use crate::sql::Sql;

/// What PostgreSQL answered to a statement.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    pub(crate) affected: u64,
}

pub(crate) type Answer = Result<Outcome, tokio_postgres::Error>;

/// Sends a statement with its first poll, and reads all of its answer.
///
/// The unnamed statement with known parameter types: one round trip, nothing left behind on the server.
pub(crate) async fn perform(client: &Client, sql: &Sql<'_>) -> Answer {
    let params = sql.params().iter().map(|param| (param.value(), param.ty().clone()));
    let mut stream = std::pin::pin!(client.query_typed_raw(sql.text(), params).await?);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(row);
    }
    Ok(Outcome { rows, affected: stream.rows_affected().unwrap_or(0) })
}

/// Sends a statement in one poll and does not wait for its answer, which the connection reads and drops.
pub(crate) fn send_and_forget(client: &Client, text: &str) {
    let sql = Sql::new(text);
    let mut sent = std::pin::pin!(perform(client, &sql));
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
