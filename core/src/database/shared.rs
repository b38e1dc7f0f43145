//! The connections that single statements share.
//!
//! tokio-postgres pipelines what is in flight on one client, so a few connections serve many callers. A statement here is
//! never cancelled, since the cancel could hit another's; `statement_timeout` ends it.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_postgres::Client;

use super::Database;
use crate::deadline::Elapsed;
use crate::error::{Error, Kind, Result, must_not_be_reused};
use crate::prepared::Prepared;
use crate::session::pipeline::{Around, Keep, Outcome, perform};
use crate::session::stake;
use crate::sql::{Effect, Sql};

pub(super) struct Shared {
    most: usize,
    open: Mutex<Vec<Arc<Connection>>>,
    /// One dial at a time: a server that comes back is not stormed.
    dialling: tokio::sync::Mutex<()>,
}

struct Connection {
    client: Client,
    prepared: Prepared,
    in_flight: AtomicUsize,
    /// Gets no new statement: a deadline passed on it, or its server is leaving.
    avoided: AtomicBool,
}

impl Shared {
    pub(super) fn new(most: usize) -> Shared {
        Shared { most, open: Mutex::default(), dialling: tokio::sync::Mutex::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.most == 0
    }

    /// Lets go of all; each ends with the last statement on it.
    pub(super) fn close(&self) {
        self.lock().clear();
    }

    pub(super) async fn statement(&self, db: &Database, sql: &Sql<'_>) -> Result<Outcome> {
        if sql.check()? == Effect::SessionState {
            return Err(Error::refused(
                "this statement changes the session's state, and a shared connection is no one's session: use db.session()",
            ));
        }
        let connection = match self.at_hand() {
            Some(connection) => connection,
            None => Box::pin(self.connection(db)).await?, // rare, and large
        };
        db.check_deadline()?;
        let stake = stake(0, sql);
        let _in_flight = InFlight::count(&connection);
        let keep = Keep { prepared: &connection.prepared, around: Around::Nothing };
        let keep = db.settings().prepares().then_some(keep);
        // pinned here, since each function that takes a future by value makes room for it again
        let performed = pin!(perform(&connection.client, keep, sql));
        match db.flight(db.settings().statement_deadline(), performed).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(error)) => {
                if error.code().is_some_and(must_not_be_reused) {
                    connection.avoid();
                }
                Err(Error::answer(error, stake)).inspect_err(|error| db.count(error))
            }
            Err(Elapsed) => {
                connection.avoid();
                Err(Error::deadline(stake))
            }
        }
    }

    /// The least loaded connection, if it is idle or there may be no other.
    fn at_hand(&self) -> Option<Arc<Connection>> {
        let (least, may_open) = self.least_loaded();
        least.filter(|least| !may_open || least.in_flight.load(Ordering::Relaxed) == 0)
    }

    /// One is opened, or the least loaded taken where someone else does that.
    async fn connection(&self, db: &Database) -> Result<Arc<Connection>> {
        let until = db.port().now().saturating_add(db.settings().acquire_timeout);
        let left = || until.saturating_sub(db.port().now());
        // held until the new connection is in the list
        let _dialling = match (self.least_loaded().0, self.dialling.try_lock()) {
            (Some(least), Err(_)) => return Ok(least),
            (_, Ok(dialling)) => dialling,
            (None, Err(_)) => {
                // Kept: it goes from one who waits to the next, so that whoever let go and tried again would find it
                // taken, for ever.
                let dialling =
                    db.within(left(), self.dialling.lock()).await.map_err(|Elapsed| too_late(db))?;
                if let (Some(least), _) = self.least_loaded() {
                    return Ok(least);
                }
                dialling
            }
        };
        if let (Some(least), false) = self.least_loaded() {
            return Ok(least); // someone else opened the last there may be
        }
        let dialled = db.within(left(), db.dial()).await;
        let dialled = dialled.unwrap_or_else(|Elapsed| Err(too_late(db)));
        match (dialled, self.least_loaded()) {
            (Ok(dialled), _) => {
                let connection = Arc::new(Connection {
                    client: dialled.client,
                    prepared: Prepared::default(),
                    in_flight: AtomicUsize::new(0),
                    avoided: AtomicBool::new(false),
                });
                self.lock().push(connection.clone());
                Ok(connection)
            }
            (Err(_), (Some(least), _)) => Ok(least),
            (Err(error), (None, _)) => Err(error),
        }
    }

    pub(super) fn close_idle(&self) {
        self.lock().retain(|connection| connection.in_flight.load(Ordering::Relaxed) > 0);
    }

    /// The connection with the fewest statements in flight, and whether there may be one more.
    fn least_loaded(&self) -> (Option<Arc<Connection>>, bool) {
        let mut open = self.lock();
        open.retain(|connection| connection.is_good());
        let least =
            open.iter().min_by_key(|connection| connection.in_flight.load(Ordering::Relaxed)).cloned();
        (least, open.len() < self.most)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner) // the list is whole between any two of its calls
    }
}

fn too_late(db: &Database) -> Error {
    match db.check_deadline() {
        Err(_) => Error::new(Kind::Timeout, "no connection was opened before the deadline"),
        Ok(()) => Error::unavailable("no connection was opened in time"),
    }
}

impl Connection {
    fn is_good(&self) -> bool {
        !self.avoided.load(Ordering::Relaxed) && !self.client.is_closed()
    }

    fn avoid(&self) {
        self.avoided.store(true, Ordering::Relaxed);
    }
}

/// Counts a statement while it is in flight, dropped futures included.
struct InFlight<'c>(&'c Connection);

impl<'c> InFlight<'c> {
    fn count(connection: &'c Connection) -> InFlight<'c> {
        connection.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(connection)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
