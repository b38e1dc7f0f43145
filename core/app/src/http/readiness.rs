//! Whether the application was ready a moment ago, so that probes do not become load.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::problem::Problem;

/// How long an answer is kept: below every probe's interval, and within the two seconds in which a host heals.
const KEPT: Duration = Duration::from_secs(1);

/// The last answer, and when it was found.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<(Duration, Result<(), Problem>)>>);

impl Readiness {
    pub(super) fn known(&self, now: Duration) -> Option<Result<(), Problem>> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(found, _)| now.saturating_sub(*found) < KEPT).map(|(_, ready)| ready.clone())
    }

    pub(super) fn keep(&self, now: Duration, ready: &Result<(), Problem>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, ready.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_a_second() {
        let readiness = Readiness::default();
        let at = Duration::from_millis;
        assert!(readiness.known(at(0)).is_none());
        readiness.keep(at(10), &Err(Problem::not_ready("x")));
        assert!(readiness.known(at(1009)).is_some_and(|ready| ready.is_err()));
        assert!(readiness.known(at(1010)).is_none());
    }
}
