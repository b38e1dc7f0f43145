//! A database: connect once, then take sessions, or send single statements on shared connections.

mod shared;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::driver::Driver;
use crate::error::{Error, Kind, Result};
use crate::listen::Listener;
use crate::port::Erased;
use crate::retry::Retry;
use crate::scope::{Elapsed, Scope};
use crate::session::pipeline::Outcome;
use crate::session::{Session, Want, fetches};
use crate::settings::Settings;
use crate::sql::Sql;
use crate::statistics::Statistics;
use crate::transaction_id::{TransactionId, TransactionStatus};
use shared::Shared;

/// A database with the [default settings](Settings): do it once, and clone what you get.
///
/// It opens no connection by itself; the first statement does.
pub fn connect(driver: impl Driver) -> Database {
    connect_with(driver, Settings::default())
}

/// A database with settings of your own.
pub fn connect_with(driver: impl Driver, settings: Settings) -> Database {
    let mut settings = settings.rounded();
    if !settings.pipelines() {
        settings.shared_connections = 0; // only statements that are pipelined can share a connection
    }
    let shared = Shared::new(settings.shared_connections);
    let port = Box::new(Erased(Arc::new(driver)));
    Database { scope: Scope::new(port, settings), shared: Arc::new(shared) }
}

/// A database that was connected to: take a [`session`](Database::session), or send a single statement.
///
/// Cheap to clone; all clones use the same connections. It has no type parameter, so that it can be an axum
/// `State<Database>` whatever the driver.
///
/// `execute` and `fetch_*` here send **one autocommit statement on a shared connection**, pipelined with those of others.
/// That is what makes reads fast. No transaction, session state or COPY is possible there; for these take a session. Where no
/// connections are shared ([`Settings::shared_connections`], [`Settings::pooler_pipelines`]), and for a statement with a
/// [`timeout`](Sql::timeout) of its own, it is sent on a connection of the pool.
#[derive(Clone)]
pub struct Database {
    scope: Scope,
    shared: Arc<Shared>,
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
        self.scope.check_open()?;
        self.scope.check_deadline()?;
        // the driver keeps its own deadline, and says which step it hit; ours is for a driver that does not
        let limit = self.settings().acquire_timeout.saturating_add(Duration::from_secs(1));
        match self.scope.within(limit, self.scope.acquire()).await {
            Ok(lease) => {
                let lease = lease.inspect_err(|error| self.scope.count(error))?;
                Ok(Session::new(self.scope.clone(), lease))
            }
            Err(Elapsed::Deadline) => {
                Err(Error::new(Kind::Timeout, "no connection became free before the deadline"))
            }
            Err(Elapsed::Limit) => Err(Error::unavailable("no connection became free in time")),
        }
    }

    /// The same database for one user, say one request: everything it does through this clone ends `limit` from now,
    /// and its round trips are counted from zero. A clone of a clone ends with the earlier of the two deadlines, and its round
    /// trips count for both.
    #[must_use]
    pub fn with_deadline(&self, limit: Duration) -> Database {
        Database { scope: self.scope.with_deadline(limit), shared: self.shared.clone() }
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
            true => self.scope.within(Duration::MAX, future).await.map_err(|_| {
                Error::new(Kind::Timeout, "the deadline passed before anything was sent to the database")
            }),
        }
    }

    /// How often this clone (see [`with_deadline`](Database::with_deadline)) waited for an answer of PostgreSQL, and for
    /// how long. Connecting does not count.
    pub fn round_trips(&self) -> (u32, Duration) {
        self.scope.waited()
    }

    /// What to do again after a serialization failure or a deadlock; see [`Retry`].
    pub fn retry(&self) -> Retry {
        Retry::new(self.scope.clone())
    }

    /// Subscribes to a channel, on a connection of its own: `LISTEN` (PostgreSQL documentation, "LISTEN").
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] if no connection could be had; [`Kind::Timeout`] if the deadline of
    /// [`with_deadline`](Database::with_deadline) passed before, which the listener itself does not have;
    /// [`Kind::Refused`] behind a transaction pooler, which can't carry notifications.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or the listener, closes its connection.
    pub async fn listen(&self, channel: &str) -> Result<Listener> {
        Listener::open(&self.scope, channel).await
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
        self.shared.close_idle();
    }

    /// How many shared connections are open now, of those that the settings allow
    /// ([`Settings::shared_connections`](crate::Settings::shared_connections)).
    pub fn shared_connections(&self) -> usize {
        self.shared.count()
    }

    /// What all clones together did since it was connected to; [`round_trips`](Database::round_trips) speaks of one.
    pub fn statistics(&self) -> Statistics {
        self.scope.statistics()
    }

    /// Closes the database, for good and for all clones: what is under way finishes, what comes after is refused
    /// ([`Kind::Unavailable`]). The shared connections end with their last statement, and listeners end; a driver's pool is the
    /// driver's to close.
    pub fn close(&self) {
        self.scope.close();
        self.shared.close();
    }

    /// The driver's clock: the time since some fixed moment, never going back.
    pub fn now(&self) -> Duration {
        self.scope.now()
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        self.scope.settings()
    }

    fetches! {
        impl for self in (&self), from Database::outcome
    }

    async fn outcome(&self, sql: Sql<'_>, want: Want) -> Result<Outcome> {
        self.scope.check_open()?;
        // a limit of its own would be everyone's on a shared connection
        if self.shared.is_empty() || sql.own_timeout().is_some() {
            return Box::pin(self.alone(&sql, want)).await;
        }
        let outcome = self.shared.statement(&self.scope, &sql, want).await;
        if self.scope.check_open().is_err() {
            self.shared.close(); // this one may have been opened while it was being closed
        }
        outcome
    }

    /// A statement on a connection of its own. It is refused where a shared one would refuse it.
    async fn alone(&self, sql: &Sql<'_>, want: Want) -> Result<Outcome> {
        shared::admit(sql)?;
        self.session().await?.statement(0, sql, want).await
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("settings", self.settings()).finish_non_exhaustive()
    }
}
