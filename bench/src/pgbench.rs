//! pgbench: PostgreSQL's own load generator, with no HTTP before it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ::tests::{Process, target_dir};
use anyhow::{Context as _, Result, ensure};
use tokio::time::timeout;

use crate::stage::version;

/// The statement of `GET /add`, with numbers that differ.
const SCRIPT: &str =
    "\\set a random(1, 1000000000)\n\\set b random(1, 1000)\nSELECT :a::int8 + :b::int8 AS sum;\n";

/// Its clock starts before its clients connect, which takes a while with SCRAM; its figure leaves that time out.
const CONNECTING: Duration = Duration::from_secs(2);

pub(crate) struct Pgbench {
    url: String,
    script: PathBuf,
    /// `-M prepared`, or `-C` with a thread for each client, since a thread waits while it connects.
    arguments: &'static [&'static str],
}

impl Pgbench {
    /// `None` when it is not installed.
    pub(crate) fn find(url: &str, arguments: &'static [&'static str]) -> Result<Option<Self>> {
        if version("pgbench").is_none() {
            return Ok(None);
        }
        let script = target_dir().join("bench/add.sql");
        fs::write(&script, SCRIPT).context("could not write pgbench's script")?;
        Ok(Some(Self { url: url.to_owned(), script, arguments }))
    }

    /// Transactions a second, without the time to connect at the start.
    pub(crate) async fn run(&self, clients: usize, time: Duration) -> Result<f64> {
        let log = target_dir().join("bench/pgbench.log");
        let _ = fs::remove_file(&log);
        let mut command = Command::new("pgbench");
        command.args(["--no-vacuum", "--jobs=1"]).arg(format!("--client={clients}"));
        command.arg(format!("--time={}", (time + CONNECTING).as_secs())).args(self.arguments);
        // In the environment of this one process, where no other account can read the password.
        let (login, place) = self.url.rsplit_once('@').context("the database's URL has no user")?;
        let (user, password) =
            login.split_once("://").and_then(|(_, login)| login.split_once(':')).context("no password")?;
        command.env("PGPASSWORD", password).arg("-f").arg(&self.script);
        command.arg(format!("postgresql://{user}@{place}"));
        let mut process = Process::start("pgbench", &mut command, &log)?;
        let ended = timeout(time + Duration::from_secs(30), process.wait()).await;
        let ended = ended.context("pgbench did not end")??;
        let said = fs::read_to_string(&log)?;
        ensure!(ended.success(), "pgbench failed ({ended}):\n{said}");
        read(&said).with_context(|| format!("pgbench said nothing of its speed:\n{said}"))
    }
}

fn read(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn its_speed_is_read() {
        let said = "latency average = 1.3 ms\ntps = 47123.456 (without initial connection time)\n";
        assert_eq!(read(said), Some(47123.456));
        assert_eq!(read("connection failed"), None);
    }
}
