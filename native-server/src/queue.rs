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
    pub(crate) place: Cell<Option<Place>>,
}

tokio::task_local! {
    pub(crate) static ACQUIRE: Acquire;
}

impl Acquire {
    /// The caller has a slot of the pool, and so leaves the queue.
    pub(crate) fn enter(step: Step) {
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
}
