//! The connections that single statements share.
//!
//! tokio-postgres pipelines what is in flight on one client, so a few connections serve many callers. A statement here is
//! never cancelled, since the cancel could hit another's; `statement_timeout` ends it.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::driver::Executor;
use crate::error::{Error, Kind, Result, Verdict, must_not_be_reused};
use crate::scope::{Elapsed, Scope};
use crate::session::pipeline::{Around, Keep, Outcome, perform};
use crate::session::{Limit, Want, log_flight, only_in_transaction, stake};
use crate::sql::{Encoded, Sql};
use connection::{Connection, InFlight};
use pgspan_scan::Effect;

mod connection;

/// What opening one more may take while there is another to use. A login takes milliseconds; one caller at a time waits for it.
const ONE_MORE: Duration = Duration::from_millis(900);

/// The pause after that failed, doubled up to the longest: the next attempt makes its caller wait for what may never be had.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

pub(super) struct Shared {
    max: usize,
    open: Mutex<Open>,
    /// One dial at a time: a server that comes back is not stormed.
    dialling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Open {
    connections: Vec<Arc<Connection>>,
    /// No further connection is opened before this moment; an open one must do.
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
    pub(super) fn new(max: usize) -> Shared {
        Shared { max, open: Mutex::default(), dialling: tokio::sync::Mutex::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.max == 0
    }

    /// Lets go of all; each ends with the last statement on it.
    pub(super) fn close(&self) {
        self.lock().connections.clear();
    }

    pub(super) fn count(&self) -> usize {
        self.lock().connections.len()
    }

    pub(super) async fn statement(&self, scope: &Scope, sql: &Sql<'_>, want: Want) -> Result<Outcome> {
        admit(sql)?;
        let encoded = Encoded::of(sql)?;
        let connection = match self.at_hand(scope) {
            Some(connection) => connection,
            None => Box::pin(self.connection(scope)).await?, // rare, and large
        };
        scope.check_deadline()?;
        if connection.has_enough() {
            return Err(Error::unavailable("too many statements wait on the shared connections"));
        }
        let (stake, settings) = (stake(0, sql), scope.settings());
        let _in_flight = InFlight::count(&connection, scope);
        let keep = Keep { prepared: &connection.prepared, around: Around::Nothing, pipelines: true };
        let keep = settings.prepare.then_some(keep);
        // pinned here, since each function that takes a future by value makes room for it again
        let performed = pin!(perform(&connection.client, keep, &encoded, want));
        let deadline = Limit::Default.deadline(settings);
        let (answer, waited) = scope.flight(scope.within(deadline, performed)).await;
        log_flight(scope, waited, [(sql, answer.as_ref().ok())].into_iter());
        match answer {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(error)) => {
                match Verdict::of(&error) {
                    // what else is in flight there can't be trusted either
                    Verdict::Lost => self.end(&connection),
                    _ if error.code().is_some_and(must_not_be_reused) => connection.avoid(),
                    _ => {}
                }
                let asked = sql.asked(settings.error_detail);
                Err(Error::answer(error, stake, asked)).inspect_err(|error| scope.count(error))
            }
            Err(elapsed) => {
                // the caller's own deadline says nothing about the connection
                if elapsed == Elapsed::Limit {
                    connection.avoid();
                    self.forget(&connection); // it ends with the last of its callers, if no statement comes after
                }
                Err(Error::deadline(stake))
            }
        }
    }

    /// Ends a connection and forgets it.
    fn end(&self, connection: &Arc<Connection>) {
        connection.watch.end();
        self.forget(connection);
    }

    fn forget(&self, connection: &Arc<Connection>) {
        self.lock().connections.retain(|known| !Arc::ptr_eq(known, connection));
    }

    /// The least loaded connection, if it is idle or there may be no other.
    fn at_hand(&self, scope: &Scope) -> Option<Arc<Connection>> {
        let Choice { least, may_add } = self.choose(scope);
        least.filter(|least| !may_add || !least.is_busy() && least.is_of(scope.executor()))
    }

    /// One is opened, or the least loaded taken where someone else does that.
    async fn connection(&self, scope: &Scope) -> Result<Arc<Connection>> {
        let until = scope.now().saturating_add(scope.settings().acquire_timeout);
        let left = || until.saturating_sub(scope.now());
        // held until the new connection is in the list
        let _dialling = match (self.choose(scope).least, self.dialling.try_lock()) {
            (Some(least), Err(_)) => return Ok(least),
            (_, Ok(dialling)) => dialling,
            // Kept: it goes from one who waits to the next, so that whoever let go and tried again would find it taken, for
            // ever.
            (None, Err(_)) => {
                let dialling = scope.within(left(), self.dialling.lock()).await.map_err(too_late)?;
                if let Some(least) = self.choose(scope).least {
                    return Ok(least);
                }
                dialling
            }
        };
        if let Some(connection) = self.at_hand(scope) {
            return Ok(connection); // someone else opened it
        }
        if let Some(connection) = self.checked(scope, left()).await {
            return Ok(connection);
        }
        let limit = self.choose(scope).least.map_or(left(), |_| left().min(ONE_MORE));
        let dialled = scope.within(limit, scope.dial()).await;
        let is_out_of_time = matches!(dialled, Err(Elapsed::Deadline));
        let dialled = dialled.unwrap_or_else(|elapsed| Err(too_late(elapsed)));
        match (dialled, self.choose(scope).least) {
            (Ok(link), _) => {
                let connection = Arc::new(Connection::new(link, scope));
                let mut open = self.lock();
                open.connections.push(connection.clone());
                open.pause = None;
                Ok(connection)
            }
            // the caller's own deadline says nothing about the server
            (Err(_), Some(least)) if is_out_of_time => Ok(least),
            (Err(_), Some(least)) => {
                let mut open = self.lock();
                let pause = open.pause.map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE));
                (open.pause, open.enough_until) = (Some(pause), scope.now().saturating_add(pause));
                Ok(least)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// One that was not used for long, if it still answers; if it does not, none of those is trusted.
    async fn checked(&self, scope: &Scope, limit: Duration) -> Option<Arc<Connection>> {
        let (here, now) = (scope.executor(), scope.now());
        let doubted = {
            let open = self.lock();
            let doubted = open.connections.iter().filter(|connection| connection.is_doubted(now));
            doubted.min_by_key(|connection| connection.load(here, now)).cloned()
        }?;
        match doubted.check(scope, limit).await {
            Ok(()) => Some(doubted),
            Err(Elapsed::Deadline) => None, // it says nothing about the connection
            Err(Elapsed::Limit) => {
                self.lock().connections.retain(|connection| {
                    let is_trusted = !Arc::ptr_eq(connection, &doubted) && !connection.is_doubted(now);
                    if !is_trusted {
                        connection.watch.end();
                    }
                    is_trusted
                });
                None
            }
        }
    }

    pub(super) fn close_idle(&self) {
        self.lock().connections.retain(|connection| connection.is_awaited());
    }

    fn choose(&self, scope: &Scope) -> Choice {
        let (here, now) = (scope.executor(), scope.now());
        let mut open = self.lock();
        open.connections.retain(|connection| connection.is_good(now));
        let trusted = open.connections.iter().filter(|connection| !connection.is_doubted(now));
        let least = trusted.min_by_key(|connection| connection.load(here, now)).cloned();
        let mut own = open.connections.iter().filter(|connection| connection.is_of(here));
        let may_open = open.connections.len() < self.max && own.clone().count() < self.share(here);
        let may_add = (may_open || own.any(|connection| connection.is_doubted(now)))
            && (least.is_none() || now >= open.enough_until);
        Choice { least, may_add }
    }

    /// How many of the connections an executor may open where others are open.
    fn share(&self, Executor { number, of }: Executor) -> usize {
        let of = of.max(1);
        self.max / of + usize::from(number < self.max % of)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner) // the list is whole between any two of its calls
    }
}

/// What no statement may be that has no session of its own.
pub(super) fn admit(sql: &Sql<'_>) -> Result<()> {
    match sql.check()?.effect {
        Effect::None => Ok(()),
        Effect::OnlyInTransaction => Err(only_in_transaction()),
        Effect::SessionState => Err(Error::refused(
            "this statement changes the session's state, and a shared connection is no one's session: use db.session()",
        )),
    }
}

fn too_late(elapsed: Elapsed) -> Error {
    match elapsed {
        Elapsed::Deadline => Error::new(Kind::Timeout, "no connection was opened before the deadline"),
        Elapsed::Limit => Error::unavailable("no connection was opened in time"),
    }
}
