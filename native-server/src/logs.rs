//! Structured logs, which never hold a value, whatever the filter says.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt as lines, reload};

use repeats::Repeats;

mod repeats;

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
#[derive(Debug, Clone)]
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
/// Nobody waits for standard error: a thread of its own writes to it, and when some thousand lines wait for that, further ones are
/// dropped and counted. A warning or an error that comes again within a second is not shown again; a line each second tells how
/// often it came.
///
/// tokio-postgres logs values of parameters at DEBUG, and notices, which quote values, at INFO; OpenTelemetry's crates what a
/// collector answers at DEBUG. They are heard from WARN on.
///
/// # Errors
///
/// If the process sends its logs elsewhere already, or can't start a thread.
pub fn init(format: Format, filter: Filter) -> Result<Logs, Box<dyn std::error::Error>> {
    let writer = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES);
    let (writer, guard) = writer.thread_name("log").finish(io::stderr());
    let (dropped, repeats) = (writer.error_counter(), Repeats::default());
    let (subscriber, filter) = subscriber(format, filter, writer, repeats.clone());
    subscriber.try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        PANICS.fetch_add(1, Ordering::Relaxed);
        tracing::error!(place, "a panic");
    }));
    let _ = DROPPED.set(dropped);
    let ticking = repeats.clone();
    thread::Builder::new().name("log-repeats".to_owned()).spawn(move || {
        let mut told = 0;
        loop {
            thread::sleep(SECOND);
            ticking.tell(SECOND);
            let lines = dropped_lines();
            if lines > told {
                tracing::warn!(
                    lines = lines - told,
                    "log lines were dropped, since nobody took them in time"
                );
                told = lines;
            }
        }
    })?;
    Ok(Logs { filter, repeats, guard })
}

/// About a megabyte.
const WAITING_LINES: usize = 4096;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();
static PANICS: AtomicU64 = AtomicU64::new(0);

/// How many lines were dropped so far, since nobody took them from standard error in time.
fn dropped_lines() -> u64 {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    u64::try_from(dropped).unwrap_or(u64::MAX)
}

/// What only the logs can count.
#[derive(Debug)]
pub(crate) struct Logged;

impl Collector for Logged {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, value) in [
            ("log_lines_dropped", "Log lines that nobody took in time", dropped_lines()),
            ("panics", "Panics, in a handler or anywhere else", PANICS.load(Ordering::Relaxed)),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// The process's logs.
#[derive(Debug)]
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    repeats: Repeats,
    guard: WorkerGuard,
}

impl Logs {
    /// What changes the filter later.
    pub fn refilter(&self) -> Refilter {
        Refilter(self.filter.clone())
    }

    /// Writes what waits to be written, for a second at most. What is logged afterwards may be lost.
    pub fn finish(self) {
        self.repeats.tell(Duration::ZERO);
        at_most_a_second(move || drop(self.guard));
    }
}

/// Does something that may wait for standard output or error to be read, and waits for it no longer than a second.
pub fn at_most_a_second(something: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        something();
        let _ = done.send(());
    });
    let _ = ended.recv_timeout(SECOND);
}

const SECOND: Duration = Duration::from_secs(1);

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
    repeats: Repeats,
) -> (impl Subscriber + Send + Sync, reload::Handle<EnvFilter, Registry>)
where
    W: for<'w> lines::MakeWriter<'w> + Send + Sync + 'static,
{
    let form = lines::layer().with_writer(writer).with_ansi(false);
    let form = match format {
        Format::Text => form.boxed(),
        Format::Json => form.json().flatten_event(true).boxed(),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(holds_no_value));
    (registry.with(repeats).with(form), handle)
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
        let errors = "error".parse().unwrap();
        let (subscriber, handle) =
            subscriber(Format::Json, errors, move || writer.clone(), Repeats::default());
        let refilter = Refilter(handle);
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
