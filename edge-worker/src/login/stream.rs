//! The stream tokio-postgres is given: it hides a login that goes on below it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outcome::Login;
use super::scram::Expected;
use super::wire::{Authentication, Message, WELCOME, junk};

/// A connection to PostgreSQL on which `connect_raw` (without TLS) succeeds before the server has answered the login.
///
/// It swallows tokio-postgres's start-up message, since the server had one already, and lets every other write through.
/// What the server says it looks at, message by message, until the server is ready for statements; from then on it only
/// passes on.
pub(crate) struct LoginStream<S> {
    inner: S,
    phase: Phase,
    startup: Startup,
    /// Said by the server, and not looked at yet.
    heard: BytesMut,
    /// To be read by tokio-postgres.
    told: Bytes,
    /// tokio-postgres has not read its welcome yet.
    welcoming: bool,
    /// To be written ahead of everything else, the first statement with it.
    unsent: BytesMut,
    login: Login,
}

/// What the server must say next.
enum Phase {
    /// Its signature; nothing is believed before.
    Signature(Expected),
    Welcome,
    /// Parameters, notices, the key, and that it is ready.
    Details,
    /// tokio-postgres logs in by itself, and hears everything.
    Ordinary,
    LoggedIn,
    /// It was refused, or is lost.
    Ended,
}

/// How much of tokio-postgres's start-up message is still to be swallowed.
#[derive(Clone, Copy)]
enum Startup {
    Expected,
    Left(usize),
    Swallowed,
}

/// What is written behind the login's last message waits for it no longer than this.
const TOGETHER_MOST: usize = 16 * 1024;

impl<S> LoginStream<S> {
    /// A login whose final message is still to be written.
    pub(super) fn early(inner: S, heard: BytesMut, last: BytesMut, expected: Expected) -> LoginStream<S> {
        let welcome = Bytes::from_static(WELCOME);
        let mut stream = LoginStream::new(inner, Phase::Signature(expected), heard, welcome);
        stream.unsent = last;
        stream
    }

    /// A login that tokio-postgres does by itself; the server has said `heard` to the start-up message.
    pub(super) fn ordinary(inner: S, heard: BytesMut) -> LoginStream<S> {
        LoginStream::new(inner, Phase::Ordinary, heard, Bytes::new())
    }

    fn new(inner: S, phase: Phase, heard: BytesMut, told: Bytes) -> LoginStream<S> {
        let (startup, login) = (Startup::Expected, Login::default());
        LoginStream { inner, phase, startup, heard, told, welcoming: true, unsent: BytesMut::new(), login }
    }

    pub(super) fn login(&self) -> Login {
        self.login.clone()
    }

    fn is_logged_in(&self) -> bool {
        matches!(self.phase, Phase::LoggedIn)
    }

    /// Looks at the next message; `false` if more must be read for it.
    fn hear(&mut self) -> io::Result<bool> {
        let Some(message) = Message::next(&mut self.heard)? else { return Ok(false) };
        let authentication = message.authentication();
        self.phase = match (std::mem::replace(&mut self.phase, Phase::Ended), message.tag()) {
            (Phase::Ordinary, tag) => {
                match tag {
                    b'K' => self.login.keep_key(message.body()),
                    b'S' => self.login.keep_parameter(message.body()),
                    _ => {}
                }
                self.told = message.bytes().clone();
                if tag == b'Z' { self.ready() } else { Phase::Ordinary }
            }
            (_, b'E') => {
                self.login.refuse(message.bytes().clone());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the server refused the login"));
            }
            (Phase::Signature(expected), _) => match authentication {
                Some(Authentication::SaslFinal(signature)) => {
                    expected.verify(signature)?;
                    Phase::Welcome
                }
                _ => return Err(junk("the server must sign its SCRAM answer first")),
            },
            (Phase::Welcome, _) if authentication == Some(Authentication::Ok) => Phase::Details,
            (Phase::Details, tag @ (b'S' | b'N')) => {
                if tag == b'S' {
                    self.login.keep_parameter(message.body());
                }
                self.told = message.bytes().clone();
                Phase::Details
            }
            (Phase::Details, b'K') => {
                self.login.keep_key(message.body());
                Phase::Details
            }
            (Phase::Details, b'Z') => self.ready(),
            _ => return Err(junk("the server said what has no place in a login")),
        };
        Ok(true)
    }

    fn ready(&self) -> Phase {
        self.login.accept();
        Phase::LoggedIn
    }

    /// Ends a login that failed.
    fn fail(&mut self, error: io::Error) -> io::Error {
        self.phase = Phase::Ended;
        let told = io::Error::new(error.kind(), error.to_string());
        if error.kind() == io::ErrorKind::InvalidData {
            tracing::error!(%error, "the login to PostgreSQL was broken off");
        }
        self.login.lose(error);
        told
    }
}

impl<S: AsyncWrite + Unpin> LoginStream<S> {
    /// Writes the login's last message and what was put behind it.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.unsent)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => drop(self.unsent.split_to(written)),
                Err(error) => {
                    self.unsent.clear();
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// A server that refuses a login closes the connection with our statements unread, so that writing may fail before
    /// its reason was read. Until it has let us in, reading finds out what is the matter.
    fn unless_refused<T>(&self, written: io::Result<T>, otherwise: T) -> io::Result<T> {
        match written {
            Err(_) if !self.is_logged_in() && !matches!(self.phase, Phase::Ended) => Ok(otherwise),
            written => written,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LoginStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.told.is_empty() {
                let most = buf.remaining().min(this.told.len());
                buf.put_slice(&this.told.split_to(most));
                return Poll::Ready(Ok(()));
            }
            match this.phase {
                Phase::LoggedIn if this.heard.is_empty() => {
                    return Pin::new(&mut this.inner).poll_read(cx, buf);
                }
                Phase::LoggedIn => {
                    this.told = std::mem::take(&mut this.heard).freeze();
                    continue;
                }
                Phase::Ended => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
                _ => this.welcoming = false,
            }
            match this.hear() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return Poll::Ready(Err(this.fail(error))),
            }
            let mut chunk = [0; 4096];
            let mut chunk = ReadBuf::new(&mut chunk);
            match ready!(Pin::new(&mut this.inner).poll_read(cx, &mut chunk)) {
                Ok(()) if chunk.filled().is_empty() => {
                    let error = io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the server closed the connection during the login",
                    );
                    return Poll::Ready(Err(this.fail(error)));
                }
                Ok(()) => this.heard.extend_from_slice(chunk.filled()),
                Err(error) => return Poll::Ready(Err(this.fail(error))),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LoginStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let left = match (this.startup, data) {
            (Startup::Swallowed, _) => 0,
            (Startup::Left(left), _) => left,
            // it begins with its own length, and comes in one piece
            (Startup::Expected, [a, b, c, d, ..]) => {
                usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX)
            }
            (Startup::Expected, _) => return Poll::Ready(Err(io::ErrorKind::InvalidInput.into())),
        };
        if left > 0 {
            let swallowed = left.min(data.len());
            this.startup = match left - swallowed {
                0 => Startup::Swallowed,
                left => Startup::Left(left),
            };
            return Poll::Ready(Ok(swallowed));
        }
        if !this.unsent.is_empty() {
            if this.unsent.len() < TOGETHER_MOST {
                this.unsent.extend_from_slice(data);
                return Poll::Ready(Ok(data.len()));
            }
            let sent = ready!(this.poll_unsent(cx));
            this.unless_refused(sent, ())?;
        }
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, data));
        Poll::Ready(this.unless_refused(written, data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.welcoming && !this.unsent.is_empty() {
            return Poll::Ready(Ok(())); // connect_raw flushes its start-up message: the first statement is about to come
        }
        let sent = ready!(this.poll_unsent(cx));
        this.unless_refused(sent, ())?;
        let flushed = ready!(Pin::new(&mut this.inner).poll_flush(cx));
        Poll::Ready(this.unless_refused(flushed, ()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = ready!(this.poll_unsent(cx));
        this.unless_refused(sent, ())?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

impl<S> Drop for LoginStream<S> {
    fn drop(&mut self) {
        self.login.lose(io::ErrorKind::NotConnected.into());
    }
}

impl<S> fmt::Debug for LoginStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginStream").field("login", &self.login).finish_non_exhaustive()
    }
}
