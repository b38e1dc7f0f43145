//! Fault rows C2 and C8: the program while its server restarts, or changes the password.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::{Cluster, Process, free_port, http};
use tokio::time::{sleep, timeout};

/// The program on this database.
async fn serve(name: &str, url: &str) -> Result<(Process, u16)> {
    let program = env!("CARGO_BIN_EXE_pgspan-server");
    let migrated = Command::new(program).arg("migrate").env_clear().env("DATABASE_URL", url).output()?;
    ensure!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let port = free_port()?;
    let mut command = Command::new(program);
    command.arg("serve").env_clear().envs([
        ("DATABASE_URL", url),
        ("LISTEN_ADDR", &format!("127.0.0.1:{port}")),
        ("METRICS_ADDR", "off"),
        ("ALLOW_ANONYMOUS_WRITES", "true"),
        ("DRAIN_GRACE_MS", "0"),
    ]);
    let log = tests::target_dir().join(format!("tests/{name}-{}.log", std::process::id()));
    let _ = std::fs::remove_file(&log);
    let mut process = Process::start("pgspan-server", &mut command, &log)?;
    http::wait_until_ok(&mut process, port, &["/readyz"], Duration::from_secs(10)).await?;
    Ok((process, port))
}

/// What became of one request to write a name, for all the client can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Stored,
    NotStored,
    Unknown,
}

async fn post(port: u16, name: &str) -> Result<Entry> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = format!(r#"{{"names":["{name}"]}}"#);
    let head = format!(
        "POST /users HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all((head + &body).as_bytes()).await?;
    let mut answer = String::new();
    timeout(Duration::from_secs(11), stream.read_to_string(&mut answer)).await.context("it hangs")??;
    match answer.split(' ').nth(1) {
        Some("201") => Ok(Entry::Stored),
        Some("503") if answer.contains("commit_outcome_unknown") => Ok(Entry::Unknown),
        Some("503") => Ok(Entry::NotStored),
        _ => anyhow::bail!("neither 201 nor 503: {answer}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_load_costs_503_alone_heals_and_loses_nothing_that_was_promised() -> Result<()> {
    let mut cluster = Cluster::throwaway(&[]).await?;
    let (process, port) = serve("restart", &cluster.url("postgres")).await?;
    let started = Instant::now();
    let load = tokio::spawn(async move {
        let mut requests = Vec::new();
        while started.elapsed() < Duration::from_secs(6) {
            let name = format!("name {}", requests.len());
            requests
                .push(tokio::spawn(async move { (name.clone(), Instant::now(), post(port, &name).await) }));
            sleep(Duration::from_millis(20)).await;
        }
        requests
    });
    sleep(Duration::from_millis(1500)).await;
    cluster.stop().await?;
    sleep(Duration::from_millis(500)).await;
    cluster.start().await?;
    let accepts = Instant::now();
    let mut ledger = BTreeMap::new();
    for request in load.await? {
        let (name, sent, entry) = request.await?;
        let entry = entry.with_context(|| name.clone())?;
        let healed = sent <= accepts + Duration::from_secs(2) || entry == Entry::Stored;
        ensure!(healed, "{name} was not stored, more than two seconds after the server accepted again");
        ledger.insert(name, entry);
    }
    let rows = cluster.admin().await?.query("SELECT name FROM users", &[]).await?;
    let table: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    for (name, entry) in &ledger {
        match (entry, table.contains(name)) {
            (Entry::Stored, false) => anyhow::bail!("{name} was promised and is not there"),
            (Entry::NotStored, true) => anyhow::bail!("{name} was refused and is there"),
            _ => {}
        }
    }
    let stored = ledger.values().filter(|entry| **entry == Entry::Stored).count();
    assert!(stored > 50 && stored < ledger.len(), "{stored} of {}", ledger.len());
    drop(process);
    Ok(())
}

#[tokio::test]
async fn a_changed_password_is_503_logged_once_a_pause_without_it_and_heals() -> Result<()> {
    let cluster = Cluster::throwaway(&[]).await?;
    let admin = cluster.admin().await?;
    admin.batch_execute("CREATE ROLE changing SUPERUSER LOGIN PASSWORD 's3cr3t-CANARY'").await?;
    let url = format!("postgres://changing:s3cr3t-CANARY@127.0.0.1:{}/postgres", cluster.port());
    let (process, port) = serve("password", &url).await?;
    assert_eq!(http::status(port, "/add?a=1&b=2").await?, 200);
    admin.batch_execute("ALTER ROLE changing PASSWORD 'another-CANARY'").await?;
    assert_eq!(http::status(port, "/add?a=1&b=2").await?, 200, "a connection that is open stays");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'changing'";
    admin.batch_execute(end).await?;
    sleep(Duration::from_millis(100)).await;
    let (started, mut refused) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_millis(1500) {
        assert_eq!(http::status(port, "/add?a=1&b=2").await?, 503);
        refused += 1;
    }
    let log = std::fs::read_to_string(process.log())?;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("can't be connected to")).collect();
    assert!((1..=6).contains(&lines.len()) && refused >= lines.len(), "{refused} refused: {lines:#?}");
    assert!(lines.iter().all(|line| line.contains("28P01")), "{lines:#?}");
    assert!(!log.contains("CANARY"), "{log}");

    admin.batch_execute("ALTER ROLE changing PASSWORD 's3cr3t-CANARY'").await?;
    let started = Instant::now();
    while http::status(port, "/add?a=1&b=2").await? != 200 {
        ensure!(started.elapsed() < Duration::from_secs(2), "it does not heal");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
