//! What the suites stand on.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use pgspan::{Database, Session, Settings, sql};
use pgspan_server::migrate::Migration;
use pgspan_server::{Driver, PoolSettings, migrations};
use tests::Cluster;
use tokio::time::sleep;

/// The sample's, which is what the program applies.
pub(crate) const MIGRATIONS: &[Migration] = migrations!("migrations");

/// A database server for one test.
pub(crate) struct Bed {
    url: String,
    name: String,
    _cluster: Option<Cluster>,
}

impl Bed {
    /// `name` is the test's, to tell its connections from others'.
    pub(crate) async fn new(name: &str) -> Result<Bed> {
        let (url, cluster) = match std::env::var("PGSPAN_TEST_DATABASE_URL") {
            Ok(url) => (url, None),
            Err(_) => {
                let cluster = Cluster::throwaway(&[]).await?;
                (cluster.url("postgres"), Some(cluster))
            }
        };
        Ok(Bed { url, name: format!("{name} {}", std::process::id()), _cluster: cluster })
    }

    /// The server's URL, for connections that bear the test's name.
    pub(crate) fn url(&self) -> String {
        named(&self.url, &self.name)
    }

    /// An empty database of the test's own.
    pub(crate) async fn database(&self) -> Result<String> {
        let name = format!("native_{}", self.name.replace(' ', "_"));
        let admin = self.admin().await?;
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS \"{name}\"")).await?;
        admin.batch_execute(&format!("CREATE DATABASE \"{name}\"")).await?;
        let (base, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let (server, _) = base.rsplit_once('/').unwrap_or((base, ""));
        Ok(format!("{server}/{name}?{query}"))
    }

    /// Waits until no backend serves this test.
    pub(crate) async fn no_backends(&self) -> Result<()> {
        let started = Instant::now();
        while self.backends().await? > 0 {
            ensure!(started.elapsed() < Duration::from_secs(5), "there are backends left");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub(crate) async fn admin(&self) -> Result<tokio_postgres::Client> {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// How many backends serve this test.
    pub(crate) async fn backends(&self) -> Result<i64> {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        Ok(self.admin().await?.query_one(count, &[&self.name]).await?.get(0))
    }

    /// Waits until this process of the server is gone, and says how long that took.
    pub(crate) async fn gone(&self, pid: i32) -> Result<Duration> {
        let (admin, started) = (self.admin().await?, Instant::now());
        let found = "SELECT 1 FROM pg_stat_activity WHERE pid = $1";
        while admin.query_opt(found, &[&pid]).await?.is_some() {
            ensure!(started.elapsed() < Duration::from_secs(10), "backend {pid} is still there");
            sleep(Duration::from_millis(10)).await;
        }
        Ok(started.elapsed())
    }

    pub(crate) fn pool(&self, size: usize, acquire_ms: u64) -> Result<Database> {
        self.pool_with(acquire_ms, |pool| pool.size = size)
    }

    pub(crate) fn pool_with(
        &self,
        acquire_ms: u64,
        change: impl FnOnce(&mut PoolSettings),
    ) -> Result<Database> {
        pool(&self.url(), acquire_ms, change)
    }
}

/// A database with this acquire deadline and this pool.
pub(crate) fn pool(url: &str, acquire_ms: u64, change: impl FnOnce(&mut PoolSettings)) -> Result<Database> {
    Ok(driver(url, acquire_ms, change)?.0)
}

/// The same, with its driver.
pub(crate) fn driver(
    url: &str,
    acquire_ms: u64,
    change: impl FnOnce(&mut PoolSettings),
) -> Result<(Database, Driver)> {
    let mut settings = Settings::default();
    settings.acquire_timeout = Duration::from_millis(acquire_ms);
    let mut pool = PoolSettings::default();
    change(&mut pool);
    let driver = Driver::new(&url.parse()?, &settings, pool)?;
    Ok((pgspan::connect_with(driver.clone(), settings), driver))
}

pub(crate) fn named(url: &str, name: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}application_name={}", name.replace(' ', "%20"))
}

/// Which process of the server this session has.
pub(crate) async fn pid(session: &mut Session) -> pgspan::Result<i32> {
    session.fetch_one(sql!("SELECT pg_backend_pid()")).await
}

/// Drops a session in mid-statement, and waits until its backend is gone. The server would see that by itself, but not
/// within so short a time.
pub(crate) async fn is_cancelled(db: &Database, admin: &tokio_postgres::Client) -> Result<()> {
    let mut session = db.session().await?;
    let pid = pid(&mut session).await?;
    let slow = session.execute(sql!("SELECT pg_sleep(30)"));
    ensure!(tokio::time::timeout(Duration::from_millis(100), slow).await.is_err(), "it did not sleep");
    drop(session);
    let started = Instant::now();
    while !admin.query("SELECT 1 FROM pg_stat_activity WHERE pid = $1", &[&pid]).await?.is_empty() {
        ensure!(started.elapsed() < Duration::from_millis(800), "the statement was not cancelled");
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
