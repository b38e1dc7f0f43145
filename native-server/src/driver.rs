//! The driver: deadpool-postgres behind pgspan's port, with one deadline over everything and a bound on who waits.

use std::fmt;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deadpool::unmanaged::Object;
use pgspan::driver::{Executor, Link, Prepared, Watch};
use pgspan::{ConnectionUrl, Error, Result, Settings};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use crate::credentials::Provider;
use crate::dialler::Dialler;
use crate::executor::EXECUTOR;
use crate::opener::{Opener, Pooled};
use crate::pool::PoolSettings;
use crate::statistics::PoolStatistics;
use crate::supply::{Supply, closed};

/// Asking the server to cancel what runs on a connection that was dropped, over a connection of its own.
const CANCEL_DEADLINE: Duration = Duration::from_secs(1);

/// How long the close of that one is waited for, though the dropped connection ends before: PgBouncer keeps a cancel request for
/// 10 s where it has no connection for it (`cancel_wait_timeout`), and 1.18 ends when the client closes first.
const CLOSE_DEADLINE: Duration = Duration::from_secs(15);

/// Connections to one database, on tokio.
///
/// You need it yourself only for [`pgspan::connect_with`] with pool settings of your own; [`connect`](crate::connect) does the rest.
/// It opens no connection until one is asked for, keeps at most [`PoolSettings::size`] exclusive ones, and heals by itself:
/// after a failed attempt to connect it pauses for 100 ms, twice as long after each further one up to 1 s, and says so
/// once a pause in the log.
///
/// Cheap to clone; all clones are one pool. Keep one to [`close`](Driver::close) it, or to look at it.
#[derive(Clone)]
pub struct Driver {
    supply: Arc<Supply>,
    acquire_timeout: Duration,
    started: Instant,
}

impl Driver {
    /// A driver for this database. `settings` must be those that [`pgspan::connect_with`] gets.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](pgspan::Kind::Config) if the URL's files (`sslrootcert` …) can't be used,
    /// [`Kind::Unavailable`](pgspan::Kind::Unavailable) if one is not there.
    pub fn new(url: &ConnectionUrl, settings: &Settings, pool: PoolSettings) -> Result<Driver> {
        Driver::build(url, settings, pool, None)
    }

    /// The same, for a password that changes: `provider` is asked for it at each login, within the connect timeout.
    ///
    /// You need it where a cloud gives out tokens that live some minutes. A password file ([`ConnectionUrl::passfile`]) is read
    /// again at each login anyway.
    ///
    /// ```no_run
    /// # async fn token() -> pgspan::Result<String> { Ok(String::new()) }
    /// # fn example() -> pgspan::Result<()> {
    /// let settings = pgspan::Settings::default();
    /// let url = "postgres://alice@db.example.com/shop".parse()?;
    /// let pool = pgspan_server::PoolSettings::default();
    /// let driver = pgspan_server::Driver::with_password(&url, &settings, pool, || async { token().await })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Driver::new).
    pub fn with_password<P, F>(
        url: &ConnectionUrl,
        settings: &Settings,
        pool: PoolSettings,
        provider: P,
    ) -> Result<Driver>
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<String>> + Send + 'static,
    {
        let provider: Provider = Arc::new(move || Box::pin(provider()));
        Driver::build(url, settings, pool, Some(provider))
    }

    fn build(
        url: &ConnectionUrl,
        settings: &Settings,
        pool: PoolSettings,
        provider: Option<Provider>,
    ) -> Result<Driver> {
        let dialler = Dialler::new(url, url.configure(settings), provider)?;
        // who waits for a connection waits no longer, so that the last host has its share before that
        let connect_timeout = pool.connect_timeout.min(settings.acquire_timeout);
        let opener = Opener::new(dialler, PoolSettings { connect_timeout, ..pool.clone() });
        Ok(Driver {
            supply: Arc::new(Supply::new(opener, pool)),
            acquire_timeout: settings.acquire_timeout,
            started: Instant::now(),
        })
    }

    /// Closes the pool, for good: connections not in use are closed now and the others when they are given back, those who
    /// wait and those who come are refused ([`Kind::Unavailable`](pgspan::Kind::Unavailable)).
    ///
    /// The connections that single statements share are not the pool's: [`pgspan::Database::close`] is for them.
    pub fn close(&self) {
        self.supply.pool.close();
    }

    /// What the pool does now, and did so far.
    pub fn statistics(&self) -> PoolStatistics {
        let Supply { pool, opener, settings, waiting, .. } = &*self.supply;
        let (status, counters) = (pool.status(), &opener.counters);
        PoolStatistics {
            max: settings.size,
            size: status.size,
            idle: status.available,
            in_use: status.size.saturating_sub(status.available),
            waiting: waiting.load(Ordering::Relaxed),
            waits: counters.waits.get(),
            timeouts: counters.timeouts.get(),
            refused: counters.refused.get(),
            opened: counters.opened.get(),
            dialled: counters.dialled.get(),
            failed: opener.backoff.failures.get(),
            lost: counters.lost.get(),
            discarded: counters.discarded.get(),
        }
    }

    /// How long callers waited for a connection: all seconds together, and how many waits there were up to each limit.
    #[cfg(feature = "serve")]
    pub(crate) fn wait_times(&self) -> (f64, Vec<(f64, u64)>) {
        self.supply.opener.counters.wait_times.read()
    }

    fn too_late(&self, checking: bool) -> Error {
        self.supply.opener.counters.timeouts.add();
        let (limit, max) = (self.acquire_timeout.as_millis(), self.supply.settings.size);
        Error::unavailable(match self.supply.pool.status().size {
            _ if checking => format!("no connection within {limit} ms: an unused one did not answer"),
            0 => format!("no connection within {limit} ms: none could be opened"),
            size if size < max => {
                format!(
                    "none of the {size} connections became free within {limit} ms, and no other could be opened"
                )
            }
            size => format!("none of the {size} connections became free within {limit} ms"),
        })
    }
}

impl pgspan::Driver for Driver {
    type Connection = Connection;

    async fn acquire(&self) -> Result<Connection> {
        self.supply.sweep();
        let (checking, started) = (AtomicBool::new(false), Instant::now());
        let taken = timeout(self.acquire_timeout, self.supply.take(&checking)).await;
        self.supply.opener.counters.wait_times.add(started.elapsed());
        match taken {
            Ok(taken) => Ok(Connection { object: Some(taken?), supply: self.supply.clone() }),
            Err(_) => Err(self.too_late(checking.load(Ordering::Relaxed))),
        }
    }

    fn recycle(&self, mut connection: Connection) {
        if let Some(mut object) = connection.object.take() {
            object.returned = Instant::now();
        }
    }

    fn prepared<'c>(&self, connection: &'c Connection) -> Option<&'c Prepared> {
        connection.object.as_ref().map(|object| &object.prepared)
    }

    fn watch<'c>(&self, connection: &'c Connection) -> &'c Watch {
        &connection.pooled().watch
    }

    async fn dial(&self) -> Result<Link> {
        if self.supply.pool.is_closed() {
            return Err(closed());
        }
        self.supply.sweep();
        let dialled = timeout(self.acquire_timeout, self.supply.opener.dial()).await;
        dialled.unwrap_or_else(|_| {
            self.supply.opener.counters.timeouts.add();
            let limit = self.acquire_timeout.as_millis();
            Err(Error::unavailable(format!("no connection within {limit} ms: none could be opened")))
        })
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        sleep(duration)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn executor(&self) -> Executor {
        EXECUTOR.get()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("settings", &self.supply.settings).finish_non_exhaustive()
    }
}

/// An exclusive connection. Dropping it ends it and frees its slot at once.
pub struct Connection {
    /// Empty only while being recycled or dropped.
    object: Option<Object<Pooled>>,
    supply: Arc<Supply>,
}

impl Connection {
    fn pooled(&self) -> &Pooled {
        match &self.object {
            Some(object) => object,
            None => unreachable!("emptied only by `recycle`, which consumes it, and `drop`"),
        }
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.pooled().client
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        let pooled = Object::take(object);
        let counters = &self.supply.opener.counters;
        match pooled.client.is_closed() {
            true => counters.lost.add(),
            false => counters.discarded.add(),
        }
        if pooled.watch.unanswered() > 0 {
            self.supply.opener.doubt();
        }
        self.supply.grow(); // its slot is free
        // without a runtime nothing can be sent; the server sees that the client is gone by itself within a second
        let (false, Ok(runtime)) = (pooled.client.is_closed(), Handle::try_current()) else { return };
        runtime.spawn(async move {
            // what may still run can't be known here
            let Pooled { client, peer, .. } = pooled;
            let mut cancelling = pin!(timeout(CLOSE_DEADLINE, peer.cancel(client.cancel_token())));
            let ended = timeout(CANCEL_DEADLINE, cancelling.as_mut()).await;
            drop(client);
            if ended.is_err() {
                let _ = cancelling.await;
            }
        });
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
