//! What became of a login that no one waited for.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use pgspan::{Error, Result};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Config;

use super::any;

/// What became of one connection's login, to be kept beside its client.
#[derive(Clone, Default)]
pub(crate) struct Login(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answer: Answer,
    /// The server's process, and the secret that lets us cancel what it runs.
    key: Option<(i32, i32)>,
    /// What it said at the login of `in_hot_standby` and `default_transaction_read_only` (PostgreSQL 14 and newer).
    is_standby: Option<bool>,
    is_read_only: Option<bool>,
    waiting: Vec<Waker>,
}

#[derive(Default)]
enum Answer {
    #[default]
    Awaited,
    /// The server is ready for statements.
    Accepted,
    /// The server said no, with this ErrorResponse: it ran nothing.
    Refused(Bytes),
    /// The connection ended, or what came makes no sense: what was sent may have run.
    Lost(Arc<io::Error>),
}

impl Login {
    /// Why the server did not let us in: if this is `Some`, nothing that was sent on the connection ran.
    pub(crate) fn refusal(&self) -> Option<Error> {
        match &self.state().answer {
            Answer::Refused(response) => Some(refused(response.clone())),
            _ => None,
        }
    }

    /// Waits until the server has answered the login; something else must drive the connection meanwhile.
    ///
    /// # Errors
    ///
    /// The refusal, or that the connection was lost.
    pub(crate) async fn settled(&self) -> Result<()> {
        poll_fn(|cx| self.poll_settled(cx)).await
    }

    fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.state();
        Poll::Ready(match &state.answer {
            Answer::Awaited => {
                if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.waiting.push(cx.waker().clone());
                }
                return Poll::Pending;
            }
            Answer::Accepted => Ok(()),
            Answer::Refused(response) => Err(refused(response.clone())),
            Answer::Lost(cause) => {
                Err(Error::unavailable(format!("could not connect: {cause}")).with_source(cause.clone()))
            }
        })
    }

    /// What asks the server, over another connection and written there with [`cancel`](super::cancel), to end what runs
    /// on this one. `None` until the login was answered, and from servers that give no key.
    pub(crate) fn cancel_request(&self) -> Option<BytesMut> {
        let (process, secret) = self.state().key?;
        let mut request = BytesMut::new();
        frontend::cancel_request(process, secret, &mut request);
        Some(request)
    }

    /// Keeps the body of BackendKeyData. Version 3.0 of the protocol, which is spoken here, knows no longer secret.
    pub(super) fn keep_key(&self, mut key: &[u8]) {
        self.state().key = match key.len() {
            8 => Some((key.get_i32(), key.get_i32())),
            _ => None,
        };
    }

    /// Whether the server takes writes, once it has let us in; `None` where it did not say so: before version 14, and behind most
    /// poolers.
    pub(crate) fn takes_writes(&self) -> Option<bool> {
        let state = self.state();
        Some(!state.is_standby? && !state.is_read_only?)
    }

    /// Keeps what matters here of the body of a ParameterStatus.
    pub(super) fn keep_parameter(&self, parameter: &[u8]) {
        let mut parts = parameter.split(|byte| *byte == 0);
        let (name, is_on) = (parts.next().unwrap_or_default(), parts.next() == Some(b"on"));
        match name {
            b"in_hot_standby" => self.state().is_standby = Some(is_on),
            b"default_transaction_read_only" => self.state().is_read_only = Some(is_on),
            _ => {}
        }
    }

    pub(super) fn accept(&self) {
        self.answer(Answer::Accepted);
    }

    pub(super) fn refuse(&self, response: Bytes) {
        self.answer(Answer::Refused(response));
    }

    pub(super) fn lose(&self, cause: io::Error) {
        self.answer(Answer::Lost(Arc::new(cause)));
    }

    /// The first answer counts.
    fn answer(&self, answer: Answer) {
        let mut state = self.state();
        if matches!(state.answer, Answer::Awaited) {
            state.answer = answer;
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // whole between its calls
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state().answer {
            Answer::Awaited => "Login(awaited)",
            Answer::Accepted => "Login(accepted)",
            Answer::Refused(_) => "Login(refused)",
            Answer::Lost(_) => "Login(lost)",
        })
    }
}

/// The server's answer as our error. tokio-postgres alone can read an ErrorResponse, so it gets to read this one as the
/// answer to a login.
fn refused(response: Bytes) -> Error {
    let mut config = Config::new();
    config.user("");
    match any::connect(Box::new(Replay(response)), &config).now_or_never() {
        Some(Err(error)) => Error::connect(error),
        _ => Error::unavailable("could not connect: the server refused the login"),
    }
}

/// A stream that says one thing whatever it is told.
struct Replay(Bytes);

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = buf.remaining().min(self.0.len());
        buf.put_slice(&self.0.split_to(most));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
