//! COPY in and out, as streams of bytes (PostgreSQL documentation, "COPY").

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_postgres::{Client, CopyInSink, CopyOutStream};

use crate::deadline::Elapsed;
use crate::error::{Answer, Error, Kind, Result, Stake};
use crate::session::{Sent, Session};
use crate::sql::Sql;

/// Data on its way into a table: `COPY … FROM STDIN`. Send it in pieces of any size, then [`finish`](CopyIn::finish).
///
/// Dropped before it is finished, it ends the session's connection, and the transaction is rolled back.
#[must_use = "a COPY that is not finished is rolled back"]
pub struct CopyIn<'s> {
    session: &'s mut Session,
    sink: Pin<Box<CopyInSink<Bytes>>>,
}

impl<'s> CopyIn<'s> {
    pub(crate) async fn open(session: &'s mut Session, depth: usize, statement: &str) -> Result<CopyIn<'s>> {
        let sql = Sql::new(statement);
        let sink = session.start_copy(depth, &sql, |client, sql| Box::pin(client.copy_in(sql.text()))).await;
        // tokio-postgres gives up a refused COPY with a Sync no one waits for, and ends over its answer
        session.account.broken |= matches!(&sink, Err(error) if error.kind() == Kind::Server);
        let sink = sink?;
        Ok(CopyIn { session, sink: Box::pin(sink) })
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
        let db = &self.session.db;
        let sent = self.sink.send(data.into());
        let sent = db.within(db.settings().statement_deadline(), sent).await;
        self.session.copied(sent)
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
        let db = &self.session.db;
        let done = db.flight(db.settings().statement_deadline(), self.sink.as_mut().finish()).await;
        let rows = self.session.copied(done)?;
        self.session.account.unanswered -= 1;
        Ok(rows)
    }
}

/// Data on its way out of a table: `COPY … TO STDOUT`.
///
/// Read it to its end: dropped before, it ends the session's connection, and the transaction is rolled back.
pub struct CopyOut<'s> {
    session: &'s mut Session,
    stream: Pin<Box<CopyOutStream>>,
    over: bool,
}

impl<'s> CopyOut<'s> {
    pub(crate) async fn open(session: &'s mut Session, depth: usize, statement: &str) -> Result<CopyOut<'s>> {
        let sql = Sql::new(statement);
        let stream =
            session.start_copy(depth, &sql, |client, sql| Box::pin(client.copy_out(sql.text()))).await?;
        Ok(CopyOut { session, stream: Box::pin(stream), over: false })
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
        let db = &self.session.db;
        let piece = db.within(db.settings().statement_deadline(), self.stream.next()).await;
        let piece = piece.map(Option::transpose);
        self.over = !matches!(piece, Ok(Ok(Some(_))));
        if matches!(piece, Ok(Ok(None))) {
            self.session.account.unanswered -= 1;
        }
        self.session.copied(piece)
    }
}

impl Session {
    /// Starts a COPY. Until it is finished it counts as unanswered.
    async fn start_copy<T, F>(&mut self, depth: usize, sql: &Sql<'_>, start: F) -> Result<T>
    where
        F: for<'c> FnOnce(&'c Client, &'c Sql<'c>) -> Sent<'c, T>,
    {
        if !sql.is_copy() {
            self.account.fail(None);
            return Err(Error::refused(
                "only COPY can be copied: use execute or fetch_all for other statements",
            ));
        }
        self.start(depth, sql, Stake::Nothing, start).await
    }

    /// Enters what became of a piece of a COPY into the account.
    fn copied<T>(&mut self, piece: Result<Result<T, tokio_postgres::Error>, Elapsed>) -> Result<T> {
        match piece {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => {
                self.account.unanswered -= usize::from(Answer::of(&error) == Answer::Definite);
                Err(self.judge(error, Stake::Nothing))
            }
            Err(Elapsed) => Err(Error::deadline(Stake::Nothing)),
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
