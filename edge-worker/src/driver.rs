//! The driver that opens a socket when one is needed and closes it with the request.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use pgspan::driver::{Dialled, Driver, Notifications, drive};
use pgspan::{ConnectionUrl, Database, Error, Result, Settings, Tls};
use tokio_postgres::config::Host;
use tokio_postgres::{CancelToken, Client};
use wasm_bindgen_futures::spawn_local;
use worker::send::SendFuture;
use worker::{Context, Delay, Env};

use crate::settings;
use crate::socket::{RuntimeTls, Stream, spawn_until};

/// Cloudflare's limit is six connections at a time for a request; one is left for what cancels.
const SOCKETS_MOST: usize = 5;
/// How long a connection may take to say good-bye, its cancelled statement included.
const GOOD_BYE: Duration = Duration::from_secs(2);
/// How long asking the server to cancel may take.
const CANCEL: Duration = Duration::from_secs(1);

/// One request's connections. Take its [`database`](Connections::database), and when the answer is there let it
/// [`close_with`](Connections::close_with) the request's context.
#[derive(Debug)]
pub struct Connections {
    open: Arc<Open>,
    database: Database,
}

impl Connections {
    /// Reads `DATABASE_URL` and the settings of [`Settings::read`] from the Worker's bindings. It opens no connection yet.
    ///
    /// # Errors
    ///
    /// Everything that is missing or wrong, each naming its setting.
    pub fn from_env(env: &Env) -> Result<Connections, Vec<Error>> {
        let (url, settings) = settings::read(settings::lookup(env))?;
        let open = Arc::new(Open::default());
        let driver = SocketDriver { url, settings: settings.clone(), open: open.clone() };
        Ok(Connections { open, database: pgspan::connect_with(driver, settings) })
    }

    /// The database, for this request alone.
    pub fn database(&self) -> Database {
        self.database.clone()
    }

    /// Closes the connections that are idle now and those that become so, and keeps the request's context alive until
    /// they have said good-bye, at most two seconds.
    pub fn close_with(self, ctx: &Context) {
        self.open.idle().clear();
        drop(self.database);
        let tasks = std::mem::take(&mut *lock(&self.open.tasks));
        ctx.wait_until(async move {
            for task in tasks {
                let _ = task.await;
            }
        });
    }
}

/// Opens one socket per connection, at most five at a time, and keeps idle ones for the same request.
#[derive(Debug)]
pub struct SocketDriver {
    url: ConnectionUrl,
    settings: Settings,
    open: Arc<Open>,
}

/// What is open now.
#[derive(Debug, Default)]
struct Open {
    sockets: AtomicUsize,
    idle: Mutex<Vec<Connection>>,
    /// Each ends with its connection.
    tasks: Mutex<Vec<oneshot::Receiver<()>>>,
}

impl Open {
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        lock(&self.idle)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner) // a Worker has one thread, and a panic ends it
}

/// An exclusive connection; dropping it cancels what may run and closes the socket.
pub struct Connection {
    client: Option<Client>,
    cancel: Cancel,
    clean: bool,
    /// Says that the connection should have ended soon.
    end: Option<oneshot::Sender<()>>,
}

/// How a running statement is cancelled: over a socket of its own.
#[derive(Clone)]
struct Cancel {
    token: CancelToken,
    url: ConnectionUrl,
}

impl Driver for SocketDriver {
    type Connection = Connection;

    fn acquire(&self) -> impl Future<Output = Result<Connection>> + Send {
        SendFuture::new(async {
            let idle = self.open.idle().pop();
            if let Some(mut connection) = idle.filter(|idle| !idle.is_closed()) {
                connection.clean = false;
                return Ok(connection);
            }
            let (connection, _) = self.connect().await?;
            Ok(connection)
        })
    }

    fn recycle(&self, mut connection: Connection) {
        connection.clean = true;
        self.open.idle().push(connection);
    }

    fn dial(&self) -> impl Future<Output = Result<Dialled>> + Send {
        SendFuture::new(async {
            let (mut connection, notifications) = self.connect().await?;
            match connection.client.take() {
                Some(client) => Ok(Dialled { client, notifications }),
                None => Err(Error::unavailable("the connection is closed")),
            }
        })
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        SendFuture::new(sleep(duration))
    }

    fn now(&self) -> Duration {
        Duration::from_millis(worker::Date::now().as_millis())
    }
}

impl SocketDriver {
    async fn connect(&self) -> Result<(Connection, Notifications)> {
        if self.open.sockets.load(Ordering::Relaxed) >= SOCKETS_MOST {
            return Err(Error::unavailable("five connections are open already, the most a request may have"));
        }
        let counted = Counted::new(&self.open);
        let stream = dial(&self.url)?;
        let config = self.url.configure(&self.settings);
        let connecting = Box::pin(config.connect_raw(stream, RuntimeTls));
        let (client, connection) =
            match select(connecting, Box::pin(sleep(self.settings.acquire_timeout))).await {
                Either::Left((connected, _)) => connected.map_err(Error::connect)?,
                Either::Right(_) => return Err(Error::unavailable("connecting took too long")),
            };
        let cancel = Cancel { token: client.cancel_token(), url: self.url.clone() };
        let (task, notifications) = drive(connection);
        let (end, ended) = oneshot::channel::<()>();
        let (gone, closed) = oneshot::channel();
        lock(&self.open.tasks).push(closed);
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
        Ok((Connection { client: Some(client), cancel, clean: false, end: Some(end) }, notifications))
    }
}

/// Counts a socket from the attempt to connect until its connection has ended.
struct Counted(Arc<Open>);

impl Counted {
    fn new(open: &Arc<Open>) -> Counted {
        open.sockets.fetch_add(1, Ordering::Relaxed);
        Counted(open.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

fn dial(url: &ConnectionUrl) -> Result<Stream> {
    let postgres = url.postgres();
    let port = postgres.get_ports().first().copied().unwrap_or(5432);
    match postgres.get_hosts() {
        [Host::Tcp(host), ..] => Stream::connect(host, port, url.tls() != Tls::Disable)
            .map_err(|error| Error::unavailable("could not open a socket").with_source(error)),
        _ => Err(Error::unavailable("the URL has no host a Worker can reach")),
    }
}

async fn sleep(duration: Duration) {
    const LONGEST: Duration = Duration::from_millis(i32::MAX as u64); // the runtime's timer counts in 32 bits
    Delay::from(duration.min(LONGEST)).await;
}

impl Deref for Connection {
    type Target = Client;

    #[allow(clippy::expect_used, reason = "the client is taken in `dial` and in `drop` alone")]
    fn deref(&self) -> &Client {
        self.client.as_ref().expect("a connection has its client until it is dropped")
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("clean", &self.clean).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        self.end.take().map(|end| end.send(()));
        if self.clean || client.is_closed() {
            return;
        }
        let Cancel { token, url } = self.cancel.clone();
        spawn_local(async move {
            let Ok(stream) = dial(&url) else { return };
            let cancel = Box::pin(token.cancel_query_raw(stream, RuntimeTls));
            let _ = select(cancel, Box::pin(sleep(CANCEL))).await;
        });
    }
}
