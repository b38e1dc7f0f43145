//! One connection over a Worker's socket: how it is opened, counted, cancelled and closed.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use pgspan::driver::{Link, Notifications, Prepared, Watch, drive};
use pgspan::{ConnectionUrl, Error, Kind, Result, Settings, Tls};
use tokio_postgres::Client;
use tokio_postgres::config::Host;
use wasm_bindgen_futures::spawn_local;
use worker::{Delay, js_sys};

use crate::login::{self, Connected, Login, Opening};
use crate::socket::{RuntimeTls, Stream, spawn_until};

/// Cloudflare's limit is six connections at a time for a request and for an object; one is left for what cancels.
pub(crate) const SOCKETS_MOST: usize = 5;
/// How long a connection may take to say good-bye, its cancelled statement included.
const GOOD_BYE: Duration = Duration::from_secs(2);
/// How long asking the server to cancel may take.
const CANCEL: Duration = Duration::from_secs(1);

/// Opens connections to one database, at most five at a time.
#[derive(Debug)]
pub(crate) struct Dialler {
    url: ConnectionUrl,
    settings: Settings,
    opening: Opening,
    sockets: Arc<Sockets>,
}

impl Dialler {
    pub(crate) fn new(url: ConnectionUrl, settings: Settings, opening: Opening) -> Dialler {
        Dialler { url, settings, opening, sockets: Arc::default() }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn sockets(&self) -> &Arc<Sockets> {
        &self.sockets
    }

    /// A connection whose login the server may still refuse, and what the server says unasked on it.
    pub(crate) async fn open(&self) -> Result<(Connection, Notifications)> {
        self.sockets.check()?;
        let counted = Counted::new(&self.sockets);
        let connecting = async {
            let stream = link(&self.url).await?;
            login::connect(stream, &self.url.configure(&self.settings), self.opening).await
        };
        let Connected { client, connection, watch, login } = self.in_time(connecting).await?;
        let cancel = Cancel { login, url: self.url.clone() };
        let (task, notifications) = drive(connection);
        let (end, ended) = oneshot::channel();
        let (gone, closed) = oneshot::channel();
        self.sockets.tasks().push(closed);
        let task = async move {
            task.await;
            drop((counted, gone));
        };
        // the client's end makes the connection say good-bye; if it can't, its socket is closed all the same
        spawn_until(task, async move {
            match ended.await {
                Ok(()) => sleep(GOOD_BYE).await,
                Err(_) => std::future::pending().await, // dialled: whoever has the client ends it
            }
        });
        let opened = now();
        let connection = Connection {
            client: Some(client),
            watch,
            prepared: Prepared::default(),
            cancel,
            clean: false,
            opened,
            used: opened,
            end: Some(end),
        };
        Ok((connection, notifications))
    }

    /// The same, when the server has let it in.
    pub(crate) async fn open_settled(&self) -> Result<(Connection, Notifications)> {
        let opened = self.open().await?;
        self.in_time(opened.0.cancel.login.settled()).await?;
        Ok(opened)
    }

    /// A client of its own, for shared statements and LISTEN.
    pub(crate) async fn dial(&self) -> Result<Link> {
        let (mut connection, notifications) = self.open_settled().await?;
        match connection.client.take() {
            Some(client) => Ok(Link::new(client, connection.watch.clone(), notifications)),
            None => Err(Error::unavailable("the connection is closed")),
        }
    }

    async fn in_time<T>(&self, connecting: impl Future<Output = Result<T>>) -> Result<T> {
        match select(Box::pin(connecting), Box::pin(sleep(self.settings.acquire_timeout))).await {
            Either::Left((connected, _)) => connected,
            Either::Right(_) => Err(Error::unavailable("connecting took too long")),
        }
    }
}

/// The sockets that are open now.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    open: AtomicUsize,
    /// The request they belong to has been answered.
    over: AtomicBool,
    /// Each ends with its connection.
    tasks: Mutex<Vec<oneshot::Receiver<()>>>,
}

impl Sockets {
    /// Whether another may be opened.
    fn check(&self) -> Result<()> {
        if self.is_over() {
            return Err(Error::new(
                Kind::Refused,
                "this database belongs to a request that is over: a Worker may not use another request's sockets, \
                 so connect in each request, or let a Durable Object hold the connections",
            ));
        }
        if self.open.load(Ordering::Relaxed) >= SOCKETS_MOST {
            return Err(Error::unavailable("five connections are open already, the most the runtime allows"));
        }
        Ok(())
    }

    /// Whether the request they belong to has been answered.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Says that no further one may be opened, and gives what ends with each that is open.
    pub(crate) fn end(&self) -> Vec<oneshot::Receiver<()>> {
        self.over.store(true, Ordering::Relaxed);
        std::mem::take(&mut *self.tasks())
    }

    /// Forgets those that have ended.
    pub(crate) fn tidy(&self) {
        self.tasks().retain_mut(|task| matches!(task.try_recv(), Ok(None)));
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<oneshot::Receiver<()>>> {
        lock(&self.tasks)
    }
}

/// Counts a socket from the attempt to connect until its connection has ended.
struct Counted(Arc<Sockets>);

impl Counted {
    fn new(sockets: &Arc<Sockets>) -> Counted {
        sockets.open.fetch_add(1, Ordering::Relaxed);
        Counted(sockets.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An exclusive connection; dropping it cancels what may run and closes the socket.
pub(crate) struct Connection {
    client: Option<Client>,
    watch: Watch,
    prepared: Prepared,
    cancel: Cancel,
    /// Nothing runs on it: it needs no cancel.
    clean: bool,
    opened: Duration,
    used: Duration,
    /// Says that the connection should have ended soon.
    end: Option<oneshot::Sender<()>>,
}

/// How a running statement is cancelled: over a socket of its own.
#[derive(Clone)]
struct Cancel {
    login: Login,
    url: ConnectionUrl,
}

impl Cancel {
    /// Asks the server, once it has let the connection in.
    async fn ask(self) -> Option<()> {
        self.login.settled().await.ok()?;
        let request = self.login.cancel_request()?;
        login::cancel(link(&self.url).await.ok()?, &request).await.ok()
    }
}

impl Connection {
    /// Why the server did not let it in, if so.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.cancel.login.refusal()
    }

    pub(crate) fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn set_clean(&mut self, clean: bool) {
        self.clean = clean;
        self.used = now();
    }

    /// How long ago it was opened, and last used.
    pub(crate) fn age(&self) -> (Duration, Duration) {
        let now = now();
        (now.saturating_sub(self.opened), now.saturating_sub(self.used))
    }
}

impl Deref for Connection {
    type Target = Client;

    #[allow(clippy::expect_used, reason = "the client is taken in `dial` and in `drop` alone")]
    fn deref(&self) -> &Client {
        self.client.as_ref().expect("a connection has its client until it is dropped")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        self.end.take().map(|end| end.send(()));
        if self.clean || client.is_closed() {
            return;
        }
        let cancel = self.cancel.clone();
        spawn_local(async move {
            let _ = select(Box::pin(cancel.ask()), Box::pin(sleep(CANCEL))).await;
        });
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("clean", &self.clean).finish_non_exhaustive()
    }
}

/// A socket to the database, encrypted unless the URL says otherwise.
async fn link(url: &ConnectionUrl) -> Result<Stream> {
    let stream = socket(url)?;
    match url.tls() {
        Tls::Disable => Ok(stream),
        _ => login::encrypt(stream, RuntimeTls).await,
    }
}

fn socket(url: &ConnectionUrl) -> Result<Stream> {
    let postgres = url.postgres();
    let port = postgres.get_ports().first().copied().unwrap_or(5432);
    match postgres.get_hosts() {
        [Host::Tcp(host), ..] => Stream::connect(host, port, url.tls() != Tls::Disable)
            .map_err(|error| Error::unavailable("could not open a socket").with_source(error)),
        _ => Err(Error::unavailable("the URL has no host a Worker can reach")),
    }
}

/// Waits by the runtime's timer.
pub(crate) async fn sleep(duration: Duration) {
    const LONGEST: Duration = Duration::from_millis(i32::MAX as u64); // the runtime's timer counts in 32 bits
    Delay::from(duration.min(LONGEST)).await;
}

/// The runtime's clock, which stands still while a Worker computes.
pub(crate) fn now() -> Duration {
    Duration::try_from_secs_f64(js_sys::Date::now() / 1000.0).unwrap_or_default()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner) // a Worker has one thread, and a panic ends it
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_over_opens_no_socket_and_says_why() {
        let sockets = Arc::new(Sockets::default());
        assert!(sockets.check().is_ok());
        assert!(sockets.end().is_empty());
        let error = sockets.check().unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains("a Worker may not use another request's sockets"), "{error}");
    }

    #[test]
    fn no_more_sockets_are_opened_than_the_runtime_allows() {
        let sockets = Arc::new(Sockets::default());
        let counted: Vec<Counted> = (0..SOCKETS_MOST).map(|_| Counted::new(&sockets)).collect();
        assert!(sockets.check().unwrap_err().is_unavailable());
        drop(counted);
        assert!(sockets.check().is_ok());
    }
}
