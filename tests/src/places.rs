//! Where things are: the workspace, what is built, and where a cluster may live.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};

/// The workspace's root folder.
///
/// # Panics
/// When cargo can't say where it is.
pub fn root() -> PathBuf {
    workspace().root.clone()
}

/// Where cargo puts what it builds: `CARGO_TARGET_DIR`, `CARGO_BUILD_TARGET_DIR` or cargo's configuration says so, else `target/`.
///
/// # Panics
/// When cargo can't say where it is.
pub fn target_dir() -> PathBuf {
    workspace().target.clone()
}

/// A workspace's folders.
#[derive(Debug, PartialEq, Eq)]
struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

/// The workspace of the package that cargo runs, else the one around the current folder. It is looked for when the program
/// runs: a path that was compiled in would be the old one in a checkout that was copied or moved with its `target/`.
fn workspace() -> &'static Workspace {
    static WORKSPACE: OnceLock<Workspace> = OnceLock::new();
    WORKSPACE.get_or_init(|| {
        let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| ".".into());
        match Workspace::around(Path::new(&package), |_| ()) {
            Ok(workspace) => workspace,
            Err(error) => panic!("cargo does not say where the workspace is: {error:#}"),
        }
    })
}

impl Workspace {
    /// Asks cargo, which `set` may give another environment.
    fn around(folder: &Path, set: impl Fn(&mut Command)) -> Result<Self> {
        let ask = |folder: &Path, arguments: &[&str]| {
            let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
            let mut command = Command::new(cargo);
            set(command.args(arguments).current_dir(folder));
            let output = command.output().context("could not run cargo")?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "cargo {}: {}", arguments.join(" "), said.trim());
            Ok(output.stdout)
        };
        let located = ask(folder, &["locate-project", "--workspace", "--message-format", "plain"])?;
        let located = String::from_utf8(located).context("the workspace's path is no UTF-8")?;
        let root = Path::new(located.trim()).parent().context("the workspace has no folder")?.to_path_buf();
        // From the root, where the tasks run cargo too: a relative path means the same to all of them.
        let metadata = ask(&root, &["metadata", "--no-deps", "--format-version", "1"])?;
        let metadata: serde_json::Value = serde_json::from_slice(&metadata)?;
        let target = metadata["target_directory"].as_str().context("cargo names no target folder")?;
        Ok(Self { target: PathBuf::from(target), root })
    }
}

/// Creates a folder that nobody else may enter, with the folders above it.
///
/// # Errors
/// When it can't be created, or belongs to someone else.
pub fn private_dir(path: &Path) -> Result<()> {
    owned_dir(path, 0o700)
}

/// Where lasting things of this clone go when they can't go under `target/`: PostgreSQL refuses to run as root, and
/// whoever it runs as then can't enter a clone in root's home. So root keeps them in `/var/tmp/pgspan`.
pub(crate) fn reachable_dir() -> Result<PathBuf> {
    let path = Path::new("/var/tmp/pgspan");
    owned_dir(path, 0o755)?;
    Ok(path.to_path_buf())
}

/// A name for this clone, the same every time: the folder's own, and a hash of its whole path (FNV-1a).
pub(crate) fn clone_name() -> String {
    let root = root();
    let hash = root.to_string_lossy().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!("{name}-{hash:016x}")
}

/// Creates a folder with these permissions; one that is already there must be ours and closed to others' writing, or
/// what we run from it could be theirs.
pub(crate) fn owned_dir(path: &Path, mode: u32) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("could not create {}", parent.display()))?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("could not create {}", path.display())),
    }
    let found = fs::symlink_metadata(path)?;
    ensure!(
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0,
        "{} belongs to someone else or is open to others' writing; remove it",
        path.display()
    );
    Ok(())
}

/// A path that was compiled in made a moved checkout work on the old one. Its siblings, looked for here: the folder in which cargo
/// builds, set by either variable, absolute or relative, or in cargo's configuration; a package deeper in the workspace.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::random_hex;

    /// A workspace with one package, in a folder of its own.
    struct Checkout(PathBuf);

    impl Checkout {
        fn new() -> Result<Self> {
            let folder = env::temp_dir().join(format!("pgspan-checkout-{}", random_hex(6)?));
            fs::create_dir_all(folder.join("a/b/src"))?;
            let checkout = Self(folder.canonicalize()?);
            fs::write(checkout.0.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = [\"a/b\"]\n")?;
            fs::write(checkout.0.join("a/b/Cargo.toml"), "[package]\nname = \"b\"\nedition = \"2024\"\n")?;
            fs::write(checkout.0.join("a/b/src/lib.rs"), "")?;
            Ok(checkout)
        }

        /// Where cargo builds with these variables, and with none of the developer's.
        fn target(&self, more: &[(&str, &str)]) -> Result<PathBuf> {
            let found = Workspace::around(&self.0.join("a/b"), |command| {
                command.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET_DIR");
                command.env("CARGO_HOME", self.0.join("home")).envs(more.iter().copied());
            })?;
            assert_eq!(found.root, self.0);
            Ok(found.target)
        }

        fn configure(&self, folder: &str, target: &str) -> Result<()> {
            fs::create_dir_all(self.0.join(folder))?;
            let config = format!("[build]\ntarget-dir = \"{target}\"\n");
            Ok(fs::write(self.0.join(folder).join("config.toml"), config)?)
        }
    }

    impl Drop for Checkout {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn cargo_s_own_settings_say_where_things_are_built() -> Result<()> {
        let checkout = Checkout::new()?;
        assert_eq!(checkout.target(&[])?, checkout.0.join("target"));
        checkout.configure("home", "/nowhere/of-the-machine")?;
        assert_eq!(checkout.target(&[])?, Path::new("/nowhere/of-the-machine"));
        checkout.configure(".cargo", "of-the-checkout")?;
        assert_eq!(checkout.target(&[])?, checkout.0.join("of-the-checkout"));
        for (name, value, expected) in [
            ("CARGO_BUILD_TARGET_DIR", "/nowhere/built", PathBuf::from("/nowhere/built")),
            ("CARGO_TARGET_DIR", "/nowhere/built", PathBuf::from("/nowhere/built")),
            ("CARGO_TARGET_DIR", "relative", checkout.0.join("relative")),
        ] {
            assert_eq!(checkout.target(&[(name, value)])?, expected, "{name}={value}");
        }
        Ok(())
    }

    #[test]
    fn a_program_finds_the_checkout_it_is_run_in_not_the_one_it_was_compiled_in() -> Result<()> {
        const TELL: &str = "PGSPAN_TELL_ROOT";
        if env::var_os(TELL).is_some() {
            println!("root={}", root().display()); // this is the program that the test below has started
            return Ok(());
        }
        let checkout = Checkout::new()?;
        let name = "places::tests::a_program_finds_the_checkout_it_is_run_in_not_the_one_it_was_compiled_in";
        let output = Command::new(env::current_exe()?)
            .args(["--exact", "--nocapture", name])
            .env(TELL, "")
            .env("CARGO_MANIFEST_DIR", checkout.0.join("a/b"))
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&format!("root={}\n", checkout.0.display())), "{said}");
        Ok(())
    }
}
