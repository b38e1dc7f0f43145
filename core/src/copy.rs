//! COPY in and out, as streams of bytes (PostgreSQL documentation, "COPY").

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use pgspan_scan::Command;
use tokio_postgres::{Client, CopyInSink, CopyOutStream};

use crate::error::{Error, Kind, Result, Stake, Verdict};
use crate::scope::Elapsed;
use crate::session::{Limit, Session, Unfinished, ended};
use crate::sql::{Encoded, Sql};
use crate::stream::Sent;
use crate::transaction::Transaction;

/// Data on its way into a table: `COPY … FROM STDIN`. Send it in pieces of any size, then [`finish`](CopyIn::finish).
///
/// The server's `statement_timeout` is off meanwhile. Instead each piece has that time to be taken, or the
/// [`timeout`](Sql::timeout) of the statement.
///
/// Dropped before it is finished, it ends the session's connection, and the transaction is rolled back.
#[must_use = "a COPY that is not finished is rolled back"]
pub struct CopyIn<'s> {
    session: &'s mut Session,
    log: Unfinished,
    limit: Limit,
    sink: Pin<Box<CopyInSink<Bytes>>>,
}

impl<'s> CopyIn<'s> {
    pub(crate) async fn open(session: &'s mut Session, depth: usize, sql: &Sql<'_>) -> Result<CopyIn<'s>> {
        let (limit, log) = (session.copy_limit(sql), Unfinished::new(&session.scope, sql));
        let sink = session
            .start_copy(depth, sql, Command::CopyIn, limit, |client, encoded| {
                Box::pin(client.copy_in(encoded.text()))
            })
            .await;
        // tokio-postgres gives up a refused COPY with a Sync no one waits for, and ends over its answer
        session.account.broken |= matches!(&sink, Err(error) if error.kind() == Kind::Server);
        let sink = sink?;
        Ok(CopyIn { session, log, limit, sink: Box::pin(sink) })
    }

    /// Sends a piece of data, waiting while the server is behind.
    ///
    /// # Errors
    ///
    /// [`Kind::Server`](crate::Kind::Server) if PostgreSQL refused what came before; [`Unavailable`](crate::Kind::Unavailable) or [`Timeout`](crate::Kind::Timeout) if it does not
    /// take data any more.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: it is not known whether the piece was sent. Drop the whole `CopyIn`.
    pub async fn send(&mut self, data: impl Into<Bytes>) -> Result<()> {
        let scope = &self.session.scope;
        let sent = scope.within(self.limit.deadline(scope.settings()), self.sink.send(data.into())).await;
        self.session.copied(&mut self.log, sent)
    }

    /// Says that this was all, and gives the number of rows.
    ///
    /// # Errors
    ///
    /// [`Kind::Server`](crate::Kind::Server) if PostgreSQL refuses a row; the transaction has failed then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the connection and rolls the transaction back.
    pub async fn finish(mut self) -> Result<u64> {
        let scope = &self.session.scope;
        let deadline = self.limit.deadline(scope.settings());
        let (done, _) = scope.flight(scope.within(deadline, self.sink.as_mut().finish())).await;
        let rows = self.session.copied(&mut self.log, done)?;
        self.session.account.unanswered -= 1;
        self.log.rows = rows;
        self.log.end("ok");
        Ok(rows)
    }
}

/// Data on its way out of a table: `COPY … TO STDOUT`.
///
/// The server's `statement_timeout` is off meanwhile. Instead each piece has that time to come, or the [`timeout`](Sql::timeout) of
/// the statement.
///
/// Read it to its end: dropped before, it ends the session's connection, and the transaction is rolled back.
pub struct CopyOut<'s> {
    session: &'s mut Session,
    log: Unfinished,
    limit: Limit,
    stream: Pin<Box<CopyOutStream>>,
    over: bool,
}

impl<'s> CopyOut<'s> {
    pub(crate) async fn open(session: &'s mut Session, depth: usize, sql: &Sql<'_>) -> Result<CopyOut<'s>> {
        let (limit, log) = (session.copy_limit(sql), Unfinished::new(&session.scope, sql));
        let stream = session
            .start_copy(depth, sql, Command::CopyOut, limit, |client, encoded| {
                Box::pin(client.copy_out(encoded.text()))
            })
            .await?;
        Ok(CopyOut { session, log, limit, stream: Box::pin(stream), over: false })
    }

    /// The next piece of data, or `None` after the last.
    ///
    /// # Errors
    ///
    /// [`Kind::Server`](crate::Kind::Server), [`Unavailable`](crate::Kind::Unavailable) or [`Timeout`](crate::Kind::Timeout); there is no further piece then.
    ///
    /// # Cancel safety
    ///
    /// Dropping this future loses nothing: the next call goes on.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.over {
            return Ok(None);
        }
        let scope = &self.session.scope;
        let piece = scope.within(self.limit.deadline(scope.settings()), self.stream.next()).await;
        let piece = piece.map(Option::transpose);
        self.over = !matches!(piece, Ok(Ok(Some(_))));
        if matches!(piece, Ok(Ok(None))) {
            self.session.account.unanswered -= 1;
            self.log.end("ok");
        }
        self.session.copied(&mut self.log, piece)
    }
}

impl Transaction<'_> {
    /// Starts `COPY … FROM STDIN`: write the data, then [`finish`](CopyIn::finish).
    ///
    /// tokio-postgres can only prepare a COPY, which is one round trip more than another statement.
    ///
    /// # Errors
    ///
    /// As [`execute`](Transaction::execute).
    ///
    /// # Cancel safety
    ///
    /// As [`execute`](Transaction::execute).
    pub async fn copy_in<'q>(&mut self, statement: impl Into<Sql<'q>>) -> Result<CopyIn<'_>> {
        let (session, depth) = self.parts();
        CopyIn::open(session, depth, &statement.into()).await
    }

    /// Starts `COPY … TO STDOUT`, and gives its data as a stream.
    ///
    /// # Errors
    ///
    /// As [`execute`](Transaction::execute).
    ///
    /// # Cancel safety
    ///
    /// As [`execute`](Transaction::execute).
    pub async fn copy_out<'q>(&mut self, statement: impl Into<Sql<'q>>) -> Result<CopyOut<'_>> {
        let (session, depth) = self.parts();
        CopyOut::open(session, depth, &statement.into()).await
    }
}

impl Session {
    fn copy_limit(&self, sql: &Sql<'_>) -> Limit {
        sql.own_timeout().map_or(self.account.limit(), Limit::Of)
    }

    /// Starts a COPY. Until it is finished it counts as unanswered.
    async fn start_copy<T, F>(
        &mut self,
        depth: usize,
        sql: &Sql<'_>,
        command: Command,
        limit: Limit,
        start: F,
    ) -> Result<T>
    where
        F: for<'c> FnOnce(&'c Client, &'c Encoded<'c>) -> Sent<'c, T>,
    {
        let inspection = sql.inspect();
        let refused = match inspection.command {
            _ if sql.has_parameters() => Some("COPY takes no parameters: PostgreSQL has none there"),
            given if given == command => None,
            Command::CopyIn => Some("this is COPY … FROM STDIN, which sends data: use copy_in"),
            Command::CopyOut => Some("this is COPY … TO STDOUT, which gives data: use copy_out"),
            _ => Some(
                "only COPY … FROM STDIN and COPY … TO STDOUT can be copied: use execute or fetch_all for other statements",
            ),
        };
        if let Some(refused) = refused {
            self.account.fail(None);
            return Err(Error::refused(refused));
        }
        self.before_flight(depth, &[]).await?;
        self.admit_effect(depth, &inspection).inspect_err(|_| self.account.fail(None))?;
        self.start(depth, sql, Stake::Nothing, limit, start).await
    }

    /// Enters what became of a piece of a COPY into the account.
    fn copied<T>(
        &mut self,
        log: &mut Unfinished,
        piece: Result<Result<T, tokio_postgres::Error>, Elapsed>,
    ) -> Result<T> {
        match piece {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => {
                log.end(ended(&error));
                self.account.unanswered -= usize::from(Verdict::of(&error) == Verdict::Definite);
                Err(self.judge(error, Stake::Nothing, &Sql::new("")))
            }
            Err(_) => {
                log.end("no answer");
                Err(Error::deadline(Stake::Nothing))
            }
        }
    }
}

impl fmt::Debug for CopyIn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyIn").finish_non_exhaustive()
    }
}

impl fmt::Debug for CopyOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOut").field("over", &self.over).finish_non_exhaustive()
    }
}
