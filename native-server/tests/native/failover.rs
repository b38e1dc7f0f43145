//! A primary that is lost under load, and a standby that takes its place by real streaming replication. A ledger of what the clients were
//! told is compared with the table afterwards: nothing lost, nothing doubled, and in the gap nothing but 503.
//!
//! Siblings that were looked for: a primary that ends at once, and one that says nothing any more; clients that only read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use rustix::process::{Pid, Signal, kill_process};
use tests::Cluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::program::{run, serving};

const TOKEN: &str = "0123456789abcdef";
const WRITERS: usize = 4;

/// What a client was told of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Stored,
    NotStored,
    Unknown,
}

/// Writes one name, and says what was told.
async fn write(port: u16, name: &str) -> Result<Told> {
    let body = format!(r#"{{"names":["{name}"]}}"#);
    let request = format!(
        "POST /users HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n\
         authorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(port, &request).await?;
    match answer.split(' ').nth(1) {
        Some("201") => Ok(Told::Stored),
        Some("503") if answer.contains("commit_outcome_unknown") => Ok(Told::Unknown),
        Some("503") => Ok(Told::NotStored),
        _ => anyhow::bail!("{name}: {answer}"),
    }
}

async fn exchange(port: u16, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    timeout(Duration::from_secs(30), stream.read_to_string(&mut answer)).await.context("it hangs")??;
    Ok(answer)
}

/// Clients that write one name after the other, and one that reads, until they are told to stop.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    stored: AtomicUsize,
    read: AtomicUsize,
}

impl Load {
    async fn write(&self, port: u16, writer: usize) -> Result<BTreeMap<String, Told>> {
        let mut ledger = BTreeMap::new();
        while !self.stop.load(Ordering::Relaxed) {
            let name = format!("w{writer}-{}", ledger.len());
            let told = write(port, &name).await?;
            ledger.insert(name, told);
            match told {
                Told::Stored => drop(self.stored.fetch_add(1, Ordering::Relaxed)),
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
        Ok(ledger)
    }

    async fn read(&self, port: u16) -> Result<BTreeMap<String, Told>> {
        while !self.stop.load(Ordering::Relaxed) {
            let answer =
                exchange(port, "GET /users?limit=1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
            match answer.split(' ').nth(1) {
                Some("200") => drop(self.read.fetch_add(1, Ordering::Relaxed)),
                Some("503" | "504") => sleep(Duration::from_millis(50)).await,
                _ => anyhow::bail!("a read: {answer}"),
            }
        }
        Ok(BTreeMap::new())
    }

    /// Waits until so many more were stored, and read.
    async fn goes_on(&self, within: Duration) -> Result<Duration> {
        let (started, stored, read) =
            (Instant::now(), self.stored.load(Ordering::Relaxed), self.read.load(Ordering::Relaxed));
        while self.stored.load(Ordering::Relaxed) < stored + 20
            || self.read.load(Ordering::Relaxed) < read + 5
        {
            ensure!(started.elapsed() < within, "nothing is stored or read for {within:?}");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(started.elapsed())
    }
}

async fn fail_over(name: &str, lose: Signal) -> Result<()> {
    // what is told to be stored is stored on both: without that a fail-over loses it, whoever asks
    let mut primary = Cluster::throwaway(&[("synchronous_commit", "on")]).await?;
    assert_eq!(run(&["migrate"], &[("DATABASE_URL", &primary.url("postgres"))])?.0, Some(0));
    let standby = primary.standby().await?;
    let admin = primary.admin().await?;
    admin.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await?;
    admin.batch_execute("SELECT pg_reload_conf()").await?;
    let follows = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    let started = Instant::now();
    while admin.query_one(follows, &[]).await?.get::<_, i64>(0) == 0 {
        ensure!(started.elapsed() < Duration::from_secs(20), "the standby does not follow");
        sleep(Duration::from_millis(50)).await;
    }
    drop(admin);

    let (one, other) = (primary.port().to_string(), standby.port().to_string());
    let both = primary
        .url("postgres")
        .replace(&format!("127.0.0.1:{one}"), &format!("127.0.0.1:{one},127.0.0.1:{other}"));
    let url = format!("{both}&target_session_attrs=read-write");
    let more = [
        ("API_TOKEN", TOKEN),
        ("ACQUIRE_TIMEOUT_MS", "1500"),
        ("CONNECT_TIMEOUT_MS", "1000"),
        ("STATEMENT_TIMEOUT_MS", "1000"),
        ("LOCK_TIMEOUT_MS", "500"),
    ];
    let (_process, port, _) = serving(&format!("failover-{name}"), &url, &more).await?;
    let load = Arc::new(Load::default());
    let writing = (0..WRITERS).map(|writer| {
        let load = load.clone();
        tokio::spawn(async move { load.write(port, writer).await })
    });
    let mut clients: Vec<_> = writing.collect();
    let reading = load.clone();
    clients.push(tokio::spawn(async move { reading.read(port).await }));
    load.goes_on(Duration::from_secs(20)).await?;

    let process = primary.process().context("a process")?.id();
    // all of its processes: a frozen server answers nobody
    let group = Pid::from_raw(i32::try_from(process)?).context("a pid")?;
    match lose {
        Signal::STOP => rustix::process::kill_process_group(group, lose)?,
        _ => kill_process(group, lose)?,
    }
    sleep(Duration::from_secs(2)).await; // a gap in which no server takes writes
    let (new, connection) = tokio_postgres::connect(&standby.url("postgres"), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let promoted: bool = new.query_one("SELECT pg_promote()", &[]).await?.get(0);
    ensure!(promoted, "the standby was not promoted");
    let well = load.goes_on(Duration::from_secs(15)).await?;
    sleep(Duration::from_secs(1)).await;
    load.stop.store(true, Ordering::Relaxed);

    let mut ledger = BTreeMap::new();
    for client in try_join_all(clients).await? {
        ledger.extend(client?);
    }
    let rows = new.query("SELECT name, count(*) FROM users GROUP BY name", &[]).await?;
    let mut stored = BTreeSet::new();
    for row in rows {
        let (name, times): (String, i64) = (row.get(0), row.get(1));
        assert_eq!(times, 1, "{name} is there twice");
        stored.insert(name);
    }
    for (name, told) in &ledger {
        match told {
            Told::Stored => assert!(stored.contains(name), "{name} is lost"),
            Told::NotStored => {
                assert!(!stored.contains(name), "{name} is stored, and its client was told that it is not")
            }
            Told::Unknown => {}
        }
    }
    assert!(stored.iter().all(|name| ledger.contains_key(name)), "nobody wrote some of them");
    let told = |kind: Told| ledger.values().filter(|told| **told == kind).count();
    println!(
        "{name}: {} stored, {} not stored, {} unknown, well again after {well:?}",
        told(Told::Stored),
        told(Told::NotStored),
        told(Told::Unknown)
    );
    assert!(told(Told::NotStored) + told(Told::Unknown) > 0, "there was no gap");
    if lose == Signal::STOP {
        rustix::process::kill_process_group(group, Signal::CONT)?; // so that it can be ended
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_ends_is_replaced_by_its_standby_and_nothing_is_lost_or_doubled() -> Result<()> {
    fail_over("ends", Signal::QUIT).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_falls_silent_is_replaced_by_its_standby_and_nothing_is_lost_or_doubled() -> Result<()>
{
    fail_over("silent", Signal::STOP).await
}
