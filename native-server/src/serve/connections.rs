//! The open connections: how many there may be, which of them ends for a new one, and how all of them end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::activity::{Activity, State, Wish};
use crate::metrics::{Connected, Metrics};

/// How soon an idle connection is looked for again while all are in use.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(super) struct Connections {
    metrics: Option<Metrics>,
    slots: Arc<Semaphore>,
    open: Arc<Open>,
    next: AtomicU64,
}

struct Open(Mutex<Inner>);

struct Inner {
    wish: Wish,
    all: HashMap<u64, Arc<Activity>>,
}

/// An open connection, until this is dropped.
pub(super) struct Slot {
    pub(super) activity: Arc<Activity>,
    number: u64,
    open: Arc<Open>,
    _connected: Option<Connected>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(max: usize, metrics: Option<Metrics>) -> Connections {
        if let Some(metrics) = &metrics {
            metrics.set_max_connections(max);
        }
        let inner = Inner { wish: Wish::GoOn, all: HashMap::new() };
        Connections {
            metrics,
            slots: Arc::new(Semaphore::new(max)),
            open: Arc::new(Open(Mutex::new(inner))),
            next: AtomicU64::new(0),
        }
    }

    /// A slot for one more. Where there is none the connection that is idle for the longest time ends; where all are in
    /// use, one is waited for.
    pub(super) async fn slot(&self) -> Slot {
        loop {
            if let Some(slot) = self.slot_now() {
                return slot;
            }
            self.close_longest_idle();
            if let Ok(Ok(permit)) = timeout(LOOK_AGAIN, self.slots.clone().acquire_owned()).await {
                return self.opened(permit);
            }
        }
    }

    pub(super) fn slot_now(&self) -> Option<Slot> {
        self.slots.clone().try_acquire_owned().ok().map(|permit| self.opened(permit))
    }

    fn opened(&self, permit: OwnedSemaphorePermit) -> Slot {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.lock();
        let activity = Arc::new(Activity::new(open.wish));
        open.all.insert(number, activity.clone());
        drop(open);
        let connected = self.metrics.as_ref().map(Metrics::connected);
        Slot { activity, number, open: self.open.clone(), _connected: connected, _permit: permit }
    }

    fn close_longest_idle(&self) {
        let open = self.open.lock();
        let idle = open.all.values().filter(|activity| activity.wish() < Wish::Close);
        let idle = idle.filter_map(|activity| match activity.state() {
            State::Idle(since) => Some((since, activity)),
            _ => None,
        });
        if let Some((_, activity)) = idle.min_by_key(|(since, _): &(Instant, _)| *since) {
            activity.tell(Wish::Close);
        }
    }

    /// Tells all that are open, and all that are still to be.
    pub(super) fn tell_all(&self, wish: Wish) {
        let mut open = self.open.lock();
        open.wish = wish;
        open.all.values().for_each(|activity| activity.tell(wish));
    }

    pub(super) fn count(&self) -> usize {
        self.open.lock().all.len()
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // whole between any two statements
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.lock().all.remove(&self.number);
    }
}
