//! The driver of a Durable Object: connections that are kept between requests.
//!
//! A Worker may not use another request's socket, but all requests to one object share what it may do, so a pool there
//! is connected once.

use std::future::Future;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult, Timeouts};
use futures_util::future::{Either, select};
use pgspan::driver::{Driver, Link, Prepared, Watch};
use pgspan::{Error, Result};
use tokio_postgres::Client;
use worker::send::SendFuture;

use crate::clock::Clock;
use crate::connection::{CHECK_AFTER, Connection};
use crate::dialler::{Dialler, SOON};
use crate::lock::lock;
use crate::time::now;

/// Requests that may wait for a connection; further ones are refused at once. 64, as on the native host.
const WAITERS_MOST: usize = 64;

/// Keeps a few exclusive connections, and opens those that statements share.
#[derive(Clone)]
pub(crate) struct PoolDriver {
    pool: Pool<Opener>,
    dialler: Arc<Dialler>,
    trust: Arc<Trust>,
    waiting: Arc<AtomicUsize>,
    clock: Clock,
}

/// deadpool's side.
struct Opener {
    dialler: Arc<Dialler>,
    trust: Arc<Trust>,
}

/// Which of the connections that are not in use are checked before they are given out, and which are not even that.
#[derive(Debug, Default)]
struct Trust(Mutex<Moments>);

#[derive(Debug, Default)]
struct Moments {
    /// Something was not answered then: what was last used before is checked.
    doubted: Duration,
    /// What was last used before is as dead as the one that did not answer a check.
    lost: Duration,
}

impl PoolDriver {
    /// `size` exclusive connections at most.
    pub(crate) fn new(dialler: Dialler, size: usize) -> Result<PoolDriver> {
        let dialler = Arc::new(dialler);
        let trust = Arc::new(Trust::default());
        let opener = Opener { dialler: dialler.clone(), trust: trust.clone() };
        let pool = Pool::builder(opener).max_size(size).build();
        let pool = pool.map_err(|error| {
            Error::new(pgspan::Kind::Config, "the pool can't be built").with_source(error)
        })?;
        Ok(PoolDriver { pool, dialler, trust, waiting: Arc::default(), clock: Clock::default() })
    }

    /// Closes the connections no one uses now.
    pub(crate) fn close_idle(&self) {
        self.pool.retain(|_, _| false);
    }

    /// For the log: exclusive connections, idle ones, sockets, and requests that wait.
    pub(crate) fn statistics(&self) -> [usize; 4] {
        let status = self.pool.status();
        let sockets = self.dialler.sockets().connections();
        [status.size, status.available, sockets, self.waiting.load(Ordering::Relaxed)]
    }

    async fn take(&self) -> Result<Pooled> {
        let at_once = Timeouts { wait: Some(Duration::ZERO), ..Timeouts::new() };
        let taken = match self.making_room(self.pool.timeout_get(&at_once)).await {
            Err(PoolError::Timeout(_)) => {
                let _place = Place::take(&self.waiting)?;
                self.making_room(self.pool.timeout_get(&Timeouts::new())).await
            }
            taken => taken,
        };
        match taken {
            Ok(mut object) => {
                object.set_clean(false);
                Ok(Pooled { object: Some(object), trust: self.trust.clone() })
            }
            Err(PoolError::Backend(error)) => Err(error),
            Err(_) => Err(Error::unavailable("the pool gave no connection")),
        }
    }
}

impl PoolDriver {
    /// Waits for a connection. If someone waits for a socket meanwhile, one that is idle gives up its own: a listener may have taken
    /// the socket that the pool counts on.
    async fn making_room<T>(&self, taking: impl Future<Output = T>) -> T {
        let mut taking = Box::pin(taking);
        loop {
            match select(taking, self.clock.sleep(SOON)).await {
                Either::Left((taken, _)) => return taken,
                Either::Right(((), still)) => taking = still,
            }
            if self.dialler.sockets().are_wanted() {
                self.close_one();
            }
        }
    }

    /// Closes one that is idle, if it is in somebody's way.
    fn close_one(&self) {
        if self.dialler.sockets().are_all_taken() {
            let mut one = false;
            self.pool.retain(|_, _| std::mem::replace(&mut one, true)); // the first is closed
        }
    }
}

impl Manager for Opener {
    type Type = Connection;
    type Error = Error;

    fn create(&self) -> impl Future<Output = Result<Connection>> + Send {
        SendFuture::new(async { Ok(self.dialler.open_settled().await?.0) })
    }

    fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> impl Future<Output = RecycleResult<Error>> + Send {
        SendFuture::new(async {
            match connection.is_good() && self.trust.check(connection).await {
                true => Ok(()),
                false => Err(RecycleError::message("lost, or too old")),
            }
        })
    }
}

impl Trust {
    /// Whether a connection that was not in use can be given out.
    async fn check(&self, connection: &mut Connection) -> bool {
        let (long_ago, used) = (now().saturating_sub(CHECK_AFTER), connection.used());
        let (is_doubted, is_lost) = {
            let moments = lock(&self.0);
            (used <= long_ago || used <= moments.doubted, used <= moments.lost)
        };
        if !is_doubted {
            return true;
        }
        if !is_lost && connection.answers().await {
            return true;
        }
        connection.give_up();
        let mut moments = lock(&self.0);
        moments.lost = moments.lost.max(used).max(long_ago);
        false
    }

    /// Something was not answered in time: who knows what else won't be.
    fn doubt(&self) {
        lock(&self.0).doubted = now();
    }
}

impl Driver for PoolDriver {
    type Connection = Pooled;

    fn acquire(&self) -> impl Future<Output = Result<Pooled>> + Send {
        SendFuture::new(async {
            let limit = self.dialler.settings().acquire_timeout;
            match select(Box::pin(self.take()), self.clock.sleep(limit)).await {
                Either::Left((taken, _)) => taken,
                Either::Right(_) => {
                    Err(Error::unavailable("no connection became free, or could be opened, in time"))
                }
            }
        })
    }

    fn recycle(&self, mut connection: Pooled) {
        if let Some(mut object) = connection.object.take() {
            object.set_clean(true);
            if self.dialler.sockets().are_wanted() {
                drop(Object::take(object)); // its socket is another's
            }
        }
    }

    fn prepared<'c>(&self, connection: &'c Pooled) -> Option<&'c Prepared> {
        connection.object.as_ref().map(|object| object.prepared())
    }

    fn watch<'c>(&self, connection: &'c Pooled) -> &'c Watch {
        connection.connection().watch()
    }

    fn dial(&self) -> impl Future<Output = Result<Link>> + Send {
        SendFuture::new(async {
            self.close_one();
            self.making_room(self.dialler.dial()).await
        })
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.clock.sleep(duration)
    }

    fn now(&self) -> Duration {
        now()
    }
}

/// An exclusive connection of the pool. Dropping it ends it and frees its slot at once.
pub(crate) struct Pooled {
    object: Option<Object<Opener>>,
    trust: Arc<Trust>,
}

impl Pooled {
    #[allow(clippy::expect_used, reason = "emptied by `recycle`, which consumes it, and by `drop` alone")]
    fn connection(&self) -> &Connection {
        self.object.as_ref().expect("a pooled connection is there until it is given back")
    }
}

impl Deref for Pooled {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.connection()
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else { return };
        if object.watch().unanswered() > 0 {
            self.trust.doubt();
        }
        drop(Object::take(object));
    }
}

/// A place among those who wait.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>) -> Result<Place> {
        if waiting.fetch_add(1, Ordering::Relaxed) >= WAITERS_MOST {
            waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::unavailable("all connections are in use, and enough requests wait already"));
        }
        Ok(Place(waiting.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
