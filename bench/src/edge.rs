//! `cargo xtask bench edge`: Workers in raw workerd.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ::tests::{Edge, PgBouncer, Proxy, root};
use anyhow::{Context as _, Result, ensure};

use crate::answer::Endpoint;
use crate::contestant::{Contestant, Runner};
use crate::load::{Load, Until};
use crate::pgbench::Pgbench;
use crate::report::Report;
use crate::rounds::{Row, Task, by_turns, median};
use crate::stage::{DATABASE, Stage};
use crate::target::{Target, Wanted};
use crate::worker::{Worker, cold_start};
use crate::{Options, round_trips};

const POOL: &str = "pgspan pool";
const SOCKET: &str = "pgspan socket";
const SOCKET_POOLED: &str = "pgspan socket, PgBouncer";
const PEERS: [(&str, &str); 2] = [("node-postgres", "node-postgres"), ("postgres.js", "postgres")];
const DIRECT: [&str; 2] = ["node-postgres", "postgres.js"];
const POOLED: [&str; 2] = ["node-postgres, PgBouncer", "postgres.js, PgBouncer"];

/// Runs it all.
pub(crate) async fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new("edge", options.quick);
    let mut stage = Stage::set().await?;
    report.version("PostgreSQL", stage.version().await?);
    stage.pooler = PgBouncer::before(&stage.url).await?;
    let mut contestants = contestants(options, &stage).await?;
    match &stage.pooler {
        Some(pooler) => report.version("PgBouncer", pooler.version().to_owned()),
        None => report
            .skip("everything through PgBouncer: it is not installed (Debian: apt-get install pgbouncer)"),
    }

    let everyone: Vec<usize> = (0..contestants.len()).collect();
    for clients in [32, 8] {
        if clients == 8 && options.quick {
            report.skip("8 clients: --quick measures 32 only");
            continue;
        }
        for endpoint in [Endpoint::Add, Endpoint::Users] {
            let task = Task { endpoint, clients, rate: None };
            report
                .rows
                .extend(by_turns(&mut stage, &mut contestants, &everyone, task, options.pace()).await?);
        }
    }
    match Pgbench::find(&stage.url, &["-C", "--jobs=32"])? {
        None => report.skip("pgbench -C: it is not installed (Debian: apt-get install postgresql-contrib)"),
        Some(pgbench) => {
            let mut alone = [Contestant::new("pgbench -C (no HTTP)", Runner::Pgbench(pgbench))];
            let task = Task { endpoint: Endpoint::Add, clients: 32, rate: None };
            report.rows.extend(by_turns(&mut stage, &mut alone, &[0], task, options.pace()).await?);
        }
    }
    speeds(&mut report, stage.pooler.is_some());
    many_requests(&mut report, &stage, &contestants).await?;
    drop(contestants);
    counts(&mut report, &stage).await?;
    size(&mut report)?;
    start(&mut report, &stage).await?;
    Ok(report)
}

async fn contestants(options: &Options, stage: &Stage) -> Result<Vec<Contestant>> {
    let direct = [("DATABASE_URL", stage.url.as_str()), ("ALLOW_ANONYMOUS_WRITES", "true")];
    // ours as docs/deploying.md recommends
    let pool = [&direct[..], &[("PGSPAN_CONNECT", "pool"), ("DATABASE_PREPARE", "true")]].concat();
    let socket_url = with_scram(&stage.url);
    let socket = [
        ("DATABASE_URL", socket_url.as_str()),
        ("ALLOW_ANONYMOUS_WRITES", "true"),
        ("PGSPAN_CONNECT", "socket"),
    ];
    let mut all = vec![
        Contestant::new(POOL, Runner::Edge(Edge::start(&pool).await?)),
        Contestant::new(SOCKET, Runner::Edge(Edge::start(&socket).await?)),
    ];
    if let Some((name, settings)) = options.with(&pool) {
        all.push(Contestant::new(name, Runner::Edge(Edge::start(&settings).await?)));
    }
    for (name, script) in PEERS {
        all.push(Contestant::new(name, Runner::Worker(Worker::start(script, &direct).await?)));
    }
    if let Some(pooler) = &stage.pooler {
        let url = pooler.url(DATABASE);
        let pooled = [("DATABASE_URL", url.as_str()), ("DATABASE_POOLER", "transaction")];
        let ours_url = with_scram(&url);
        let ours = [
            ("DATABASE_URL", ours_url.as_str()),
            ("DATABASE_POOLER", "transaction"),
            ("ALLOW_ANONYMOUS_WRITES", "true"),
            ("PGSPAN_CONNECT", "socket"),
        ];
        all.push(Contestant::new(SOCKET_POOLED, Runner::Edge(Edge::start(&ours).await?)));
        for (name, script) in PEERS {
            let name = format!("{name}, PgBouncer");
            all.push(Contestant::new(name, Runner::Worker(Worker::start(script, &pooled).await?)));
        }
    }
    Ok(all)
}

fn speeds(report: &mut Report, pooled: bool) {
    for (endpoint, at_least) in [(Endpoint::Add, 10.0), (Endpoint::Users, 8.0)] {
        let name = format!("pool / the better peer direct, {}, 32 clients", endpoint.name());
        let (ours, peers) = report.pick(endpoint, 32, POOL, &DIRECT);
        report.targets.push(Target::speed(
            &name,
            ours.as_ref(),
            &peers.iter().collect::<Vec<&Row>>(),
            at_least,
        ));
    }
    for endpoint in [Endpoint::Add, Endpoint::Users] {
        let name =
            format!("socket / the better peer, both through PgBouncer, {}, 32 clients", endpoint.name());
        let (ours, peers) = report.pick(endpoint, 32, SOCKET_POOLED, if pooled { &POOLED } else { &[] });
        report.targets.push(Target::speed(&name, ours.as_ref(), &peers.iter().collect::<Vec<&Row>>(), 1.5));
    }
}

async fn many_requests(report: &mut Report, stage: &Stage, contestants: &[Contestant]) -> Result<()> {
    println!("20,000 requests at 64 clients on the pool");
    stage.clear().await?;
    let pool = contestants.iter().find(|contestant| contestant.name == POOL);
    let port = pool.and_then(Contestant::port).context("there is no pool")?;
    let until = Until::Requests(20_000);
    let load = Load { port, clients: 64, endpoint: Endpoint::Both, rate: None, until, may_refuse: false };
    let outcome = load.run().await?;
    let errors = crate::load::to_f64(outcome.errors);
    let because = outcome.first_error.unwrap_or_default();
    let name = "errors in 20,000 requests at 64 clients, pool, both endpoints by turns";
    report.targets.push(Target::new(name, Some(errors), Wanted::AtMost(0.0), "", because));
    let whole = crate::load::to_f64(outcome.answers) + errors;
    ensure!(whole >= 20_000.0, "only {whole} of 20,000 requests were made");
    Ok(())
}

/// A URL that states how the server asks for the password.
fn with_scram(url: &str) -> String {
    format!("{url}&require_auth=scram-sha-256")
}

/// Round trips, of ours against their targets and of the peers for the record.
async fn counts(report: &mut Report, stage: &Stage) -> Result<()> {
    println!("counting round trips");
    let proxy = Proxy::before(&stage.url).await?;
    let url = proxy.url(&stage.url);
    let stated = with_scram(&url);
    for (what, url, wanted) in [("", &url, 4.0), (", require_auth=scram-sha-256", &stated, 3.0)] {
        let settings = [
            ("DATABASE_URL", url.as_str()),
            ("ALLOW_ANONYMOUS_WRITES", "true"),
            ("PGSPAN_CONNECT", "socket"),
        ];
        let edge = Edge::start(&settings).await?;
        for endpoint in [Endpoint::Add, Endpoint::Users] {
            let (value, because) = told(round_trips::cold(&proxy, edge.port(), endpoint).await);
            let name = format!("round trips, cold, socket, {}{what}", endpoint.name());
            report.targets.push(Target::new(name, value, Wanted::AtMost(wanted), "", because));
        }
    }
    let settings =
        [("DATABASE_URL", url.as_str()), ("ALLOW_ANONYMOUS_WRITES", "true"), ("PGSPAN_CONNECT", "pool")];
    let edge = Edge::start(&settings).await?;
    for endpoint in [Endpoint::Add, Endpoint::Users] {
        let (value, because) = told(round_trips::warm(&proxy, edge.port(), endpoint).await);
        let name = format!("round trips, warm, pool, {}", endpoint.name());
        report.targets.push(Target::new(name, value, Wanted::AtMost(1.0), "", because));
    }
    drop(edge);
    for (name, script) in PEERS {
        let worker = Worker::start(script, &[("DATABASE_URL", url.as_str())]).await?;
        for endpoint in [Endpoint::Add, Endpoint::Users] {
            let (value, because) = told(round_trips::cold(&proxy, worker.port(), endpoint).await);
            let value = value.map_or(because, |value| format!("{value:.0}"));
            report.note(format!("round trips, cold, {name}, {}: {value}", endpoint.name()));
        }
    }
    Ok(())
}

fn told(counted: Result<f64>) -> (Option<f64>, String) {
    match counted {
        Ok(trips) => (Some(trips), String::new()),
        Err(error) => (None, format!("it was not answered: {error:#}")),
    }
}

/// What is uploaded, compressed.
fn size(report: &mut Report) -> Result<()> {
    let mut all = Vec::new();
    for part in ["build/index_bg.wasm", "build/index.js", "entry.mjs"] {
        let path = root().join("edge-worker").join(part);
        all.extend(std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))?);
    }
    let kib = gzip(all).map(|bytes| f64::from(bytes) / 1024.0);
    let because = if kib.is_some() { "" } else { "there is no gzip here to compress it with" };
    report.targets.push(Target::new("Worker, gzip", kib, Wanted::AtMost(400.0), "KiB", because));
    Ok(())
}

fn gzip(bytes: Vec<u8>) -> Option<u32> {
    let mut gzip = Command::new("gzip");
    let mut gzip = gzip.args(["-9", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let mut input = gzip.stdin.take()?;
    let writing = std::thread::spawn(move || input.write_all(&bytes));
    let output = gzip.wait_with_output().ok().filter(|output| output.status.success())?;
    writing.join().ok()?.ok()?;
    u32::try_from(output.stdout.len()).ok()
}

async fn start(report: &mut Report, stage: &Stage) -> Result<()> {
    let edge = Edge::start(&[("DATABASE_URL", stage.url.as_str())]).await?;
    if !Path::new("/proc").exists() {
        report.skip("nothing about processors and memory: this system has no /proc");
    }
    let mut starts = Vec::new();
    for _ in 0..5 {
        starts.push(cold_start(&edge).await?);
    }
    let middle = median(starts).unwrap_or_default();
    report.note(format!(
        "cold start of workerd with the Worker to its first answer: {middle:.0} ms (median of 5)"
    ));
    Ok(())
}
