//! Logs and panics, to the Worker's console.

use std::fmt::{self, Write};
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::panic::end_all;

/// Sends `tracing`'s events and the place of a panic to the Worker's console.
///
/// Events of INFO and above are written, a line each. The text of a panic may quote values and is left out; without this the
/// `worker` crate logs it. Call it first thing in the fetch event and in your object's `new`, where only the first call does
/// something. In the `start` event it would be too early: the `worker` crate sets its own panic hook after that.
pub fn log_to_console() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = tracing::subscriber::set_global_default(Console);
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map_or_else(String::new, ToString::to_string);
            worker::console_error!("panic at {place}");
            end_all();
        }));
    });
}

/// Writes a line for each event of INFO and above; `tracing-subscriber` would be a fifth of the Worker's size.
struct Console;

impl Subscriber for Console {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} {}:", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        worker::console_log!("{}", line.0);
    }

    // no span is entered here
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    // No event of ours has such a number, and to write them would be a fiftieth of the Worker's size.
    fn record_f64(&mut self, _: &Field, _: f64) {}
    fn record_i128(&mut self, _: &Field, _: i128) {}
    fn record_u128(&mut self, _: &Field, _: u128) {}

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
