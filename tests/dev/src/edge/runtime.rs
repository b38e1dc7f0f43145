//! How Cloudflare's runtime is told what to serve.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Launch, Main};
use crate::binaries::workerd;
use crate::{free_port, private_dir, root};

impl Launch<'_> {
    /// workerd alone.
    pub(super) fn workerd(&self, folder: &Path, port: u16) -> Result<Command> {
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

    /// workerd in `wrangler dev`.
    pub(super) fn wrangler(&self, folder: &Path, port: u16) -> Result<Command> {
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
