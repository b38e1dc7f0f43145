//! Pauses between attempts to connect to a server that is not there.

use std::sync::Mutex;
use std::time::Duration;

use pgspan::Error;

use crate::connection::{lock, now, sleep};

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

    /// Enters what became of an attempt; a failure is logged once a pause.
    pub(crate) fn enter<T>(&self, attempt: &Result<T, Error>) {
        let mut state = lock(&self.0);
        match attempt {
            Ok(_) => *state = State::default(),
            Err(_) if now() < state.not_before => {} // of the same moment as one that was entered
            Err(error) => {
                let pause = (FIRST_PAUSE * 2_u32.pow(state.failures.min(4))).min(LONGEST_PAUSE);
                state.failures += 1;
                state.not_before = now() + pause;
                tracing::warn!(%error, pause_ms = pause.as_millis(), "the database can't be reached");
            }
        }
    }
}
