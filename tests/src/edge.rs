//! The Workers host, in Cloudflare's own runtime, as a process.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
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

impl Edge {
    /// Starts it with these settings as its variables (`HYPERDRIVE`, a URL, becomes that binding) and waits until it is alive (ready or not).
    ///
    /// # Errors
    /// When the Worker is not built, or workerd ends or does not answer within 20 s; with its last log lines.
    ///
    /// # Cancel safety
    /// Dropping the future ends it.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_trusting(settings, None).await
    }

    /// The same with another Worker behind the same entry: one of this repository's folders.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    pub async fn start_another(worker: &str, settings: &[(&str, &str)]) -> Result<Self> {
        Self::launch(worker, settings, None).await
    }

    /// The same in a runtime that trusts one authority (a certificate in PEM) instead of the public ones.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// As [`start`](Self::start).
    pub async fn start_trusting(settings: &[(&str, &str)], authority: Option<&str>) -> Result<Self> {
        Self::launch("edge-worker", settings, authority).await
    }

    async fn launch(worker: &str, settings: &[(&str, &str)], authority: Option<&str>) -> Result<Self> {
        let build = root().join(worker).join("build");
        ensure!(
            build.join("index.js").exists(),
            "the Worker in {worker} is not built; run `cargo xtask worker --tests` first"
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
        let config = folder.join("config.capnp");
        let file = File::options().write(true).create_new(true).mode(0o600).open(&config);
        file.and_then(|mut file| file.write_all(configuration(port, settings, authority).as_bytes()))?;

        let mut command = Command::new(workerd()?);
        command.arg("serve").arg(&config).env_clear().env("TZ", "UTC");
        let mut process = Process::start("workerd", &mut command, &folder.join("log"))?;
        http::wait_until_ok(&mut process, port, &["/livez"], Duration::from_secs(20)).await?;
        Ok(Self { process, port, folder })
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
        // It holds the database's password. The log stays for whoever looks into a failure.
        let _ = fs::remove_file(self.folder.join("config.capnp"));
        let _ = fs::remove_dir_all(self.folder.join("build"));
    }
}

/// workerd's configuration, in Cap'n Proto's text form (`workerd.capnp` in its repository is the reference).
fn configuration(port: u16, settings: &[(&str, &str)], authority: Option<&str>) -> String {
    let bindings: String = settings
        .iter()
        .map(|(name, value)| match *name {
            "HYPERDRIVE" => hyperdrive(value),
            _ => format!("    (name = {}, text = {}),\n", text(name), text(value)),
        })
        .collect();
    let database =
        settings.iter().find(|(name, _)| *name == "HYPERDRIVE").map_or_else(String::new, |(_, url)| {
            let place = url.split('@').nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
            format!("    (name = \"database\", external = (address = {}, tcp = ())),\n", text(place))
        });
    let trusted = match authority {
        Some(certificate) => format!("trustedCertificates = [{}]", text(certificate)),
        None => "trustBrowserCas = true".to_owned(),
    };
    let date = text(&compatibility_date());
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = ({trusted}))),
{database}  ],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  modules = [
    (name = "entry.mjs", esModule = embed "entry.mjs"),
    (name = "build/index.js", esModule = embed "build/index.js"),
    (name = "build/index_bg.wasm", wasm = embed "build/index_bg.wasm"),
  ],
  compatibilityDate = {date},
  durableObjectNamespaces = [(className = "Pool", uniqueKey = "pgspan-pool", enableSql = true)],
  durableObjectStorage = (inMemory = void),
  bindings = [
    (name = "POOL", durableObjectNamespace = "Pool"),
{bindings}  ],
);
"#
    )
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
