//! What a machine with only Rust and Node.js lacks: npm packages, the WebAssembly target, two programs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root;
use anyhow::{Context as _, Result, bail, ensure};

use super::child::without_ours;
use super::progress::Progress;

/// The oldest Node.js that the pinned wrangler runs on (`engines` in package.json says the same).
const NODE: (u32, u32) = (20, 3);

const WASM: &str = "wasm32-unknown-unknown";

/// A program from the Rust registry, in the version that `Cargo.lock` has of the crate it belongs to.
pub(crate) struct Tool {
    /// Its crate.
    package: &'static str,
    /// Its program.
    program: &'static str,
    /// The crate whose version it must have.
    of: &'static str,
}

pub(crate) const WORKER_BUILD: Tool = Tool { package: "worker-build", program: "worker-build", of: "worker" };

pub(crate) const WASM_BINDGEN: Tool =
    Tool { package: "wasm-bindgen-cli", program: "wasm-bindgen", of: "wasm-bindgen" };

/// Installs all that the tasks need.
pub(crate) async fn all(progress: &Progress) -> Result<()> {
    node()?;
    npm_packages(progress, &root()).await?;
    wasm_target(progress).await?;
    WORKER_BUILD.program(progress).await?;
    WASM_BINDGEN.program(progress).await?;
    Ok(())
}

/// The cargo that runs us, in the root folder.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    without_ours(&mut command).current_dir(root());
    command
}

/// Checks that there is a Node.js, and a new enough one.
///
/// # Errors
/// When there is not.
pub fn node() -> Result<()> {
    let (major, minor) = NODE;
    let Some(found) = said(Command::new("node").arg("--version")) else {
        bail!("there is no Node.js on the PATH; install version {major}.{minor} or newer (nodejs.org)");
    };
    let mut numbers = found.trim_start_matches('v').split('.').map(|part| part.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    ensure!(
        version >= NODE,
        "Node.js {found} is too old; install version {major}.{minor} or newer (nodejs.org)"
    );
    Ok(())
}

/// Installs what a folder's package-lock.json names, unless that is done. Without such a file it is written, from package.json.
///
/// # Errors
/// When npm fails.
pub async fn npm_packages(progress: &Progress, folder: &Path) -> Result<()> {
    let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
    let wanted = changed(&folder.join("package-lock.json"));
    // npm writes its own copy of the lock file last.
    let installed = changed(&folder.join("node_modules/.package-lock.json"));
    if installed.is_some() && wanted.is_some() && installed >= wanted {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.current_dir(folder).args([
        if wanted.is_some() { "ci" } else { "install" },
        "--ignore-scripts",
        "--prefer-offline",
        "--no-progress",
        "--loglevel=error",
    ]);
    // Without these it takes npm minutes to say that there is no network.
    npm.args(["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]);
    let advice = "is there an npm, and the npm registry reachable from here?";
    progress.fetch("installing npm packages", &mut npm, advice).await
}

/// Adds the WebAssembly target to the toolchain, unless it has it.
pub(crate) async fn wasm_target(progress: &Progress) -> Result<()> {
    let libraries =
        said(Command::new("rustc").current_dir(root()).args(["--print", "target-libdir", "--target", WASM]));
    if libraries.is_some_and(|path| Path::new(&path).exists()) {
        return Ok(());
    }
    let has_rustup = said(Command::new("rustup").arg("--version")).is_some();
    ensure!(
        has_rustup,
        "the Rust target {WASM} is missing and there is no rustup to add it; install it as you did Rust"
    );
    let mut add = Command::new("rustup");
    add.current_dir(root()).args(["target", "add", WASM]);
    let advice = "is the network reachable from here?";
    progress.fetch(&format!("adding the Rust target {WASM}"), &mut add, advice).await
}

impl Tool {
    /// The program at its pinned version: from the PATH, from an earlier run of any clone, or installed now.
    pub(crate) async fn program(&self, progress: &Progress) -> Result<PathBuf> {
        let Self { package, program, .. } = self;
        let version = &self.version()?;
        if prints_version(Path::new(program), version) {
            return Ok(PathBuf::from(program));
        }
        let home = cargo_home()?.join("pgspan-tools").join(format!("{package}-{version}"));
        let path = home.join("bin").join(program);
        if !prints_version(&path, version) {
            let mut install = cargo();
            install.args(["install", package, "--version", version, "--force", "--root"]).arg(&home);
            // They work for a second or so in each build: compiling them fast is worth more than running them fast.
            install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_PROFILE_RELEASE_LTO", "false");
            // Not --locked: wasm-bindgen-cli's lock file names a dependency that was withdrawn.
            let what = format!("installing {package} {version} (a few minutes, once)");
            let advice = "is the registry of Rust crates reachable from here, and is there a linker?";
            progress.fetch(&what, &mut install, advice).await?;
        }
        ensure!(
            prints_version(&path, version),
            "{} is not {program} {version}; remove it and try again",
            path.display()
        );
        Ok(path)
    }

    /// The version it must have.
    pub(crate) fn version(&self) -> Result<String> {
        let path = root().join("Cargo.lock");
        let lock = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        locked(&lock, self.of).with_context(|| {
            format!("Cargo.lock has no version of {}, whose {} builds the Worker", self.of, self.program)
        })
    }
}

/// The version of a crate in a lock file, the newest if there are several.
fn locked(lock: &str, name: &str) -> Option<String> {
    let start = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = lock.rsplit_once(&start)?;
    rest.split('"').next().map(str::to_owned)
}

fn prints_version(program: &Path, version: &str) -> bool {
    let said = said(Command::new(program).arg("--version"));
    said.is_some_and(|said| said.split_whitespace().last() == Some(version))
}

/// A program of an npm package.
pub fn npm_program(name: &str) -> PathBuf {
    root().join("node_modules/.bin").join(name)
}

fn cargo_home() -> Result<PathBuf> {
    let given = std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let default = || std::env::var_os("HOME").map(|home: OsString| Path::new(&home).join(".cargo"));
    given.or_else(default).context("neither CARGO_HOME nor HOME is set")
}

/// What a program prints when it succeeds.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said where the PATH has this as its `node`, or none. In a program of its own: the PATH is a program's.
    fn said_with_node(node: Option<&str>) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(format!("pgspan-node-{}", crate::random_hex(6).unwrap()));
        fs::create_dir_all(&folder).unwrap();
        if let Some(version) = node {
            let program = folder.join("node");
            fs::write(&program, format!("#!/bin/sh\necho {version}\n")).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let name = "tasks::setup::tests::what_a_program_says_of_its_node";
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "--nocapture", name]).env("PGSPAN_SAY_NODE", "").env("PATH", &folder);
        let output = program.output().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.split("node: ").nth(1));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    #[test]
    fn what_a_program_says_of_its_node() {
        if std::env::var_os("PGSPAN_SAY_NODE").is_some() {
            println!("node: {}", node().map_or_else(|error| format!("{error:#}"), |()| "good".to_owned()));
        }
    }

    #[test]
    fn a_machine_without_node_js_or_with_an_old_one_gets_one_sentence() {
        let none = "there is no Node.js on the PATH; install version 20.3 or newer (nodejs.org)";
        assert_eq!(said_with_node(None), none);
        let old = "Node.js v18.20.4 is too old; install version 20.3 or newer (nodejs.org)";
        assert_eq!(said_with_node(Some("v18.20.4")), old);
        for good in ["v20.3.0", "v22.11.0", "v100.0.0"] {
            assert_eq!(said_with_node(Some(good)), "good", "{good}");
        }
    }

    #[test]
    fn a_tool_has_the_version_of_its_crate_and_not_of_one_with_a_longer_name() {
        let lock = "[[package]]\nname = \"worker\"\nversion = \"0.8.7\"\n\n\
            [[package]]\nname = \"worker-macros\"\nversion = \"0.8.9\"\n";
        assert_eq!(locked(lock, "worker").as_deref(), Some("0.8.7"));
        assert_eq!(locked(lock, "wasm-bindgen"), None);
        assert_eq!(WASM_BINDGEN.version().unwrap().split('.').count(), 3); // pgspan's own
    }
}
