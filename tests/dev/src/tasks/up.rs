//! `cargo xtask up`: both hosts on a PostgreSQL, for as long as the command runs.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::{Cluster, Process, free_port, http, private_dir, root, target_dir};
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use tokio::time::sleep;

use super::child::{self, without_ours};
use super::progress::{Progress, say};
use super::setup::{self, cargo, npm_program};
use super::worker::Worker;
use crate::project::Project;

/// How long a host may take to answer once started; a busy two-core machine needs a good part of it.
const HOST_DEADLINE: Duration = Duration::from_secs(120);

/// `cargo xtask up`'s flags.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Port on 127.0.0.1 for the native host
    #[arg(long, default_value_t = 8080)]
    native_port: u16,
    /// Port on 127.0.0.1 for the edge host
    #[arg(long, default_value_t = 8787)]
    edge_port: u16,
    /// Start one host instead of both
    #[arg(long)]
    only: Option<Host>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Host {
    Native,
    Edge,
}

/// Starts everything and watches over it until a signal comes (which drops this) or a part of it ends by itself.
pub(super) async fn run(progress: &Progress, options: Options) -> Result<ExitCode> {
    let hosts: Vec<Host> =
        [Host::Native, Host::Edge].into_iter().filter(|host| options.starts(*host)).collect();
    let folder = target_dir().join("up");
    private_dir(&folder)?; // settings in it hold the database's password
    let lock = File::create(folder.join("lock")).context("could not create the lock file")?;
    ensure!(lock.try_lock().is_ok(), "`cargo xtask up` runs in this clone already; stop that one first");
    ensure!(
        hosts.len() == 1 || options.native_port != options.edge_port,
        "--native-port and --edge-port are the same; give each host a port of its own"
    );
    for host in &hosts {
        options.check_port(*host).await?;
    }
    let project = Project::here();

    let given = std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    announce(&hosts, given.is_some());
    if given.is_none() || options.starts(Host::Edge) {
        setup::node()?;
        setup::npm_packages(progress, &root()).await?;
    }
    let turn = child::turn().await?;
    let native = project.native()?;
    progress.run("building the native host", cargo().args(["build", "--package", native])).await?;
    if options.starts(Host::Edge) {
        Worker::of_project()?.build(progress).await?;
    }
    drop(turn); // wrangler builds again by a task of its own

    let mut cluster = None;
    if given.is_none() {
        let started = progress.step("starting an embedded PostgreSQL", Cluster::lasting()).await?;
        let home = started.home().display();
        say(&format!("        its data stay in {home} (to start afresh, stop this and remove that folder)"));
        cluster = Some(started);
    }
    let mut databases = Vec::new();
    for host in &hosts {
        // A database for each host, so that the same walk-through works on both ports.
        let url = match (&given, &cluster) {
            (Some(url), _) => url.clone(),
            (None, Some(cluster)) => cluster.create_database(host.name()).await?,
            (None, None) => bail!("there is no database"),
        };
        if !databases.contains(&url) {
            let what = if given.is_some() { "migrating the database" } else { host.migration() };
            let mut migrate = Command::new(server());
            without_ours(&mut migrate).arg("migrate").env("DATABASE_URL", &url);
            progress.run(what, &mut migrate).await?;
        }
        databases.push(url);
    }

    let _settings: Vec<Gone> = hosts.iter().map(|host| Gone(host.settings(&folder))).collect();
    let mut running = Vec::new();
    for (host, url) in hosts.iter().zip(&databases) {
        let port = options.port(*host);
        let start = async {
            let mut process = host.start(port, url, &folder)?;
            http::wait_until_ok(&mut process, port, &["/livez", "/readyz"], HOST_DEADLINE).await?;
            anyhow::Ok(process)
        };
        running.push(progress.step(host.beginning(), start).await?);
    }
    options.introduce(&hosts, &running, &project.about.r#try);
    watch(running, cluster).await
}

impl Options {
    fn starts(&self, host: Host) -> bool {
        self.only.is_none_or(|only| only == host)
    }

    fn port(&self, host: Host) -> u16 {
        match host {
            Host::Native => self.native_port,
            Host::Edge => self.edge_port,
        }
    }

    async fn check_port(&self, host: Host) -> Result<()> {
        let (port, name) = (self.port(host), host.name());
        for _ in 0..15 {
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await; // a run that was just killed may still be ending
        }
        bail!("port {port} is taken; stop what listens there, or choose another with --{name}-port")
    }

    /// Where everything is, and what to try.
    fn introduce(&self, hosts: &[Host], running: &[Process], commands: &[String]) {
        say("");
        for (host, process) in hosts.iter().zip(running) {
            let (name, port, log) = (host.name(), self.port(*host), process.log().display());
            say(&format!("the {name} host: http://127.0.0.1:{port}, its log: {log}"));
        }
        let url =
            format!("http://127.0.0.1:{}", hosts.first().map_or(self.native_port, |host| self.port(*host)));
        let ready = [format!("curl {url}/readyz")];
        say("\ntry, in another terminal:");
        for command in if commands.is_empty() { &ready } else { commands } {
            say(&format!("  {}", command.replace("{url}", &url)));
        }
        if hosts.len() == 2 {
            say(&format!("and the same on port {}, which is the Worker", self.edge_port));
        }
        say("\nready");
        say("press Ctrl-C to stop");
    }
}

impl Host {
    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Edge => "edge",
        }
    }

    fn beginning(self) -> &'static str {
        match self {
            Self::Native => "starting the native host",
            Self::Edge => "starting the edge host (wrangler dev)",
        }
    }

    fn migration(self) -> &'static str {
        match self {
            Self::Native => "migrating the native host's database",
            Self::Edge => "migrating the edge host's database",
        }
    }

    /// The file with its settings, for as long as it runs.
    fn settings(self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.vars", self.name()))
    }

    fn start(self, port: u16, url: &str, folder: &Path) -> Result<Process> {
        let log = folder.join(format!("{}.log", self.name()));
        let _ = fs::remove_file(&log);
        match self {
            Self::Native => {
                let mut command = Command::new(server());
                without_ours(&mut command);
                command.arg("serve").env("LISTEN_ADDR", format!("127.0.0.1:{port}"));
                command.env("DATABASE_URL", url).envs(&Project::here().about.settings);
                Process::start("the native host", &mut command, &log)
            }
            Self::Edge => {
                // Given a file of settings wrangler does not read .dev.vars, and no secret is on its command line.
                let settings = self.settings(folder);
                write_settings(&settings, url)?;
                let mut command = Command::new(npm_program("wrangler"));
                without_ours(&mut command);
                command.current_dir(root()).args([
                    "dev",
                    "--ip",
                    "127.0.0.1",
                    "--show-interactive-dev-session=false",
                ]);
                command
                    .arg("--port")
                    .arg(port.to_string())
                    .arg("--inspector-port")
                    .arg(free_port()?.to_string());
                command
                    .arg("--env-file")
                    .arg(settings)
                    .arg("--persist-to")
                    .arg(folder.join("wrangler-state"));
                command
                    .env("CI", "1")
                    .env("WRANGLER_SEND_METRICS", "false")
                    .env("WRANGLER_SEND_ERROR_REPORTS", "false");
                command.env("WRANGLER_LOG_PATH", folder.join("wrangler-logs"));
                command.env("WRANGLER_REGISTRY_PATH", folder.join("wrangler-registry"));
                command.env("CLOUDFLARE_CF_FETCH_ENABLED", "false"); // made-up request metadata do, offline too
                Process::start("the edge host", &mut command, &log)
            }
        }
    }
}

/// A file that is removed on drop.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Waits for the first part that ends by itself, then drops, and so ends, the others.
async fn watch(mut running: Vec<Process>, mut cluster: Option<Cluster>) -> Result<ExitCode> {
    loop {
        for process in running.iter_mut().chain(cluster.as_mut().and_then(Cluster::process)) {
            if let Some(ended) = process.ended()? {
                let (name, log, lines) = (process.name(), process.log().display(), process.last_lines());
                say(&format!("{name} ended by itself ({ended}); its last lines, from {log}:\n{lines}"));
                return Ok(ExitCode::FAILURE);
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

fn server() -> PathBuf {
    target_dir().join("debug").join(&Project::here().about.native)
}

/// What is about to happen, and how long it takes.
fn announce(hosts: &[Host], is_given: bool) {
    let database = if is_given { "the database of DATABASE_URL" } else { "an embedded PostgreSQL" };
    let started = match hosts {
        [Host::Native] => "the native host",
        [Host::Edge] => "the Worker (in wrangler dev)",
        _ => "the native host and the Worker (in wrangler dev)",
    };
    say(&format!("This builds and starts {started}, on {database}, until Ctrl-C."));
    let is_built = server().exists() && Worker::is_built();
    say(match is_built {
        true => "It takes some seconds, or as long as it takes to compile what has changed.",
        false => {
            "The first run compiles its tools too: some ten minutes on two cores. After that it takes seconds."
        }
    });
}

/// The Worker's settings, in the form that wrangler reads (dotenv, where `$` would name another variable).
fn write_settings(path: &Path, url: &str) -> Result<()> {
    let of_project =
        Project::here().about.settings.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let mut settings: Vec<_> = of_project.chain([("DATABASE_URL", url.to_owned())]).collect();
    for name in ["DATABASE_POOLER", "API_TOKEN"] {
        settings.extend(std::env::var(name).ok().map(|value| (name, value)));
    }
    let mut text = String::new();
    for (name, value) in settings {
        ensure!(
            !value.contains(['\'', '\n']),
            "{name} holds a quote or a line break; write it percent-encoded"
        );
        text += &format!("{name}='{}'\n", value.replace('$', "\\$"));
    }
    let _ = fs::remove_file(path);
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("could not write {}", path.display()))
}
