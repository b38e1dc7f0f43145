//! Waiting for an answer, but not for ever, and keeping count of it.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};

use crate::driver::Port;

/// A deadline passed.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// What one user of a database, say one HTTP request, may still wait, and what it has waited.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// The moment everything ends, on the driver's clock.
    deadline: Option<Duration>,
    round_trips: AtomicU32,
    waited_micros: AtomicU64,
}

impl Scope {
    pub(crate) fn ending_at(deadline: Option<Duration>) -> Scope {
        Scope { deadline, ..Scope::default() }
    }

    pub(crate) fn has_deadline(&self) -> bool {
        self.deadline.is_some()
    }

    pub(crate) fn round_trips(&self) -> u32 {
        self.round_trips.load(Ordering::Relaxed)
    }

    pub(crate) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_micros.load(Ordering::Relaxed))
    }

    /// Waits for `future`, at most `limit` and never past the scope's deadline. The future is polled first, so that what
    /// it sends is sent even when nothing is left to wait for the answer.
    pub(crate) async fn within<F: Future>(
        &self,
        port: &dyn Port,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let limit = self.left(port, limit);
        match select(pin!(future), port.sleep(limit)).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(_) => Err(Elapsed),
        }
    }

    /// The same for an answer of PostgreSQL, which is counted as a round trip.
    pub(crate) async fn flight<F: Future>(
        &self,
        port: &dyn Port,
        limit: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let started = port.now();
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let output = self.within(port, limit, future).await;
        let micros = u64::try_from(port.now().saturating_sub(started).as_micros()).unwrap_or(u64::MAX);
        self.waited_micros.fetch_add(micros, Ordering::Relaxed);
        output
    }

    /// What is left of `limit` under the scope's deadline.
    pub(crate) fn left(&self, port: &dyn Port, limit: Duration) -> Duration {
        self.deadline.map_or(limit, |deadline| limit.min(deadline.saturating_sub(port.now())))
    }

    /// Whether the scope's deadline has passed, so that nothing more should be sent.
    pub(crate) fn is_over(&self, port: &dyn Port) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= port.now())
    }
}
