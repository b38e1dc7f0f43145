//! Other drivers' Workers in raw workerd, and how long a Worker takes to begin.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ::tests::{Edge, Process, free_port, http, private_dir, root, target_dir};
use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// workerd serving a bundled script, ended on drop.
pub(crate) struct Worker {
    process: Process,
    port: u16,
    folder: PathBuf,
}

impl Worker {
    /// Starts the script of this name that `cargo xtask bench` bundled, and waits until it answers.
    pub(crate) async fn start(script: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let port = free_port()?;
        let folder = target_dir().join(format!("bench/worker-{port}"));
        let _ = fs::remove_dir_all(&folder);
        private_dir(&folder)?;
        let bundle = target_dir().join(format!("bench/peers/{script}.mjs"));
        fs::copy(&bundle, folder.join("worker.mjs"))
            .with_context(|| format!("{} is not there; start `cargo xtask bench`", bundle.display()))?;
        let config = folder.join("config.capnp");
        let file = File::options().write(true).create_new(true).mode(0o600).open(&config);
        file.and_then(|mut file| file.write_all(configuration(port, settings).as_bytes()))?;
        let mut process = serve(&config, &[], &folder.join("log"))?;
        http::wait_until_ok(&mut process, port, &["/livez"], Duration::from_secs(20)).await?;
        Ok(Self { process, port, folder })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.stop();
        // It holds the database's password; the log stays.
        let _ = fs::remove_file(self.folder.join("config.capnp"));
        let _ = fs::remove_file(self.folder.join("worker.mjs"));
    }
}

fn serve(config: &Path, arguments: &[&str], log: &Path) -> Result<Process> {
    let mut command = Command::new(workerd()?);
    command.arg("serve").arg(config).args(arguments).env_clear().env("TZ", "UTC");
    Process::start("workerd", &mut command, log)
}

/// The runtime's own program: the package's is a script that starts it.
fn workerd() -> Result<PathBuf> {
    let packages = fs::read_dir(root().join("node_modules/@cloudflare"))
        .context("the Workers runtime is not installed; run `npm ci`")?;
    let programs = packages.flatten().map(|package| package.path().join("bin/workerd"));
    programs.into_iter().find(|program| program.exists()).context("the Workers runtime is not installed")
}

/// As the bed's for our own Worker, with Node.js's interfaces, which the peers' drivers ask for. Settings here hold nothing
/// that would have to be escaped.
fn configuration(port: u16, settings: &[(&str, &str)]) -> String {
    let bindings: String = settings
        .iter()
        .map(|(name, value)| format!("    (name = \"{name}\", text = \"{value}\"),\n"))
        .collect();
    let wrangler = fs::read_to_string(root().join("wrangler.toml")).unwrap_or_default();
    let date = wrangler.lines().find_map(|line| line.strip_prefix("compatibility_date"));
    let date = date.and_then(|line| line.split('"').nth(1)).unwrap_or("2026-04-01");
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  modules = [(name = "worker.mjs", esModule = embed "worker.mjs")],
  compatibilityDate = "{date}",
  compatibilityFlags = ["nodejs_compat"],
  bindings = [
{bindings}  ],
);
"#
    )
}

/// Milliseconds from starting workerd with this Worker's configuration to its first answer, which asks no database.
pub(crate) async fn cold_start(edge: &Edge) -> Result<f64> {
    let port = free_port()?;
    let config = target_dir().join(format!("test-bed/edge-{}/config.capnp", edge.port()));
    let address = format!("http=127.0.0.1:{port}");
    let began = Instant::now();
    let _process = serve(&config, &["--socket-addr", &address], &target_dir().join("bench/cold-start.log"))?;
    let answer = async {
        loop {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await {
                let request =
                    format!("GET /livez HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).await?;
                let mut answer = [0; 12];
                stream.read_exact(&mut answer).await?;
                if !answer.ends_with(b"200") {
                    bail!("the Worker's first answer was not 200");
                }
                return Ok(began.elapsed().as_secs_f64() * 1000.0);
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(20), answer).await.context("the Worker did not answer within 20 s")?
}
