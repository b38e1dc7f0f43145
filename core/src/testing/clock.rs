//! A clock that stands still until it is moved.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<Time>);

#[derive(Debug, Default)]
struct Time {
    now: Duration,
    sleepers: Vec<Sleeper>,
    named: u64,
}

#[derive(Debug)]
struct Sleeper {
    name: u64,
    until: Duration,
    waker: Waker,
}

impl Clock {
    pub(super) fn now(&self) -> Duration {
        self.lock().now
    }

    pub(super) fn advance(&self, duration: Duration) {
        let over: Vec<Sleeper> = {
            let mut time = self.lock();
            let now = time.now.saturating_add(duration);
            time.now = now;
            time.sleepers.extract_if(.., |sleeper| sleeper.until <= now).collect()
        };
        over.into_iter().for_each(|sleeper| sleeper.waker.wake());
    }

    /// Moves to the end of the sleep that ends first; false where no one sleeps.
    pub(super) fn advance_to_next(&self) -> bool {
        let (now, next) = {
            let time = self.lock();
            let ends = time.sleepers.iter().map(|sleeper| sleeper.until);
            (time.now, ends.filter(|until| *until < Duration::MAX).min())
        };
        let Some(next) = next else { return false };
        self.advance(next.saturating_sub(now));
        true
    }

    pub(super) fn sleep(self: &Arc<Self>, duration: Duration) -> Sleep {
        let mut time = self.lock();
        time.named += 1;
        Sleep { clock: self.clone(), name: time.named, until: time.now.saturating_add(duration) }
    }

    fn lock(&self) -> MutexGuard<'_, Time> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct Sleep {
    clock: Arc<Clock>,
    name: u64,
    until: Duration,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut time = self.clock.lock();
        if self.until <= time.now {
            return Poll::Ready(());
        }
        time.sleepers.retain(|sleeper| sleeper.name != self.name);
        let waker = cx.waker().clone();
        time.sleepers.push(Sleeper { name: self.name, until: self.until, waker });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.lock().sleepers.retain(|sleeper| sleeper.name != self.name);
    }
}
