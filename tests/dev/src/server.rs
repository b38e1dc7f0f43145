//! The server that all databases of a test program are on.

use std::fmt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::{Builder, Handle};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use crate::{Cluster, Native, random_hex};

/// The variable with the URL of a server where databases may be created and removed.
pub(crate) const VARIABLE: &str = "PGSPAN_TEST_DATABASE_URL";

/// How many databases are created or removed at a time: more are not faster, and each takes a connection.
const ADMINS: usize = 4;

/// Connections of a superuser to a server, on a thread of their own: the runtimes of tests come and go.
pub(crate) struct Server {
    url: String,
    /// What the names of this program's databases begin with. A lock on it says that the program lives.
    run: String,
    count: AtomicUsize,
    admins: Vec<Client>,
    template: OnceCell<String>,
    handle: Handle,
    _cluster: Option<Cluster>,
}

impl Server {
    /// This test program's.
    pub(crate) async fn shared() -> Result<&'static Server> {
        static SERVER: OnceCell<Server> = OnceCell::const_new();
        SERVER
            .get_or_try_init(async || {
                let handle = background()?;
                handle.spawn(Server::start(handle.clone())).await?
            })
            .await
    }

    async fn start(handle: Handle) -> Result<Server> {
        let given = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty());
        let (url, cluster) = match given {
            Some(url) => (url, None),
            None => {
                let cluster = Cluster::throwaway(&[("max_connections", "200")]).await?;
                (cluster.url("postgres"), Some(cluster))
            }
        };
        let run = format!("{PREFIX}{}", random_hex(6)?);
        let mut admins = Vec::new();
        for _ in 0..ADMINS {
            let connected = tokio_postgres::connect(&url, NoTls).await;
            let (client, connection) =
                connected.with_context(|| format!("the server of {VARIABLE} does not answer"))?;
            handle.spawn(connection);
            admins.push(client);
        }
        let (count, template) = (AtomicUsize::new(0), OnceCell::new());
        let server = Server { url, run, count, admins, template, handle, _cluster: cluster };
        server.remove_abandoned().await?;
        Ok(server)
    }

    /// A name for a new database.
    pub(crate) fn new_name(&self) -> String {
        format!("{}_{}", self.run, self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// The URL of one of its databases.
    pub(crate) fn url_of(&self, database: &str) -> Result<String> {
        let (server, rest) = self.url.rsplit_once('/').context("the server's URL has no database")?;
        let query = rest.find('?').and_then(|at| rest.get(at..)).unwrap_or_default();
        Ok(format!("{server}/{database}{query}"))
    }

    /// Runs a statement that can't stand in a transaction.
    pub(crate) async fn execute(&self, statement: String) -> Result<()> {
        let next = self.count.fetch_add(1, Ordering::Relaxed);
        let admin = self.admins.get(next % ADMINS).context("there is no connection")?;
        Ok(admin.batch_execute(&statement).await?)
    }

    /// Runs this whatever becomes of the test's own runtime.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }

    /// The database that migrated ones are copied from, made when it is first asked for.
    pub(crate) async fn template(&'static self) -> Result<&'static str> {
        let made = self.template.get_or_try_init(async || {
            let name = format!("{}_template", self.run);
            self.execute(format!("CREATE DATABASE {name}")).await?;
            let url = self.url_of(&name)?;
            let migrated = self.handle.spawn_blocking(move || migrate(&url)).await?;
            if migrated.is_err() {
                let _ = self.execute(format!("DROP DATABASE {name} WITH (FORCE)")).await;
            }
            migrated.map(|()| name)
        });
        Ok(made.await?)
    }

    /// Removes what killed test programs left on this server, and says that this one lives.
    async fn remove_abandoned(&self) -> Result<()> {
        // A run's lock ends with its connection, and so with its program.
        const FIND: &str = "SELECT datname FROM pg_database WHERE CASE WHEN datname ~ $1
            THEN pg_try_advisory_lock(hashtextextended(substring(datname FROM $1), 0)) ELSE false END";
        let admin = self.admins.first().context("there is no connection")?;
        let name = format!("^({PREFIX}[0-9a-f]{{12}})_");
        for row in admin.query(FIND, &[&name]).await? {
            let database: String = row.get(0);
            admin.batch_execute(&format!("DROP DATABASE IF EXISTS \"{database}\" WITH (FORCE)")).await?;
        }
        admin.batch_execute("SELECT pg_advisory_unlock_all()").await?;
        admin.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", &[&self.run]).await?;
        Ok(())
    }
}

const PREFIX: &str = "pgspan_test_";

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("run", &self.run).finish_non_exhaustive() // the URL holds the password
    }
}

/// A runtime on a thread of its own, for as long as the program runs.
fn background() -> Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build().context("could not start a runtime")?;
    let (tell, told) = mpsc::channel();
    let thread = thread::Builder::new().name("test databases".to_owned());
    thread.spawn(move || {
        let _ = tell.send(runtime.handle().clone());
        runtime.block_on(std::future::pending::<()>());
    })?;
    Ok(told.recv()?)
}

fn migrate(url: &str) -> Result<()> {
    let program = Native::program();
    let output = Command::new(&program).arg("migrate").env("DATABASE_URL", url).output();
    let output = output.with_context(|| format!("could not start {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} migrate failed: {}", program.display(), said.trim());
    Ok(())
}
