//! `cargo xtask new`: a project of one's own, from the folder `template`, which `cargo generate` understands too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::Value;

use super::progress::say;
use crate::project::ask_cargo;
use crate::root;

/// `cargo xtask new`'s arguments.
#[derive(Debug, Args)]
pub struct Options {
    /// The folder to create; its last part is the project's name
    folder: PathBuf,
    /// Depend on the crates of this clone of pgspan [default: the clone that this runs in]
    #[arg(long, value_name = "CLONE", conflicts_with = "published")]
    path: Option<PathBuf>,
    /// Depend on the published crates
    #[arg(long)]
    published: bool,
}

/// Creates the project.
///
/// # Errors
/// When the folder has something in it already, its name can't be a package's, or it can't be written.
pub fn run(options: &Options) -> Result<ExitCode> {
    let folder = std::path::absolute(&options.folder)?;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ensure!(
        is_package_name(name),
        "`{name}` can't be the project's name: take small letters, digits and dashes, and no name of Rust's or of a crate it uses"
    );
    let is_taken = fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
    ensure!(!is_taken, "{} has something in it already", folder.display());
    for (file, text) in FILES {
        let file = file.strip_suffix(".liquid").unwrap_or(file);
        write(&folder.join(file), &filled_in(text, name))?;
    }
    if !options.published {
        let clone = options.path.clone().unwrap_or_else(root);
        depend_on(&std::path::absolute(clone)?, &folder, name)?;
    }
    let shown = options.folder.display();
    say(&format!(
        "{shown} is made. Go on with\n\n  cd {shown}\n  cargo xtask up      # try it\n  cargo xtask test    # test it\n"
    ));
    say("Both hosts serve app/src/lib.rs; README.md says what else there is.");
    Ok(ExitCode::SUCCESS)
}

/// The template, a file a line: so that it is part of this crate wherever that is built.
const FILES: &[(&str, &str)] = &[
    (".cargo/config.toml", include_str!("../../template/.cargo/config.toml")),
    (".dev.vars", include_str!("../../template/.dev.vars")),
    (".github/workflows/ci.yml", include_str!("../../template/.github/workflows/ci.yml")),
    (".gitignore", include_str!("../../template/.gitignore")),
    (".npmrc", include_str!("../../template/.npmrc")),
    ("Cargo.toml.liquid", include_str!("../../template/Cargo.toml.liquid")),
    ("README.md", include_str!("../../template/README.md")),
    ("app/Cargo.toml.liquid", include_str!("../../template/app/Cargo.toml.liquid")),
    ("app/src/lib.rs", include_str!("../../template/app/src/lib.rs")),
    ("app/src/products.rs", include_str!("../../template/app/src/products.rs")),
    ("app/tests/products.rs", include_str!("../../template/app/tests/products.rs")),
    ("migrations/0001_products.sql", include_str!("../../template/migrations/0001_products.sql")),
    ("package.json", include_str!("../../template/package.json")),
    ("rust-toolchain.toml", include_str!("../../template/rust-toolchain.toml")),
    ("rustfmt.toml", include_str!("../../template/rustfmt.toml")),
    ("server/Cargo.toml.liquid", include_str!("../../template/server/Cargo.toml.liquid")),
    ("server/src/main.rs", include_str!("../../template/server/src/main.rs")),
    ("worker/Cargo.toml.liquid", include_str!("../../template/worker/Cargo.toml.liquid")),
    ("worker/src/lib.rs", include_str!("../../template/worker/src/lib.rs")),
    ("wrangler.toml", include_str!("../../template/wrangler.toml")),
    ("xtask/Cargo.toml.liquid", include_str!("../../template/xtask/Cargo.toml.liquid")),
    ("xtask/src/main.rs", include_str!("../../template/xtask/src/main.rs")),
];

/// As `cargo generate` fills in its placeholders.
fn filled_in(text: &str, name: &str) -> String {
    text.replace("{{project-name}}", name).replace("{{crate_name}}", &name.replace('-', "_"))
}

fn is_package_name(name: &str) -> bool {
    // Packages beside it, crates that it uses, words of Rust, and crates of the compiler's.
    const TAKEN: &str = "alloc app as async await axum box break const continue core crate do dyn else enum extern false fn for \
        gen if impl in let loop macro match mod move mut pgspan priv proc-macro pub ref return self serde serde-json server static \
        std struct super test tokio trait true try type union unsafe use virtual where while worker xtask yield";
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(is_plain)
        && !name.ends_with('-')
        && !name.starts_with("pgspan-")
        && !TAKEN.split(' ').any(|taken| taken == name)
}

/// Takes the crates from a clone instead of the registry, and all else in the versions that the clone has.
fn depend_on(clone: &Path, folder: &Path, name: &str) -> Result<()> {
    let manifest = folder.join("Cargo.toml");
    let mut text = fs::read_to_string(&manifest)?;
    let metadata = ask_cargo(clone, &["metadata", "--no-deps", "--format-version", "1"], |_| ())?;
    let metadata: Value = serde_json::from_slice(&metadata)?;
    let mut crates: Vec<(&str, &Path)> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| {
            let folder = Path::new(package["manifest_path"].as_str()?).parent()?;
            Some((package["name"].as_str()?, folder))
        })
        .filter(|(name, _)| text.lines().any(|line| line.starts_with(&format!("{name} = "))))
        .collect();
    crates.sort();
    ensure!(!crates.is_empty(), "{} is no clone of pgspan", clone.display());
    text += "\n# From a clone, as long as they are not published.\n[patch.crates-io]\n";
    for (name, folder) in crates {
        text += &format!("{name} = {{ path = {:?} }}\n", folder.display().to_string());
    }
    write(&manifest, &text)?;
    for lock in ["Cargo.lock", "package-lock.json"] {
        let text = fs::read_to_string(clone.join(lock))?;
        write(&folder.join(lock), &text.replace("\"name\": \"pgspan\"", &format!("\"name\": \"{name}\"")))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    let created = path.parent().map_or(Ok(()), fs::create_dir_all);
    created
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("could not write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files_in(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                files_in(&entry.path(), found);
            } else {
                found.push(entry.path());
            }
        }
    }

    #[test]
    fn every_file_of_the_template_is_written_and_no_placeholder_is_left() {
        let template = root().join("tests/dev/template");
        let mut found = Vec::new();
        files_in(&template, &mut found);
        let found =
            found.iter().map(|path| path.strip_prefix(&template).unwrap().to_str().unwrap().to_owned());
        let mut found: Vec<String> = found.filter(|file| file != "cargo-generate.toml").collect();
        found.sort();
        assert_eq!(found, FILES.iter().map(|(file, _)| file.to_string()).collect::<Vec<_>>());
        for (file, text) in FILES {
            let text = filled_in(text, "corner-shop");
            assert!(!text.contains("{{") && !text.contains("{%"), "{file}: cargo generate would read it");
        }
    }

    #[test]
    fn the_template_has_at_most_150_lines_of_rust() {
        let rust = FILES.iter().filter(|(file, _)| file.ends_with(".rs"));
        let written = |text: &str| text.lines().filter(|line| !line.trim().is_empty()).count();
        let lines: usize = rust.map(|(_, text)| written(text)).sum();
        assert!(lines <= 150, "{lines}");
    }

    #[test]
    fn the_template_asks_for_this_version() {
        let manifest = FILES.iter().find(|(file, _)| *file == "Cargo.toml.liquid").unwrap().1;
        let ours: Vec<&str> = manifest.lines().filter(|line| line.starts_with("pgspan")).collect();
        let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
        assert!(ours.len() == 5 && ours.iter().all(|line| line.contains(&version)), "{ours:?}");
    }

    #[test]
    fn the_template_has_the_npm_packages_of_the_repository() {
        let ours = fs::read_to_string(root().join("package.json")).unwrap();
        let ours: Value = serde_json::from_str(&ours).unwrap();
        let template = FILES.iter().find(|(file, _)| *file == "package.json").unwrap();
        let template: Value = serde_json::from_str(template.1).unwrap();
        for key in ["engines", "devDependencies", "optionalDependencies"] {
            assert_eq!(template[key], ours[key], "{key}");
        }
    }

    #[test]
    fn a_name_that_no_package_can_have_is_refused() {
        for good in ["shop", "corner-shop", "shop2"] {
            assert!(is_package_name(good), "{good}");
        }
        for bad in [
            "",
            "Shop",
            "2shop",
            "-shop",
            "shop-",
            "corner_shop",
            "shöp",
            "a.b",
            "fn",
            "test",
            "axum",
            "pgspan-x",
        ] {
            assert!(!is_package_name(bad), "{bad}");
        }
    }
}
