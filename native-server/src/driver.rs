//! The driver: deadpool-postgres behind pgspan's port, with one deadline over everything and a bound on who waits.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use deadpool::managed::{Object, Pool, PoolError, QueueMode, TimeoutType, Timeouts};
use pgspan::driver::{Executor, Link, Prepared, Watch};
use pgspan::{ConnectionUrl, Error, Result, Settings};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

use crate::dialler::Dialler;
use crate::executor::EXECUTOR;
use crate::opener::{HANDED_OVER, Opener, Pooled, has_one_to_hand_over};
use crate::pool::PoolSettings;
use crate::queue::{ACQUIRE, Acquire, Step, Waiter};
use crate::statistics::PoolStatistics;

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
    pool: Pool<Opener>,
    waiting: Arc<AtomicUsize>,
    settings: PoolSettings,
    acquire_timeout: Duration,
    started: Instant,
    sweeping: Arc<Once>,
}

impl Driver {
    /// A driver for this database. `settings` must be those that [`pgspan::connect_with`] gets.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](pgspan::Kind::Config) if the authorities to trust (`sslrootcert`) can't be read.
    pub fn new(url: &ConnectionUrl, settings: &Settings, pool: PoolSettings) -> Result<Driver> {
        let dialler = Dialler::new(url, url.configure(settings))?;
        // who waits for a connection waits no longer, so that the last host has its share before that
        let connect_timeout = pool.connect_timeout.min(settings.acquire_timeout);
        let opener = Opener::new(dialler, PoolSettings { connect_timeout, ..pool.clone() });
        Ok(Driver {
            pool: Pool::builder(opener)
                .max_size(pool.size)
                // the one used last is warm, and those not needed become idle and are closed
                .queue_mode(QueueMode::Lifo)
                .build()
                .map_err(|error| {
                    Error::new(pgspan::Kind::Config, "the pool can't be built").with_source(error)
                })?,
            waiting: Arc::default(),
            settings: pool,
            acquire_timeout: settings.acquire_timeout,
            started: Instant::now(),
            sweeping: Arc::new(Once::new()),
        })
    }

    /// Closes the pool, for good: connections not in use are closed now and the others when they are given back, those who
    /// wait and those who come are refused ([`Kind::Unavailable`](pgspan::Kind::Unavailable)).
    ///
    /// The connections that single statements share are not the pool's: [`pgspan::Database::close`] is for them.
    pub fn close(&self) {
        self.pool.close();
    }

    /// What the pool does now, and did so far.
    pub fn statistics(&self) -> PoolStatistics {
        let (status, counters) = (self.pool.status(), &self.pool.manager().counters);
        PoolStatistics {
            max: self.settings.size,
            size: status.size,
            idle: status.available,
            in_use: status.size.saturating_sub(status.available),
            waiting: self.waiting.load(Ordering::Relaxed),
            waits: counters.waits.get(),
            timeouts: counters.timeouts.get(),
            refused: counters.refused.get(),
            opened: counters.opened.get(),
            dialled: counters.dialled.get(),
            failed: self.pool.manager().backoff.failures.get(),
            lost: counters.lost.get(),
            discarded: counters.discarded.get(),
        }
    }

    async fn take(&self) -> Result<Connection> {
        let taken = match self.pool.timeout_get(&AT_ONCE).await {
            Err(PoolError::Timeout(TimeoutType::Wait)) => {
                let Some(waiter) = Waiter::enter(&self.waiting, self.settings.max_waiters) else {
                    self.pool.manager().counters.refused.add();
                    let PoolSettings { size, max_waiters, .. } = self.settings;
                    let text =
                        format!("all {size} connections are in use, and {max_waiters} callers wait already");
                    return Err(Error::unavailable(text));
                };
                self.pool.manager().counters.waits.add();
                let _ = ACQUIRE.try_with(|acquire| acquire.waiter.set(Some(waiter)));
                self.pool.timeout_get(&Timeouts::new()).await
            }
            taken => taken,
        };
        match taken {
            Ok(object) => Ok(Connection { object: Some(object) }),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Closed) => Err(closed()),
            Err(error) => Err(Error::unavailable("the pool gave no connection").with_source(error)),
        }
    }

    fn too_late(&self, step: Step) -> Error {
        self.pool.manager().counters.timeouts.add();
        let (limit, size) = (self.acquire_timeout.as_millis(), self.settings.size);
        Error::unavailable(match step {
            Step::Wait => format!("none of the {size} connections became free within {limit} ms"),
            Step::Check => format!("no connection within {limit} ms: an unused one did not answer"),
            Step::Open => format!("no connection within {limit} ms: none could be opened"),
        })
    }

    /// Closes what nobody uses any more and keeps the rest warm, for as long as the driver lives.
    fn sweep(&self) {
        self.sweeping.call_once(|| {
            let PoolSettings { lifetime, idle_timeout, min_idle, .. } = self.settings;
            let pause =
                (lifetime.min(idle_timeout) / 4).clamp(Duration::from_millis(100), Duration::from_secs(30));
            let pool = self.pool.weak();
            tokio::spawn(async move {
                loop {
                    let Some(pool) = pool.upgrade() else { return };
                    let mut surplus = pool.status().size.saturating_sub(min_idle);
                    pool.retain(|pooled, _| {
                        let over = pool.manager().is_over(pooled);
                        let closed = over || surplus > 0 && pool.manager().is_unused(pooled);
                        surplus -= usize::from(closed).min(surplus);
                        !closed
                    });
                    warm(&pool, min_idle).await;
                    drop(pool);
                    sleep(pause).await;
                }
            });
        });
    }
}

/// Opens connections until there are so many. Each is opened beside the pool, so that callers have the idle ones meanwhile,
/// and then handed over: deadpool takes a new one only where none is idle, so those are held for that moment, in which nothing
/// is waited for.
async fn warm(pool: &Pool<Opener>, least: usize) {
    while pool.status().size < least {
        let Ok(opened) = pool.manager().open().await else { return }; // the log says why, and the next round tries again
        let handing_over = HANDED_OVER.scope(Cell::new(Some(opened)), async {
            let mut held = Vec::new();
            while has_one_to_hand_over() {
                match pool.timeout_get(&AT_ONCE).await {
                    Ok(object) => held.push(object),
                    Err(_) => return false, // others opened theirs meanwhile, or the pool was closed
                }
            }
            while held.pop().is_some() {} // so that the one used last is taken next, as before
            true
        });
        if !handing_over.await {
            return;
        }
    }
}

/// Takes no part in the queue.
const AT_ONCE: Timeouts = Timeouts { wait: Some(Duration::ZERO), create: None, recycle: None };

impl pgspan::Driver for Driver {
    type Connection = Connection;

    async fn acquire(&self) -> Result<Connection> {
        self.sweep();
        let mut taking = pin!(ACQUIRE.scope(Acquire::default(), self.take()));
        match timeout(self.acquire_timeout, taking.as_mut()).await {
            Ok(taken) => taken,
            Err(_) => Err(self.too_late(taking.take_value().unwrap_or_default().step.get())),
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
        if self.pool.is_closed() {
            return Err(closed());
        }
        self.sweep();
        let dialled = timeout(self.acquire_timeout, self.pool.manager().dial()).await;
        dialled.unwrap_or_else(|_| Err(self.too_late(Step::Open)))
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

fn closed() -> Error {
    Error::unavailable("the pool is closed")
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// An exclusive connection. Dropping it ends it and frees its slot at once.
pub struct Connection {
    /// Empty only while being recycled or dropped.
    object: Option<Object<Opener>>,
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
        match pooled.client.is_closed() {
            true => pooled.counters.lost.add(),
            false => pooled.counters.discarded.add(),
        }
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
