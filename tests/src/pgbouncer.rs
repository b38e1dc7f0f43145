//! PgBouncer in transaction mode before a database, from Debian's package.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_postgres::NoTls;

use pgspan_dev::{Account, Process, free_port, private_dir, random_hex, short_dir, target_dir};

/// A running PgBouncer in transaction mode, ended on drop.
#[derive(Debug)]
pub struct PgBouncer {
    process: Process,
    login: String,
    port: u16,
    version: String,
    folder: PathBuf,
    /// Held as long as this lives: without it the next throwaway cluster clears the folder away, as it does its own kind's.
    _lock: File,
}

impl PgBouncer {
    /// Starts it before the server of this superuser's URL; `None` where it is not installed.
    ///
    /// # Errors
    /// When the server does not answer, or PgBouncer does not start; with its last log lines.
    ///
    /// # Cancel safety
    /// Dropping the future ends it.
    pub async fn before(url: &str) -> Result<Option<Self>> {
        Self::before_with(url, &[]).await
    }

    /// The same with more settings, as in the section `[pgbouncer]` of `pgbouncer.ini`.
    ///
    /// # Errors
    /// As [`before`](Self::before).
    ///
    /// # Cancel safety
    /// Dropping the future ends it.
    pub async fn before_with(url: &str, more: &[(&str, &str)]) -> Result<Option<Self>> {
        let Some((program, version)) = installed() else { return Ok(None) };
        let (_, rest) = url.split_once("://").context("the URL has no scheme")?;
        let (login, place) = rest.split_once('@').context("the URL has no user")?;
        let (server, _) = place.split_once('/').context("the URL has no database")?;
        let (host, server_port) = server.rsplit_once(':').context("the URL has no port")?;
        let (user, secret) = stored_secret(url).await?;
        let port = free_port()?;
        let folder = short_dir()?.join(format!("t-{}", random_hex(6)?));
        private_dir(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        // as root it refuses to run, as PostgreSQL does
        let account = rustix::process::geteuid().is_root().then(Account::nobody).transpose()?;
        let users = write(&folder, "users.txt", &format!("\"{user}\" \"{secret}\"\n"), account.as_ref())?;
        let mut settings = format!(
            "[databases]\n* = host={host} port={server_port}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\n\
             pool_mode = transaction\nmax_client_conn = 1000\ndefault_pool_size = 20\n",
            users.display()
        );
        settings.extend(more.iter().map(|(name, value)| format!("{name} = {value}\n")));
        let config = write(&folder, "pgbouncer.ini", &settings, account.as_ref())?;
        let mut command = Command::new(program);
        command.arg(&config).current_dir("/");
        if let Some(Account { uid, gid }) = account {
            chown(&folder, Some(uid), Some(gid))?;
            command.uid(uid).gid(gid);
        }
        let log = target_dir().join(format!("test-bed/pgbouncer-{port}.log"));
        let process = Process::start("PgBouncer", &mut command, &log)?;
        let mut started = Self { process, login: login.to_owned(), port, version, folder, _lock: lock };
        started.wait().await?;
        Ok(Some(started))
    }

    /// Whether there is one to start.
    pub fn is_installed() -> bool {
        installed().is_some()
    }

    /// The URL of a database through it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{}@127.0.0.1:{}/{database}?sslmode=disable", self.login, self.port)
    }

    /// Its process on this machine.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// What it calls itself.
    pub fn version(&self) -> &str {
        &self.version
    }

    async fn wait(&mut self) -> Result<()> {
        for _ in 0..200 {
            if let Some(ended) = self.process.ended()? {
                bail!("PgBouncer ended at its start ({ended}):\n{}", self.process.last_lines());
            }
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(25)).await;
        }
        bail!("PgBouncer did not listen within 5 s:\n{}", self.process.last_lines())
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The user, and what the server itself stores of the password: with it PgBouncer derives no key at each login.
async fn stored_secret(url: &str) -> Result<(String, String)> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let query = "SELECT rolname::text, rolpassword::text FROM pg_authid WHERE rolname = current_user";
    let row = client.query_one(query, &[]).await?;
    Ok((row.get(0), row.get(1)))
}

fn write(folder: &Path, name: &str, text: &str, account: Option<&Account>) -> Result<PathBuf> {
    let path = folder.join(name);
    let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))?;
    if let Some(Account { uid, gid }) = account {
        chown(&path, Some(*uid), Some(*gid))?;
    }
    Ok(path)
}

fn installed() -> Option<(&'static str, String)> {
    ["pgbouncer", "/usr/sbin/pgbouncer"].into_iter().find_map(|program| Some((program, version(program)?)))
}

/// What a program calls itself, if it is there.
fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}
