//! A database: connect once, then take sessions, or send single statements on shared connections.

mod shared;
mod statistics;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::deadline::{Elapsed, Scope};
use crate::driver::{BoxFuture, Dialled, Driver, Erased, Port};
use crate::error::{Error, Kind, Result};
use crate::listen::Listener;
use crate::retry::Retry;
use crate::session::pipeline::Outcome;
use crate::session::{Session, statements};
use crate::settings::Settings;
use crate::sql::Sql;
use crate::transaction::{TransactionId, TransactionStatus};
use shared::Shared;
use statistics::Counters;
pub use statistics::Statistics;

/// A database with the [default settings](Settings): do it once, and clone what you get.
///
/// It opens no connection by itself; the first statement does.
pub fn connect(driver: impl Driver) -> Database {
    connect_with(driver, Settings::default())
}

/// A database with settings of your own.
pub fn connect_with(driver: impl Driver, settings: Settings) -> Database {
    let shared = Shared::new(settings.shared);
    let port = Box::new(Erased(Arc::new(driver)));
    let inner =
        Inner { port, settings, shared, closed: AtomicBool::new(false), counters: Counters::default() };
    Database { inner: Arc::new(inner), scope: Arc::default() }
}

/// A database that was connected to: take a [`session`](Database::session), or send a single statement.
///
/// Cheap to clone; all clones use the same connections. It has no type parameter, so that it can be an axum
/// `State<Database>` whatever the driver.
///
/// `execute` and `fetch_*` here send **one autocommit statement on a shared connection**, pipelined with those of others.
/// That is what makes reads fast. No transaction, session state or COPY is possible there; for these take a session.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
    scope: Arc<Scope>,
}

struct Inner {
    port: Box<dyn Port>,
    settings: Settings,
    shared: Shared,
    closed: AtomicBool,
    counters: Counters,
}

impl Database {
    /// Takes a connection for yourself.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] if none could be had within the acquire deadline, saying which step failed;
    /// [`Kind::Timeout`] if the deadline of [`with_deadline`](Database::with_deadline) passed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue and loses no connection.
    pub async fn session(&self) -> Result<Session> {
        self.check_open()?;
        self.check_deadline()?;
        // the driver keeps its own deadline, and says which step it hit; ours is for a driver that does not
        let limit = self.settings().acquire_timeout + Duration::from_secs(1);
        match self.within(limit, self.inner.port.acquire()).await {
            Ok(lease) => Ok(Session::new(self.clone(), lease.inspect_err(|error| self.count(error))?)),
            Err(Elapsed) if self.check_deadline().is_err() => {
                Err(Error::new(Kind::Timeout, "no connection became free before the deadline"))
            }
            Err(Elapsed) => Err(Error::unavailable("no connection became free in time")),
        }
    }

    /// The same database for one user, say one request: everything it does through this clone ends `limit` from now,
    /// and its round trips are counted from zero.
    #[must_use]
    pub fn with_deadline(&self, limit: Duration) -> Database {
        let deadline = self.inner.port.now().checked_add(limit);
        Database { inner: self.inner.clone(), scope: Arc::new(Scope::ending_at(deadline)) }
    }

    /// Waits for something of yours, such as a request's body, at most until this clone's deadline (see
    /// [`with_deadline`](Database::with_deadline)); without one, as long as it takes.
    ///
    /// # Errors
    ///
    /// [`Kind::Timeout`]; the future is dropped then.
    ///
    /// # Cancel safety
    ///
    /// That of the future.
    pub async fn until_deadline<F: Future>(&self, future: F) -> Result<F::Output> {
        match self.scope.has_deadline() {
            false => Ok(future.await),
            true => self.within(Duration::MAX, future).await.map_err(|Elapsed| {
                Error::new(Kind::Timeout, "the deadline passed before anything was sent to the database")
            }),
        }
    }

    /// How often this clone (see [`with_deadline`](Database::with_deadline)) waited for an answer of PostgreSQL, and for
    /// how long. Connecting does not count.
    pub fn round_trips(&self) -> (u32, Duration) {
        (self.scope.round_trips(), self.scope.waited())
    }

    /// What to do again after a serialization failure or a deadlock; see [`Retry`].
    pub fn retry(&self) -> Retry {
        Retry::new(self.clone())
    }

    /// Subscribes to a channel, on a connection of its own: `LISTEN` (PostgreSQL documentation, "LISTEN").
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] if no connection could be had; [`Kind::Refused`] behind a transaction pooler, which can't
    /// carry notifications.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or the listener, closes its connection.
    pub async fn listen(&self, channel: &str) -> Result<Listener> {
        Listener::open(self.clone(), channel).await
    }

    /// What became of a transaction whose COMMIT was not answered: `pg_xact_status`.
    ///
    /// # Errors
    ///
    /// As [`fetch_one`](Database::fetch_one); an id from another server is an error of the server.
    ///
    /// # Cancel safety
    ///
    /// It only reads: nothing is lost.
    pub async fn transaction_status(&self, id: TransactionId) -> Result<TransactionStatus> {
        let id = id.to_string();
        let status: Option<String> = self
            .fetch_one(Sql::new("SELECT pg_xact_status(").bind(&id).push("::text::xid8)").reads_only())
            .await?;
        match status.as_deref() {
            Some("committed") => Ok(TransactionStatus::Committed),
            Some("aborted") => Ok(TransactionStatus::Aborted),
            Some("in progress") => Ok(TransactionStatus::InProgress),
            None => Ok(TransactionStatus::Forgotten),
            Some(_) => Err(Error::row("pg_xact_status answered with a word that is not known")),
        }
    }

    /// Closes the shared connections on which nothing is in flight; the next statement opens one again. For hosts that end
    /// when nothing is open, as a Durable Object does.
    pub fn close_shared(&self) {
        self.inner.shared.close_idle();
    }

    /// What all clones together did since it was connected to; [`round_trips`](Database::round_trips) speaks of one.
    pub fn statistics(&self) -> Statistics {
        self.inner.counters.read()
    }

    /// Closes the database, for good and for all clones: what is under way finishes, what comes after is refused
    /// ([`Kind::Unavailable`]). The shared connections end with their last statement; a driver's pool is the driver's to
    /// close.
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::Relaxed);
        self.inner.shared.close();
    }

    /// The driver's clock: the time since some fixed moment, never going back.
    pub fn now(&self) -> Duration {
        self.port().now()
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    statements! {
        impl for self in (&self), from Database::outcome
    }

    async fn outcome(&self, sql: Sql<'_>) -> Result<Outcome> {
        self.check_open()?;
        match self.inner.shared.is_empty() {
            true => Box::pin(async { self.session().await?.statement(0, &sql).await }).await,
            false => {
                let outcome = self.inner.shared.statement(self, &sql).await;
                if self.check_open().is_err() {
                    self.inner.shared.close(); // this one may have been opened while it was being closed
                }
                outcome
            }
        }
    }
}

impl Database {
    fn check_open(&self) -> Result<()> {
        match self.inner.closed.load(Ordering::Relaxed) {
            true => Err(Error::unavailable("the database is closed")),
            false => Ok(()),
        }
    }
}

/// Waiting, for the rest of the crate.
impl Database {
    pub(crate) fn port(&self) -> &dyn Port {
        &*self.inner.port
    }

    pub(crate) async fn within<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        self.scope.within(self.port(), limit, future).await
    }

    pub(crate) async fn flight<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        self.inner.counters.round_trip();
        self.scope.flight(self.port(), limit, future).await
    }

    pub(crate) async fn dial(&self) -> Result<Dialled> {
        self.port().dial().await.inspect_err(|error| self.count(error))
    }

    pub(crate) fn sleep_within(&self, limit: Duration) -> BoxFuture<()> {
        self.port().sleep(self.scope.left(self.port(), limit))
    }

    /// Enters an error into the statistics, if it is PostgreSQL's. For each once, where it becomes ours.
    pub(crate) fn count(&self, error: &Error) {
        self.inner.counters.error(error);
    }

    pub(crate) fn count_retry(&self) {
        self.inner.counters.retry();
    }

    /// An error if nothing more should be sent.
    pub(crate) fn check_deadline(&self) -> Result<()> {
        match self.scope.is_over(self.port()) {
            true => Err(Error::new(Kind::Timeout, "the deadline passed before the statement was sent")),
            false => Ok(()),
        }
    }

    /// A number from 0 to 1 that differs from call to call and process to process, for jitter alone.
    pub(crate) fn random_fraction(&self) -> f64 {
        let address = std::ptr::from_ref(self) as usize as u64;
        let nanos = u64::try_from(self.port().now().as_nanos() & u128::from(u64::MAX)).unwrap_or_default();
        // splitmix64, to spread the few bits that differ
        let mut bits = (nanos ^ address.rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = u32::try_from((bits ^ (bits >> 31)) >> 32).unwrap_or_default();
        f64::from(bits) / f64::from(u32::MAX)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}
