//! The rows of one statement, one by one.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::join;
use tokio_postgres::{Client, RowStream};

use super::pipeline::{Pipeline, perform};
use super::{Behind, Session, stake};
use crate::driver::BoxFuture;
use crate::error::{Error, Kind, Result, Stake};
use crate::row::{FromRow, Shape};
use crate::sql::Sql;

/// The rows of a statement as they arrive; a [`Stream`] of `Result<T>`, and [`next`](Rows::next) without the trait.
///
/// Read it to its end: dropped before, it ends the session's connection.
pub struct Rows<'s, T> {
    session: &'s mut Session,
    rows: Pin<Box<RowStream>>,
    shape: Shape,
    stake: Stake,
    /// Runs while no row is there.
    deadline: Option<BoxFuture<()>>,
    over: bool,
    row: PhantomData<fn() -> T>,
}

impl<'s, T: FromRow> Rows<'s, T> {
    pub(crate) async fn open(session: &'s mut Session, depth: usize, sql: &Sql<'_>) -> Result<Rows<'s, T>> {
        let stake = stake(depth, sql);
        let rows = session
            .start(depth, sql, stake, |client, sql| {
                let params = sql.params().iter().map(|param| (param.value(), param.ty().clone()));
                Box::pin(client.query_typed_raw(sql.text(), params))
            })
            .await?;
        Ok(Rows {
            session,
            rows: Box::pin(rows),
            shape: Shape::default(),
            stake,
            deadline: None,
            over: false,
            row: PhantomData,
        })
    }

    /// The next row, or `None` after the last.
    ///
    /// # Errors
    ///
    /// As [`Session::fetch_all`]. After an error there is no further row.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing: the next call goes on. Dropping the stream ends the connection.
    pub async fn next(&mut self) -> Result<Option<T>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await.transpose()
    }

    fn poll_row(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        match self.rows.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(row))) => {
                self.deadline = None;
                Poll::Ready(Some(self.shape.read(row)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.session.account.unanswered -= 1;
                Poll::Ready(Some(Err(self.session.judge(error, self.stake))))
            }
            Poll::Ready(None) => {
                self.session.account.unanswered -= 1;
                Poll::Ready(None)
            }
            Poll::Pending => {
                let db = &self.session.db;
                let deadline =
                    self.deadline.get_or_insert_with(|| db.sleep_within(db.settings().statement_deadline()));
                match deadline.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(Error::deadline(self.stake)))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

/// A statement on its way, whose answer is read bit by bit.
pub(crate) type Sent<'c, T> = Pin<Box<dyn Future<Output = Result<T, tokio_postgres::Error>> + Send + 'c>>;

impl Session {
    /// Starts what is answered bit by bit, with the beginning of every block that has not begun, in one flight. It
    /// counts as unanswered until its last bit was read.
    pub(crate) async fn start<T, F>(
        &mut self,
        depth: usize,
        sql: &Sql<'_>,
        stake: Stake,
        start: F,
    ) -> Result<T>
    where
        F: for<'c> FnOnce(&'c Client, &'c Sql<'c>) -> Sent<'c, T>,
    {
        let checked = if sql.is_copy() { &[] } else { std::slice::from_ref(sql) };
        let opening = self.prepare(depth, checked)?;
        let Some(lease) = &self.lease else {
            return Err(Error::new(Kind::Unusable, "the session is closed"));
        };
        self.account.unanswered += opening.len() + 1;
        self.account.mark_begun();
        let client = lease.client();
        let mut opened = Vec::with_capacity(opening.len());
        let sent = join(
            Pipeline::new(opening.iter().map(|sql| perform(client, None, sql)), &mut opened),
            start(client, sql),
        );
        let answer = self.db.flight(self.db.settings().statement_deadline(), sent).await;
        self.account.unanswered -= opened.len();
        let answer = answer.map(|((), answer)| answer).ok();
        self.account.unanswered -= usize::from(answer.as_ref().is_some_and(Result::is_err));
        self.judge_opening(&opening, opened, Behind::of(answer.as_ref()))?;
        match answer {
            Some(answer) => answer.map_err(|error| self.judge(error, stake)),
            None => Err(Error::deadline(stake)),
        }
    }
}

impl<T: FromRow> Stream for Rows<'_, T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let row = this.poll_row(cx);
        this.over = matches!(row, Poll::Ready(None | Some(Err(_))));
        row
    }
}

impl<T> fmt::Debug for Rows<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("over", &self.over).finish_non_exhaustive()
    }
}
