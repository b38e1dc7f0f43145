//! How connections are opened, checked and let go: deadpool's side of the driver.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::{ClientWrapper, ManagerConfig, RecyclingMethod};
use pgspan::driver::Dialled;
use pgspan::{Error, Prepared, Result};
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::dialler::Dialler;
use crate::pool::PoolSettings;
use crate::queue::{Acquire, Step};
use crate::random::fraction;
use crate::statistics::Counters;
use crate::tls;

/// The check's own deadline: a healthy server answers an empty statement in a few milliseconds.
const CHECK_DEADLINE: Duration = Duration::from_secs(1);

/// Opens connections for the pool and beside it.
pub(crate) struct Opener {
    postgres: deadpool_postgres::Manager,
    dialler: Dialler,
    pub(crate) backoff: Backoff,
    settings: PoolSettings,
    /// Connections that were last used no later than this are not trusted: one of them did not answer its check.
    suspect: Mutex<Option<Instant>>,
    pub(crate) counters: Arc<Counters>,
}

/// A connection of the pool.
pub(crate) struct Pooled {
    /// Dropping it ends the connection at once.
    pub(crate) client: ClientWrapper,
    pub(crate) prepared: Prepared,
    /// For the cancel request at its end.
    pub(crate) dialler: Dialler,
    pub(crate) returned: Instant,
    pub(crate) counters: Arc<Counters>,
    expires: Instant,
}

tokio::task_local! {
    /// A connection that was opened beside the pool, for the pool to take as its next new one.
    pub(crate) static HANDED_OVER: Cell<Option<Pooled>>;
}

/// Whether this task has one that the pool has not taken yet.
pub(crate) fn has_one_to_hand_over() -> bool {
    let has = |cell: &Cell<Option<Pooled>>| {
        let pooled = cell.take();
        let has = pooled.is_some();
        cell.set(pooled);
        has
    };
    HANDED_OVER.try_with(has).unwrap_or(false)
}

impl Opener {
    pub(crate) fn new(dialler: Dialler, settings: PoolSettings) -> Opener {
        // `Fast`: a connection that is given back is clean by the rule of return
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let postgres =
            deadpool_postgres::Manager::from_connect(dialler.config().clone(), dialler.clone(), config);
        Opener {
            postgres,
            dialler,
            backoff: Backoff::default(),
            settings,
            suspect: Mutex::default(),
            counters: Arc::default(),
        }
    }

    /// A connection for the pool.
    pub(crate) async fn open(&self) -> Result<Pooled> {
        let client = self.patiently(self.postgres.create()).await?;
        self.counters.opened.add();
        let now = Instant::now();
        let lifetime = spread(self.settings.lifetime);
        let (dialler, counters) = (self.dialler.clone(), self.counters.clone());
        let prepared = Prepared::default();
        Ok(Pooled { client, prepared, dialler, returned: now, counters, expires: now + lifetime })
    }

    /// A connection outside the pool.
    pub(crate) async fn dial(&self) -> Result<Dialled> {
        let opened = self.patiently(self.dialler.open()).await?;
        self.counters.dialled.add();
        Ok(Dialled { client: opened.client, notifications: opened.notifications })
    }

    /// Whether a connection of the pool is too old, or lost.
    pub(crate) fn is_over(&self, pooled: &Pooled) -> bool {
        let lost = pooled.client.is_closed();
        if lost {
            self.counters.lost.add(); // who asks lets go of it
        }
        lost || Instant::now() >= pooled.expires
    }

    /// Whether nobody used it for so long that it may be closed.
    pub(crate) fn is_unused(&self, pooled: &Pooled) -> bool {
        pooled.returned.elapsed() >= self.settings.idle_timeout
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
            return Err("lost, or too old");
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
            Ok(Err(_)) => self.counters.lost.add(),
            Err(_) => {
                self.counters.lost.add();
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
        match HANDED_OVER.try_with(Cell::take) {
            Ok(Some(opened)) => Ok(opened),
            _ => self.open().await,
        }
    }

    async fn recycle(&self, pooled: &mut Pooled, metrics: &Metrics) -> RecycleResult<Error> {
        if has_one_to_hand_over() {
            return Ok(()); // nobody is going to use this one now
        }
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

/// Less up to 5 %, so that connections that were opened together do not all end at once.
fn spread(lifetime: Duration) -> Duration {
    lifetime.mul_f64(1.0 - 0.05 * fraction())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pgspan::ConnectionUrl;

    use super::*;

    #[test]
    fn connections_opened_together_do_not_end_together() {
        let drawn: BTreeSet<Duration> = (0..100).map(|_| spread(Duration::from_secs(1000))).collect();
        assert!(drawn.len() > 50, "{}", drawn.len());
        assert!(drawn.iter().all(|drawn| (950..=1000).contains(&drawn.as_secs())), "{drawn:?}");
    }

    #[test]
    fn a_server_that_vanished_is_noticed_by_the_socket_unless_the_url_says_otherwise() {
        let times = |url: &str| {
            let url: ConnectionUrl = url.parse().unwrap();
            let dialler = Dialler::new(&url, url.configure(&pgspan::Settings::default())).unwrap();
            let config = dialler.config();
            let seconds = |time: Option<&Duration>| time.map(Duration::as_secs);
            (
                config.get_keepalives_idle().as_secs(),
                config.get_keepalives_interval().map(|time| time.as_secs()),
                config.get_keepalives_retries(),
                seconds(config.get_tcp_user_timeout()),
            )
        };
        assert_eq!(times("postgres://u@127.0.0.1/d"), (60, Some(15), Some(3), Some(20)));
        let theirs = times("postgres://u@127.0.0.1/d?keepalives_idle=7&tcp_user_timeout=9");
        assert_eq!((theirs.0, theirs.3), (7, Some(9)));
    }
}
