//! The native host as a process.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::project::Project;
use crate::{Process, free_port, http, target_dir};

/// The native program's `serve` on a free port of 127.0.0.1, ended on drop.
#[derive(Debug)]
pub struct Native {
    process: Process,
    port: u16,
}

impl Native {
    /// Starts it with these settings and waits until it is alive (ready or not).
    ///
    /// The program is the one that `PGSPAN_SERVER` names, else the debug build. It sees no other environment than the
    /// settings, so that a test means the same everywhere.
    ///
    /// # Errors
    /// When it is not built, ends, or does not answer within 20 s; with its last log lines.
    ///
    /// # Cancel safety
    /// Dropping the future ends it.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let (name, program) = (Project::here().native()?, Self::program());
        ensure!(
            program.exists(),
            "{} is not there; run `cargo xtask test`, or `cargo build -p {name}` first",
            program.display()
        );
        let port = free_port()?;
        let mut command = Command::new(program);
        command
            .arg("serve")
            .env_clear()
            .env("LISTEN_ADDR", format!("127.0.0.1:{port}"))
            .envs(settings.iter().copied());
        let log = target_dir().join(format!("test-bed/native-{port}.log"));
        let _ = std::fs::remove_file(&log);
        let mut process = Process::start(name, &mut command, &log)?;
        http::wait_until_ok(&mut process, port, &["/livez"], Duration::from_secs(20)).await?;
        Ok(Self { process, port })
    }

    /// The program that [`start`](Self::start) runs, for its other commands (`migrate`).
    pub fn program() -> PathBuf {
        std::env::var_os("PGSPAN_SERVER")
            .map_or_else(|| target_dir().join("debug").join(&Project::here().about.native), PathBuf::from)
    }

    /// Where it listens, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process, to signal it or to read its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its process, as it is.
    #[cfg(feature = "hosts")]
    pub(crate) fn process_ref(&self) -> &Process {
        &self.process
    }
}
