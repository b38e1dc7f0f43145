//! Those who wait for a connection: how many may.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One caller that waits: counted until it is dropped.
pub(crate) struct Waiter(Arc<AtomicUsize>);

impl Waiter {
    pub(crate) fn enter(waiting: &Arc<AtomicUsize>, max: usize) -> Option<Waiter> {
        let one_more = |now: usize| (now < max).then_some(now + 1);
        let taken = waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.is_ok().then(|| Waiter(waiting.clone()))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
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
