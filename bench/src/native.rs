//! `cargo xtask bench native`: servers on tokio, Python, and pgbench with no server at all.

use std::process::Command;
use std::time::Duration;

use ::tests::{Native, free_port, root, target_dir};
use anyhow::{Result, ensure};

use crate::Options;
use crate::answer::Endpoint;
use crate::contestant::{Contestant, Runner};
use crate::crowd::{Crowd, crowd};
use crate::pgbench::Pgbench;
use crate::report::Report;
use crate::rounds::{Row, Task, by_turns};
use crate::stage::Stage;
use crate::target::{Target, Wanted};

const OURS: &str = "pgspan";
const UNPREPARED: &str = "pgspan, nothing prepared";
const PGBENCH: &str = "pgbench -M prepared (no HTTP)";
const DEADPOOL: &str = "axum + deadpool-postgres";
const SQLX: &str = "axum + sqlx";
const FASTAPI: &str = "FastAPI + psycopg";
const CLIENTS: usize = 64;

/// Runs it all.
pub(crate) async fn run(options: &Options) -> Result<Report> {
    ensure!(
        std::env::var_os("PGSPAN_SERVER").is_some(),
        "PGSPAN_SERVER names no optimised build; start this with `cargo xtask bench native`"
    );
    let mut report = Report::new("native", options.quick);
    let mut stage = Stage::set().await?;
    report.version("PostgreSQL", stage.version().await?);
    let mut contestants = contestants(&mut report, options, &stage).await?;
    let everyone: Vec<usize> = (0..contestants.len()).collect();
    for endpoint in [Endpoint::Add, Endpoint::Users] {
        let task = Task { endpoint, clients: CLIENTS, rate: None };
        report.rows.extend(by_turns(&mut stage, &mut contestants, &everyone, task, options.pace()).await?);
    }
    for (endpoint, other, at_least) in [
        (Endpoint::Add, PGBENCH, 1.0),
        (Endpoint::Add, DEADPOOL, 1.5),
        (Endpoint::Add, SQLX, 2.0),
        (Endpoint::Add, FASTAPI, 10.0),
        (Endpoint::Users, DEADPOOL, 1.2),
    ] {
        let (ours, others) = report.pick(endpoint, CLIENTS, OURS, &[other]);
        let name = format!("pgspan / {other}, {}, {CLIENTS} clients", endpoint.name());
        report.targets.push(Target::speed(
            &name,
            ours.as_ref(),
            &others.iter().collect::<Vec<&Row>>(),
            at_least,
        ));
    }
    at_the_same_rate(&mut report, &mut stage, &mut contestants, options).await?;
    drop(contestants);
    memory(&mut report, &stage, options).await?;
    small_pool(&mut report, &stage, options).await?;
    defaults(&mut report, &stage, options).await?;
    Ok(report)
}

async fn contestants(report: &mut Report, options: &Options, stage: &Stage) -> Result<Vec<Contestant>> {
    let url = stage.url.as_str();
    let defaults = [("DATABASE_URL", url), ("ALLOW_ANONYMOUS_WRITES", "true"), ("POOL_SIZE", "8")];
    // as the documentation recommends where PostgreSQL is reached directly, and as all peers do
    let settings = [&defaults[..], &[("DATABASE_PREPARE", "true")]].concat();
    let mut all = vec![
        Contestant::new(OURS, Runner::Native(Native::start(&settings).await?)),
        Contestant::new(UNPREPARED, Runner::Native(Native::start(&defaults).await?)),
    ];
    if let Some((name, settings)) = options.with(&settings) {
        all.push(Contestant::new(name, Runner::Native(Native::start(&settings).await?)));
    }
    match Pgbench::find(url, &["--protocol=prepared"])? {
        Some(pgbench) => all.push(Contestant::new(PGBENCH, Runner::Pgbench(pgbench))),
        None => report.skip("pgbench: it is not installed (Debian: apt-get install postgresql-contrib)"),
    }
    let built = target_dir().join("bench/build/release");
    for (name, program) in [(DEADPOOL, "bench-peer-axum-deadpool"), (SQLX, "bench-peer-axum-sqlx")] {
        all.push(Contestant::program(name, &built.join(program), url).await?);
    }
    let uvicorn = target_dir().join("bench/venv/bin/uvicorn");
    if uvicorn.exists() {
        let port = free_port()?;
        let mut command = Command::new(uvicorn);
        command.env_clear().env("DATABASE_URL", url).args(["app:app", "--workers=2", "--no-access-log"]);
        command.arg("--app-dir").arg(root().join("bench/peers/fastapi-psycopg"));
        command.arg(format!("--port={port}")).env("PYTHONDONTWRITEBYTECODE", "1");
        all.push(Contestant::peer(FASTAPI, &mut command, port).await?);
    } else {
        report.skip("FastAPI + psycopg: there is no Python 3 with venv here to install it with");
    }
    Ok(all)
}

/// Latency where neither is overloaded: at 80 % of each peer's own peak, the peer and ours by turns.
async fn at_the_same_rate(
    report: &mut Report,
    stage: &mut Stage,
    contestants: &mut [Contestant],
    options: &Options,
) -> Result<()> {
    for peer in [DEADPOOL, SQLX, FASTAPI] {
        let name = format!("p99 of pgspan / p99 of {peer}, both at 80 % of its peak, GET /add");
        let find = |name: &str| contestants.iter().position(|contestant| contestant.name == name);
        let peak = report
            .rows
            .iter()
            .find(|row| row.contestant == peer && row.endpoint == Endpoint::Add && row.rate.is_none())
            .and_then(|row| row.median_of(|round| Some(round.per_second)));
        let (Some(ours), Some(theirs), Some(peak)) = (find(OURS), find(peer), peak) else {
            let because = "it was not measured: see what was skipped";
            report.targets.push(Target::new(name, None, Wanted::Below(1.0), "x", because));
            continue;
        };
        let task = Task { endpoint: Endpoint::Add, clients: CLIENTS, rate: Some(0.8 * peak) };
        let rows = by_turns(stage, contestants, &[ours, theirs], task, options.pace()).await?;
        let of = |name: &str| rows.iter().find(|row| row.contestant == name);
        let p99 = |name: &str| of(name)?.median_of(|round| round.p99_ms);
        let (ours, theirs) = (p99(OURS), p99(peer));
        let ratio = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
        let millis =
            |of: Option<f64>| of.map_or("no answer in time".to_owned(), |millis| format!("{millis:.2} ms"));
        let because = format!(
            "{} and {}; {}",
            millis(ours),
            millis(theirs),
            of(OURS).map_or(String::new(), Row::bound)
        );
        report.targets.push(Target::new(name, ratio, Wanted::Below(1.0), "x", because));
        report.rows.extend(rows);
    }
    Ok(())
}

async fn memory(report: &mut Report, stage: &Stage, options: &Options) -> Result<()> {
    println!("1,000 connections");
    let crowd = crowd(stage, 1_000, Endpoint::Add, &[], options.pace().measured, false).await?;
    report.wrong(&crowd.outcome);
    let because = if crowd.memory.is_some() { "" } else { "this system does not tell" };
    let name = "resident memory at its peak, 1,000 connections asking GET /add";
    report.targets.push(Target::new(name, crowd.memory, Wanted::Below(40.0), "MiB", because));
    Ok(())
}

/// How long anybody may wait for a connection, by default.
const ACQUIRE_MS: u32 = 3_000;

/// Long enough that a wait beyond the deadline would be seen.
fn twice_the_deadline(options: &Options) -> Duration {
    options.pace().measured.max(2 * Duration::from_millis(ACQUIRE_MS.into()))
}

/// Eight connections and none shared, for 500 clients, all of whom may wait: what the pool does by itself, where neither the
/// shared connections nor a refusal take anything from it.
async fn small_pool(report: &mut Report, stage: &Stage, options: &Options) -> Result<()> {
    println!("a pool of 8 for 500 clients");
    let settings = [("POOL_SIZE", "8"), ("DATABASE_SHARED", "0"), ("POOL_MAX_WAITERS", "500")];
    let crowd = crowd(stage, 500, Endpoint::Both, &settings, twice_the_deadline(options), false).await?;
    waits(report, &crowd, "at a pool of 8, none refused", 8.0);
    Ok(())
}

/// The same clients with the defaults: 8 connections and the shared ones, 64 may wait, and who comes then is refused at once.
async fn defaults(report: &mut Report, stage: &Stage, options: &Options) -> Result<()> {
    println!("the defaults for 500 clients");
    let crowd = crowd(stage, 500, Endpoint::Both, &[], twice_the_deadline(options), true).await?;
    report.note(format!(
        "500 clients with the defaults: {} answers, {} refused with 503 at once, as they should be",
        crowd.outcome.answers, crowd.outcome.refused
    ));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let shared = u32::try_from((2 * threads).min(8)).unwrap_or_default(); // DATABASE_SHARED's default
    waits(report, &crowd, "with the defaults", f64::from(8 + shared));
    Ok(())
}

fn waits(report: &mut Report, crowd: &Crowd, how: &str, connections_most: f64) {
    report.wrong(&crowd.outcome);
    let because = crowd.outcome.first_error.clone().unwrap_or_default();
    let limit = Wanted::AtMost(f64::from(ACQUIRE_MS));
    let name = format!("longest wait of 500 clients {how}, both endpoints by turns");
    report.targets.push(Target::new(name, Some(crowd.longest_ms), limit, "ms", because));
    let connections = i32::try_from(crowd.connections).map(f64::from).ok();
    let name = format!("connections that the server saw meanwhile, {how}");
    report.targets.push(Target::new(name, connections, Wanted::AtMost(connections_most), "", ""));
}
