//! One step of a schema, and the text by which it is known again.

use pgspan::{Error, Kind, Result};
use sha2::{Digest, Sha256};

/// One step of a schema.
///
/// Its SQL must not begin or end a transaction, which is found out and refused. Once applied it must never change: write another.
///
/// What PostgreSQL refuses in a transaction (`CREATE INDEX CONCURRENTLY`) is a migration of its own, of one statement, whose first
/// line is `-- pgspan: no transaction`. If it does not come to its end it is left half done, and nothing is applied until
/// someone has looked and said how to go on: `migrate --again` or `migrate --as-applied`. It needs a connection without a transaction pooler.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Migrations are applied in the order of their versions.
    pub version: i64,
    /// What it is for, in a word or two.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

/// Line ends do not count: a checkout may change them.
pub(super) fn digest(sql: &str) -> String {
    let digest = Sha256::digest(sql.replace("\r\n", "\n"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn in_order(migrations: &[Migration]) -> Result<Vec<&Migration>> {
    let mut sorted: Vec<&Migration> = migrations.iter().collect();
    sorted.sort_by_key(|migration| migration.version);
    for pair in sorted.windows(2) {
        if let [one, other] = pair
            && one.version == other.version
        {
            return Err(Error::new(Kind::Config, format!("two migrations have the version {}", one.version)));
        }
    }
    Ok(sorted)
}
