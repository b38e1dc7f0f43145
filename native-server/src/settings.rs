//! The program's settings: from flags and the environment, read once, every fault told at once and never a secret.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use pgspan::{ConnectionUrl, Error, Kind};

use crate::PoolSettings;
use crate::logs::{Filter, Format};
use crate::numbers::Numbers;
use crate::serve::{Address, NotAnAddress, Options};

mod arguments;
mod conflicts;
mod database_url;
mod misspelt;
mod secret;
pub(crate) mod setting;

pub(crate) use arguments::Arguments;

/// What `serve` needs to know.
pub(crate) struct Settings {
    /// Where to listen.
    pub(crate) listen: Address,
    /// Where the database is.
    pub(crate) database: ConnectionUrl,
    /// How statements and transactions behave.
    pub(crate) limits: pgspan::Settings,
    /// How the pool behaves.
    pub(crate) pool: PoolSettings,
    /// Threads that serve, each with connections of its own: see [`Workers`](crate::workers::Workers). As many as there are
    /// cores.
    pub(crate) worker_threads: usize,
    /// How long a request may take. 10 s: longer than any statement may.
    pub(crate) request_timeout: Duration,
    /// The HTTP server's limits.
    pub(crate) server: Options,
    /// Where to listen for who asks for metrics; nothing if nobody may.
    pub(crate) metrics: Option<SocketAddr>,
    /// The collector that traces go to, its path included; nothing if there are none.
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "nobody sends any"))]
    pub(crate) traces: Option<Uri>,
    /// How log lines look.
    pub(crate) log_format: Format,
    /// What is logged.
    pub(crate) log_filter: Filter,
    /// The file that says what is logged; it is read again at SIGHUP.
    pub(crate) log_filter_file: Option<PathBuf>,
    /// What is not wrong, and perhaps not meant: a line each.
    pub(crate) warnings: Vec<String>,
}

/// Shared connections, unless it is set: beyond that PostgreSQL has more to do with processes than with statements.
const MAX_SHARED: usize = 8;
/// For this machine alone, and a port that is nobody's by convention.
pub(crate) const METRICS: &str = "127.0.0.1:8079";

impl Arguments {
    /// Checks everything. To the database the program is `application`, unless the URL says otherwise.
    ///
    /// # Errors
    ///
    /// Every fault there is, each [`Kind::Config`], naming its setting, and without its value.
    pub(crate) fn settings(&self, application: &str) -> Result<Settings, Vec<Error>> {
        let mut faults = Vec::new();
        let mut warnings = misspelt::misspelt(
            std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()),
            &self.names(),
        );
        let database = keep(self.database(application).map_err(|fault| vec![fault]), &mut faults);
        if database.as_ref().is_some_and(database_url::is_plain_text_over_a_network) {
            warnings.push(PLAIN_TEXT.to_owned());
        }
        let limits = keep(pgspan::Settings::read(|name| self.find(name)), &mut faults);
        let pool = keep(PoolSettings::read(|name| self.find(name)), &mut faults);
        let server = keep(Options::read(|name| self.find(name)), &mut faults);
        let mut numbers = Numbers { lookup: |name: &str| self.find(name), faults: Vec::new() };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let worker_threads = numbers.size("WORKER_THREADS", cores, 1..=1024);
        let worker_threads = keep(numbers.check(worker_threads), &mut faults);
        let mut read = Read { arguments: self, faults: &mut faults };
        let listen = read.parse("LISTEN_ADDR", "127.0.0.1:8080", &NotAnAddress.to_string());
        let http2 = read.parse("HTTP2", "false", "must be true or false");
        let metrics = read.find(
            "METRICS_ADDR",
            METRICS,
            "must be an address and a port, such as 127.0.0.1:8079, or off",
            |text| match text {
                "off" => Some(None),
                address => address.parse().ok().map(Some),
            },
        );
        let traces = read.find("OTEL_EXPORTER_OTLP_ENDPOINT", "", COLLECTOR_FAULT, |text| match text {
            "" => Some(None),
            // clusters set it for all that runs in them
            _ if !cfg!(feature = "otlp") => {
                warnings.push(NO_TRACES.to_owned());
                Some(None)
            }
            url => collector(url).map(Some),
        });
        let millis =
            read.parse::<u32>("REQUEST_TIMEOUT_MS", "10000", "must be a number of milliseconds above 0");
        let log_format = read.find("LOG_FORMAT", "text", "must be text or json", |text| match text {
            "text" => Some(Format::Text),
            "json" => Some(Format::Json),
            _ => None,
        });
        let filter_fault = crate::logs::NotAFilter.to_string();
        let mut log_filter = read.parse("LOG_FILTER", "info", &filter_fault);
        let log_filter_file = self.find("LOG_FILTER_FILE").map(PathBuf::from);
        if let Some(file) = &log_filter_file {
            log_filter = Filter::read(file);
            if log_filter.is_none() {
                read.fault("LOG_FILTER_FILE", &format!("must be a file whose text {filter_fault}"));
            }
        }
        if millis == Some(0) {
            read.fault("REQUEST_TIMEOUT_MS", "must be a number of milliseconds above 0");
        }
        let request_timeout = millis.map(|millis| Duration::from_millis(millis.into()));
        faults.extend(self.conflicts(limits.as_ref(), pool.as_ref(), server.as_ref(), request_timeout));
        let limits = limits.zip(worker_threads).map(|(mut limits, threads)| {
            if self.find("DATABASE_SHARED").is_none() {
                limits.shared_connections = (2 * threads).min(MAX_SHARED);
            }
            limits
        });
        let complete = || {
            Some(Settings {
                listen: listen?,
                database: database?,
                limits: limits?,
                pool: pool?,
                worker_threads: worker_threads?,
                request_timeout: request_timeout?,
                server: Options { http2: http2?, ..server? },
                metrics: metrics?,
                traces: traces?,
                log_format: log_format?,
                log_filter: log_filter?,
                log_filter_file,
                warnings,
            })
        };
        match faults.is_empty() {
            true => complete().ok_or(faults),
            false => Err(faults),
        }
    }

    /// Where the database is.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`], without the URL; [`Kind::Unavailable`] if a file is not there.
    pub(crate) fn database(&self, application: &str) -> Result<ConnectionUrl, Error> {
        let is_private = database_url::is_private(self.find("DATABASE_PRIVATE_LINK"))?;
        let url = database_url::parse(self.find_secret("DATABASE_URL")?, is_private, application)?;
        // the files it names are looked at now, so that theirs are among the faults that are told at once
        crate::tls::tls(&url).map(|_| url)
    }

    /// The password that `DATABASE_URL_FILE` has at the moment.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] if the file can't be read, or has no password.
    pub(crate) fn password_in_file(&self) -> Result<String, Error> {
        let url = self.database("").map_err(|fault| Error::unavailable(fault.to_string()))?;
        let password =
            url.postgres().get_password().and_then(|password| String::from_utf8(password.to_vec()).ok());
        password.ok_or_else(|| Error::unavailable("DATABASE_URL_FILE: there is no password in it"))
    }
}

const COLLECTOR_FAULT: &str = "must be an http URL without a user and a query, such as http://127.0.0.1:4318: a collector near by does the TLS";

const PLAIN_TEXT: &str = "DATABASE_PRIVATE_LINK: connections to the database are not encrypted, and whoever sees the network sees what is sent";

const NO_TRACES: &str =
    "OTEL_EXPORTER_OTLP_ENDPOINT: no traces are sent: this program was built without the feature otlp";

/// Where a collector with this URL takes traces (OpenTelemetry Protocol Exporter, "Endpoint URLs for OTLP/HTTP").
fn collector(url: &str) -> Option<Uri> {
    let traces: Uri = format!("{}/v1/traces", url.trim_end_matches('/')).parse().ok()?;
    let secret = traces.authority()?.as_str().contains('@') || traces.query().is_some();
    (traces.scheme() == Some(&Scheme::HTTP) && !secret).then_some(traces)
}

fn keep<T>(read: Result<T, Vec<Error>>, faults: &mut Vec<Error>) -> Option<T> {
    read.map_err(|more| faults.extend(more)).ok()
}

/// Reads settings and collects what is wrong with them.
struct Read<'r> {
    arguments: &'r Arguments,
    faults: &'r mut Vec<Error>,
}

impl Read<'_> {
    fn fault(&mut self, name: &str, text: &str) {
        self.faults.push(Error::new(Kind::Config, format!("{name}: {text}")));
    }

    fn find<T>(
        &mut self,
        name: &str,
        default: &str,
        fault: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let found = read(self.arguments.find(name).as_deref().unwrap_or(default));
        if found.is_none() {
            self.fault(name, fault);
        }
        found
    }

    fn parse<T: std::str::FromStr>(&mut self, name: &str, default: &str, fault: &str) -> Option<T> {
        self.find(name, default, fault, |text| text.parse().ok())
    }
}
