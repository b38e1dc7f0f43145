//! The Workers host, in Cloudflare's own runtime, as a process.

mod runtime;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::project::Project;
use crate::{Process, free_port, http, private_dir, root, target_dir};

/// `workerd` serving the built Worker on a free port of 127.0.0.1, ended on drop.
///
/// The runtime alone, without `wrangler dev` around it, which costs a Worker three quarters of its speed.
#[derive(Debug)]
pub struct Edge {
    process: Process,
    port: u16,
    folder: PathBuf,
}

/// What is served, and how.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The folder, from the workspace's root, that has the Worker in `build/` and `entry.mjs` beside it. Default: the
    /// project's own Worker.
    pub worker: Option<&'a str>,
    /// The module where requests come in. Default: `entry.mjs`, in front of the program.
    pub main: Main<'a>,
    /// The Worker's variables. `HYPERDRIVE`, a URL, becomes that binding; a value `json:…` a number or whatever else it is.
    pub settings: &'a [(&'a str, &'a str)],
    /// The certificate (in PEM) of the one authority that is trusted, instead of the public ones.
    pub authority: Option<&'a str>,
    /// Classes of objects besides `Pool`; each is a binding of its name.
    pub objects: &'a [&'a str],
    /// Whether objects may set alarms. Their storage is then on disk: in memory, an alarm ends workerd.
    pub alarms: bool,
    /// Whether it runs in `wrangler dev`.
    pub in_wrangler: bool,
    /// The status of its `/livez`, which says that it has started.
    pub livez: u16,
}

/// The module where requests come in.
#[derive(Debug, Clone, Copy)]
pub enum Main<'a> {
    /// pgspan's `entry.mjs`.
    Entry,
    /// The program alone.
    Program,
    /// This text, beside `entry.mjs`.
    Module(&'a str),
}

impl Default for Launch<'_> {
    fn default() -> Self {
        Launch {
            worker: None,
            main: Main::Entry,
            settings: &[],
            authority: None,
            objects: &[],
            alarms: false,
            in_wrangler: false,
            livez: 200,
        }
    }
}

impl Edge {
    /// Starts the project's own Worker with these settings, and waits until it is alive (ready or not).
    ///
    /// # Errors
    /// When the Worker is not built, or workerd ends or does not answer within 20 s; with its last log lines.
    ///
    /// # Cancel safety
    /// Dropping the future ends it.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        Launch { settings, ..Launch::default() }.start().await
    }

    /// The same with another Worker behind the same entry: one of the workspace's folders.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    pub async fn start_another(worker: &str, settings: &[(&str, &str)]) -> Result<Self> {
        Launch { worker: Some(worker), settings, ..Launch::default() }.start().await
    }

    /// The same in a runtime that trusts one authority (a certificate in PEM) instead of the public ones.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    pub async fn start_trusting(settings: &[(&str, &str)], authority: Option<&str>) -> Result<Self> {
        Launch { settings, authority, ..Launch::default() }.start().await
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

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.process.stop();
        // They hold the database's password. The log stays for whoever looks into a failure.
        for file in ["config.capnp", ".dev.vars"] {
            let _ = fs::remove_file(self.folder.join(file));
        }
        let _ = fs::remove_dir_all(self.folder.join("build"));
    }
}

impl Launch<'_> {
    /// Starts it, and waits until it is alive (ready or not).
    ///
    /// # Errors
    /// As [`Edge::start`].
    ///
    /// # Cancel safety
    /// As [`Edge::start`].
    pub async fn start(&self) -> Result<Edge> {
        let home = match self.worker {
            Some(folder) => root().join(folder),
            None => root().join(Project::here().worker_home()?),
        };
        let build = home.join("build");
        ensure!(
            build.join("index.js").exists(),
            "the Worker in {} is not built; run `cargo xtask test`, or `cargo xtask worker --tests` first",
            home.display()
        );
        let port = free_port()?;
        // Its own copy: a relative path is all that the configuration's `embed` takes, and a rebuild can't change what runs.
        let folder = target_dir().join(format!("test-bed/edge-{port}"));
        let _ = fs::remove_dir_all(&folder);
        private_dir(&folder)?;
        private_dir(&folder.join("build"))?;
        let copy = |from: PathBuf, to: &str| {
            fs::copy(&from, folder.join(to)).with_context(|| format!("could not copy {}", from.display()))
        };
        copy(home.join("entry.mjs"), "entry.mjs")?;
        for part in ["index.js", "index_bg.wasm"] {
            copy(build.join(part), &format!("build/{part}"))?;
        }
        if let Main::Module(text) = self.main {
            fs::write(folder.join("main.mjs"), text)?;
        }
        let (mut command, name) = match self.in_wrangler {
            false => (self.workerd(&folder, port)?, "workerd"),
            true => (self.wrangler(&folder, port)?, "wrangler dev"),
        };
        let mut process = Process::start(name, &mut command, &folder.join("log"))?;
        let patience = Duration::from_secs(if self.in_wrangler { 60 } else { 20 });
        http::wait_until(self.livez, &mut process, port, &["/livez"], patience).await?;
        Ok(Edge { process, port, folder })
    }
}
