//! Files with secrets: who else may read them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// What such a file must be.
pub(crate) const PRIVATE: &str =
    "a file that its owner alone can use (chmod 0600), or root's that a group can read (0640)";

/// Whether nobody else may use the file, by libpq's rule for keys (PostgreSQL documentation, 34.19.2); nothing if it is not there.
///
/// A file of root may be readable by a group, since who is in it is root's to decide: systemd's credentials and Kubernetes'
/// secrets are such files. So may any of the service's credentials (`$CREDENTIALS_DIRECTORY`, systemd's "Credentials").
pub(crate) fn is_private(path: impl AsRef<Path>) -> Option<bool> {
    let found = std::fs::metadata(&path).ok()?;
    let is_credential = std::env::var_os("CREDENTIALS_DIRECTORY")
        .is_some_and(|folder| !folder.is_empty() && path.as_ref().starts_with(folder));
    let others = if found.uid() == 0 || is_credential { 0o037 } else { 0o077 };
    Some(found.is_file() && found.permissions().mode() & others == 0)
}
