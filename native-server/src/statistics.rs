//! What the pool does, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The pool at one moment, and what it did since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolStatistics {
    /// Connections there may be ([`PoolSettings::size`](crate::PoolSettings::size)).
    pub max: usize,
    /// Connections there are; one that is being opened is not among them.
    pub size: usize,
    /// Of them, those that nobody uses.
    pub idle: usize,
    /// Of them, those that someone uses or checks.
    pub in_use: usize,
    /// Callers that wait for a connection, whether one becomes free or is opened.
    pub waiting: usize,
    /// Callers that had to wait so far until one became free.
    pub waits: u64,
    /// Callers that got none before their deadline, whatever they waited for.
    pub timeouts: u64,
    /// Callers that were refused because the queue was full.
    pub refused: u64,
    /// Connections opened for the pool.
    pub opened: u64,
    /// Connections opened beside the pool: for single statements, and for `LISTEN`.
    pub dialled: u64,
    /// Attempts to connect that failed, or that their caller gave up.
    pub failed: u64,
    /// Connections of the pool that the server or the network ended.
    pub lost: u64,
    /// Connections that were ended because a session left them in a state that no other may see.
    pub discarded: u64,
}

/// What is counted on the way.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) waits: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) refused: Counter,
    pub(crate) opened: Counter,
    pub(crate) dialled: Counter,
    pub(crate) lost: Counter,
    pub(crate) discarded: Counter,
    pub(crate) wait_times: WaitTimes,
}

/// How long callers waited for a connection, in classes up to these seconds; the last one has all that is longer.
#[derive(Debug, Default)]
pub(crate) struct WaitTimes {
    classes: [Counter; WAIT_SECONDS.len()],
    micros: Counter,
}

/// From a connection at hand to the longest that callers usually wait.
pub(crate) const WAIT_SECONDS: [f64; 11] =
    [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 3.0, 10.0, f64::INFINITY];

impl WaitTimes {
    pub(crate) fn add(&self, waited: Duration) {
        let class = WAIT_SECONDS.iter().zip(&self.classes).find(|(limit, _)| waited.as_secs_f64() <= **limit);
        if let Some((_, class)) = class {
            class.add();
        }
        self.micros.0.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// All seconds together, and how many waits there were in each class.
    #[cfg(feature = "serve")]
    pub(crate) fn read(&self) -> (f64, Vec<(f64, u64)>) {
        let classes = WAIT_SECONDS.iter().zip(&self.classes).map(|(limit, class)| (*limit, class.get()));
        (Duration::from_micros(self.micros.get()).as_secs_f64(), classes.collect())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
