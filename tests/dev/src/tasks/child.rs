//! What a task's children find in their environment, and that two tasks of one clone do not build beside each other.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::target_dir;
use anyhow::{Context as _, Result};
use tokio::time::sleep;

use super::progress::say;

/// Takes out of a child's environment what cargo told us of ourselves, and what the developer's shell has for other programs.
///
/// cargo tells a program it runs about its package (`CARGO_MANIFEST_DIR` …). A cargo that is handed those builds everything
/// anew whose build script looks at them, and so does the next one that is not. `PG…` and `OTEL_…` variables would change what
/// the hosts and the suites connect to.
pub fn without_ours(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_ours) {
            command.env_remove(name);
        }
    }
    command
}

fn is_ours(name: &str) -> bool {
    const OF_CARGO: [&str; 5] =
        ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_PACKAGE"];
    let of_cargo = OF_CARGO.iter().any(|start| name.starts_with(start)) || name == "OUT_DIR";
    let of_the_shell = name.starts_with("PG") && !name.starts_with("PGSPAN_") || name.starts_with("OTEL_");
    of_cargo || of_the_shell
}

/// Whoever has it may build; it is given back when it is dropped.
pub(crate) async fn turn() -> Result<File> {
    turn_in(&target_dir().join("xtask")).await
}

async fn turn_in(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    let lock = File::create(folder.join("lock")).context("could not create the lock file")?;
    let mut told = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).context("could not lock the clone's target folder");
            }
        }
        if !std::mem::replace(&mut told, true) {
            say("another task builds in this clone; waiting for it");
        }
        sleep(Duration::from_millis(200)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_says_of_this_package_is_not_handed_on_and_what_the_user_set_is() {
        for ours in [
            "CARGO_MANIFEST_DIR",
            "CARGO_MANIFEST_PATH",
            "CARGO_PKG_NAME",
            "OUT_DIR",
            "PGHOST",
            "OTEL_SERVICE_NAME",
        ] {
            assert!(is_ours(ours), "{ours}");
        }
        for theirs in [
            "CARGO",
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_NET_OFFLINE",
            "PGSPAN_SERVER",
            "PATH",
            "RUSTFLAGS",
        ] {
            assert!(!is_ours(theirs), "{theirs}");
        }
    }

    #[test]
    fn a_childs_environment_has_nothing_of_this_package() {
        // cargo told us when it ran this test
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let mut child = Command::new("sh");
        let output =
            without_ours(child.args(["-c", "echo ${CARGO_MANIFEST_DIR-none} ${CARGO_PKG_NAME-none}"]))
                .output();
        assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "none none\n");
    }

    #[test]
    fn one_task_builds_at_a_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = std::env::temp_dir().join(format!("pgspan-turn-{}", std::process::id())); // a task has ours
        let turn = || turn_in(&folder);
        runtime.block_on(async {
            let first = turn().await.unwrap();
            let second = tokio::time::timeout(Duration::from_millis(500), turn());
            assert!(second.await.is_err(), "both build");
            drop(first);
            assert!(tokio::time::timeout(Duration::from_secs(5), turn()).await.unwrap().is_ok());
        });
        fs::remove_dir_all(&folder).unwrap();
    }
}
