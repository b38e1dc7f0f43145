//! The program: `pgspan-server serve`, `check` and `migrate`.

use std::future::ready;
use std::io;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use mimalloc::MiMalloc;
use pgspan::{ConnectionUrl, Database, Error, Kind, sql};
use pgspan_http::{Options, Writes};
use pgspan_server::check::{self, Finding};
use pgspan_server::logs::Logs;
use pgspan_server::metrics::Metrics;
#[cfg(feature = "otlp")]
use pgspan_server::otlp::Traces;
use pgspan_server::serve::Listener;
use pgspan_server::settings::{Arguments, Cli, Command, MigrateHow, Settings};
use pgspan_server::workers::Workers;
use pgspan_server::{Driver, PoolSettings, logs, migrate, operations, serve, signals, system};
use sd_notify::NotifyState;

/// A request allocates some fifty times, which costs half of what it does with the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const FAILED: u8 = 1;
const BAD_SETTINGS: u8 = 2;
/// A migration was refused: time does not heal it.
const NOT_MIGRATED: u8 = 3;
/// `migrate --status`: something is not applied, altered since, or left half done.
const MISSING: u8 = 4;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&error),
    };
    match cli.command {
        Command::Serve(arguments) => match settings(&arguments) {
            Ok((settings, writes)) => {
                run(settings.worker_threads, |workers| run_server(&arguments, settings, writes, workers))
            }
            Err(faults) => fail(code_of(&faults), &faults),
        },
        Command::Check(arguments) => run(1, |_| check_all(&arguments)),
        Command::Generate { what } => match what.write(&mut std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(FAILED, &[error]),
        },
        Command::Migrate { database, status, how } => match database.url() {
            Ok(url) if status => run(1, |_| show_status(&url)),
            Ok(url) => run(1, |_| run_migrations(&url, &how)),
            Err(fault) => fail(code_of(std::slice::from_ref(&fault)), &[fault]),
        },
        _ => fail(FAILED, &["this command is not known"]),
    }
}

fn run<P: Future<Output = ExitCode>>(threads: usize, program: impl FnOnce(Workers) -> P) -> ExitCode {
    let (workers, runtime) = match Workers::start(threads) {
        Ok(started) => started,
        Err(error) => return fail(FAILED, &[format!("the threads can't start: {error}")]),
    };
    let code = runtime.block_on(program(workers));
    runtime.shutdown_background();
    code
}

async fn run_server(arguments: &Arguments, settings: Settings, writes: Writes, workers: Workers) -> ExitCode {
    let (format, filter) = (settings.log_format, settings.log_filter.clone());
    let logs = match logs::init(format, filter) {
        Ok(logs) => logs,
        Err(error) => return fail(FAILED, &[error]),
    };
    let code = match serve_until_told(arguments, settings, writes, workers, &logs).await {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err((code, reason)) => fail(code, &[reason]),
    };
    logs.finish();
    code
}

async fn serve_until_told(
    arguments: &Arguments,
    settings: Settings,
    writes: Writes,
    workers: Workers,
    logs: &Logs,
) -> Result<(), (u8, String)> {
    let signals = |error: io::Error| (FAILED, format!("signals can't be handled: {error}"));
    let bad = |fault: Error| (code_of(std::slice::from_ref(&fault)), fault.to_string());
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let listener = match Listener::passed() {
        Ok(Some(listener)) => listener,
        Ok(None) => settings.listen.listen().await.map_err(|error| {
            let text = format!("LISTEN_ADDR: {} can't be listened on: {error}", settings.listen);
            (code_of_address(&error), text)
        })?,
        Err(error) => {
            return Err((BAD_SETTINGS, format!("the socket that was passed can't be used: {error}")));
        }
    };
    signals::reload_at_hangup(logs.refilter(), settings.log_filter_file).map_err(signals)?;
    let shutdown = signals::stop().map_err(signals)?;
    let mut options = settings.server;
    let others = settings.pool.size + settings.limits.shared_connections + OTHER_FILES;
    options.max_connections = system::fit(options.max_connections, others);
    let driver = driver(arguments, &settings.database, &settings.limits, settings.pool).map_err(bad)?;
    let db = pgspan::connect_with(driver.clone(), settings.limits);
    let router =
        pgspan_app::router(db.clone(), Options { writes, request_timeout: settings.request_timeout });
    #[cfg(feature = "otlp")]
    let (router, traces) = match settings.traces.as_ref().map(Traces::new).transpose().map_err(bad)? {
        Some(traces) => (traces.watch(router), Some(traces)),
        None => (router, None),
    };
    options.workers = Some(workers.clone()); // ours ends with this function, after the connections they drive
    if let Some(address) = settings.metrics {
        let metrics = Metrics::new(&db, &driver);
        let listening = std::net::TcpListener::bind(address);
        match listening.and_then(|listener| operations::watch(listener, &router, &metrics, &options)) {
            Ok(()) => tracing::info!(%address, "probes and metrics are answered"),
            Err(error) if arguments.find("METRICS_ADDR").is_some() => {
                let text = format!("METRICS_ADDR: {address} can't be listened on: {error}");
                return Err((code_of_address(&error), text));
            }
            Err(error) => tracing::warn!(%address, %error, "no metrics are served: set METRICS_ADDR"),
        }
        options.metrics = Some(metrics);
    }
    tracing::info!(address = %listener, "listening");
    tokio::spawn(tell_of_database(db.clone()));
    tell_systemd(NotifyState::Ready);
    let told = OnceLock::new();
    let shutdown = async {
        shutdown.await;
        let _ = told.set(Instant::now());
        tell_systemd(NotifyState::Stopping);
    };
    #[cfg(feature = "otlp")]
    let limit = options.grace + options.drain;
    let served = serve::serve(listener, router, options, shutdown).await;
    db.close();
    driver.close();
    #[cfg(feature = "otlp")]
    if let Some(traces) = traces {
        let spent = told.get().map_or(limit, Instant::elapsed);
        traces.finish(limit.saturating_sub(spent)).await;
    }
    served.map_err(|error| (FAILED, error.to_string()))
}

/// Where the URL is in a file, its password is read again at each login.
fn driver(
    arguments: &Arguments,
    url: &ConnectionUrl,
    limits: &pgspan::Settings,
    pool: PoolSettings,
) -> Result<Driver, Error> {
    let has_password = url.postgres().get_password().is_some();
    if arguments.find("DATABASE_URL_FILE").is_none() || !has_password {
        return Driver::new(url, limits, pool);
    }
    let arguments = arguments.clone();
    Driver::with_password(url, limits, pool, move || ready(arguments.password_in_file()))
}

/// What the program has open beside its clients' and the pool's connections: logs, listeners, probes, timers, and room to spare.
const OTHER_FILES: usize = 100;

/// One line at the start, so that nobody learns from the first request that the database is away.
async fn tell_of_database(db: Database) {
    let version = sql!("SELECT current_setting('server_version')").reads_only();
    match db.fetch_one::<String>(version).await {
        Ok(version) => tracing::info!(version, "the database answers"),
        Err(error) => {
            tracing::warn!(%error, "the database can't be used now: it is tried again for each request")
        }
    }
}

/// Where systemd did not start the program this does nothing.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd can't be told");
    }
}

/// Everything that can be wrong, at once.
fn settings(arguments: &Arguments) -> Result<(Settings, Writes), Vec<Error>> {
    let anonymous = arguments.find("ALLOW_ANONYMOUS_WRITES").is_some_and(|value| value == "true");
    // a token that can't be read is among the settings' faults
    let token = arguments.find_secret("API_TOKEN").unwrap_or_default();
    let writes = Writes::from_settings(token.as_deref(), anonymous);
    match (arguments.settings(), writes) {
        (Ok(settings), Ok(writes)) => Ok((settings, writes)),
        (settings, writes) => Err(settings.err().into_iter().flatten().chain(writes.err()).collect()),
    }
}

async fn check_all(arguments: &Arguments) -> ExitCode {
    let settings = match settings(arguments) {
        Ok((settings, writes)) => {
            println!("ok: settings: they can be used");
            settings.warnings.iter().for_each(|warning| println!("note: {warning}"));
            if writes == Writes::Forbidden {
                println!("note: writes: nobody may write: set API_TOKEN");
            }
            settings
        }
        Err(faults) => return fail(code_of(&faults), &faults),
    };
    let timeout = settings.pool.connect_timeout;
    let found = check::check(&settings.database, &settings.limits, timeout, migrate::MIGRATIONS).await;
    let findings = match found {
        Ok(findings) => findings,
        Err(fault) => return fail(code_of(std::slice::from_ref(&fault)), &[fault]),
    };
    for Finding { what, text, .. } in findings.iter().filter(|finding| finding.good) {
        println!("ok: {what}: {text}");
    }
    let bad = findings.iter().filter(|finding| !finding.good);
    let bad: Vec<String> = bad.map(|Finding { what, text, .. }| format!("{what}: {text}")).collect();
    match bad.is_empty() {
        true => ExitCode::SUCCESS,
        false => fail(FAILED, &bad),
    }
}

async fn run_migrations(url: &ConnectionUrl, what: &MigrateHow) -> ExitCode {
    let done = match (what.again, what.as_applied) {
        (Some(version), _) => migrate::again(url, version).await,
        (_, Some(version)) => migrate::as_applied(url, version).await,
        (None, None) => Ok(()),
    };
    let applied = match done {
        Ok(()) => migrate::migrate_to(url, migrate::MIGRATIONS).await,
        Err(error) => Err(error),
    };
    match applied {
        Ok(applied) if applied.is_empty() => println!("nothing to apply"),
        Ok(applied) => applied.iter().for_each(|name| println!("applied {name}")),
        Err(error) => return fail(code_of_migration(&error), &[error]),
    }
    ExitCode::SUCCESS
}

/// A login that is refused and a migration that fails do so again.
fn code_of_migration(error: &Error) -> u8 {
    let is_login = error.sqlstate().is_some_and(|code| code.code().starts_with("28"));
    match error.kind() {
        Kind::Config => BAD_SETTINGS,
        Kind::Server | Kind::Refused => NOT_MIGRATED,
        _ if is_login => NOT_MIGRATED,
        _ => FAILED,
    }
}

async fn show_status(url: &ConnectionUrl) -> ExitCode {
    let statuses = match migrate::status_of(url, migrate::MIGRATIONS).await {
        Ok(statuses) => statuses,
        Err(error) => return fail(code_of_migration(&error), &[error]),
    };
    let is_complete =
        |status: &migrate::Status| status.applied.is_some() && status.finished && !status.altered;
    let code = if statuses.iter().all(is_complete) { ExitCode::SUCCESS } else { ExitCode::from(MISSING) };
    for migrate::Status { version, name, applied, finished, known, altered, .. } in statuses {
        let applied = applied.map_or("not applied".to_owned(), |time| format!("applied {time} UTC"));
        let note = match (finished, known, altered) {
            (false, _, _) => ", LEFT HALF DONE",
            (true, false, _) => ", unknown to this program",
            (true, true, true) => ", ALTERED since",
            (true, true, false) => "",
        };
        println!("{version:04} {name}: {applied}{note}");
    }
    code
}

/// Help, or what is wrong with the arguments. Of one that is not known only a flag's name is shown: whatever else it is may
/// have a password in it.
fn refuse_arguments(error: &clap::Error) -> ExitCode {
    let is_name = |text: &str| {
        let name = text.strip_prefix("--").unwrap_or_default();
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    let shown = match error.kind() {
        ErrorKind::UnknownArgument => {
            matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(text)) if is_name(text))
        }
        ErrorKind::InvalidSubcommand
        | ErrorKind::InvalidValue
        | ErrorKind::TooManyValues
        | ErrorKind::ValueValidation => false,
        _ => true,
    };
    if !shown {
        return fail(
            BAD_SETTINGS,
            &["an argument is not known, or lacks its value: see pgspan-server --help"],
        );
    }
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(BAD_SETTINGS) } else { ExitCode::SUCCESS }
}

/// Faults that time may heal, such as a file that is mounted late, are worth another start.
fn code_of(faults: &[Error]) -> u8 {
    match faults.iter().all(|fault| fault.kind() == Kind::Unavailable) {
        true => FAILED,
        false => BAD_SETTINGS,
    }
}

/// An address may be taken for a moment, or not be this machine's yet.
fn code_of_address(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable | io::ErrorKind::NotFound => FAILED,
        _ => BAD_SETTINGS,
    }
}

fn fail(code: u8, reasons: &[impl std::fmt::Display]) -> ExitCode {
    let lines: String = reasons.iter().map(|reason| format!("pgspan-server: {reason}\n")).collect();
    // standard error may be a pipe that nobody reads
    logs::at_most_a_second(move || eprint!("{lines}"));
    ExitCode::from(code)
}
