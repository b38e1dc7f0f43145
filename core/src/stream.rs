//! The rows of one statement, one by one.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::join;
use tokio_postgres::{Client, RowStream};

use crate::error::{Error, Kind, Result, Stake};
use crate::port::BoxFuture;
use crate::row::{FromRow, Shape};
use crate::session::pipeline::{Pipeline, perform, stream};
use crate::session::{
    Behind, Limit, Line, Role, Session, Unfinished, Want, ended, limit_set_by, log_start, stake,
};
use crate::sql::{Encoded, Sql};
use crate::transaction::Transaction;

/// The rows of a statement as they arrive; a [`Stream`] of `Result<T>`, and [`next`](Rows::next) without the trait.
///
/// Read it to its end: dropped before, it ends the session's connection.
pub struct Rows<'s, T> {
    session: &'s mut Session,
    rows: Pin<Box<RowStream>>,
    shape: Shape,
    stake: Stake,
    /// How long no row may come.
    limit: Duration,
    /// Runs while no row is there.
    deadline: Option<BoxFuture<()>>,
    over: bool,
    log: Unfinished,
    row: PhantomData<fn() -> T>,
}

impl<'s, T: FromRow> Rows<'s, T> {
    pub(crate) async fn open(session: &'s mut Session, depth: usize, sql: &Sql<'_>) -> Result<Rows<'s, T>> {
        let stake = stake(depth, sql);
        session.before_flight(depth, std::slice::from_ref(sql)).await?;
        let log = Unfinished::new(&session.scope, sql);
        let limit = sql.own_timeout().map_or(session.account.limit(), Limit::Of);
        let rows = session
            .start(depth, sql, stake, limit, |client, encoded| Box::pin(stream(client, encoded)))
            .await?;
        let limit = limit.deadline(session.scope.settings());
        Ok(Rows {
            session,
            rows: Box::pin(rows),
            shape: Shape::default(),
            stake,
            limit,
            deadline: None,
            over: false,
            log,
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
                self.log.rows += 1;
                Poll::Ready(Some(self.shape.read(row)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.session.account.unanswered -= 1;
                self.log.end(ended(&error));
                Poll::Ready(Some(Err(self.session.judge(error, self.stake, &Sql::new("")))))
            }
            Poll::Ready(None) => {
                self.session.account.unanswered -= 1;
                self.log.end("ok");
                Poll::Ready(None)
            }
            Poll::Pending => {
                let scope = &self.session.scope;
                let deadline = self.deadline.get_or_insert_with(|| scope.sleep_within(self.limit));
                match deadline.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        self.log.end("no answer");
                        Poll::Ready(Some(Err(Error::deadline(self.stake))))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

/// A statement on its way, whose answer is read bit by bit.
pub(crate) type Sent<'c, T> = Pin<Box<dyn Future<Output = Result<T, tokio_postgres::Error>> + Send + 'c>>;

impl Session {
    /// Sends a statement and reads its rows one by one, in constant memory.
    ///
    /// The rows come as fast as they are read: a slow reader holds the connection. The server's `statement_timeout` is off
    /// meanwhile. Instead each row has that time to come, counted while one is waited for. Where the reader may be slow use keyset
    /// pages, or a cursor in a transaction.
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

    /// Starts what is answered bit by bit, with the beginning of every block that has not begun, in one flight. It
    /// counts as unanswered until its last bit was read. `limit` is how long each bit may take; for the server, which counts the
    /// whole, there is none meanwhile.
    pub(crate) async fn start<T, F>(
        &mut self,
        depth: usize,
        sql: &Sql<'_>,
        stake: Stake,
        limit: Limit,
        start: F,
    ) -> Result<T>
    where
        F: for<'c> FnOnce(&'c Client, &'c Encoded<'c>) -> Sent<'c, T>,
    {
        let encoded = Encoded::of(sql).inspect_err(|_| self.account.fail(None))?;
        let (is_local, usual) = (depth > 0, self.usual_limit());
        let mut lines = self.opening_lines();
        // behind a pooler the next statement may meet another server
        let lifts = is_local || self.scope.settings().pooler.is_none();
        if lifts {
            lines.push(Line::set_limit(Limit::Unlimited, is_local, Role::SetLimit, usual));
        }
        let Some(lease) = &self.lease else {
            return Err(Error::new(Kind::Unusable, "the session is closed"));
        };
        let ahead = lines.iter().map(|line| Encoded::of(line.sql())).collect::<Result<Vec<_>>>()?;
        self.account.unanswered += lines.len() + 1;
        self.account.mark_begun();
        let client = lease.client();
        let mut pipeline = Pipeline::new(ahead.iter().map(|ours| perform(client, None, ours, Want::Nothing)));
        let mut answers = Vec::with_capacity(lines.len());
        let sent = async {
            let ahead = async {
                while let Some(answer) = pipeline.next().await {
                    answers.push(answer);
                }
            };
            join(ahead, start(client, &encoded)).await.1
        };
        let deadline = limit.deadline(self.scope.settings());
        let (answer, waited) = self.scope.flight(self.scope.within(deadline, sent)).await;
        drop(pipeline);
        self.account.unanswered -= answers.len();
        self.enter_limits(&lines, &answers);
        let answer = answer.ok();
        log_start(&self.scope, waited, sql, answer.as_ref());
        self.account.unanswered -= usize::from(answer.as_ref().is_some_and(Result::is_err));
        self.judge_ahead(depth, &lines, answers, Behind::of(answer.as_ref()))?;
        let answer = match answer {
            Some(answer) => answer.map_err(|error| self.judge(error, stake, sql)),
            None => Err(Error::deadline(stake)),
        };
        let set = limit_set_by(sql).filter(|_| answer.is_ok());
        if let Some((local, limit)) = set {
            self.account.set_limit(local, limit); // the caller's own, which nothing of ours may undo
        } else if lifts && !self.account.broken && (answer.is_ok() || !is_local) {
            // in a transaction that failed the rollback does it
            self.forget(&[usual.set(is_local)]);
            self.account.kept = if is_local { self.account.kept } else { usual };
        }
        answer
    }
}

impl Transaction<'_> {
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
        let (session, depth) = self.parts();
        Rows::open(session, depth, &sql).await
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
