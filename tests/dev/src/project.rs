//! What a project is made of: its folders, its native program, its Worker.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// The workspace's root folder.
///
/// # Panics
/// When cargo can't say where it is.
pub fn root() -> PathBuf {
    Project::here().root.clone()
}

/// Where cargo puts what it builds: `CARGO_TARGET_DIR`, `CARGO_BUILD_TARGET_DIR` or cargo's configuration says so, else `target/`.
///
/// # Panics
/// When cargo can't say where it is.
pub fn target_dir() -> PathBuf {
    Project::here().target.clone()
}

/// A workspace's folders and programs.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) about: About,
    /// The cdylibs of the workspace, by their crate's folder.
    libraries: BTreeMap<PathBuf, String>,
}

/// The keys of `[workspace.metadata.pgspan]`, which the crate's documentation explains.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct About {
    pub(crate) native: String,
    pub(crate) worker: String,
    pub(crate) build: Option<String>,
    pub(crate) test_workers: Vec<String>,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) r#try: Vec<String>,
}

impl Project {
    /// The workspace of the package that cargo runs, else the one around the current folder. It is looked for when the program
    /// runs: a path that was compiled in would be the old one in a checkout that was copied or moved with its `target/`.
    ///
    /// # Panics
    /// When cargo can't say where it is, or what it says of the project is wrong.
    pub(crate) fn here() -> &'static Project {
        static PROJECT: OnceLock<Project> = OnceLock::new();
        PROJECT.get_or_init(|| {
            let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| ".".into());
            match Project::around(Path::new(&package), |_| ()) {
                Ok(project) => project,
                Err(error) => panic!("cargo does not say what the project is: {error:#}"),
            }
        })
    }

    /// Asks cargo, which `set` may give another environment.
    fn around(folder: &Path, set: impl Fn(&mut Command)) -> Result<Self> {
        let located =
            ask_cargo(folder, &["locate-project", "--workspace", "--message-format", "plain"], &set)?;
        let located = String::from_utf8(located).context("the workspace's path is no UTF-8")?;
        let root = Path::new(located.trim()).parent().context("the workspace has no folder")?.to_path_buf();
        // From the root, where the tasks run cargo too: a relative path means the same to all of them.
        let metadata = ask_cargo(&root, &["metadata", "--no-deps", "--format-version", "1"], &set)?;
        let metadata: Value = serde_json::from_slice(&metadata)?;
        let target = metadata["target_directory"].as_str().context("cargo names no target folder")?;
        let about = match &metadata["metadata"]["pgspan"] {
            Value::Null => About::default(),
            about => About::deserialize(about).context("[workspace.metadata.pgspan] in Cargo.toml")?,
        };
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let libraries = packages.filter_map(|package| {
            let folder = Path::new(package["manifest_path"].as_str()?).parent()?.to_path_buf();
            let mut targets = package["targets"].as_array()?.iter();
            let program = targets.find(|target| target["crate_types"] == serde_json::json!(["cdylib"]))?;
            Some((folder, program["name"].as_str()?.replace('-', "_")))
        });
        let libraries = libraries.collect();
        Ok(Self { target: PathBuf::from(target), root, about, libraries })
    }

    /// The package and the program of the native host.
    ///
    /// # Errors
    /// When the project names none.
    pub(crate) fn native(&self) -> Result<&str> {
        named(&self.about.native, "native", "the package of the native program")
    }

    /// The folder of the Worker's crate, from the root.
    ///
    /// # Errors
    /// When the project names none.
    pub(crate) fn worker(&self) -> Result<&str> {
        named(&self.about.worker, "worker", "the folder of the Worker's crate")
    }

    /// The folder that holds `build/` and the entry of the project's own Worker, from the root.
    ///
    /// # Errors
    /// When the project names no Worker.
    pub(crate) fn worker_home(&self) -> Result<PathBuf> {
        match &self.about.build {
            None => Ok(PathBuf::from(self.worker()?)),
            Some(build) => Path::new(build).parent().map(Path::to_path_buf).context("`build` has no folder"),
        }
    }

    /// What cargo calls the program of the Worker in this folder.
    ///
    /// # Errors
    /// When there is no such package, or it is no `cdylib` alone.
    pub(crate) fn program_in(&self, folder: &str) -> Result<&str> {
        let program = self.libraries.get(&self.root.join(folder));
        program.map(String::as_str).with_context(|| {
            format!("{folder} is no package of this workspace whose crate-type is [\"cdylib\"]")
        })
    }
}

fn named<'a>(value: &'a str, key: &str, what: &str) -> Result<&'a str> {
    ensure!(!value.is_empty(), "[workspace.metadata.pgspan] in Cargo.toml lacks `{key}`, {what}");
    Ok(value)
}

/// What cargo prints. `set` may give it another environment.
pub(crate) fn ask_cargo(folder: &Path, arguments: &[&str], set: impl Fn(&mut Command)) -> Result<Vec<u8>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    set(command.args(arguments).current_dir(folder));
    let output = command.output().context("could not run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo {}: {}", arguments.join(" "), said.trim());
    Ok(output.stdout)
}

/// A path that was compiled in made a moved checkout work on the old one. Its siblings, looked for here: the folder in which cargo
/// builds, set by either variable, absolute or relative, or in cargo's configuration; a package deeper in the workspace.
#[cfg(test)]
mod tests {
    use std::fs;

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
            let found = Project::around(&self.0.join("a/b"), |command| {
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
        let name = "project::tests::a_program_finds_the_checkout_it_is_run_in_not_the_one_it_was_compiled_in";
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
