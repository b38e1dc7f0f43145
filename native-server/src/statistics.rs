//! What the pool does, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

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
