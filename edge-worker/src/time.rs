//! The runtime's clock and its timers.

use std::time::Duration;

use worker::{Delay, js_sys};

/// The runtime's clock, which stands still while a Worker computes.
pub(crate) fn now() -> Duration {
    Duration::try_from_secs_f64(js_sys::Date::now() / 1000.0).unwrap_or_default()
}

/// Waits by a timer of the runtime.
pub(crate) async fn sleep(duration: Duration) {
    const LONGEST: Duration = Duration::from_millis(i32::MAX as u64); // the runtime's timer counts in 32 bits
    Delay::from(duration.min(LONGEST)).await;
}
