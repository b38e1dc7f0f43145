//! A database for a test, and requests to a Worker.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::{Cluster, Edge, Proxy};
use tokio::sync::OnceCell;
use tokio::time::sleep;
use tokio_postgres::{Client, NoTls};

const MIGRATION: &str = include_str!("../../../migrations/0001_users.sql");
pub(crate) const SOCKET: (&str, &str) = ("PGSPAN_CONNECT", "socket");
pub(crate) const WRITES: (&str, &str) = ("ALLOW_ANONYMOUS_WRITES", "true");

/// A migrated database, and a connection to it beside the Worker's.
pub(crate) struct Bed {
    pub(crate) url: String,
    pub(crate) other: Client,
}

impl Bed {
    pub(crate) async fn new() -> Result<Bed> {
        static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = match std::env::var("PGSPAN_TEST_DATABASE_URL") {
            Ok(url) => url,
            Err(_) => CLUSTER.get_or_try_init(|| Cluster::throwaway(&[])).await?.url("postgres"),
        };
        let name = format!("workerd_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        connect(&server).await?.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let (base, _) = server.rsplit_once('/').context("the URL has no database")?;
        let url = format!("{base}/{name}");
        let other = connect(&url).await?;
        other.batch_execute(MIGRATION).await?;
        other.batch_execute("CREATE TABLE written (n int)").await?;
        Ok(Bed { url, other })
    }

    pub(crate) async fn number(&self, query: &str) -> Result<i64> {
        Ok(self.other.query_one(query, &[]).await?.get(0))
    }
}

pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

pub(crate) async fn get(edge: &Edge, path: &str) -> Result<Answer> {
    read(reqwest::Client::builder().no_proxy().build()?.get(edge.url() + path)).await
}

pub(crate) async fn post(edge: &Edge, path: &str, body: &str) -> Result<Answer> {
    let request = reqwest::Client::builder().no_proxy().build()?.post(edge.url() + path);
    read(request.header("content-type", "application/json").body(body.to_owned())).await
}

async fn read(request: reqwest::RequestBuilder) -> Result<Answer> {
    let answer = request.timeout(Duration::from_secs(40)).send().await?;
    Ok(Answer { status: answer.status().as_u16(), body: answer.text().await? })
}

/// The suites' own Worker, whose routes leave connections behind in every state. `connect` is `pool` or `socket`.
pub(crate) async fn other_worker(url: &str, connect: &str, more: &[(&str, &str)]) -> Result<Edge> {
    let settings = [&[("DATABASE_URL", url), ("PGSPAN_CONNECT", connect)], more].concat();
    Edge::start_another("tests/worker", &settings).await
}

/// What `/write` wrote.
pub(crate) async fn written(bed: &Bed) -> Result<i64> {
    bed.number("SELECT count(*) FROM written").await
}

/// How many connections PostgreSQL has from pgspan's hosts.
pub(crate) async fn backends(bed: &Bed) -> Result<usize> {
    let query = "SELECT count(*) FROM pg_stat_activity \
                 WHERE application_name = 'pgspan' AND datname = current_database()";
    Ok(usize::try_from(bed.number(query).await?)?)
}

/// Looks again until it is so, for so long.
pub(crate) async fn within(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    within_async(limit, what, async || Ok(is_so())).await
}

/// The same, where looking takes a while.
pub(crate) async fn within_async(
    limit: Duration,
    what: &str,
    mut is_so: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + limit;
    while !is_so().await? {
        ensure!(Instant::now() < end, "it did not come to be: {what}");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Waits until no connection is open at the proxy.
pub(crate) async fn all_closed(proxy: &Proxy, limit: Duration) -> Result<()> {
    within(limit, "no connection is open", || proxy.open_now() == 0)
        .await
        .with_context(|| format!("{} are", proxy.open_now()))
}
