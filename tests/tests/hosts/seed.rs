//! The program pgspan grew from prints what its psycopg original prints.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tests::{root, skip, target_dir};

use crate::support::Database;

#[tokio::test]
async fn the_seed_program_prints_what_psycopg_prints_on_the_first_run_and_the_second() -> Result<()> {
    // Debian's, which has Debian's python3-psycopg, whatever python3 comes first on the PATH
    let python = Path::new("/usr/bin/python3");
    let psycopg = Command::new(python).args(["-c", "import psycopg"]).output();
    if !psycopg.is_ok_and(|output| output.status.success()) {
        skip("the original seed program needs the Debian package python3-psycopg");
        return Ok(());
    }
    let original = root().join("tests/tests/hosts/seed.py");
    let (theirs, ours) = (Database::migrated().await?, Database::migrated().await?);
    for run in ["first", "second"] {
        let theirs = print(Command::new(python).arg(&original).env("DATABASE_URL", &theirs.url))?;
        let ours =
            print(Command::new(target_dir().join("debug/examples/seed")).env("DATABASE_URL", &ours.url))?;
        assert_eq!(ours, theirs, "{run} run");
        assert_eq!(ours.lines().count(), 5, "{ours}");
    }
    Ok(())
}

fn print(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
