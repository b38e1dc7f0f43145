//! A private PostgreSQL.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, geteuid};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::NoTls;

use crate::binaries::Postgres;
use crate::places::{clone_name, owned_dir, private_dir, reachable_dir};
use crate::process::end_group;
use crate::random::random_hex;
use crate::{Process, command_line, free_port, target_dir};

/// The only role there is, a superuser.
const ROLE: &str = "pgspan";

/// Data of another major version can't be read, so it is part of a lasting cluster's place.
const MAJOR: &str = "18";

/// A start after a crash replays the log first; a slow machine takes its time.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// The longest path a socket can have on macOS is 103 bytes (Linux: 107), the file's own name takes 15 of them.
const LONGEST_SOCKET_DIR: usize = 88;

/// A running PostgreSQL 18 of one's own, on a free port of 127.0.0.1, that ends when this is dropped.
///
/// It has one role with a random password, logs in by SCRAM, and listens on a unix socket too where the path allows. As
/// root, which PostgreSQL refuses to run as, it runs as `nobody`.
#[derive(Debug)]
pub struct Cluster {
    binaries: Postgres,
    home: PathBuf,
    lasting: bool,
    settings: Vec<String>,
    password: String,
    port: u16,
    server: Option<Process>,
    /// Held as long as this lives, so that nobody starts a second server on the same data or clears it away.
    _lock: File,
}

impl Cluster {
    /// A new, empty one whose data are gone when it is dropped; `settings` as in `postgresql.conf`.
    ///
    /// It does not wait for the disk (`fsync` is off): a test's data need not survive a power cut.
    ///
    /// # Errors
    /// When the npm packages are not installed, or it did not start; with its last log lines.
    ///
    /// # Cancel safety
    /// Dropping the future ends what it started.
    pub async fn throwaway(settings: &[(&str, &str)]) -> Result<Self> {
        let base = short_dir()?;
        clear_abandoned(&base);
        let home = base.join(format!("t-{}", random_hex(6)?));
        let unsafe_but_fast = [("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off")];
        let settings = unsafe_but_fast.iter().chain(settings);
        Self::create(home, false, settings.map(|(name, value)| format!("{name}={value}")).collect()).await
    }

    /// The one of this clone whose data stay, for `cargo xtask up`; [`home`](Self::home) says where.
    ///
    /// A server that a killed run left behind on the same data is ended first.
    ///
    /// # Errors
    /// As [`throwaway`](Self::throwaway), and when it runs already.
    ///
    /// # Cancel safety
    /// Dropping the future ends what it started.
    pub async fn lasting() -> Result<Self> {
        let home = if geteuid().is_root() {
            let clone = reachable_dir()?.join(clone_name());
            owned_dir(&clone, 0o755)?;
            clone.join(format!("postgres-{MAJOR}"))
        } else {
            target_dir().join(format!("up/postgres-{MAJOR}"))
        };
        Self::create(home, true, Vec::new()).await
    }

    /// The folder with its data and its log.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The port on 127.0.0.1, the same after every [`start`](Self::start).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its unix socket, if the path is short enough for one.
    pub fn socket_dir(&self) -> Option<PathBuf> {
        let data = self.data();
        (data.as_os_str().len() <= LONGEST_SOCKET_DIR).then_some(data)
    }

    /// A `DATABASE_URL` for one of its databases; `postgres` is always there. It holds the password.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://{ROLE}:{}@127.0.0.1:{}/{database}?sslmode=disable", self.password, self.port)
    }

    /// A connection of a superuser to `postgres`, for what a test does behind the program's back.
    ///
    /// # Errors
    /// When it does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn admin(&self) -> Result<tokio_postgres::Client> {
        let (client, connection) = tokio_postgres::connect(&self.url("postgres"), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Creates an empty database unless it is there, and returns its URL.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    ///
    /// # Cancel safety
    /// The database may be there or not.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        let admin = self.admin().await?;
        let found = admin.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await?;
        if found.is_none() {
            admin.batch_execute(&format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""))).await?;
        }
        Ok(self.url(name))
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), on the same port and data.
    ///
    /// # Errors
    /// When it did not start; with its last log lines.
    ///
    /// # Cancel safety
    /// Dropping the future may leave it starting; it ends with this value all the same.
    pub async fn start(&mut self) -> Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        self.end_abandoned_server();
        let log = self.home.join("postgres.log");
        let socket_dir = self.socket_dir().unwrap_or_default();
        let mut command = self.binaries.command("postgres");
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        command.arg("-c").arg("listen_addresses=127.0.0.1");
        command.arg("-c").arg(format!("unix_socket_directories={}", socket_dir.display()));
        for setting in &self.settings {
            command.arg("-c").arg(setting);
        }
        let stop = if self.lasting { Signal::INT } else { Signal::QUIT };
        let server = Process::start_stopped_by(stop, "PostgreSQL", &mut command, &log)?;
        let server = self.server.insert(server);

        let url =
            format!("postgresql://{ROLE}:{}@127.0.0.1:{}/postgres?sslmode=disable", self.password, self.port);
        let end = Instant::now() + START_DEADLINE;
        loop {
            if let Some(ended) = server.ended()? {
                let lines = server.last_lines();
                self.server = None;
                bail!("the embedded PostgreSQL ended at its start ({ended}):\n{lines}");
            }
            if can_log_in(&url).await {
                return Ok(());
            }
            if Instant::now() >= end {
                let lines = server.last_lines();
                self.server = None;
                bail!(
                    "the embedded PostgreSQL did not answer within {} s:\n{lines}",
                    START_DEADLINE.as_secs()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Shuts it down as for maintenance: sessions are told (57P01), the data are clean.
    ///
    /// # Errors
    /// When it does not end.
    ///
    /// # Cancel safety
    /// The server may be ending; it ends with this value all the same.
    pub async fn stop(&mut self) -> Result<()> {
        self.end(Signal::INT).await
    }

    /// Shuts it down at once, as in a crash: sessions are cut off, the next start recovers.
    ///
    /// # Errors
    /// When it does not end.
    ///
    /// # Cancel safety
    /// As [`stop`](Self::stop).
    pub async fn kill(&mut self) -> Result<()> {
        self.end(Signal::QUIT).await
    }

    /// A standby of this one, on a port of its own, which follows it by streaming replication; same login, same `settings`. Its
    /// `pg_promote()` makes it a server of its own. This one is shut down for a moment, and its data are copied.
    ///
    /// # Errors
    /// When one of them does not end or start.
    ///
    /// # Cancel safety
    /// This one may be stopped; [`start`](Self::start) it.
    pub async fn standby(&mut self) -> Result<Self> {
        let home = short_dir()?.join(format!("t-{}", random_hex(6)?));
        owned_dir(&home, if self.binaries.account().is_some() { 0o755 } else { 0o700 })?;
        let lock = File::create(home.join("lock")).context("could not create the cluster's lock file")?;
        ensure!(lock.try_lock().is_ok(), "a new folder is locked");
        let mut standby = Self {
            binaries: self.binaries.clone(),
            home,
            lasting: false,
            settings: self.settings.clone(),
            password: self.password.clone(),
            port: free_port()?,
            server: None,
            _lock: lock,
        };
        self.stop().await?;
        let copied = Command::new("cp").arg("-a").arg(self.data()).arg(standby.data()).status();
        ensure!(copied.context("there is no cp")?.success(), "the data could not be copied");
        let (port, password) = (self.port, &self.password);
        let primary = format!("host=127.0.0.1 port={port} user={ROLE} password={password} sslmode=disable");
        standby.settings.push(format!("primary_conninfo={primary}"));
        let signal = standby.data().join("standby.signal");
        fs::write(&signal, "")?;
        if let Some(account) = self.binaries.account() {
            chown(&signal, Some(account.uid), Some(account.gid))?;
        }
        self.start().await?;
        standby.start().await?;
        Ok(standby)
    }

    async fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(server) = &mut self.server else { return Ok(()) };
        server.signal(signal)?;
        timeout(Duration::from_secs(30), server.wait())
            .await
            .context("PostgreSQL did not end within 30 s")??;
        self.server = None;
        Ok(())
    }

    /// The server's process, unless it is stopped.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.server.as_mut()
    }

    async fn create(home: PathBuf, lasting: bool, settings: Vec<String>) -> Result<Self> {
        let binaries = Postgres::find()?;
        // Another account has to pass through; the data themselves are closed to all but the server.
        owned_dir(&home, if binaries.account().is_some() { 0o755 } else { 0o700 })?;
        let lock = File::create(home.join("lock")).context("could not create the cluster's lock file")?;
        ensure!(
            lock.try_lock().is_ok(),
            "the embedded PostgreSQL of this clone is in use; stop the other `cargo xtask up` first"
        );
        let password = password(&home.join("password"))?;
        let port = free_port()?;
        let mut cluster =
            Self { binaries, home, lasting, settings, password, port, server: None, _lock: lock };
        if !cluster.data().join("PG_VERSION").exists() {
            cluster.initialize().await?;
        }
        for tries_left in (0..3).rev() {
            match cluster.start().await {
                Ok(()) => break,
                Err(error) if tries_left == 0 => return Err(error),
                // The port may have been taken meanwhile, or a killed server's children not be gone yet.
                Err(_) => cluster.port = free_port()?,
            }
            sleep(Duration::from_millis(300)).await;
        }
        Ok(cluster)
    }

    /// `initdb`, into a folder that takes its final name only when complete.
    async fn initialize(&self) -> Result<()> {
        let (draft, secret) = (self.home.join("data.draft"), self.home.join("password.initdb"));
        let _ = fs::remove_dir_all(&draft);
        let _ = fs::remove_file(&secret);
        fs::DirBuilder::new().mode(0o700).create(&draft)?;
        write_secret(&secret, &self.password)?;
        if let Some(account) = self.binaries.account() {
            for path in [&draft, &secret] {
                chown(path, Some(account.uid), Some(account.gid))?;
            }
        }
        let mut command = self.binaries.command("initdb");
        command.arg("-D").arg(&draft).arg(format!("--username={ROLE}")).arg("--pwfile").arg(&secret);
        command.args(["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8"]);
        // Code point order and Unicode's letters, by PostgreSQL itself: the same wherever it runs.
        command.args(["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
        let mut initdb = Process::start("initdb", &mut command, &self.home.join("initdb.log"))?;
        let ended =
            timeout(START_DEADLINE, initdb.wait()).await.context("initdb did not end within 60 s")??;
        let _ = fs::remove_file(&secret);
        ensure!(ended.success(), "initdb failed ({ended}):\n{}", initdb.last_lines());
        fs::rename(&draft, self.data()).context("could not name the data folder")
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn end_abandoned_server(&self) {
        end_server_on(&self.data());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server = None;
        if !self.lasting {
            let _ = fs::remove_dir_all(&self.home);
        }
    }
}

/// A place for throwaway clusters, and what stands before them, with a short path, where the account that runs the server can go.
///
/// # Errors
/// When it can't be created, or belongs to someone else.
pub fn short_dir() -> Result<PathBuf> {
    let user = geteuid();
    if user.is_root() {
        return reachable_dir();
    }
    let path = std::env::temp_dir().join(format!("pgspan-{}", user.as_raw()));
    private_dir(&path)?;
    Ok(path)
}

/// Clears away throwaway clusters whose owner was killed before it could.
fn clear_abandoned(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for home in entries.flatten().map(|entry| entry.path()) {
        let is_throwaway = home.file_name().is_some_and(|name| name.to_string_lossy().starts_with("t-"));
        // A younger one may be about to take its lock.
        let age = fs::metadata(&home)
            .and_then(|found| found.modified())
            .map(|then| SystemTime::now().duration_since(then));
        let is_settled = matches!(age, Ok(Ok(age)) if age > Duration::from_secs(30));
        if !is_throwaway || !is_settled {
            continue;
        }
        // Without a lock file its owner got no further than the folder.
        let lock = File::options().write(true).open(home.join("lock"));
        if lock.as_ref().map_or(true, |lock| lock.try_lock().is_ok()) {
            end_server_on(&home.join("data"));
            let _ = fs::remove_dir_all(&home);
        }
    }
}

/// Ends a server that still runs on these data though nobody holds their lock, and removes its pid file.
fn end_server_on(data: &Path) {
    let pid_file = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&pid_file) else { return };
    let pid = text.lines().next().and_then(|line| line.trim().parse::<u32>().ok());
    // The number may be another program's by now.
    let ours =
        pid.filter(|&pid| command_line(pid).is_some_and(|line| line.contains(&*data.to_string_lossy())));
    if let Some(pid) = ours.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
        end_group(pid, Signal::INT, Duration::from_secs(10), || {});
    }
    let _ = fs::remove_file(pid_file);
}

async fn can_log_in(url: &str) -> bool {
    let log_in = async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.ok()?;
        let served = tokio::spawn(connection);
        let answer = client.simple_query("SELECT 1").await.ok();
        drop(client);
        let _ = served.await;
        answer
    };
    timeout(Duration::from_secs(5), log_in).await.ok().flatten().is_some()
}

/// The password kept in this file, a new one the first time.
fn password(path: &Path) -> Result<String> {
    if let Ok(password) = fs::read_to_string(path)
        && !password.is_empty()
    {
        return Ok(password);
    }
    let password = random_hex(16)?;
    write_secret(path, &password)?;
    Ok(password)
}

fn write_secret(path: &Path, secret: &str) -> Result<()> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(secret.as_bytes()));
    written.with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use anyhow::Result;

    use super::{Cluster, MAJOR};
    use crate::process::command_line;

    #[tokio::test]
    async fn it_keeps_port_and_data_over_a_stop_and_a_crash_and_leaves_nothing() -> Result<()> {
        let mut cluster = Cluster::throwaway(&[("max_connections", "17")]).await?;
        let version: String = cluster.admin().await?.query_one("SHOW server_version", &[]).await?.get(0);
        assert!(version.starts_with(MAJOR), "{version}");
        let settings: String = cluster.admin().await?.query_one("SHOW max_connections", &[]).await?.get(0);
        assert_eq!(settings, "17");

        let url = cluster.create_database("kept").await?;
        for crash in [false, true] {
            if crash {
                cluster.kill().await?
            } else {
                cluster.stop().await?
            }
            assert!(tokio_postgres::connect(&url, super::NoTls).await.is_err());
            cluster.start().await?;
            assert_eq!(cluster.create_database("kept").await?, url);
            assert!(tokio_postgres::connect(&url, super::NoTls).await.is_ok());
        }

        let (home, pid) = (cluster.home().to_path_buf(), cluster.process().map(|process| process.id()));
        drop(cluster);
        assert!(!home.exists());
        assert_eq!(pid.and_then(command_line), None);
        Ok(())
    }

    #[tokio::test]
    async fn a_server_whose_owner_was_killed_is_ended_before_the_next_starts_on_its_data() -> Result<()> {
        let mut abandoned = Cluster::throwaway(&[]).await?;
        let home = abandoned.home().to_path_buf();
        let pid = abandoned.process().map(|process| process.id());
        // What a killed owner leaves: the server, and a lock that nobody holds.
        let server = abandoned.server.take();
        abandoned.start().await?;
        let pid_file = fs::read_to_string(home.join("data/postmaster.pid"))?;
        let now = abandoned.process().map(|process| process.id().to_string());
        assert_eq!(pid_file.lines().next(), now.as_deref());
        drop(server);
        assert_eq!(pid.and_then(command_line), None);
        abandoned.admin().await?;
        Ok(())
    }

    #[tokio::test]
    async fn a_cluster_in_use_is_refused_and_not_ended() -> Result<()> {
        let cluster = Cluster::throwaway(&[]).await?;
        let second = Cluster::create(cluster.home().to_path_buf(), true, Vec::new()).await;
        assert!(second.is_err_and(|error| error.to_string().contains("in use")));
        cluster.admin().await?;
        Ok(())
    }
}
