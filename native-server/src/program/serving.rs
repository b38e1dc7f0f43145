//! The command `serve`.

use std::future::ready;
use std::io;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

use axum::Router;
use pgspan::{Database, Error, Result, Sql, sql};
use pgspan_http::service;
use sd_notify::NotifyState;

use super::exit::{BAD_SETTINGS, FAILED, code_of, code_of_address, fail};
use super::facts::{Around, Facts};
use super::hangup::AtHangup;
use super::host::Host;
use super::read::AllSettings;
use crate::logs::{self, Logged, Logs};
use crate::metrics::Metrics;
use crate::migrate::Migration;
#[cfg(feature = "otlp")]
use crate::otlp::Traces;
use crate::serve::Listener;
use crate::settings::{Arguments, Settings};
use crate::workers::Workers;
use crate::{Driver, operations, serve, signals, system};

pub(super) async fn serve<S>(
    program: &Facts,
    arguments: Arguments,
    read: AllSettings<S>,
    workers: Workers,
    routes: impl AsyncFnOnce(&mut Host<S>) -> Result<Router>,
) -> ExitCode {
    let name = program.name;
    let (format, filter) = (read.settings.log_format, read.settings.log_filter.clone());
    let logs = match logs::init(format, filter) {
        Ok(logs) => logs,
        Err(error) => return fail(name, FAILED, &[error]),
    };
    let code = match serve_until_told(program, arguments, read, workers, &logs, routes).await {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err((code, reason)) => fail(name, code, &[reason]),
    };
    logs.finish();
    code
}

/// An exit code, and why.
type Failure = (u8, String);

async fn serve_until_told<S>(
    program: &Facts,
    arguments: Arguments,
    AllSettings { settings, own, notes }: AllSettings<S>,
    workers: Workers,
    logs: &Logs,
    routes: impl AsyncFnOnce(&mut Host<S>) -> Result<Router>,
) -> Result<(), Failure> {
    let signals = |error: io::Error| (FAILED, format!("signals can't be handled: {error}"));
    let bad = |fault: Error| (code_of(std::slice::from_ref(&fault)), fault.to_string());
    settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    notes.iter().for_each(|note| tracing::info!("{note}"));
    let listener = listen(&settings).await?;
    let shutdown = signals::stop().map_err(signals)?;
    let mut options = settings.server;
    let others = settings.pool.size + settings.limits.shared_connections + OTHER_FILES;
    options.max_connections = system::fit(options.max_connections, others);
    options.workers = Some(workers.clone()); // ours ends with this function, after the connections they drive
    let driver = driver(&arguments, &settings.database, &settings.limits, settings.pool).map_err(bad)?;
    let database = pgspan::connect_with(driver.clone(), settings.limits);
    let metrics = Metrics::named(program.metric_prefix, &database, &driver);
    metrics.register(|registry| {
        registry.sub_registry_with_prefix(program.metric_prefix).register_collector(Box::new(Logged));
    });
    options.metrics = settings.metrics.map(|_| metrics.clone());
    let http = pgspan_http::Options { request_timeout: settings.request_timeout, ..Default::default() };
    let mut host = Host {
        database,
        settings: own,
        http,
        metrics,
        options,
        driver,
        listener: Some(listener),
        at_hangup: Vec::new(),
    };
    let mut shutdown = std::pin::pin!(shutdown);
    let routes = tokio::select! {
        () = &mut shutdown => return Ok(()),
        routes = routes(&mut host) => routes.map_err(bad)?,
    };
    let Host { database, http, metrics, options, driver, listener, at_hangup, .. } = host;
    let listener = listener.ok_or((FAILED, "nobody listens".to_owned()))?;
    let at_hangup = AtHangup {
        refilter: logs.refilter(),
        filter_file: settings.log_filter_file,
        reloads: at_hangup,
        arguments: arguments.clone(),
    };
    at_hangup.listen().map_err(signals)?;
    let router = match program.around {
        Around::Bare => routes,
        Around::ReadyWhen(is_ready) => service(routes, database.clone(), http, is_ready),
        Around::Recorded => service(routes, database.clone(), http, are_recorded(program.migrations)),
    };
    #[cfg(feature = "otlp")]
    let (router, traces) = {
        let traces = settings.traces.as_ref().map(|to| Traces::new(to, program.name, program.version));
        match traces.transpose().map_err(bad)? {
            Some(traces) => (traces.watch(router), Some(traces)),
            None => (router, None),
        }
    };
    if let Some(address) = settings.metrics {
        let listening = std::net::TcpListener::bind(address);
        match listening.and_then(|listener| operations::watch(listener, &router, &metrics, &options)) {
            Ok(()) => tracing::info!(%address, "probes and metrics are answered"),
            Err(error) if arguments.find("METRICS_ADDR").is_some() => {
                let text = format!("METRICS_ADDR: {address} can't be listened on: {error}");
                return Err((code_of_address(&error), text));
            }
            Err(error) => tracing::warn!(%address, %error, "no metrics are served: set METRICS_ADDR"),
        }
    }
    tracing::info!(address = %listener, "listening");
    tokio::spawn(tell_of_database(database.clone()));
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
    database.close();
    driver.close();
    #[cfg(feature = "otlp")]
    if let Some(traces) = traces {
        let spent = told.get().map_or(limit, Instant::elapsed);
        traces.finish(limit.saturating_sub(spent)).await;
    }
    served.map_err(|error| (FAILED, error.to_string()))
}

/// The socket that systemd passed, else one that is made.
async fn listen(settings: &Settings) -> Result<Listener, Failure> {
    match Listener::passed() {
        Ok(Some(listener)) => Ok(listener),
        Ok(None) => settings.listen.listen().await.map_err(|error| {
            let text = format!("LISTEN_ADDR: {} can't be listened on: {error}", settings.listen);
            (code_of_address(&error), text)
        }),
        Err(error) => Err((BAD_SETTINGS, format!("the socket that was passed can't be used: {error}"))),
    }
}

/// Whether all of these are applied.
fn are_recorded(migrations: &'static [Migration]) -> impl Fn() -> Sql<'static> {
    let versions: Vec<String> = migrations.iter().map(|migration| migration.version.to_string()).collect();
    let text = match versions.len() {
        0 => "SELECT true".to_owned(),
        all => {
            let versions = versions.join(", ");
            format!(
                "SELECT count(*) = {all} FROM public.pgspan_migrations WHERE finished AND version IN ({versions})"
            )
        }
    };
    move || Sql::new(text.clone()).reads_only()
}

/// Where the URL is in a file, its password is read again at each login.
fn driver(
    arguments: &Arguments,
    url: &pgspan::ConnectionUrl,
    limits: &pgspan::Settings,
    pool: crate::PoolSettings,
) -> Result<Driver> {
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
