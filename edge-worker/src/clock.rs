//! Waiting in a Durable Object, where all waits can share one of the runtime's timers.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wasm_bindgen_futures::spawn_local;

use crate::lock::lock;
use crate::time::{now, sleep};

/// Waits that nearly always end by being dropped, as a deadline's do. A timer of the runtime's own for each costs a small
/// request a twentieth; so there is one, set for the earliest. Each object has a clock of its own: what wakes there may wake
/// any of its requests, but none of another's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock(Arc<Mutex<Waits>>);

#[derive(Debug, Default)]
struct Waits {
    waiting: Vec<Entry>,
    next: u64,
    /// When the runtime's timer goes off.
    set: Option<Duration>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    until: Duration,
    waker: Waker,
}

/// A wait on a clock.
#[derive(Debug)]
pub(crate) struct Sleep {
    clock: Clock,
    until: Duration,
    entry: Option<u64>,
}

impl Clock {
    pub(crate) fn sleep(&self, duration: Duration) -> Sleep {
        Sleep { clock: self.clone(), until: now().saturating_add(duration), entry: None }
    }

    /// Lets the runtime's timer go off by then.
    fn set(&self, waits: &mut Waits, until: Duration) {
        let now = now();
        // one that should have gone off is gone
        if waits.set.is_some_and(|set| set <= until && set > now) {
            return;
        }
        waits.set = Some(until);
        let pause = until.saturating_sub(now).max(Duration::from_millis(1));
        let clock = Arc::downgrade(&self.0);
        spawn_local(async move {
            sleep(pause).await;
            ring(&clock, until);
        });
    }
}

/// Wakes whose time has come, and sets the timer for the next.
fn ring(clock: &Weak<Mutex<Waits>>, set: Duration) {
    let Some(clock) = clock.upgrade().map(Clock) else { return };
    let now = now();
    let woken: Vec<Waker> = {
        let mut waits = lock(&clock.0);
        if waits.set != Some(set) {
            return; // another was set, for an earlier moment, and goes on from there
        }
        waits.set = None;
        let next = waits.waiting.iter().map(|entry| entry.until).filter(|until| *until > now).min();
        if let Some(next) = next {
            clock.set(&mut waits, next);
        }
        let due = waits.waiting.iter().filter(|entry| entry.until <= now);
        due.map(|entry| entry.waker.clone()).collect()
    };
    woken.into_iter().for_each(Waker::wake);
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if now() >= self.until {
            return Poll::Ready(());
        }
        let Sleep { clock, until, entry } = &mut *self;
        let mut waits = lock(&clock.0);
        let number = *entry.get_or_insert_with(|| {
            waits.next += 1;
            waits.next
        });
        match waits.waiting.iter_mut().find(|entry| entry.number == number) {
            Some(entry) => entry.waker.clone_from(cx.waker()),
            None => waits.waiting.push(Entry { number, until: *until, waker: cx.waker().clone() }),
        }
        clock.set(&mut waits, *until);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.entry {
            lock(&self.clock.0).waiting.retain(|entry| entry.number != number);
        }
    }
}
