//! Pauses between attempts to connect to a server that is not there.

use std::sync::Mutex;
use std::time::Duration;

use pgspan::Error;

use crate::lock::lock;
use crate::time::{now, sleep};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// After a failed attempt the next waits 100 ms, twice as long after each further one up to 1 s.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    not_before: Duration,
}

impl Backoff {
    /// Waits for the next attempt's turn.
    pub(crate) async fn turn(&self) {
        let pause = lock(&self.0).not_before.saturating_sub(now());
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }

    /// Begins an attempt, whose callers wait so long for a connection.
    pub(crate) fn attempt(&self, patience: Duration) -> Attempt<'_> {
        Attempt { backoff: self, failed_after: now() + LONGEST_ATTEMPT.min(patience / 2), has_ended: false }
    }

    /// Enters what became of an attempt; a failure is logged once a pause.
    fn enter(&self, failure: Option<&Error>) {
        let mut state = lock(&self.0);
        match failure {
            None => *state = State::default(),
            Some(_) if now() < state.not_before => {} // of the same moment as one that was entered
            Some(error) => {
                let pause = (FIRST_PAUSE * 2_u32.pow(state.failures.min(4))).min(LONGEST_PAUSE);
                state.failures += 1;
                state.not_before = now() + pause;
                tracing::warn!(%error, pause_ms = pause.as_millis(), "the database can't be reached");
            }
        }
    }
}

/// A healthy server lets one in within milliseconds.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(1);

/// An attempt to connect. One that is dropped before its end failed if it took long; else its caller had no time left, which says
/// nothing about the server.
pub(crate) struct Attempt<'b> {
    backoff: &'b Backoff,
    failed_after: Duration,
    has_ended: bool,
}

impl Attempt<'_> {
    pub(crate) fn end<T>(mut self, opened: &Result<T, Error>) {
        self.has_ended = true;
        self.backoff.enter(opened.as_ref().err());
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.has_ended && now() >= self.failed_after {
            self.backoff.enter(Some(&Error::unavailable("connecting took too long")));
        }
    }
}
