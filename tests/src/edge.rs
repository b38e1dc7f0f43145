//! The Workers host, in Cloudflare's own runtime, as a process.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::binaries::workerd;
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
    /// The folder of this repository that has the Worker in `build/`. Default: pgspan's own.
    pub worker: &'a str,
    /// The module where requests come in. Default: pgspan's `entry.mjs`, in front of the program.
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
            worker: "edge-worker",
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
    /// Starts pgspan's own Worker with these settings, and waits until it is alive (ready or not).
    ///
    /// # Errors
    /// When the Worker is not built, or workerd ends or does not answer within 20 s; with its last log lines.
    ///
    /// # Cancel safety
    /// Dropping the future ends it.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        Launch { settings, ..Launch::default() }.start().await
    }

    /// The same with another Worker behind the same entry: one of this repository's folders.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    pub async fn start_another(worker: &str, settings: &[(&str, &str)]) -> Result<Self> {
        Launch { worker, settings, ..Launch::default() }.start().await
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
        let build = root().join(self.worker).join("build");
        ensure!(
            build.join("index.js").exists(),
            "the Worker in {} is not built; run `cargo xtask worker --tests` first",
            self.worker
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
        copy(root().join("edge-worker/entry.mjs"), "entry.mjs")?;
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

    fn workerd(&self, folder: &Path, port: u16) -> Result<Command> {
        let config = folder.join("config.capnp");
        let state = folder.join("state");
        private_dir(&state)?;
        write_private(&config, &self.configuration(port, &state))?;
        let mut command = Command::new(workerd()?);
        command.arg("serve").arg(&config).env_clear().env("TZ", "UTC");
        Ok(command)
    }

    /// The modules; the first is the one where requests come in.
    fn modules(&self) -> Vec<&'static str> {
        match self.main {
            Main::Entry => vec!["entry.mjs", "build/index.js"],
            Main::Program => vec!["build/index.js"],
            Main::Module(_) => vec!["main.mjs", "entry.mjs", "build/index.js"],
        }
    }

    /// workerd's configuration, in Cap'n Proto's text form (`workerd.capnp` in its repository is the reference).
    fn configuration(&self, port: u16, state: &Path) -> String {
        let modules: String = self
            .modules()
            .iter()
            .map(|module| format!("    (name = \"{module}\", esModule = embed \"{module}\"),\n"))
            .collect();
        let bindings: String = self
            .settings
            .iter()
            .map(|(name, value)| match (*name, value.strip_prefix("json:")) {
                ("HYPERDRIVE", _) => hyperdrive(value),
                (_, Some(value)) => format!("    (name = {}, json = {}),\n", text(name), text(value)),
                _ => format!("    (name = {}, text = {}),\n", text(name), text(value)),
            })
            .collect();
        let database = self.settings.iter().find(|(name, _)| *name == "HYPERDRIVE").map_or_else(
            String::new,
            |(_, url)| {
                let place = url.split('@').nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
                format!("    (name = \"database\", external = (address = {}, tcp = ())),\n", text(place))
            },
        );
        let trusted = match self.authority {
            Some(certificate) => format!("trustedCertificates = [{}]", text(certificate)),
            None => "trustBrowserCas = true".to_owned(),
        };
        let date = text(&compatibility_date());
        let storage = if self.alarms { "localDisk = \"state\"" } else { "inMemory = void" };
        let state = text(&state.to_string_lossy());
        let (mut classes, mut names) = (String::new(), String::new());
        for class in self.objects {
            classes += &format!(", (className = \"{class}\", uniqueKey = \"suites-{class}\")");
            names += &format!("    (name = \"{class}\", durableObjectNamespace = \"{class}\"),\n");
        }
        format!(
            r#"using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = ({trusted}))),
    (name = "state", disk = (path = {state}, writable = true)),
{database}  ],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  modules = [
{modules}    (name = "build/index_bg.wasm", wasm = embed "build/index_bg.wasm"),
  ],
  compatibilityDate = {date},
  durableObjectNamespaces = [(className = "Pool", uniqueKey = "pgspan-pool", enableSql = true){classes}],
  durableObjectStorage = ({storage}),
  bindings = [
    (name = "POOL", durableObjectNamespace = "Pool"),
{names}{bindings}  ],
);
"#
        )
    }

    fn wrangler(&self, folder: &Path, port: u16) -> Result<Command> {
        let main = self.modules().first().copied().unwrap_or_default();
        let date = compatibility_date();
        let config = format!(
            r#"name = "suites"
main = "{main}"
compatibility_date = "{date}"
send_metrics = false
[[durable_objects.bindings]]
name = "POOL"
class_name = "Pool"
[[migrations]]
tag = "v1"
new_sqlite_classes = ["Pool"]
"#
        );
        write_private(&folder.join("wrangler.toml"), &config)?;
        let settings: String =
            self.settings.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        write_private(&folder.join(".dev.vars"), &settings)?;
        let mut command = Command::new(root().join("node_modules/.bin/wrangler"));
        command.current_dir(folder).args([
            "dev",
            "--ip",
            "127.0.0.1",
            "--show-interactive-dev-session=false",
        ]);
        command.args(["--port", &port.to_string(), "--inspector-port", &free_port()?.to_string()]);
        command.arg("--persist-to").arg(folder.join("state"));
        command
            .env("CI", "1")
            .env("WRANGLER_SEND_METRICS", "false")
            .env("WRANGLER_SEND_ERROR_REPORTS", "false");
        command
            .env("WRANGLER_LOG_PATH", folder.join("logs"))
            .env("WRANGLER_REGISTRY_PATH", folder.join("registry"));
        command.env("CLOUDFLARE_CF_FETCH_ENABLED", "false"); // made-up request metadata do, offline too
        Ok(command)
    }
}

/// A file for nobody else's eyes.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    Ok(file.and_then(|mut file| file.write_all(text.as_bytes()))?)
}

/// A Hyperdrive binding to the server of this URL, as wrangler's `localConnectionString` makes one.
fn hyperdrive(url: &str) -> String {
    let config: tokio_postgres::Config = url.parse().unwrap_or_default();
    let password = String::from_utf8_lossy(config.get_password().unwrap_or_default());
    format!(
        "    (name = \"HYPERDRIVE\", hyperdrive = (designator = \"database\", database = {}, user = {}, password = {}, \
         scheme = \"postgresql\")),\n",
        text(config.get_dbname().unwrap_or_default()),
        text(config.get_user().unwrap_or_default()),
        text(&password),
    )
}

/// The date that `wrangler.toml` names, so that tests run what is deployed.
fn compatibility_date() -> String {
    let config = fs::read_to_string(root().join("wrangler.toml")).unwrap_or_default();
    let line = config.lines().find_map(|line| line.strip_prefix("compatibility_date"));
    line.and_then(|line| line.split('"').nth(1)).unwrap_or("2026-04-01").to_owned()
}

/// A string literal of Cap'n Proto's text form.
fn text(value: &str) -> String {
    let mut literal = String::from("\"");
    for byte in value.bytes() {
        match byte {
            b'"' => literal.push_str("\\\""),
            b'\\' => literal.push_str("\\\\"),
            b' '..=b'~' => literal.push(char::from(byte)),
            _ => literal.push_str(&format!("\\x{byte:02x}")),
        }
    }
    literal + "\""
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_setting_can_hold_any_character() {
        assert_eq!(text("a\"b\\c\nd é"), r#""a\"b\\c\x0ad \xc3\xa9""#);
    }
}
