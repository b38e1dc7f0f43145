//! The future that drives both sides of every connection.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_channel::mpsc::UnboundedReceiver;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::clock::Clock;
use crate::port::BoxFuture;

/// Both sides of every connection: the scripted server, and what tokio-postgres wants driven.
///
/// A future to spawn or to poll; it ends when the driver and its connections are gone. [`run`](Backend::run) drives it
/// together with a test, and moves the clock.
#[must_use = "nothing is answered unless it is polled"]
pub struct Backend {
    clock: Arc<Clock>,
    arriving: UnboundedReceiver<BoxFuture<()>>,
    running: FuturesUnordered<BoxFuture<()>>,
}

impl Backend {
    pub(super) fn new(clock: Arc<Clock>, arriving: UnboundedReceiver<BoxFuture<()>>) -> Backend {
        Backend { clock, arriving, running: FuturesUnordered::new() }
    }

    /// Drives the backend while a future runs, on any executor, and **lets time pass when nothing else can happen**:
    /// the clock jumps to the end of the sleep that ends first. So a deadline of an hour takes no time at all.
    ///
    /// The future should wait for nothing but the scripted driver: the clock can't know of anything else.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future; the backend can go on.
    pub async fn run<F: Future>(&mut self, future: F) -> F::Output {
        /// Others may have to run before something here is woken, such as tokio's budget of a task.
        const QUIET_ROUNDS: u32 = 3;
        let mut future = pin!(future);
        let mut quiet = 0;
        poll_fn(|cx| {
            let woken = Arc::new(Woken { parent: cx.waker().clone(), woken: AtomicBool::new(false) });
            let waker = Waker::from(woken.clone());
            let mut inner = Context::from_waker(&waker);
            if let Poll::Ready(output) = future.as_mut().poll(&mut inner) {
                return Poll::Ready(output);
            }
            let _ = Pin::new(&mut *self).poll(&mut inner);
            if woken.woken.load(Ordering::Relaxed) {
                quiet = 0;
            } else if quiet < QUIET_ROUNDS {
                quiet += 1;
                cx.waker().wake_by_ref();
            } else if self.clock.advance_to_next() {
                quiet = 0;
            }
            Poll::Pending
        })
        .await
    }
}

/// Remembers that something can go on.
struct Woken {
    parent: Waker,
    woken: AtomicBool,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        self.parent.wake_by_ref();
    }
}

impl Future for Backend {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let over = loop {
                match this.arriving.poll_next_unpin(cx) {
                    Poll::Ready(Some(task)) => this.running.push(task),
                    Poll::Ready(None) => break true,
                    Poll::Pending => break false,
                }
            };
            match this.running.poll_next_unpin(cx) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) if over => return Poll::Ready(()),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("running", &self.running.len()).finish_non_exhaustive()
    }
}
