//! The port: where connections come from, and how to wait. All that differs between a server and a Worker.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use futures_channel::mpsc;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{AsyncMessage, Client, Connection, Notification};

use crate::error::{Error, Result};
pub use crate::guard::{Guard, GuardTls, Watch};
pub use crate::prepared::Prepared;
pub use crate::settings::without_connection_check;

/// Where connections come from, and how to wait.
///
/// Implement it to bring pgspan to another runtime; `pgspan-server` does so with deadpool-postgres and tokio,
/// `pgspan-edge` with a Worker's sockets. [The book](crate::book::drivers) has an example, and what a driver promises.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a pgspan driver",
    note = "`pgspan_server::connect(url)` and `pgspan_edge` have drivers ready made"
)]
pub trait Driver: Send + Sync + 'static {
    /// A connection no one else uses.
    ///
    /// **Dropping it ends it**: its `Drop` takes it out of the pool at once, asks the server over a connection of its
    /// own to cancel what may still run, and closes it. Giving it back is explicit: [`recycle`](Driver::recycle).
    type Connection: Deref<Target = Client> + Send + Sync + 'static;

    /// Takes a connection, waiting at most the driver's own acquire deadline.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`](crate::Kind::Unavailable), saying which step failed or took too long.
    fn acquire(&self) -> impl Future<Output = Result<Self::Connection>> + Send;

    /// Takes back a connection that is idle, outside any transaction, and with nothing unanswered.
    fn recycle(&self, connection: Self::Connection);

    /// Why the server did not let a connection in, for a driver that gives connections out before their login was
    /// answered. If this is `Some`, nothing that was sent on it ran. Other drivers leave it as it is.
    fn refusal(&self, connection: &Self::Connection) -> Option<Error> {
        let _ = connection;
        None
    }

    /// What is prepared on a connection, kept with it for as long as it lives; without it nothing is prepared on the driver's
    /// connections.
    fn prepared<'c>(&self, connection: &'c Self::Connection) -> Option<&'c Prepared> {
        let _ = connection;
        None
    }

    /// The watch over a connection: the one whose [`guard`](Watch::guard) its bytes pass.
    fn watch<'c>(&self, connection: &'c Self::Connection) -> &'c Watch;

    /// Opens a connection outside the pool, for shared statements and for `LISTEN`; dropping its client ends it.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`](crate::Kind::Unavailable).
    fn dial(&self) -> impl Future<Output = Result<Link>> + Send;

    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static;

    /// The time since some fixed moment, never going back.
    fn now(&self) -> Duration;

    /// Which of the host's executors polls the caller, for a host with a thread of its own for each, where
    /// [`dial`](Driver::dial) has a connection driven by the executor it was called on. A statement goes out on a shared
    /// connection of its own executor then, so that its answer wakes no other thread. The default: there is one.
    fn executor(&self) -> Executor {
        Executor::ONLY
    }
}

/// One of the executors of a host: see [`Driver::executor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Executor {
    /// From 0.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

impl Executor {
    /// The only one there is.
    pub const ONLY: Executor = Executor { number: 0, of: 1 };
}

/// A connection outside the pool, as [`Driver::dial`] gives it.
#[derive(Debug)]
pub struct Link {
    /// Dropping it ends the connection.
    pub client: Client,
    /// The watch whose guard the connection's bytes pass.
    pub watch: Watch,
    /// Ends when the connection does.
    pub notifications: Notifications,
    /// How long it is given new statements; then it ends with the last. `None`: until it breaks.
    pub lifetime: Option<Duration>,
    /// How long it may be unused before it is checked, which costs a round trip. `None`: it is not.
    pub check_after: Option<Duration>,
}

impl Link {
    /// A connection that is used until it breaks.
    pub fn new(client: Client, watch: Watch, notifications: Notifications) -> Link {
        Link { client, watch, notifications, lifetime: None, check_after: None }
    }
}

/// The notifications that arrive on one connection.
///
/// At most 1,024 wait to be read. When they are more the stream ends, so that a slow reader learns that it missed some
/// rather than filling the memory.
#[derive(Debug)]
pub struct Notifications(mpsc::Receiver<Notification>);

const NOTIFICATIONS_WAITING: usize = 1024;

/// For drivers: turns a connection into the future that drives it, to be spawned, and its notifications.
///
/// The future ends when the client is dropped or the connection breaks. What the server notes on the way (NOTICE) is
/// dropped, since it may quote values.
pub fn drive<S, T>(mut connection: Connection<S, T>) -> (impl Future<Output = ()> + Send, Notifications)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (sender, receiver) = mpsc::channel(NOTIFICATIONS_WAITING);
    let mut sender = Some(sender);
    let task = async move {
        while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            match message {
                Ok(AsyncMessage::Notification(notification)) => {
                    let kept = sender.as_mut().is_some_and(|sender| sender.try_send(notification).is_ok());
                    if !kept {
                        sender = None;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    let code = error.code().map_or("none", |code| code.code());
                    tracing::debug!(sqlstate = code, "a connection ended");
                    return;
                }
            }
        }
    };
    (task, Notifications(receiver))
}

impl Stream for Notifications {
    type Item = Notification;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Notification>> {
        Pin::new(&mut self.0).poll_next(cx)
    }
}
