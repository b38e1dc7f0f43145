//! Migrations: numbered SQL, each applied once.
//!
//! They come from a folder, which is read when the program is compiled: see [`migrations!`](crate::migrations!).
//!
//! Plain SQL in the simple protocol, on a connection of its own, without the limits of [`pgspan::Settings`]: a migration
//! may take its time, and keepalive ends it where the server is gone. But it waits no longer than 2 s for a lock, since all who
//! come after it queue behind it; `SET LOCAL lock_timeout` in its SQL says otherwise. Two that run at once take turns (by an
//! advisory lock, which is the database's), and wait for each other for 60 s at most.
//!
//! Each begins with the session as it was when it was opened: what another set (`search_path`, a role) does not reach it. Which
//! were applied is in the table `public.pgspan_migrations`, whatever the `search_path`, with the SHA-256 of their text.
//!
//! A migration runs in a transaction, unless its first line is `-- pgspan: no transaction`: see [`Migration`].

use std::collections::BTreeMap;
use std::time::Duration;

use pgspan::{ConnectionUrl, Error, Kind, Result};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::dialler::Dialler;
use apply::apply;
use failure::{ANSWER, answered, failed};
pub use migration::Migration;
use migration::{digest, in_order};
use record::{Recorded, recorded};

mod apply;
mod failure;
mod migration;
mod record;

/// What is known of one migration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Its number.
    pub version: i64,
    /// Its name, as the program has it, else as the database does.
    pub name: String,
    /// When it was applied (UTC), if it was.
    pub applied: Option<String>,
    /// Whether it came to its end; one that runs outside a transaction may be left half done.
    pub finished: bool,
    /// Whether the program knows it; one that it does not know was applied by a newer program.
    pub known: bool,
    /// Whether the program's text is another than the one that was applied.
    pub altered: bool,
}

/// Applies what of these migrations is not applied yet, and says which those were.
///
/// # Errors
///
/// [`Kind::Config`] if the URL can't be used, [`Kind::Unavailable`] if the server can't be reached or leaves, or a lock is
/// not free, [`Kind::Refused`] if an applied migration was altered since, one was left half done or ends its transaction itself,
/// [`Kind::Server`] if one fails, [`Kind::Timeout`] if the server does not answer; those before it stay applied.
///
/// # Cancel safety
///
/// Dropping the future rolls back the migration that is being applied; those before it stay.
pub async fn migrate(url: &str, migrations: &[Migration]) -> Result<Vec<&'static str>> {
    migrate_to(&url.parse()?, migrations).await
}

/// As [`migrate()`], for a URL that was parsed already.
///
/// # Errors
///
/// As [`migrate()`].
///
/// # Cancel safety
///
/// As [`migrate()`].
pub async fn migrate_to(url: &ConnectionUrl, migrations: &[Migration]) -> Result<Vec<&'static str>> {
    let client = connect(url).await?;
    let mut applied = Vec::new();
    for migration in in_order(migrations)? {
        if apply(&client, migration).await? {
            applied.push(migration.name);
        }
    }
    Ok(applied)
}

/// What of these migrations is applied, and what is not. It changes nothing.
///
/// # Errors
///
/// [`Kind::Config`] if the URL can't be used, [`Kind::Unavailable`] if the server can't be reached or leaves, [`Kind::Server`] if it
/// refuses to answer, [`Kind::Timeout`] if it does not answer.
///
/// # Cancel safety
///
/// It only reads.
pub async fn status(url: &str, migrations: &[Migration]) -> Result<Vec<Status>> {
    status_of(&url.parse()?, migrations).await
}

/// As [`status()`], for a URL that was parsed already.
///
/// # Errors
///
/// As [`status()`].
///
/// # Cancel safety
///
/// It only reads.
pub async fn status_of(url: &ConnectionUrl, migrations: &[Migration]) -> Result<Vec<Status>> {
    let client = connect(url).await?;
    answered(ANSWER, statuses(&client, migrations)).await
}

/// Lets a migration that was left half done be run again.
///
/// # Errors
///
/// [`Kind::Refused`] if it was not left half done; otherwise as [`migrate()`].
///
/// # Cancel safety
///
/// It is done or not.
pub async fn again(url: &ConnectionUrl, version: i64) -> Result<()> {
    let sql = "DELETE FROM public.pgspan_migrations WHERE version = $1 AND NOT finished";
    settle(url, version, sql).await
}

/// Takes a migration that was left half done as applied.
///
/// # Errors
///
/// As [`again`].
///
/// # Cancel safety
///
/// It is done or not.
pub async fn as_applied(url: &ConnectionUrl, version: i64) -> Result<()> {
    let sql = "UPDATE public.pgspan_migrations SET finished = true WHERE version = $1 AND NOT finished";
    settle(url, version, sql).await
}

async fn settle(url: &ConnectionUrl, version: i64, sql: &str) -> Result<()> {
    let client = connect(url).await?;
    let settled = answered(ANSWER, async {
        let settled = client.execute_typed(sql, &[(&version, Type::INT8)]).await;
        settled.map_err(|error| failed("settle a migration", error))
    });
    match settled.await? {
        0 => Err(Error::new(Kind::Refused, format!("migration {version:04} was not left half done"))),
        _ => Ok(()),
    }
}

pub(crate) async fn statuses(client: &Client, migrations: &[Migration]) -> Result<Vec<Status>> {
    let rows = recorded(client, None).await?;
    let mut rows: BTreeMap<i64, Recorded> = rows.into_iter().map(|row| (row.version, row)).collect();
    let mut all = Vec::new();
    for Migration { version, name, sql } in in_order(migrations)? {
        let row = rows.remove(version);
        let altered = row.as_ref().is_some_and(|row| row.checksum != digest(sql));
        let finished = row.as_ref().is_none_or(|row| row.finished);
        let applied = row.map(|row| row.applied);
        all.push(Status {
            version: *version,
            name: (*name).to_owned(),
            applied,
            finished,
            known: true,
            altered,
        });
    }
    all.extend(rows.into_values().map(|Recorded { version, name, applied, finished, .. }| Status {
        version,
        name,
        applied: Some(applied),
        finished,
        known: false,
        altered: false,
    }));
    all.sort_by_key(|status| status.version);
    Ok(all)
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

async fn connect(url: &ConnectionUrl) -> Result<Client> {
    let mut config = url.postgres().clone();
    config.application_name(config.get_application_name().unwrap_or("pgspan migrate").to_owned());
    Ok(Dialler::new(url, config, None)?.open(CONNECT_TIMEOUT).await?.client)
}

#[cfg(test)]
mod tests;
