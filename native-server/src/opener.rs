//! How connections are opened, checked and let go: deadpool's side of the driver.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use pgspan::driver::{Link, Prepared, Watch};
use pgspan::{Error, Result};
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::cancel::Peer;
use crate::dialler::Dialler;
use crate::link::Opened;
use crate::pool::PoolSettings;
use crate::queue::{Acquire, Step};
use crate::random::fraction;
use crate::statistics::Counters;

/// The check's own deadline: a healthy server answers an empty statement in a few milliseconds.
const CHECK_DEADLINE: Duration = Duration::from_secs(1);

/// Opens connections for the pool and beside it.
pub(crate) struct Opener {
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
    pub(crate) watch: Watch,
    /// For the cancel request at its end.
    pub(crate) peer: Peer,
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
        Opener {
            dialler,
            backoff: Backoff::default(),
            settings,
            suspect: Mutex::default(),
            counters: Arc::default(),
        }
    }

    /// A connection for the pool.
    pub(crate) async fn open(&self) -> Result<Pooled> {
        let opened = self.patiently().await?;
        let client = ClientWrapper::new(opened.client, opened.task);
        self.counters.opened.add();
        let now = Instant::now();
        Ok(Pooled {
            client,
            prepared: Prepared::default(),
            watch: opened.watch,
            peer: opened.peer,
            returned: now,
            counters: self.counters.clone(),
            expires: now + self.lifetime(),
        })
    }

    /// A connection outside the pool.
    pub(crate) async fn dial(&self) -> Result<Link> {
        let opened = self.patiently().await?;
        self.counters.dialled.add();
        let mut link = Link::new(opened.client, opened.watch, opened.notifications);
        link.lifetime = Some(self.lifetime());
        link.check_after = Some(self.settings.check_after);
        Ok(link)
    }

    fn lifetime(&self) -> Duration {
        spread(self.settings.lifetime)
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
    async fn patiently(&self) -> Result<Opened> {
        let attempt = self.backoff.attempt().await;
        let opened = self.dialler.open(self.settings.connect_timeout).await;
        match &opened {
            Ok(_) => attempt.succeeded(),
            Err(error) => attempt.failed(error),
        }
        opened
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

    async fn recycle(&self, pooled: &mut Pooled, _: &Metrics) -> RecycleResult<Error> {
        if has_one_to_hand_over() {
            return Ok(()); // nobody is going to use this one now
        }
        Acquire::enter(Step::Check);
        self.check(pooled).await.map_err(|reason| {
            tracing::debug!(reason, "a pooled connection is closed");
            RecycleError::message(reason)
        })
    }
}

/// Less up to 5 %, so that connections that were opened together do not all end at once.
fn spread(lifetime: Duration) -> Duration {
    lifetime.mul_f64(1.0 - 0.05 * fraction())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn connections_opened_together_do_not_end_together() {
        let drawn: BTreeSet<Duration> = (0..100).map(|_| spread(Duration::from_secs(1000))).collect();
        assert!(drawn.len() > 50, "{}", drawn.len());
        assert!(drawn.iter().all(|drawn| (950..=1000).contains(&drawn.as_secs())), "{drawn:?}");
    }
}
