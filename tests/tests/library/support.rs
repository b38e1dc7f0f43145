//! What the tests stand on.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pgspan::{Database, Pooler, Session, Settings, sql};
use tests::{Cluster, Meddler, Meddling, PgBouncer, Proxy};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Runs each test of a file straight to PostgreSQL, as `direct::…`, and those that a pooler can carry twice more: as
/// `pooled::…` through PgBouncer in transaction mode, which stands pipelines, and as `forgetful::…` through an imitation of a pooler that loses what is
/// written behind a statement that is not answered yet.
///
/// All of `pooled` share one PgBouncer. Debian 12's, which is 1.18, ends itself when the client of a cancel request hangs up
/// before it was passed on (pgbouncer#801), and all tests after that fail.
macro_rules! ways {
    (both: $($both:ident),*; $(pipelined: $($pipelined:ident),*;)? $(direct: $($direct:ident),*;)?) => {
        mod direct {
            use crate::support::Via;
            $(#[tokio::test] async fn $both() -> anyhow::Result<()> { super::$both(Via::Nothing).await })*
            $($(#[tokio::test] async fn $pipelined() -> anyhow::Result<()> { super::$pipelined(Via::Nothing).await })*)?
            $($(#[tokio::test] async fn $direct() -> anyhow::Result<()> { super::$direct(Via::Nothing).await })*)?
        }
        mod pooled {
            $(#[tokio::test] async fn $both() -> anyhow::Result<()> { crate::support::pooled(super::$both).await })*
            $($(#[tokio::test] async fn $pipelined() -> anyhow::Result<()> { crate::support::pooled(super::$pipelined).await })*)?
        }
        mod forgetful {
            use crate::support::Via;
            $(#[tokio::test] async fn $both() -> anyhow::Result<()> { super::$both(Via::Forgetful).await })*
        }
    };
}

/// What stands between the library and PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Nothing,
    /// In transaction mode, and `DATABASE_POOLER=transaction`.
    PgBouncer,
    /// The same, but what is pipelined outside a transaction is lost.
    Forgetful,
}

pub(crate) async fn pooled(test: impl AsyncFnOnce(Via) -> Result<()>) -> Result<()> {
    match PgBouncer::is_installed() {
        true => {
            let tested = test(Via::PgBouncer).await;
            all_has_ended().await;
            tested
        }
        false => {
            tests::skip("what goes through a transaction pooler needs the Debian package pgbouncer");
            Ok(())
        }
    }
}

/// Waits for what a test left behind to end, for at most two seconds. The runtime ends with its test, and a cancel request that ends in the
/// middle is what PgBouncer 1.18 does not survive.
async fn all_has_ended() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let started = Instant::now();
    while metrics.num_alive_tasks() > 0 && started.elapsed() < Duration::from_secs(2) {
        sleep(Duration::from_millis(5)).await;
    }
}

/// A database of one test's own, and a connection to it that has nothing to do with the library.
pub(crate) struct Bed {
    via: Via,
    /// As the library gets it.
    pub(crate) url: String,
    pub(crate) other: Client,
}

/// Ends with the process; what it leaves on the disk goes with the next run's start.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// The same. It gives its connections up soon, or those of all tests were more than the server takes.
static BOUNCER: OnceCell<Option<PgBouncer>> = OnceCell::const_new();

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
    pub(crate) async fn new(via: Via) -> Result<Bed> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let server = server().await?;
        let name = format!("library_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = client(&server).await?;
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await?;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let (base, query) = server.split_once('?').unwrap_or((&server, ""));
        let (base, _) = base.rsplit_once('/').context("the URL names no database")?;
        let direct = format!("{base}/{name}?{query}");
        let other = client(&direct).await?;
        let url = match via {
            Via::Nothing => direct,
            Via::Forgetful => {
                // open until the test's runtime ends, since a test may let go of its bed before
                let door = std::mem::ManuallyDrop::new(Meddler::before(&direct, Meddling::Forget).await?);
                door.url(&direct)
            }
            Via::PgBouncer => {
                let start = || PgBouncer::before_with(&server, &[("server_idle_timeout", "5")]);
                let bouncer = BOUNCER.get_or_try_init(start).await?;
                bouncer.as_ref().context("PgBouncer is not installed")?.url(&name)
            }
        };
        Ok(Bed { via, url, other })
    }

    /// A database with `students(name)`, where a name is there once at most.
    pub(crate) async fn with_students(via: Via) -> Result<Bed> {
        let bed = Bed::new(via).await?;
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
        self.db_with(|_| {}).await
    }

    pub(crate) async fn db_with(&self, change: impl FnOnce(&mut Settings)) -> Result<Database> {
        Ok(pgspan_server::connect_with(&self.url, self.settings(change)).await?)
    }

    pub(crate) fn settings(&self, change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::default();
        settings.pooler = (self.via != Via::Nothing).then_some(Pooler::Transaction);
        settings.pooler_pipelines = self.via == Via::PgBouncer;
        change(&mut settings);
        settings
    }

    /// The library before a proxy, and the proxy.
    pub(crate) async fn behind_proxy(&self, change: impl FnOnce(&mut Settings)) -> Result<(Database, Proxy)> {
        let proxy = Proxy::before(&self.url).await?;
        let db = pgspan_server::connect_with(&proxy.url(&self.url), self.settings(change)).await?;
        Ok((db, proxy))
    }

    /// The library before a door that meddles with messages, and the door.
    pub(crate) async fn behind(
        &self,
        meddling: Meddling,
        change: impl FnOnce(&mut Settings),
    ) -> Result<(Database, Meddler)> {
        let meddler = Meddler::before(&self.url, meddling).await?;
        let db = pgspan_server::connect_with(&meddler.url(&self.url), self.settings(change)).await?;
        Ok((db, meddler))
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

    /// Waits until no connection is at work or in a transaction. Behind a pooler nothing may be prepared on any then.
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
        match self.via {
            Via::Nothing | Via::Forgetful => Ok(()),
            Via::PgBouncer => self.has_nothing_prepared().await,
        }
    }

    /// Looks at all connections of the pooler, each held by a transaction until all were looked at.
    async fn has_nothing_prepared(&self) -> Result<()> {
        let connections = "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() \
                           AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        let connections = self.other.query(connections, &[]).await?;
        let mut unseen: BTreeSet<String> = connections.iter().map(|row| row.get(0)).collect();
        let mut held = Vec::new();
        for _ in connections {
            let client = client(&self.url).await?;
            client.batch_execute("BEGIN").await?;
            let look = "SELECT pg_backend_pid(), string_agg(statement, '; ') FROM pg_prepared_statements";
            for message in client.simple_query(look).await? {
                let SimpleQueryMessage::Row(row) = message else { continue };
                ensure!(row.get(1).is_none(), "prepared and left behind: {:?}", row.get(1));
                unseen.remove(row.get(0).unwrap_or_default());
            }
            held.push(client);
        }
        for pid in unseen {
            let gone = self.gone(pid.parse()?); // the pooler closed it, and its process takes a moment to end
            ensure!(
                matches!(timeout(Duration::from_secs(1), gone).await, Ok(Ok(_))),
                "the pooler did not give the connection {pid}"
            );
        }
        for client in held {
            client.batch_execute("COMMIT").await?;
        }
        Ok(())
    }
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
