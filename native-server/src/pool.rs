//! The pool's settings, and how its connections are opened, checked and let go.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::{ClientWrapper, ManagerConfig, RecyclingMethod};
use pgspan::driver::Dialled;
use pgspan::{Error, Kind, Result};
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::dialler::Dialler;
use crate::random::fraction;
use crate::tls;

/// How the pool behaves. Each has a default and a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolSettings {
    /// Exclusive connections at most. 8: what a server of four cores can work on at once (twice its cores), and well
    /// below PostgreSQL's default of 100 connections with several instances. More make each slower, fewer make callers
    /// wait. The connections that single statements share (`DATABASE_SHARED`) come on top.
    pub size: usize,
    /// Callers that may wait for a connection; further ones are refused at once. 64: eight for each connection. With more
    /// the last would wait past the deadline for nothing, with fewer a short burst is refused.
    pub max_waiters: usize,
    /// Opening a connection, with TLS and login. 3 s: a healthy server needs milliseconds, and the acquire deadline ends
    /// it anyway.
    pub connect_timeout: Duration,
    /// How old a connection gets, less up to 5 % so that they do not all end at once. 30 min: a fail-over or a changed
    /// DNS entry is followed within that, and a server process does not grow for ever.
    pub lifetime: Duration,
    /// How long a connection stays unused. 10 min: a burst's connections are given back to the server, those of a
    /// steady trickle stay.
    pub idle_timeout: Duration,
    /// A connection unused for longer is checked before it is given to a session, which costs a round trip. 30 s: below
    /// what firewalls and address translation forget connections after.
    pub check_after: Duration,
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings {
            size: 8,
            max_waiters: 64,
            connect_timeout: Duration::from_secs(3),
            lifetime: Duration::from_secs(30 * 60),
            idle_timeout: Duration::from_secs(10 * 60),
            check_after: Duration::from_secs(30),
        }
    }
}

impl PoolSettings {
    /// Reads the settings by name, say from the environment: `POOL_SIZE`, `POOL_MAX_WAITERS`, `CONNECT_TIMEOUT_MS`,
    /// `POOL_LIFETIME_MS`, `POOL_IDLE_TIMEOUT_MS`, `POOL_CHECK_AFTER_MS`. What is not set has its default.
    ///
    /// # Errors
    ///
    /// Every fault there is, each [`Kind::Config`] and naming its setting.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<PoolSettings, Vec<Error>> {
        let mut faults = Vec::new();
        let mut number = |name: &str, default: u64, least: u64, most: u64| {
            let set = lookup(name).filter(|value| !value.is_empty());
            let Some(value) = set else { return default };
            value.parse().ok().filter(|value| (least..=most).contains(value)).unwrap_or_else(|| {
                let text = format!("{name}: must be a number from {least} to {most}");
                faults.push(Error::new(Kind::Config, text));
                default
            })
        };
        const DAY: u64 = 86_400_000;
        let settings = PoolSettings {
            size: usize::try_from(number("POOL_SIZE", 8, 1, 1000)).unwrap_or(8),
            max_waiters: usize::try_from(number("POOL_MAX_WAITERS", 64, 0, 100_000)).unwrap_or(64),
            connect_timeout: Duration::from_millis(number("CONNECT_TIMEOUT_MS", 3000, 1, DAY)),
            lifetime: Duration::from_millis(number("POOL_LIFETIME_MS", 1_800_000, 1, DAY)),
            idle_timeout: Duration::from_millis(number("POOL_IDLE_TIMEOUT_MS", 600_000, 1, DAY)),
            check_after: Duration::from_millis(number("POOL_CHECK_AFTER_MS", 30_000, 0, DAY)),
        };
        match faults.is_empty() {
            true => Ok(settings),
            false => Err(faults),
        }
    }
}

/// The check's own deadline: a healthy server answers an empty statement in a few milliseconds.
const CHECK_DEADLINE: Duration = Duration::from_secs(1);

/// Opens connections for the pool and beside it; deadpool's side of the driver.
pub(crate) struct Opener {
    postgres: deadpool_postgres::Manager,
    dialler: Dialler,
    backoff: Backoff,
    settings: PoolSettings,
    /// Connections that were last used no later than this are not trusted: one of them did not answer its check.
    suspect: Mutex<Option<Instant>>,
}

/// A connection of the pool.
pub(crate) struct Pooled {
    /// Dropping it ends the connection at once.
    pub(crate) client: ClientWrapper,
    /// For the cancel request at its end.
    pub(crate) dialler: Dialler,
    pub(crate) returned: Instant,
    expires: Instant,
}

impl Opener {
    pub(crate) fn new(dialler: Dialler, settings: PoolSettings) -> Opener {
        // `Fast`: a connection that is given back is clean by the rule of return
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let postgres =
            deadpool_postgres::Manager::from_connect(dialler.config().clone(), dialler.clone(), config);
        Opener { postgres, dialler, backoff: Backoff::default(), settings, suspect: Mutex::default() }
    }

    /// A connection outside the pool.
    pub(crate) async fn dial(&self) -> Result<Dialled> {
        let opened = self.patiently(self.dialler.open()).await?;
        Ok(Dialled { client: opened.client, notifications: opened.notifications })
    }

    /// Whether a connection of the pool is too old, unused for too long, or lost.
    pub(crate) fn is_over(&self, pooled: &Pooled) -> bool {
        let now = Instant::now();
        pooled.client.is_closed()
            || now >= pooled.expires
            || now.saturating_duration_since(pooled.returned) >= self.settings.idle_timeout
    }

    /// Waits for its turn after failed attempts, and for the connection no longer than the connect timeout.
    async fn patiently<T>(&self, open: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T> {
        let attempt = self.backoff.attempt().await;
        let limit = self.settings.connect_timeout;
        let error = match timeout(limit, open).await {
            Ok(Ok(opened)) => {
                attempt.succeeded();
                return Ok(opened);
            }
            Ok(Err(error)) if error.as_db_error().is_some() => Error::connect(error),
            Ok(Err(error)) => {
                Error::unavailable(format!("could not connect: {}", tls::reason(&error))).with_source(error)
            }
            Err(_) => Error::unavailable(format!("could not connect within {} ms", limit.as_millis())),
        };
        attempt.failed(&error);
        Err(error)
    }

    async fn check(&self, pooled: &Pooled) -> Result<(), &'static str> {
        if self.is_over(pooled) {
            return Err("lost, too old, or unused for too long");
        }
        let mut suspect = *self.suspect.lock().unwrap_or_else(PoisonError::into_inner);
        if suspect.is_some_and(|moment| pooled.returned <= moment) {
            return Err("as old as one that did not answer");
        }
        if pooled.returned.elapsed() < self.settings.check_after {
            return Ok(());
        }
        match timeout(CHECK_DEADLINE, pooled.client.execute_typed("", &[])).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) => {}
            Err(_) => {
                suspect = suspect.max(Some(pooled.returned));
                *self.suspect.lock().unwrap_or_else(PoisonError::into_inner) = suspect;
            }
        }
        Err("did not answer")
    }
}

impl Manager for Opener {
    type Type = Pooled;
    type Error = Error;

    async fn create(&self) -> Result<Pooled> {
        Acquire::enter(Step::Open);
        let client = self.patiently(self.postgres.create()).await?;
        let now = Instant::now();
        let lifetime = self.settings.lifetime.mul_f64(1.0 - 0.05 * fraction());
        Ok(Pooled { client, dialler: self.dialler.clone(), returned: now, expires: now + lifetime })
    }

    async fn recycle(&self, pooled: &mut Pooled, metrics: &Metrics) -> RecycleResult<Error> {
        Acquire::enter(Step::Check);
        self.check(pooled).await.map_err(|reason| {
            tracing::debug!(reason, "a pooled connection is closed");
            RecycleError::message(reason)
        })?;
        let recycled = self.postgres.recycle(&mut pooled.client, metrics).await;
        recycled.map_err(|_| RecycleError::message("closed"))
    }

    fn detach(&self, pooled: &mut Pooled) {
        self.postgres.detach(&mut pooled.client);
    }
}

/// How far a caller that wants a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Step {
    #[default]
    Wait,
    Check,
    Open,
}

/// One caller's way to a connection, known to all it passes through.
#[derive(Default)]
pub(crate) struct Acquire {
    pub(crate) step: Cell<Step>,
    pub(crate) place: Cell<Option<Place>>,
}

tokio::task_local! {
    pub(crate) static ACQUIRE: Acquire;
}

impl Acquire {
    /// The caller has a slot of the pool, and so leaves the queue.
    fn enter(step: Step) {
        let _ = ACQUIRE.try_with(|acquire| {
            acquire.step.set(step);
            drop(acquire.place.take());
        });
    }
}

/// A place among those who wait.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    pub(crate) fn take(waiting: &Arc<AtomicUsize>, most: usize) -> Option<Place> {
        let one_more = |now: usize| (now < most).then_some(now + 1);
        let taken = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Place(waiting.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_wait_than_may_and_each_place_is_given_back() {
        let waiting = Arc::new(AtomicUsize::new(0));
        let places: Vec<Option<Place>> = (0..3).map(|_| Place::take(&waiting, 2)).collect();
        assert_eq!(places.iter().flatten().count(), 2);
        drop(places);
        assert!(Place::take(&waiting, 1).is_some());
        assert!(Place::take(&waiting, 0).is_none());
    }

    #[test]
    fn every_fault_of_the_pools_settings_is_told_at_once() {
        let faults = PoolSettings::read(|name| match name {
            "POOL_SIZE" => Some("0".into()),
            "POOL_LIFETIME_MS" => Some("-1".into()),
            _ => None,
        });
        let text: Vec<String> = faults.unwrap_err().iter().map(ToString::to_string).collect();
        let expected = "POOL_SIZE: must be a number from 1 to 1000";
        assert!(text.len() == 2 && text[0] == expected, "{text:?}");
        assert_eq!(PoolSettings::read(|_| None).unwrap(), PoolSettings::default());
    }
}
