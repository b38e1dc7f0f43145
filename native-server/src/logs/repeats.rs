//! Warnings and errors that repeat themselves: one line a second, and how often it came.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The lines that were shown lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<HashMap<String, Shown>>>);

#[derive(Debug)]
struct Shown {
    level: Level,
    at: Instant,
    /// How often it came since.
    again: u64,
}

/// Further ones are always shown, so that no text of a caller's fills the memory.
const MOST_KINDS: usize = 256;

/// The lines of this module are never held back.
const TARGET: &str = "pgspan_server::repeated";

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let level = *event.metadata().level();
        if level > Level::WARN || event.metadata().target() == TARGET {
            return true;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.is_new(level, text.0)
    }
}

impl Repeats {
    fn is_new(&self, level: Level, text: String) -> bool {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shown.get_mut(&text) {
            known.again += 1;
            return false;
        }
        if shown.len() < MOST_KINDS {
            shown.insert(text, Shown { level, at: Instant::now(), again: 0 });
        }
        true
    }

    /// Tells what came again, and forgets what did not. To be called every second, and with no `pause` at the end.
    pub(super) fn tell(&self, pause: Duration) {
        let mut told = Vec::new();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|text, shown| {
            if shown.at.elapsed() < pause {
                return true;
            }
            if shown.again == 0 {
                return false;
            }
            told.push((shown.level, std::mem::take(&mut shown.again), text.clone()));
            shown.at = Instant::now();
            true
        });
        for (level, times, what) in told {
            match level {
                Level::ERROR => tracing::error!(target: TARGET, times, what, "repeated"),
                _ => tracing::warn!(target: TARGET, times, what, "repeated"),
            }
        }
    }
}

/// What a line says. The request's id and times differ each time.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "request_id" | "ms" | "retry_ms" => {}
            name if name.starts_with("log.") => {}
            "message" => _ = write!(self.0, "{value:?} "),
            name => _ = write!(self.0, "{name}={value:?} "),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_comes_again_is_counted_and_told_and_forgotten_when_it_ends() {
        let repeats = Repeats::default();
        let new = |text: &str| repeats.is_new(Level::WARN, text.to_owned());
        assert!(new("a") && !new("a") && new("b") && !new("a"));
        let again = |text: &str| repeats.0.lock().unwrap().get(text).map(|shown| shown.again);
        assert_eq!((again("a"), again("b")), (Some(2), Some(0)));
        let a_second_passes = || {
            for shown in repeats.0.lock().unwrap().values_mut() {
                shown.at -= SECOND;
            }
            repeats.tell(SECOND);
        };
        a_second_passes();
        assert_eq!((again("a"), again("b")), (Some(0), None));
        assert!(!new("a") && new("b"), "a line a second has been shown of the first");
        a_second_passes();
        a_second_passes();
        assert!(new("a"));
        for number in 0..2 * MOST_KINDS {
            assert!(new(&number.to_string()));
        }
        assert_eq!(repeats.0.lock().unwrap().len(), MOST_KINDS);
    }
}
