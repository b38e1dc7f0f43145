//! Structured logs, which never hold a value, whatever the filter says.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt as lines, reload};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: an object a line.
    Json,
}

/// What is logged, as in `info,pgspan=debug`: a level, or levels by module (the form of `RUST_LOG`).
#[derive(Debug)]
pub struct Filter(EnvFilter);

impl Filter {
    /// The filter in this file, if it can be read and is one.
    pub fn read(file: &Path) -> Option<Filter> {
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    }
}

impl FromStr for Filter {
    type Err = NotAFilter;

    fn from_str(text: &str) -> Result<Filter, NotAFilter> {
        EnvFilter::builder().parse(text).map(Filter).map_err(|_| NotAFilter)
    }
}

/// The text is no filter.
#[derive(Debug)]
pub struct NotAFilter;

impl fmt::Display for NotAFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a level (error, warn, info, debug, trace) or levels by module, such as info,pgspan=debug")
    }
}

impl std::error::Error for NotAFilter {}

/// Sends what tracing and the `log` crate say to standard error, from now on and for the whole process. A panic is one
/// line that says where and not what, since the message may hold a value.
///
/// tokio-postgres logs values of parameters at DEBUG, and notices, which quote values, at INFO; OpenTelemetry's crates what a
/// collector answers at DEBUG. They are heard from WARN on.
///
/// What it gives changes the filter later.
///
/// # Errors
///
/// If the process sends its logs elsewhere already.
pub fn init(format: Format, filter: Filter) -> Result<Refilter, impl std::error::Error> {
    let (subscriber, refilter) = subscriber(format, filter, io::stderr);
    let installed = subscriber.try_init();
    if installed.is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            tracing::error!(place, "a panic");
        }));
    }
    installed.map(|()| refilter)
}

/// Changes what is logged while the program runs.
#[derive(Debug, Clone)]
pub struct Refilter(reload::Handle<EnvFilter, Registry>);

impl Refilter {
    /// From now on this is logged.
    pub fn set(&self, Filter(filter): Filter) {
        let _ = self.0.reload(filter); // fails only when logging has ended
    }
}

fn subscriber<W>(
    format: Format,
    Filter(filter): Filter,
    writer: W,
) -> (impl Subscriber + Send + Sync, Refilter)
where
    W: for<'w> lines::MakeWriter<'w> + Send + Sync + 'static,
{
    let form = lines::layer().with_writer(writer).with_ansi(false);
    let form = match format {
        Format::Text => form.boxed(),
        Format::Json => form.json().flatten_event(true).boxed(),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let subscriber = tracing_subscriber::registry().with(filter).with(filter_fn(holds_no_value)).with(form);
    (subscriber, Refilter(handle))
}

fn holds_no_value(metadata: &Metadata<'_>) -> bool {
    let module = metadata.target().split("::").next().unwrap_or_default();
    let may_tell =
        matches!(module, "tokio_postgres" | "postgres_protocol") || module.starts_with("opentelemetry");
    !may_tell || *metadata.level() <= LevelFilter::WARN
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn values_that_tokio_postgres_logs_are_never_shown_whatever_the_filter_says() {
        let written = Written::default();
        let writer = written.clone();
        let filter = "trace,tokio_postgres=trace,tokio_postgres::query=trace".parse().unwrap();
        let (subscriber, refilter) =
            subscriber(Format::Json, "error".parse().unwrap(), move || writer.clone());
        subscriber.init();
        tracing::info!("too early");
        refilter.set(filter);
        log::debug!(target: "tokio_postgres::query", "parameters: CANARY");
        log::info!(target: "tokio_postgres::connection", "NOTICE: CANARY");
        tracing::debug!(target: "tokio_postgres", "CANARY");
        log::warn!(target: "tokio_postgres::connection", "a warning");
        tracing::debug!("ours");
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("too early"), "{text}");
        assert!(!text.contains("CANARY") && text.contains("a warning") && text.contains("ours"), "{text}");
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        assert!("info,pgspan=debug".parse::<Filter>().is_ok());
        assert!("=,=".parse::<Filter>().is_err());
    }
}
