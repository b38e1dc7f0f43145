//! What a machine with only Rust and Node.js lacks: npm packages, the WebAssembly target, two programs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ::tests::root;
use anyhow::{Context as _, Result, bail, ensure};

use crate::child::without_ours;
use crate::progress::Progress;

/// The oldest Node.js that the pinned wrangler runs on (`engines` in package.json says the same).
const NODE: (u32, u32) = (20, 3);

const WASM: &str = "wasm32-unknown-unknown";

/// A program from the Rust registry, pinned.
pub(crate) struct Tool {
    /// Its crate.
    package: &'static str,
    /// Its program.
    program: &'static str,
    version: &'static str,
}

/// Must be of the version of the `worker` crate.
pub(crate) const WORKER_BUILD: Tool =
    Tool { package: "worker-build", program: "worker-build", version: "0.8.7" };

/// Must be of exactly the version of the `wasm-bindgen` crate.
pub(crate) const WASM_BINDGEN: Tool =
    Tool { package: "wasm-bindgen-cli", program: "wasm-bindgen", version: "0.2.130" };

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    without_ours(&mut command).current_dir(root());
    command
}

/// Checks that there is a Node.js, and a new enough one.
pub(crate) fn node() -> Result<()> {
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

/// Installs what a folder's package-lock.json names, unless that is done.
pub(crate) async fn npm_packages(progress: &Progress, folder: &Path) -> Result<()> {
    let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
    let wanted = changed(&folder.join("package-lock.json"));
    // npm writes its own copy of the lock file last.
    let installed = changed(&folder.join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= wanted {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.current_dir(folder).args([
        "ci",
        "--ignore-scripts",
        "--prefer-offline",
        "--no-progress",
        "--loglevel=error",
    ]);
    // Without these it takes npm minutes to say that there is no network.
    npm.args(["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]);
    let installed = progress.run("installing npm packages", &mut npm).await;
    installed.context("the npm packages could not be installed; is the npm registry reachable from here?")
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
    progress
        .run(&format!("adding the Rust target {WASM}"), add.current_dir(root()).args(["target", "add", WASM]))
        .await
}

impl Tool {
    /// The program at its pinned version: from the PATH, from an earlier run of any clone, or installed now.
    pub(crate) async fn program(&self, progress: &Progress) -> Result<PathBuf> {
        let Self { package, program, version } = self;
        if self.is_right(Path::new(program)) {
            return Ok(PathBuf::from(program));
        }
        let home = cargo_home()?.join("pgspan-tools").join(format!("{package}-{version}"));
        let path = home.join("bin").join(program);
        if !self.is_right(&path) {
            let mut install = cargo();
            install.args(["install", package, "--version", version, "--force", "--root"]).arg(&home);
            // They work for a second or so in each build: compiling them fast is worth more than running them fast.
            install.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_PROFILE_RELEASE_LTO", "false");
            // Not --locked: wasm-bindgen-cli's lock file names a dependency that was withdrawn.
            progress
                .run(&format!("installing {package} {version} (a few minutes, once)"), &mut install)
                .await?;
        }
        ensure!(
            self.is_right(&path),
            "{} is not {program} {version}; remove it and try again",
            path.display()
        );
        Ok(path)
    }

    fn is_right(&self, path: &Path) -> bool {
        let said = said(Command::new(path).arg("--version"));
        said.is_some_and(|said| said.split_whitespace().last() == Some(self.version))
    }

    /// What to tell a changed tool by.
    pub(crate) fn version(&self) -> &'static str {
        self.version
    }
}

/// A program of an npm package.
pub(crate) fn npm_program(name: &str) -> PathBuf {
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

    #[test]
    fn the_tools_are_of_the_versions_that_the_lock_file_has_of_their_crates() {
        let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
        for (tool, name) in [(WORKER_BUILD, "worker"), (WASM_BINDGEN, "wasm-bindgen")] {
            let locked = format!("name = \"{name}\"\nversion = \"{}\"\n", tool.version());
            assert!(lock.contains(&locked), "{name} {}", tool.version());
        }
    }
}
