//! Those who want a connection: how far each has come, and how many may wait.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    pub(crate) waiter: Cell<Option<Waiter>>,
}

tokio::task_local! {
    pub(crate) static ACQUIRE: Acquire;
}

impl Acquire {
    /// The caller has a slot of the pool, and so leaves the queue.
    pub(crate) fn enter(step: Step) {
        let _ = ACQUIRE.try_with(|acquire| {
            acquire.step.set(step);
            drop(acquire.waiter.take());
        });
    }
}

/// One caller that waits: counted until it is dropped.
pub(crate) struct Waiter(Arc<AtomicUsize>);

impl Waiter {
    pub(crate) fn enter(waiting: &Arc<AtomicUsize>, max: usize) -> Option<Waiter> {
        let one_more = |now: usize| (now < max).then_some(now + 1);
        let taken = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Waiter(waiting.clone()))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_wait_than_may_and_each_is_counted_until_it_is_dropped() {
        let waiting = Arc::new(AtomicUsize::new(0));
        let waiters: Vec<Option<Waiter>> = (0..3).map(|_| Waiter::enter(&waiting, 2)).collect();
        assert_eq!(waiters.iter().flatten().count(), 2);
        drop(waiters);
        assert!(Waiter::enter(&waiting, 1).is_some());
        assert!(Waiter::enter(&waiting, 0).is_none());
    }
}
