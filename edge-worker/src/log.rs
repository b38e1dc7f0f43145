//! Logs and panics, to the Worker's console.

use std::io::{self, Write};

/// Sends `tracing`'s events and the place of a panic to the console. The text of a panic may quote values and is left out.
pub(crate) fn install() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(|| Console)
        .with_max_level(tracing::Level::INFO)
        .without_time() // the platform stamps each line
        .with_ansi(false)
        .finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        worker::console_error!("panic at {place}");
    }));
}

struct Console;

impl Write for Console {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        worker::console_log!("{}", String::from_utf8_lossy(line).trim_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
