//! The connections that single statements share.
//!
//! tokio-postgres pipelines what is in flight on one client, so a few connections serve many callers. A statement here is
//! never cancelled, since the cancel could hit another's; `statement_timeout` ends it.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Database;
use crate::deadline::Elapsed;
use crate::driver::Executor;
use crate::error::{Error, Kind, Result, must_not_be_reused};
use crate::session::pipeline::{Around, Keep, Outcome, perform};
use crate::session::stake;
use crate::sql::{Effect, Sql};
use connection::{Connection, InFlight};

mod connection;

/// What opening one more may take while there is another to use. A login takes milliseconds; one caller at a time waits for it.
const ONE_MORE: Duration = Duration::from_millis(900);

/// The pause after that failed, doubled up to the longest: who waits does so for what may never be had.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

pub(super) struct Shared {
    most: usize,
    open: Mutex<Open>,
    /// One dial at a time: a server that comes back is not stormed.
    dialling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Open {
    connections: Vec<Arc<Connection>>,
    /// Until then one that there is does.
    enough_until: Duration,
    /// The pause that ends then; none after a success.
    pause: Option<Duration>,
}

/// What there is for a statement.
struct Choice {
    /// The least loaded connection that can be trusted.
    least: Option<Arc<Connection>>,
    /// Whether one more may be opened, or one that was not used for long be checked.
    may_add: bool,
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
        self.lock().connections.clear();
    }

    pub(super) async fn statement(&self, db: &Database, sql: &Sql<'_>) -> Result<Outcome> {
        if sql.check()? == Effect::SessionState {
            return Err(Error::refused(
                "this statement changes the session's state, and a shared connection is no one's session: use db.session()",
            ));
        }
        let connection = match self.at_hand(db) {
            Some(connection) => connection,
            None => Box::pin(self.connection(db)).await?, // rare, and large
        };
        db.check_deadline()?;
        let stake = stake(0, sql);
        let _in_flight = InFlight::count(&connection, db.port());
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
    fn at_hand(&self, db: &Database) -> Option<Arc<Connection>> {
        let Choice { least, may_add } = self.choose(db);
        least.filter(|least| !may_add || !least.is_busy() && least.is_of(db.port().executor()))
    }

    /// One is opened, or the least loaded taken where someone else does that.
    async fn connection(&self, db: &Database) -> Result<Arc<Connection>> {
        let until = db.port().now().saturating_add(db.settings().acquire_timeout);
        let left = || until.saturating_sub(db.port().now());
        // held until the new connection is in the list
        let _dialling = match (self.choose(db).least, self.dialling.try_lock()) {
            (Some(least), Err(_)) => return Ok(least),
            (_, Ok(dialling)) => dialling,
            // Kept: it goes from one who waits to the next, so that whoever let go and tried again would find it taken, for
            // ever.
            (None, Err(_)) => {
                let dialling =
                    db.within(left(), self.dialling.lock()).await.map_err(|Elapsed| too_late(db))?;
                if let Some(least) = self.choose(db).least {
                    return Ok(least);
                }
                dialling
            }
        };
        if let Some(connection) = self.at_hand(db) {
            return Ok(connection); // someone else opened it
        }
        if let Some(connection) = self.checked(db, left()).await {
            return Ok(connection);
        }
        let limit = self.choose(db).least.map_or(left(), |_| left().min(ONE_MORE));
        let dialled = db.within(limit, db.dial()).await;
        let dialled = dialled.unwrap_or_else(|Elapsed| Err(too_late(db)));
        match (dialled, self.choose(db).least) {
            (Ok(dialled), _) => {
                let connection = Arc::new(Connection::new(dialled, db.port()));
                let mut open = self.lock();
                open.connections.push(connection.clone());
                open.pause = None;
                Ok(connection)
            }
            (Err(_), Some(least)) => {
                let mut open = self.lock();
                let pause = open.pause.map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE));
                (open.pause, open.enough_until) = (Some(pause), db.port().now().saturating_add(pause));
                Ok(least)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// One that was not used for long, if it still answers; if it does not, none of those is trusted.
    async fn checked(&self, db: &Database, limit: Duration) -> Option<Arc<Connection>> {
        let (here, now) = (db.port().executor(), db.port().now());
        let doubted = {
            let open = self.lock();
            let doubted = open.connections.iter().filter(|connection| connection.is_doubted(now));
            doubted.min_by_key(|connection| connection.load(here, now)).cloned()
        }?;
        match doubted.check(db, limit).await {
            true => Some(doubted),
            false if db.check_deadline().is_err() => None, // its caller's time was over before the check's
            false => {
                self.lock().connections.retain(|connection| !connection.is_doubted(now));
                None
            }
        }
    }

    pub(super) fn close_idle(&self) {
        self.lock().connections.retain(|connection| connection.is_busy());
    }

    fn choose(&self, db: &Database) -> Choice {
        let (here, now) = (db.port().executor(), db.port().now());
        let mut open = self.lock();
        open.connections.retain(|connection| connection.is_good(now));
        let trusted = open.connections.iter().filter(|connection| !connection.is_doubted(now));
        let least = trusted.min_by_key(|connection| connection.load(here, now)).cloned();
        let mut own = open.connections.iter().filter(|connection| connection.is_of(here));
        let may_open = open.connections.len() < self.most && own.clone().count() < self.share(here);
        let may_add = (may_open || own.any(|connection| connection.is_doubted(now)))
            && (least.is_none() || now >= open.enough_until);
        Choice { least, may_add }
    }

    /// How many of the connections an executor may open where others are open.
    fn share(&self, Executor { number, of }: Executor) -> usize {
        let of = of.max(1);
        self.most / of + usize::from(number < self.most % of)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner) // the list is whole between any two of its calls
    }
}

fn too_late(db: &Database) -> Error {
    match db.check_deadline() {
        Err(_) => Error::new(Kind::Timeout, "no connection was opened before the deadline"),
        Ok(()) => Error::unavailable("no connection was opened in time"),
    }
}
