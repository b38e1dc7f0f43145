//! The bodies in memory: how much all requests and answers together may hold.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a body may hold before it counts: it is a part of what a connection costs.
pub(super) const UNCOUNTED: usize = 16 * 1024;

/// The bytes that all bodies may hold.
#[derive(Debug, Clone)]
pub(super) struct Bodies(Arc<Semaphore>);

impl Bodies {
    pub(super) fn new(bytes: usize) -> Bodies {
        Bodies(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// Room for so many bytes, if there is.
    pub(super) fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }
}

/// What the body of one request holds, until the request was answered.
#[derive(Debug)]
pub(super) struct Held {
    bodies: Bodies,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
    end: Option<End>,
}

/// Why a body was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// There is no room for it.
    Full,
    /// It stopped arriving.
    Late,
}

impl Held {
    pub(super) fn new(bodies: Bodies) -> Held {
        Held { bodies, state: Mutex::default() }
    }

    /// So much more has come; false if there is no room for it.
    pub(super) fn add(&self, bytes: usize) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = |bytes: usize| bytes.saturating_sub(UNCOUNTED);
        let more = counted(state.bytes + bytes) - counted(state.bytes);
        state.bytes += bytes;
        if more == 0 {
            return true;
        }
        match (self.bodies.take(more), &mut state.permit) {
            (None, _) => return false,
            (Some(more), Some(permit)) => permit.merge(more),
            (more, permit) => *permit = more,
        }
        true
    }

    pub(super) fn give_up(&self, why: End) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).end = Some(why);
    }

    pub(super) fn end(&self) -> Option<End> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_first_16_kib_counts_and_is_free_again_at_the_end() {
        let bodies = Bodies::new(1000);
        let held = Held::new(bodies.clone());
        assert!(held.add(UNCOUNTED - 1) && held.add(1));
        assert!(bodies.take(1001).is_none() && bodies.take(1000).is_some());
        assert!(held.add(600) && held.add(300) && !held.add(101));
        assert!(bodies.take(101).is_none());
        drop(held);
        assert!(bodies.take(1000).is_some());
    }
}
