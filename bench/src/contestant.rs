//! Who is measured: a server on a port of this machine, or pgbench.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ::tests::{Edge, Native, Process, free_port, http, target_dir};
use anyhow::Result;

use crate::pgbench::Pgbench;
use crate::worker::Worker;

/// One of those who are compared.
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) runner: Runner,
}

pub(crate) enum Runner {
    Edge(Edge),
    Native(Native),
    Worker(Worker),
    Peer { process: Process, port: u16 },
    Pgbench(Pgbench),
}

impl Contestant {
    pub(crate) fn new(name: impl Into<String>, runner: Runner) -> Self {
        Self { name: name.into(), runner }
    }

    /// A native peer, once it answers.
    pub(crate) async fn peer(name: &str, command: &mut Command, port: u16) -> Result<Self> {
        let file: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let log = target_dir().join(format!("bench/{file}.log"));
        let _ = std::fs::remove_file(&log);
        let mut process = Process::start(name, command, &log)?;
        http::wait_until_ok(&mut process, port, &["/livez"], Duration::from_secs(30)).await?;
        Ok(Self::new(name, Runner::Peer { process, port }))
    }

    /// A native peer that is one program and reads `DATABASE_URL` and `LISTEN_ADDR`.
    pub(crate) async fn program(name: &str, program: &Path, url: &str) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(program);
        command.env_clear().env("DATABASE_URL", url).env("LISTEN_ADDR", format!("127.0.0.1:{port}"));
        Self::peer(name, &mut command, port).await
    }

    /// Where it serves HTTP, if it does.
    pub(crate) fn port(&self) -> Option<u16> {
        match &self.runner {
            Runner::Edge(edge) => Some(edge.port()),
            Runner::Native(native) => Some(native.port()),
            Runner::Worker(worker) => Some(worker.port()),
            Runner::Peer { port, .. } => Some(*port),
            Runner::Pgbench(_) => None,
        }
    }

    /// Its process, if it is one that stays.
    pub(crate) fn process(&mut self) -> Option<&mut Process> {
        match &mut self.runner {
            Runner::Edge(edge) => Some(edge.process()),
            Runner::Native(native) => Some(native.process()),
            Runner::Worker(worker) => Some(worker.process()),
            Runner::Peer { process, .. } => Some(process),
            Runner::Pgbench(_) => None,
        }
    }
}
