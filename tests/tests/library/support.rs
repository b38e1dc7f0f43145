//! What the tests stand on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pgspan::{Database, Session, Settings, sql};
use tests::{Cluster, Proxy};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

/// A database of one test's own, and a connection to it that has nothing to do with the library.
pub(crate) struct Bed {
    pub(crate) url: String,
    pub(crate) other: Client,
}

/// Ends with the process; what it leaves on the disk goes with the next run's start.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn server() -> Result<String> {
    if let Ok(url) = std::env::var("PGSPAN_TEST_DATABASE_URL") {
        return Ok(url);
    }
    let start = || Cluster::throwaway(&[("max_connections", "200")]);
    Ok(CLUSTER.get_or_try_init(start).await?.url("postgres"))
}

async fn client(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

impl Bed {
    /// An empty database.
    pub(crate) async fn new() -> Result<Bed> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let server = server().await?;
        let name = format!("library_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = client(&server).await?;
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await?;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let (base, query) = server.split_once('?').unwrap_or((&server, ""));
        let (base, _) = base.rsplit_once('/').context("the URL names no database")?;
        let url = format!("{base}/{name}?{query}");
        let other = client(&url).await?;
        Ok(Bed { url, other })
    }

    /// A database with `students(name)`, where a name is there once at most.
    pub(crate) async fn with_students() -> Result<Bed> {
        let bed = Bed::new().await?;
        bed.run("CREATE TABLE students(name text PRIMARY KEY)").await?;
        Ok(bed)
    }

    /// Behind the library's back.
    pub(crate) async fn run(&self, statements: &str) -> Result<()> {
        Ok(self.other.batch_execute(statements).await?)
    }

    /// The students the other connection sees.
    pub(crate) async fn students(&self) -> Result<Vec<String>> {
        let rows = self.other.query("SELECT name FROM students ORDER BY name", &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    pub(crate) async fn db(&self) -> Result<Database> {
        Ok(pgspan_server::connect(&self.url).await?)
    }

    pub(crate) async fn db_with(&self, change: impl FnOnce(&mut Settings)) -> Result<Database> {
        through(&self.url, change).await
    }

    /// The library before a proxy, and the proxy.
    pub(crate) async fn behind_proxy(&self, change: impl FnOnce(&mut Settings)) -> Result<(Database, Proxy)> {
        let proxy = Proxy::before(&self.url).await?;
        Ok((through(&proxy.url(&self.url), change).await?, proxy))
    }

    /// PostgreSQL's own view of a connection; `None` when it is gone.
    pub(crate) async fn state(&self, pid: i32) -> Result<Option<String>> {
        let state = "SELECT state FROM pg_stat_activity WHERE pid = $1";
        Ok(self.other.query_opt(state, &[&pid]).await?.and_then(|row| row.get(0)))
    }

    /// Waits until this process of the server is gone, and says how long that took.
    pub(crate) async fn gone(&self, pid: i32) -> Result<Duration> {
        let started = Instant::now();
        while self.state(pid).await?.is_some() {
            ensure!(started.elapsed() < Duration::from_secs(10), "backend {pid} is still there");
            sleep(Duration::from_millis(5)).await;
        }
        Ok(started.elapsed())
    }

    /// Ends a process of the server, and waits until the client must have heard.
    pub(crate) async fn terminate(&self, pid: i32) -> Result<()> {
        self.other.execute("SELECT pg_terminate_backend($1)", &[&pid]).await?;
        self.gone(pid).await?;
        sleep(Duration::from_millis(30)).await;
        Ok(())
    }

    /// Waits until no connection is at work or in a transaction.
    pub(crate) async fn is_at_rest(&self) -> Result<()> {
        let busy = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                    AND backend_type = 'client backend' AND state <> 'idle'";
        let started = Instant::now();
        while !self.other.query(busy, &[]).await?.is_empty() {
            ensure!(
                started.elapsed() < Duration::from_secs(3),
                "a connection is at work or in a transaction"
            );
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

pub(crate) async fn through(url: &str, change: impl FnOnce(&mut Settings)) -> Result<Database> {
    let mut settings = Settings::default();
    change(&mut settings);
    Ok(pgspan_server::connect_with(url, settings).await?)
}

/// Which process of the server a session has.
pub(crate) async fn pid(session: &mut Session) -> pgspan::Result<i32> {
    session.fetch_one(sql!("SELECT pg_backend_pid()")).await
}

/// The process a fresh session has.
pub(crate) async fn next_pid(db: &Database) -> pgspan::Result<i32> {
    pid(&mut db.session().await?).await
}

pub(crate) fn insert(name: &str) -> pgspan::Sql<'_> {
    sql!("INSERT INTO students(name) VALUES ({name})")
}

pub(crate) fn code<T>(result: &pgspan::Result<T>) -> Option<&str> {
    result.as_ref().err()?.sqlstate().map(|code| code.code())
}
