//! The program: `pgspan-server serve`, `check` and `migrate`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use mimalloc::MiMalloc;
use pgspan::{Error, Kind};
use pgspan_app::{Options, Writes};
use pgspan_server::check::{self, Finding};
use pgspan_server::logs::{Filter, Refilter};
use pgspan_server::metrics::Metrics;
#[cfg(feature = "otlp")]
use pgspan_server::otlp::Traces;
use pgspan_server::serve::Listener;
use pgspan_server::settings::{Arguments, Cli, Command, Settings};
use pgspan_server::workers::Workers;
use pgspan_server::{Driver, logs, migrate, serve};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A request allocates some fifty times, which costs half of what it does with the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const FAILED: u8 = 1;
const BAD_SETTINGS: u8 = 2;
/// A migration was refused: time does not heal it.
const NOT_MIGRATED: u8 = 3;

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
            Err(faults) => fail(BAD_SETTINGS, &faults),
        },
        Command::Check(arguments) => run(1, |_| check_all(&arguments)),
        Command::Generate { what } => match what.write(&mut std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(FAILED, &[error]),
        },
        Command::Migrate { database, status } => match database.url() {
            Ok(url) if status => run(1, |_| show_status(&url)),
            Ok(url) => run(1, |_| run_migrations(&url)),
            Err(fault) => fail(BAD_SETTINGS, &[fault]),
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
    let refilter = match logs::init(settings.log_format, settings.log_filter) {
        Ok(refilter) => refilter,
        Err(error) => return fail(FAILED, &[error]),
    };
    let listener = match Listener::passed() {
        Ok(Some(listener)) => Ok(listener),
        Ok(None) => settings.listen.listen().await,
        Err(error) => {
            return fail(BAD_SETTINGS, &[format!("the socket that was passed can't be used: {error}")]);
        }
    };
    if let Err(error) = reload_at_hangup(refilter, settings.log_filter_file) {
        return fail(FAILED, &[format!("signals can't be handled: {error}")]);
    }
    let (shutdown, listener) = match (on_signal(), listener) {
        (Ok(shutdown), Ok(listener)) => (shutdown, listener),
        (Err(error), _) => return fail(FAILED, &[format!("signals can't be handled: {error}")]),
        (_, Err(error)) => {
            return fail(
                BAD_SETTINGS,
                &[format!("LISTEN_ADDR: {} can't be listened on: {error}", settings.listen)],
            );
        }
    };
    let driver = match Driver::new(&settings.database, &settings.limits, settings.pool) {
        Ok(driver) => driver,
        Err(fault) => return fail(BAD_SETTINGS, &[fault]),
    };
    let db = pgspan::connect_with(driver.clone(), settings.limits);
    let router =
        pgspan_app::router(db.clone(), Options { writes, request_timeout: settings.request_timeout });
    #[cfg(feature = "otlp")]
    let (router, traces) = match settings.traces.as_ref().map(Traces::new).transpose() {
        Ok(Some(traces)) => (traces.watch(router), Some(traces)),
        Ok(None) => (router, None),
        Err(fault) => return fail(BAD_SETTINGS, &[fault]),
    };
    let mut options = settings.server;
    options.workers = Some(workers.clone()); // ours ends with this function, after the connections they drive
    if let Some(address) = settings.metrics {
        let metrics = Metrics::new(&db, &driver);
        match TcpListener::bind(address).await {
            Ok(listener) => serve_metrics(listener, &metrics),
            Err(error) if arguments.find("METRICS_ADDR").is_some() => {
                let text = format!("METRICS_ADDR: {address} can't be listened on: {error}");
                return fail(BAD_SETTINGS, &[text]);
            }
            Err(error) => tracing::warn!(%address, %error, "no metrics are served: set METRICS_ADDR"),
        }
        options.metrics = Some(metrics);
    }
    tracing::info!(address = %settings.listen, "listening");
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
    match served {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => fail(FAILED, &[error]),
    }
}

/// At each SIGHUP, reads again what is to be logged.
fn reload_at_hangup(refilter: Refilter, file: Option<PathBuf>) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match file.as_deref().map(Filter::read) {
                Some(Some(filter)) => {
                    refilter.set(filter);
                    tracing::info!("what is logged was read again");
                }
                Some(None) => {
                    tracing::error!("LOG_FILTER_FILE can't be read or is no filter: nothing changes")
                }
                None => tracing::warn!("there is nothing to read again: LOG_FILTER_FILE is not set"),
            }
        }
    });
    Ok(())
}

/// Where systemd did not start the program this does nothing.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd can't be told");
    }
}

/// To the end of the process, the drain included.
fn serve_metrics(listener: TcpListener, metrics: &Metrics) {
    let mut options = serve::Options::default();
    options.max_connections = 16; // a scraper has one
    tokio::spawn(serve::serve(listener, metrics.router(), options, std::future::pending()));
}

/// Everything that can be wrong, at once.
fn settings(arguments: &Arguments) -> Result<(Settings, Writes), Vec<Error>> {
    let anonymous = arguments.find("ALLOW_ANONYMOUS_WRITES").is_some_and(|value| value == "true");
    let writes = Writes::from_settings(arguments.find("API_TOKEN").as_deref(), anonymous);
    match (arguments.settings(), writes) {
        (Ok(settings), Ok(writes)) => Ok((settings, writes)),
        (settings, writes) => Err(settings.err().into_iter().flatten().chain(writes.err()).collect()),
    }
}

/// Done at the first SIGTERM or Ctrl-C. A second one ends the process at once.
fn on_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        next(&mut terminate, &mut interrupt).await;
        tokio::spawn(async move {
            let code = next(&mut terminate, &mut interrupt).await;
            std::process::exit(code)
        });
    })
}

/// The exit code that goes with the signal that comes: 128 and its number.
async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = terminate.recv() => 143,
        _ = interrupt.recv() => 130,
    }
}

async fn check_all(arguments: &Arguments) -> ExitCode {
    let settings = match settings(arguments) {
        Ok((settings, _)) => settings,
        Err(faults) => return fail(BAD_SETTINGS, &faults),
    };
    println!("ok: settings: they can be used");
    let timeout = settings.pool.connect_timeout;
    let found = check::check(&settings.database, &settings.limits, timeout, migrate::MIGRATIONS).await;
    let findings = match found {
        Ok(findings) => findings,
        Err(fault) => return fail(BAD_SETTINGS, &[fault]),
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

async fn run_migrations(url: &str) -> ExitCode {
    match migrate::migrate(url).await {
        Ok(applied) if applied.is_empty() => println!("nothing to apply"),
        Ok(applied) => applied.iter().for_each(|name| println!("applied {name}")),
        Err(error) if matches!(error.kind(), Kind::Server | Kind::Refused) => {
            return fail(NOT_MIGRATED, &[error]);
        }
        Err(error) => return fail(FAILED, &[error]),
    }
    ExitCode::SUCCESS
}

async fn show_status(url: &str) -> ExitCode {
    let statuses = match migrate::status(url).await {
        Ok(statuses) => statuses,
        Err(error) => return fail(FAILED, &[error]),
    };
    for migrate::Status { version, name, applied, known, altered } in statuses {
        let applied = applied.map_or("not applied".to_owned(), |time| format!("applied {time} UTC"));
        let note = match (known, altered) {
            (false, _) => ", unknown to this program",
            (true, true) => ", ALTERED since",
            (true, false) => "",
        };
        println!("{version:04} {name}: {applied}{note}");
    }
    ExitCode::SUCCESS
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

fn fail(code: u8, reasons: &[impl std::fmt::Display]) -> ExitCode {
    for reason in reasons {
        eprintln!("pgspan-server: {reason}");
    }
    ExitCode::from(code)
}
