//! The Worker is built where there is no Rust, too: by a script that brings it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

/// A folder with the script, a home, and programs that say what they were asked for.
struct Bare(PathBuf);

impl Bare {
    fn new(name: &str) -> Result<Bare> {
        let bare = Bare(std::env::temp_dir().join(format!("pgspan-bare-{}-{name}", std::process::id())));
        for folder in ["edge-worker", "home", "bin"] {
            fs::create_dir_all(bare.0.join(folder))?;
        }
        fs::copy(tests::root().join("edge-worker/build.sh"), bare.0.join("edge-worker/build.sh"))?;
        Ok(bare)
    }

    fn program(&self, path: &str, text: &str) -> Result<()> {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?)
    }

    /// What the script says, and whether it succeeds.
    fn build(&self) -> Result<(String, bool)> {
        let output = Command::new("sh")
            .arg(self.0.join("edge-worker/build.sh"))
            .env_clear()
            .env("HOME", self.0.join("home"))
            .env("PATH", format!("{}:/usr/bin:/bin", self.0.join("bin").display()))
            .output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((String::from_utf8_lossy(&said).into_owned(), output.status.success()))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const CARGO: &str = r#"echo "cargo $*, in $PWD""#;

#[test]
fn the_worker_is_built_with_the_rust_that_is_there_or_with_one_that_is_brought() -> Result<()> {
    if ["/usr/bin/cargo", "/bin/cargo"].iter().any(|cargo| Path::new(cargo).exists()) {
        tests::skip("the machine has a cargo where every PATH has it");
        return Ok(());
    }
    let expected = |bare: &Bare| format!("cargo xtask worker, in {}\n", bare.0.display());

    let bare = Bare::new("with")?;
    bare.program("bin/cargo", CARGO)?;
    bare.program("bin/curl", "echo 'echo nothing may be fetched'")?;
    assert_eq!(bare.build()?, (expected(&bare), true));

    // the installer puts cargo into the home
    let bare = Bare::new("without")?;
    bare.program("cargo", CARGO)?;
    let cargo = bare.0.join("cargo");
    let installer = format!(
        r#"echo "installer $*"; mkdir -p "$HOME/.cargo/bin"; cp {} "$HOME/.cargo/bin/cargo""#,
        cargo.display()
    );
    bare.program("bin/curl", &format!("[ \"$5\" = https://sh.rustup.rs ] && cat <<'END'\n{installer}\nEND"))?;
    let (said, is_built) = bare.build()?;
    assert!(is_built && said.ends_with(&expected(&bare)), "{said}");
    assert!(said.contains("installer -y --no-modify-path"), "{said}");
    assert_eq!(bare.build()?, (expected(&bare), true), "it is there now");

    let bare = Bare::new("cut off")?;
    bare.program("bin/curl", "exit 7")?;
    let (said, is_built) = bare.build()?;
    assert!(!is_built && said.contains("rustup could not be installed"), "{said}");
    Ok(())
}
