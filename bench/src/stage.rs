//! What everyone is measured on: one PostgreSQL, one database, and PgBouncer before it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ::tests::{Cluster, Process, free_port, root, target_dir};
use anyhow::{Context as _, Result, bail};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_postgres::NoTls;

use crate::cpu;

/// A private PostgreSQL with the application's tables.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    /// The database everyone uses.
    pub(crate) url: String,
    admin: tokio_postgres::Client,
    /// Before it, where it is installed and someone asked for it.
    pub(crate) pooler: Option<PgBouncer>,
}

impl Stage {
    /// Starts it.
    pub(crate) async fn set() -> Result<Self> {
        // Room for a connection per request at 64 clients; else as the bed has it, which does not wait for the disk.
        let cluster = Cluster::throwaway(&[("max_connections", "300")]).await?;
        let url = database(&cluster, "bench").await?;
        let admin = connect(&url).await?;
        Ok(Self { cluster, url, admin, pooler: None })
    }

    /// A database of its own with the same tables, for what counts connections.
    pub(crate) async fn other_database(&self, name: &str) -> Result<String> {
        database(&self.cluster, name).await
    }

    /// Forgets what is stored, so that everyone writes into the same empty table.
    pub(crate) async fn clear(&self) -> Result<()> {
        self.admin.batch_execute("TRUNCATE users RESTART IDENTITY").await.context("could not clear the table")
    }

    /// How many connections a database has now.
    pub(crate) async fn connections(&self, database: &str) -> Result<i64> {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
        Ok(self.admin.query_one(count, &[&database]).await?.get(0))
    }

    /// Seconds that the server, and PgBouncer before it, have computed so far.
    pub(crate) fn computed(&mut self) -> f64 {
        let server = self.cluster.process().map(|process| process.id());
        let pooler = self.pooler.as_ref().map(|pooler| pooler.process.id());
        [server, pooler].into_iter().flatten().filter_map(cpu::tree).sum()
    }

    pub(crate) async fn version(&self) -> Result<String> {
        Ok(self.admin.query_one("SHOW server_version", &[]).await?.get(0))
    }
}

async fn connect(url: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Creates a database and applies the migrations.
async fn database(cluster: &Cluster, name: &str) -> Result<String> {
    let url = cluster.create_database(name).await?;
    let client = connect(&url).await?;
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("migrations"))?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "sql")) {
        let sql = fs::read_to_string(file)?;
        client.batch_execute(&sql).await.with_context(|| format!("could not apply {}", file.display()))?;
    }
    Ok(url)
}

/// PgBouncer in transaction mode, from Debian's package.
pub(crate) struct PgBouncer {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) version: String,
}

impl PgBouncer {
    /// Starts it before a database; `None` when it is not installed.
    pub(crate) async fn before(stage: &Stage) -> Result<Option<Self>> {
        let Some(program) =
            ["pgbouncer", "/usr/sbin/pgbouncer"].into_iter().find(|program| version(program).is_some())
        else {
            return Ok(None);
        };
        let version = version(program).unwrap_or_default();
        let (before, rest) = stage.url.split_once("://").context("the database's URL has no scheme")?;
        let (login, place) = rest.split_once('@').context("the database's URL has no user")?;
        // What the server itself stores, as PgBouncer's documentation has it: the salt is the same at every login, and
        // PgBouncer derives no key, which it would else do anew for each client and be busy with nothing else.
        let stored = "SELECT rolname::text, rolpassword::text FROM pg_authid WHERE rolname = current_user";
        let stored = stage.admin.query_one(stored, &[]).await?;
        let (user, scram): (String, String) = (stored.get(0), stored.get(1));
        let (_, database) = place.split_once('/').context("the database's URL has no database")?;
        let port = free_port()?;
        // Beside the data, where the account that runs PostgreSQL can go: PgBouncer does not run as root either.
        let folder = stage.cluster.home().join("pgbouncer");
        fs::create_dir(&folder)?;
        let data = fs::metadata(stage.cluster.home().join("data"))?;
        let secret = |name: &str, text: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            let file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
            file.and_then(|mut file| file.write_all(text.as_bytes()))?;
            chown(&path, Some(data.uid()), Some(data.gid()))?;
            Ok(path)
        };
        let users = secret("users.txt", &format!("\"{user}\" \"{scram}\"\n"))?;
        let config = secret(
            "pgbouncer.ini",
            &format!(
                "[databases]\n* = host=127.0.0.1 port={}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n\
                 pool_mode = transaction\nmax_client_conn = 1000\ndefault_pool_size = 20\n\
                 log_connections = 0\nlog_disconnections = 0\n",
                stage.cluster.port(),
                users.display()
            ),
        )?;
        chown(&folder, Some(data.uid()), Some(data.gid()))?;
        let mut command = Command::new(program);
        command.arg(&config).current_dir("/");
        if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            std::os::unix::process::CommandExt::uid(&mut command, data.uid());
            std::os::unix::process::CommandExt::gid(&mut command, data.gid());
        }
        let log = target_dir().join("bench/pgbouncer.log");
        let _ = fs::remove_file(&log);
        let mut process = Process::start("PgBouncer", &mut command, &log)?;
        for _ in 0..200 {
            if let Some(ended) = process.ended()? {
                bail!("PgBouncer ended at its start ({ended}):\n{}", process.last_lines());
            }
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                let url = format!("{before}://{login}@127.0.0.1:{port}/{database}");
                return Ok(Some(Self { process, url, version }));
            }
            sleep(Duration::from_millis(25)).await;
        }
        bail!("PgBouncer did not listen within 5 s:\n{}", process.last_lines())
    }
}

/// What a program calls itself, if it is there.
pub(crate) fn version(program: &str) -> Option<String> {
    let output =
        Command::new(program).arg("--version").output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim().to_owned())
}
