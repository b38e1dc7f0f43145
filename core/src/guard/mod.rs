//! A guard over the bytes between a socket and tokio-postgres: an answer goes to its own statement, or the connection ends.
//!
//! tokio-postgres gives each caller the next answer there is. If a pooler or a proxy adds, drops or reorders a message, every later
//! caller gets the answer of the statement before its own. The guard follows the messages in both directions. It ends the connection
//! when an answer does not carry the mark of its request (see [`mark`]), or does not have the form that it must have: the order of the
//! messages, the number of columns in each row, and the number of rows that the server says it sent. Whoever waits then learns that the
//! connection was lost.
//!
//! It also hides types that PostgreSQL does not build in (see [`mask`]), and counts what is unanswered (see [`Watch`]).

mod frontend;
mod mark;
mod mask;
mod protocol;
#[cfg(test)]
mod tests;
mod watch;

pub use watch::Watch;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use postgres_protocol::message::backend::Header;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_util::io::poll_read_buf;

use frontend::{Found, Frontend, Step};
use mark::Mark;
use protocol::Protocol;

/// A connection's byte stream under guard. Made by [`Watch::guard`].
#[derive(Debug)]
pub struct Guard<S> {
    inner: S,
    watch: Watch,
    frontend: Frontend,
    protocol: Protocol,
    /// Read, and not given on yet.
    input: BytesMut,
    /// So much of it was looked at and may be given on.
    looked_at: usize,
    /// So many bytes that are still to be read may be given on unseen: the rest of a message.
    unseen: usize,
    /// So many bytes behind these are the guard's own affair, and are not given on.
    kept: usize,
    /// What is wrong behind all of these.
    fault: Option<protocol::Misplaced>,
    /// Taken to be written, with the marks, and not written yet.
    output: BytesMut,
    /// The mark of the last request.
    mark: Mark,
}

/// A TLS connector whose streams are under guard. Made by [`Watch::guard_tls`].
#[derive(Debug)]
pub struct GuardTls<T> {
    inner: T,
    watch: Watch,
}

impl Watch {
    /// Leads a connection's bytes through the guard: from the start-up message on, and without TLS between it and tokio-postgres.
    pub fn guard<S>(&self, stream: S) -> Guard<S> {
        Guard {
            inner: stream,
            watch: self.clone(),
            frontend: Frontend::new(),
            protocol: Protocol::new(self.clone()),
            input: BytesMut::new(),
            looked_at: 0,
            unseen: 0,
            kept: 0,
            fault: None,
            output: BytesMut::new(),
            mark: Mark::START,
        }
    }

    /// Leads what is inside TLS through the guard.
    pub fn guard_tls<T>(&self, connector: T) -> GuardTls<T> {
        GuardTls { inner: connector, watch: self.clone() }
    }
}

/// What is read at a time: as much as tokio-postgres does.
const CHUNK: usize = 8 * 1024;

/// What is taken at a time to be written.
const TAKEN: usize = 64 * 1024;

impl<S> Guard<S> {
    /// Looks at what was read, message by message, up to what may be given on behind what is kept.
    fn look(&mut self) {
        while self.fault.is_none() {
            let ahead = self.input.get_mut(self.looked_at + self.kept..).unwrap_or_default();
            let passed = self.unseen.min(ahead.len());
            self.looked_at += passed;
            self.unseen -= passed;
            let Some(message) = ahead.get_mut(passed..).filter(|rest| !rest.is_empty()) else { return };
            let is_kept = message.first().is_some_and(|tag| self.protocol.is_of_mark(*tag));
            if self.kept > 0 && !is_kept {
                return;
            }
            match look_at(&mut self.protocol, message) {
                Ok(Some((seen, _))) if is_kept => self.kept += seen,
                Ok(Some((seen, unseen))) => {
                    self.looked_at += seen;
                    self.unseen = unseen;
                }
                Ok(None) => return, // not all there
                Err(fault) => self.fault = Some(fault),
            }
        }
    }

    /// Gives on what may be.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        while buf.remaining() > 0 {
            let given = self.looked_at.min(buf.remaining());
            buf.put_slice(self.input.get(..given).unwrap_or_default());
            self.input.advance(given);
            self.looked_at -= given;
            if self.looked_at > 0 || self.kept == 0 {
                return;
            }
            self.input.advance(std::mem::take(&mut self.kept));
            self.look();
        }
    }

    /// Takes what is to be written, with a mark in front of each request.
    fn take(&mut self, data: &[u8]) -> io::Result<()> {
        let (mut taken, mut written) = (0, Ok(()));
        let Guard { watch, frontend, protocol, output, mark, .. } = self;
        frontend.read(data, |found| match found {
            Found::Step(step) => protocol.ask(step),
            Found::Request(_) if watch.is_unmarked() => {}
            Found::Request(at) => {
                output.extend_from_slice(data.get(taken..at).unwrap_or_default());
                taken = at;
                *mark = mark.next();
                if let Err(error) = mark.write(output) {
                    written = Err(error);
                }
                protocol.ask(Step::Mark(*mark));
            }
        });
        output.extend_from_slice(data.get(taken..).unwrap_or_default());
        written
    }

    fn ended(&self) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was given up")
    }
}

/// Looks at the message at the start of some bytes; gives how many of them were seen and how many more it has. `None`: it is not all
/// there, as far as it must be.
fn look_at(protocol: &mut Protocol, bytes: &mut [u8]) -> Result<Option<(usize, usize)>, protocol::Misplaced> {
    let too_long = "a message of an impossible length";
    let Some(header) = Header::parse(bytes).map_err(|_| too_long)? else { return Ok(None) };
    let (tag, length) =
        (header.tag(), usize::try_from(header.len()).map_err(|_| too_long)?.saturating_sub(4));
    if protocol::longest(tag).is_some_and(|longest| length > longest) && protocol.is_logged_in() {
        return Err(too_long);
    }
    let seen = protocol::looked_at(tag, length);
    let Some(body) = bytes.get_mut(5..5 + seen) else { return Ok(None) };
    if protocol.describes_statement() && !protocol.is_of_mark(tag) {
        match tag {
            b'T' => mask::columns(body),
            b't' => mask::parameters(body),
            _ => {}
        }
    }
    protocol.hear(tag, body)?;
    Ok(Some((5 + seen, length - seen)))
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.watch.register(cx);
        loop {
            if this.watch.has_ended() {
                return Poll::Ready(Err(this.ended()));
            }
            let before = buf.filled().len();
            this.give(buf);
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if let Some(fault) = this.fault {
                tracing::error!(fault, "a connection to PostgreSQL is ended: its answers can't be trusted");
                this.watch.end();
                continue;
            }
            this.input.reserve(CHUNK);
            if ready!(poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.input))? == 0 {
                this.watch.end();
                return Poll::Ready(Ok(())); // the end, whatever of a message was there
            }
            this.look();
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.watch.has_ended() {
            return Poll::Ready(Err(this.ended()));
        }
        ready!(this.poll_written(cx))?;
        let data = data.get(..TAKEN).unwrap_or(data);
        this.take(data)?;
        // what can't be written at once is by the next call, and by the flush
        match this.poll_written(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(data.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_written(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_written(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncWrite + Unpin> Guard<S> {
    /// Writes all that was taken.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.output.has_remaining() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Drop for Guard<S> {
    fn drop(&mut self) {
        self.watch.end();
    }
}

impl<S: TlsStream + Unpin> TlsStream for Guard<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

impl<S, T> TlsConnect<S> for GuardTls<T>
where
    T: TlsConnect<S>,
    T::Stream: Unpin,
    T::Future: Send + 'static,
    T::Error: 'static,
{
    type Stream = Guard<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Guard<T::Stream>, T::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.inner.connect(stream);
        let watch = self.watch;
        Box::pin(async move { Ok(watch.guard(connecting.await?)) })
    }
}
