//! How connections are opened and checked.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::ClientWrapper;
use pgspan::driver::{Link, Prepared, Watch};
use pgspan::{Error, Result};
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::cancel::Peer;
use crate::dialler::Dialler;
use crate::link::Opened;
use crate::pool::PoolSettings;
use crate::random::fraction;
use crate::statistics::Counters;

/// The check's own deadline: a healthy server answers an empty statement in a few milliseconds.
const CHECK_DEADLINE: Duration = Duration::from_secs(1);

/// Opens connections for the pool and beside it.
pub(crate) struct Opener {
    dialler: Dialler,
    pub(crate) backoff: Backoff,
    settings: PoolSettings,
    trust: Mutex<Trust>,
    pub(crate) counters: Counters,
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
    expires: Instant,
}

impl Opener {
    pub(crate) fn new(dialler: Dialler, settings: PoolSettings) -> Opener {
        Opener {
            dialler,
            backoff: Backoff::default(),
            settings,
            trust: Mutex::default(),
            counters: Counters::default(),
        }
    }

    /// A connection for the pool; nothing if it is not wanted any more when connecting may be tried.
    pub(crate) async fn open(&self, is_wanted: impl Fn() -> bool) -> Result<Option<Pooled>> {
        let Some(opened) = self.patiently(is_wanted).await? else { return Ok(None) };
        let client = ClientWrapper::new(opened.client, opened.task);
        self.counters.opened.add();
        let now = Instant::now();
        Ok(Some(Pooled {
            client,
            prepared: Prepared::default(),
            watch: opened.watch,
            peer: opened.peer,
            returned: now,
            expires: now + self.lifetime(),
        }))
    }

    /// A connection outside the pool.
    pub(crate) async fn dial(&self) -> Result<Link> {
        let Some(opened) = self.patiently(|| true).await? else {
            return Err(Error::unavailable("not wanted"));
        };
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
    async fn patiently(&self, is_wanted: impl Fn() -> bool) -> Result<Option<Opened>> {
        let attempt = self.backoff.attempt().await;
        if !is_wanted() {
            attempt.give_up();
            return Ok(None);
        }
        let opened = self.dialler.open(self.settings.connect_timeout).await;
        match &opened {
            Ok(_) => attempt.succeeded(),
            Err(error) => attempt.failed(error),
        }
        opened.map(Some)
    }

    /// A connection was ended while it owed an answer: perhaps the server or the way to it is gone, and then all that were used
    /// before are lost too. Each of them is checked before it is used again.
    pub(crate) fn doubt(&self) {
        self.trust().doubted = Some(Instant::now());
    }

    /// Whether a connection can be used.
    pub(crate) async fn check(&self, pooled: &Pooled) -> Result<(), &'static str> {
        if self.is_over(pooled) {
            return Err("lost, or too old");
        }
        let Trust { doubted, given_up } = *self.trust();
        if given_up.is_some_and(|moment| pooled.returned <= moment) {
            return Err("as old as one that did not answer");
        }
        let is_doubted = doubted.is_some_and(|moment| pooled.returned <= moment);
        if !is_doubted && pooled.returned.elapsed() < self.settings.check_after {
            return Ok(());
        }
        match timeout(CHECK_DEADLINE, pooled.client.execute_typed("", &[])).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) => self.counters.lost.add(),
            Err(_) => {
                self.counters.lost.add();
                let mut trust = self.trust();
                trust.given_up = trust.given_up.max(Some(pooled.returned));
            }
        }
        Err("did not answer")
    }

    fn trust(&self) -> MutexGuard<'_, Trust> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner) // whole between any two statements
    }
}

/// Up to which moment of their last use connections are not trusted.
#[derive(Debug, Clone, Copy, Default)]
struct Trust {
    /// These are checked.
    doubted: Option<Instant>,
    /// These are closed: one of them did not answer its check.
    given_up: Option<Instant>,
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
