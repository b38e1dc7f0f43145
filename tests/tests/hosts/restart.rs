//! Fault row C2: a host while its server restarts under load. What is refused is 503, what was promised is there, and two
//! seconds after the server accepts again all is well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::Cluster;
use tokio::time::{sleep, timeout};

use crate::support::{Answer, Database, Host, Kind, TOKEN};

/// What became of one request to write a name, for all the client can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Stored,
    NotStored,
    Unknown,
}

async fn write(host: &Host, name: &str) -> Result<Entry> {
    let answer = within(host.post("/users", format!(r#"{{"names":["{name}"]}}"#))).await?;
    Ok(match answer.status.as_u16() {
        201 => Entry::Stored,
        _ if answer.text().contains("commit_outcome_unknown") => {
            answer.is_problem(503, "commit_outcome_unknown");
            Entry::Unknown
        }
        _ => {
            answer.is_problem(503, "unavailable");
            Entry::NotStored
        }
    })
}

/// Whether it was answered with the sum.
async fn read(host: &Host) -> Result<bool> {
    let answer = within(host.get("/add?a=1&b=2")).await?;
    if answer.status.as_u16() != 200 {
        answer.is_problem(503, "unavailable");
    }
    Ok(answer.status.as_u16() == 200)
}

async fn within(answer: impl Future<Output = Result<Answer>>) -> Result<Answer> {
    timeout(Duration::from_secs(11), answer).await.context("it hangs")?
}

async fn a_restart_costs_503_alone_heals_and_loses_nothing_that_was_promised(kind: Kind) -> Result<()> {
    let mut cluster = Cluster::throwaway(&[]).await?;
    let database = Database::at(cluster.url("postgres"), "postgres");
    database.migrate()?;
    let host = Arc::new(Host::with(kind, database, &[("API_TOKEN", TOKEN)]).await?);
    let started = Instant::now();
    let asked = host.clone();
    let load = tokio::spawn(async move {
        let mut requests = Vec::new();
        while started.elapsed() < Duration::from_secs(6) {
            let (host, name) = (asked.clone(), format!("name {}", requests.len()));
            requests.push(tokio::spawn(async move {
                let sent = Instant::now();
                let (entry, read) = tokio::join!(write(&host, &name), read(&host));
                (name, sent, entry, read)
            }));
            sleep(Duration::from_millis(40)).await;
        }
        requests
    });
    sleep(Duration::from_millis(1500)).await;
    cluster.stop().await?;
    sleep(Duration::from_millis(500)).await;
    cluster.start().await?;
    let accepts = Instant::now();
    let mut ledger = Vec::new();
    for request in load.await? {
        let (name, sent, entry, read) = request.await?;
        let (entry, read) = (entry.with_context(|| name.clone())?, read.with_context(|| name.clone())?);
        let healed = sent <= accepts + Duration::from_secs(2) || entry == Entry::Stored && read;
        ensure!(healed, "{name} failed, more than two seconds after the server accepted again");
        ledger.push((name, entry));
    }
    let table = host.database.names().await?;
    for (name, entry) in &ledger {
        match (entry, table.contains(name)) {
            (Entry::Stored, false) => anyhow::bail!("{name} was promised and is not there"),
            (Entry::NotStored, true) => anyhow::bail!("{name} was refused and is there"),
            _ => {}
        }
    }
    let stored = ledger.iter().filter(|(_, entry)| *entry == Entry::Stored).count();
    ensure!(stored > 30 && stored < ledger.len(), "{stored} of {}", ledger.len());
    Ok(())
}

macro_rules! on {
    ($($name:ident $kind:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> Result<()> {
            a_restart_costs_503_alone_heals_and_loses_nothing_that_was_promised(Kind::$kind).await
        }
    )*};
}

on! {
    native Native;
    edge_pool Pool;
    edge_socket Socket;
}
