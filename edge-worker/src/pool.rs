//! The driver of a Durable Object: connections that are kept between requests.
//!
//! A Worker may not use another request's socket, but all requests to one object share what it may do, so a pool there
//! is connected once.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult, Timeouts};
use futures_util::future::{Either, select};
use pgspan::driver::{Driver, Link, Prepared, Watch};
use pgspan::{Error, Result};
use tokio_postgres::Client;
use worker::send::SendFuture;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::connection::{Connection, Dialler, now};

/// Requests that may wait for a connection; further ones are refused at once. 64, as on the native host.
const WAITERS_MOST: usize = 64;
/// As on the native host: a fail-over or a changed DNS entry is followed within that.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// Keeps a few exclusive connections, and opens those that statements share.
#[derive(Clone)]
pub(crate) struct PoolDriver {
    pool: Pool<Opener>,
    opener: Arc<Shared>,
    waiting: Arc<AtomicUsize>,
    clock: Clock,
}

struct Shared {
    dialler: Dialler,
    backoff: Backoff,
}

/// deadpool's side.
struct Opener(Arc<Shared>);

impl PoolDriver {
    /// `size` exclusive connections at most.
    pub(crate) fn new(dialler: Dialler, size: usize) -> Result<PoolDriver> {
        let opener = Arc::new(Shared { dialler, backoff: Backoff::default() });
        let pool = Pool::builder(Opener(opener.clone())).max_size(size).build();
        let pool = pool.map_err(|error| {
            Error::new(pgspan::Kind::Config, "the pool can't be built").with_source(error)
        })?;
        Ok(PoolDriver { pool, opener, waiting: Arc::default(), clock: Clock::default() })
    }

    /// Closes the connections no one uses now.
    pub(crate) fn close_idle(&self) {
        self.pool.retain(|_, _| false);
        self.opener.dialler.sockets().tidy();
    }

    /// For the log: exclusive connections, idle ones, sockets, and requests that wait.
    pub(crate) fn statistics(&self) -> [usize; 4] {
        let status = self.pool.status();
        let sockets = self.opener.dialler.sockets().open();
        [status.size, status.available, sockets, self.waiting.load(Ordering::Relaxed)]
    }

    async fn take(&self) -> Result<Pooled> {
        let at_once = Timeouts { wait: Some(Duration::ZERO), ..Timeouts::new() };
        let taken = match self.pool.timeout_get(&at_once).await {
            Err(PoolError::Timeout(_)) => {
                let _place = Place::take(&self.waiting)?;
                self.pool.timeout_get(&Timeouts::new()).await
            }
            taken => taken,
        };
        match taken {
            Ok(mut object) => {
                object.set_clean(false);
                Ok(Pooled(Some(object)))
            }
            Err(PoolError::Backend(error)) => Err(error),
            Err(_) => Err(Error::unavailable("the pool gave no connection")),
        }
    }
}

impl Shared {
    async fn open<T>(&self, open: impl Future<Output = Result<T>>) -> Result<T> {
        self.backoff.turn().await;
        let opened = open.await;
        self.backoff.enter(&opened);
        opened
    }
}

impl Manager for Opener {
    type Type = Connection;
    type Error = Error;

    fn create(&self) -> impl Future<Output = Result<Connection>> + Send {
        SendFuture::new(async { Ok(self.0.open(self.0.dialler.open_settled()).await?.0) })
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Error> {
        match connection.is_closed() || connection.age().0 > LIFETIME {
            true => Err(RecycleError::message("lost or too old")),
            false => Ok(()),
        }
    }
}

impl Driver for PoolDriver {
    type Connection = Pooled;

    fn acquire(&self) -> impl Future<Output = Result<Pooled>> + Send {
        SendFuture::new(async {
            let limit = self.opener.dialler.settings().acquire_timeout;
            match select(Box::pin(self.take()), self.clock.sleep(limit)).await {
                Either::Left((taken, _)) => taken,
                Either::Right(_) => {
                    Err(Error::unavailable("no connection became free, or could be opened, in time"))
                }
            }
        })
    }

    fn recycle(&self, mut connection: Pooled) {
        if let Some(mut object) = connection.0.take() {
            object.set_clean(true);
        }
    }

    fn prepared<'c>(&self, connection: &'c Pooled) -> Option<&'c Prepared> {
        connection.0.as_ref().map(|object| object.prepared())
    }

    fn watch<'c>(&self, connection: &'c Pooled) -> &'c Watch {
        connection.connection().watch()
    }

    fn dial(&self) -> impl Future<Output = Result<Link>> + Send {
        SendFuture::new(self.opener.open(self.opener.dialler.dial()))
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.clock.sleep(duration)
    }

    fn now(&self) -> Duration {
        now()
    }
}

/// An exclusive connection of the pool. Dropping it ends it and frees its slot at once.
pub(crate) struct Pooled(Option<Object<Opener>>);

impl Pooled {
    #[allow(clippy::expect_used, reason = "emptied by `recycle`, which consumes it, and by `drop` alone")]
    fn connection(&self) -> &Connection {
        self.0.as_ref().expect("a pooled connection is there until it is given back")
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
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
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
