//! The pause between failed attempts to connect, shared by all who open connections.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::random::fraction;
use crate::statistics::Counter;

/// 100 ms, doubled up to 1 s, ±10 %: a server that comes back is used within about a second, and is not stormed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An attempt that its caller gave up after this long counts as failed: the server did not answer. One given up sooner says
/// nothing of the server.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    state: Mutex<State>,
    /// An attempt ended.
    changed: Notify,
    /// Attempts that failed or were given up.
    pub(crate) failures: Counter,
}

#[derive(Debug, Default)]
struct State {
    /// Counts pauses and successes. Attempts that began together and all fail make one step.
    step: u64,
    /// The last pause and its end; none while the server answers.
    pause: Option<(Duration, Instant)>,
    /// After a pause one tries, and the others wait for what becomes of that.
    is_trying: bool,
}

impl Backoff {
    /// Waits until connecting may be tried. After a failure that is one caller at a time, so that a server that comes back is not
    /// stormed. Dropping the future loses nothing.
    pub(crate) async fn attempt(&self) -> Attempt<'_> {
        loop {
            let changed = self.changed.notified();
            let pause = {
                let mut state = self.lock();
                match state.pause {
                    Some((_, end)) if end > Instant::now() => Some(end),
                    Some(_) if state.is_trying => None,
                    pause => {
                        let is_only = pause.is_some();
                        state.is_trying = is_only;
                        let (step, started) = (state.step, Instant::now());
                        return Attempt { backoff: self, step, started, is_only, judged: false };
                    }
                }
            };
            match pause {
                Some(end) => tokio::select! {
                    () = sleep_until(end) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    fn succeeded(&self) {
        let mut state = self.lock();
        if state.pause.take().is_some() {
            state.step += 1;
            tracing::info!("PostgreSQL can be connected to again");
        }
    }

    fn failed(&self, step: u64, reason: &dyn Display) {
        let pause = {
            let mut state = self.lock();
            if state.step != step {
                return; // another of the same step said so
            }
            let pause = state.pause.map_or(FIRST_PAUSE, |(last, _)| (last * 2).min(LONGEST_PAUSE));
            let end = Instant::now() + pause.mul_f64(0.9 + 0.2 * fraction());
            state.step += 1;
            state.pause = Some((pause, end));
            pause
        };
        tracing::warn!(%reason, retry_ms = pause.as_millis(), "PostgreSQL can't be connected to");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner) // whole between any two statements
    }
}

/// One try to connect.
#[derive(Debug)]
pub(crate) struct Attempt<'b> {
    backoff: &'b Backoff,
    step: u64,
    started: Instant,
    /// The only one after a failure.
    is_only: bool,
    judged: bool,
}

impl Attempt<'_> {
    /// Nobody wants a connection any more.
    pub(crate) fn give_up(mut self) {
        self.judged = true;
    }

    pub(crate) fn succeeded(mut self) {
        self.judged = true;
        self.backoff.succeeded();
    }

    pub(crate) fn failed(mut self, reason: &dyn Display) {
        self.judged = true;
        self.backoff.failures.add();
        self.backoff.failed(self.step, reason);
    }
}

/// Not judged yet: a caller whose own deadline came first.
impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.judged {
            self.backoff.failures.add();
            if self.started.elapsed() >= GIVEN_UP_AFTER {
                self.backoff.failed(self.step, &"no answer in time");
            }
        }
        if self.is_only {
            self.backoff.lock().is_trying = false;
            self.backoff.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(backoff: &Backoff) -> Option<Duration> {
        backoff.lock().pause.map(|(pause, _)| pause)
    }

    #[tokio::test]
    async fn the_pause_doubles_up_to_a_second_and_ends_with_a_success() {
        let backoff = Backoff::default();
        for expected in [100, 200, 400, 800, 1000, 1000] {
            let step = backoff.lock().step;
            backoff.failed(step, &"refused");
            assert_eq!(pause(&backoff), Some(Duration::from_millis(expected)));
        }
        backoff.succeeded();
        assert_eq!(pause(&backoff), None);
    }

    #[tokio::test]
    async fn attempts_that_fail_together_make_one_step() {
        let backoff = Backoff::default();
        let (first, second) = (backoff.attempt().await, backoff.attempt().await);
        first.failed(&"refused");
        second.failed(&"refused");
        assert_eq!(pause(&backoff), Some(FIRST_PAUSE));
    }

    #[tokio::test]
    async fn the_next_attempt_waits_for_the_end_of_the_pause() {
        let backoff = Backoff::default();
        backoff.attempt().await.failed(&"refused");
        let started = Instant::now();
        drop(backoff.attempt().await);
        let waited = started.elapsed();
        assert!(waited >= Duration::from_millis(85) && waited < Duration::from_millis(200), "{waited:?}");
    }
}
