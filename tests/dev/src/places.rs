//! Where a cluster and a run's files may live.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::root;

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
