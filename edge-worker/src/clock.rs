//! Waiting in a Durable Object, where all waits can share one of the runtime's timers.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use wasm_bindgen_futures::spawn_local;

use crate::connection::{now, sleep};

/// A wait that nearly always ends by being dropped, as a deadline's does. A timer of the runtime's own for each costs a
/// small request a twentieth; so there is one, set for the earliest. Only for objects: what wakes there may wake any request
/// of the object, but no request of a plain Worker may wake another's.
pub(crate) fn shared_sleep(duration: Duration) -> Sleep {
    Sleep { until: now().saturating_add(duration), entry: None }
}

#[derive(Debug)]
pub(crate) struct Sleep {
    until: Duration,
    entry: Option<u64>,
}

#[derive(Default)]
struct Clock {
    waiting: Vec<Entry>,
    next: u64,
    /// When the runtime's timer goes off.
    set: Option<Duration>,
}

struct Entry {
    number: u64,
    until: Duration,
    waker: Waker,
}

thread_local! {
    static CLOCK: RefCell<Clock> = RefCell::default();
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if now() >= self.until {
            return Poll::Ready(());
        }
        let until = self.until;
        CLOCK.with_borrow_mut(|clock| {
            let number = *self.entry.get_or_insert_with(|| {
                clock.next += 1;
                clock.next
            });
            match clock.waiting.iter_mut().find(|entry| entry.number == number) {
                Some(entry) => entry.waker.clone_from(cx.waker()),
                None => clock.waiting.push(Entry { number, until, waker: cx.waker().clone() }),
            }
            clock.set(until);
        });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.entry {
            CLOCK.with_borrow_mut(|clock| clock.waiting.retain(|entry| entry.number != number));
        }
    }
}

impl Clock {
    /// Lets the runtime's timer go off by then.
    fn set(&mut self, until: Duration) {
        if self.set.is_some_and(|set| set <= until) {
            return;
        }
        self.set = Some(until);
        let pause = until.saturating_sub(now()).max(Duration::from_millis(1));
        spawn_local(async move {
            sleep(pause).await;
            ring(until);
        });
    }
}

/// Wakes whose time has come, and sets the timer for the next.
fn ring(set: Duration) {
    let now = now();
    let woken: Vec<Waker> = CLOCK.with_borrow_mut(|clock| {
        if clock.set != Some(set) {
            return Vec::new(); // another was set, for an earlier moment, and goes on from there
        }
        clock.set = None;
        if let Some(next) = clock.waiting.iter().map(|entry| entry.until).filter(|until| *until > now).min() {
            clock.set(next);
        }
        let due = clock.waiting.iter().filter(|entry| entry.until <= now);
        due.map(|entry| entry.waker.clone()).collect()
    });
    woken.into_iter().for_each(Waker::wake);
}
