//! Migrations: numbered SQL, each applied once, in a transaction of its own.
//!
//! Plain SQL in the simple protocol, on a connection of its own, without the limits of [`pgspan::Settings`]: a migration
//! may take its time, and keepalive ends it where the server is gone. But it waits no longer than 2 s for a lock, since all who
//! come after it queue behind it; `SET LOCAL lock_timeout` in its SQL says otherwise. Two that run at once take turns
//! (`pg_advisory_xact_lock`; it works behind a transaction pooler too), and wait for each other for 60 s at most. Which were
//! applied is in the table `pgspan_migrations`, with the SHA-256 of their text.

use std::collections::BTreeMap;
use std::time::Duration;

use pgspan::{ConnectionUrl, Error, Kind, Result};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::dialler::Dialler;
use crate::tls;

/// One step of a schema.
///
/// Its SQL must not begin or end a transaction, which is found out and refused, and can't hold what PostgreSQL refuses in one
/// (`CREATE INDEX CONCURRENTLY`). Once applied it must never change: write another.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Migrations are applied in the order of their versions.
    pub version: i64,
    /// What it is for, in a word or two.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

/// What is known of one migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its number.
    pub version: i64,
    /// Its name, as the program has it, else as the database does.
    pub name: String,
    /// When it was applied (UTC), if it was.
    pub applied: Option<String>,
    /// Whether the program knows it; one that it does not know was applied by a newer program.
    pub known: bool,
    /// Whether the program's text is another than the one that was applied.
    pub altered: bool,
}

/// The application's, from the folder `migrations/`.
pub const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "users", sql: include_str!("../../migrations/0001_users.sql") }];

/// Applies what of [`MIGRATIONS`] is not applied yet, and says which those were.
///
/// # Errors
///
/// [`Kind::Config`] if the URL can't be used, [`Kind::Unavailable`] if the server can't be reached or leaves, [`Kind::Refused`] if an
/// applied migration was altered since or one ends its transaction itself, [`Kind::Server`] if one fails or does not get its
/// locks, [`Kind::Timeout`] if the server does not answer; those before it stay applied.
///
/// # Cancel safety
///
/// Dropping the future rolls back the migration that is being applied; those before it stay.
pub async fn migrate(url: &str) -> Result<Vec<&'static str>> {
    migrate_with(url, MIGRATIONS).await
}

/// Applies migrations of your own; otherwise as [`migrate`].
///
/// # Errors
///
/// As [`migrate`].
///
/// # Cancel safety
///
/// As [`migrate`].
pub async fn migrate_with(url: &str, migrations: &[Migration]) -> Result<Vec<&'static str>> {
    let client = connect(url).await?;
    let mut applied = Vec::new();
    for migration in in_order(migrations)? {
        if apply(&client, migration).await? {
            applied.push(migration.name);
        }
    }
    Ok(applied)
}

/// What of [`MIGRATIONS`] is applied, and what is not. It changes nothing.
///
/// # Errors
///
/// [`Kind::Config`] if the URL can't be used, [`Kind::Unavailable`] if the server can't be reached or leaves, [`Kind::Server`] if it
/// refuses to answer, [`Kind::Timeout`] if it does not answer.
///
/// # Cancel safety
///
/// It only reads.
pub async fn status(url: &str) -> Result<Vec<Status>> {
    status_with(url, MIGRATIONS).await
}

/// What of your own migrations is applied; otherwise as [`status`].
///
/// # Errors
///
/// As [`status`].
///
/// # Cancel safety
///
/// It only reads.
pub async fn status_with(url: &str, migrations: &[Migration]) -> Result<Vec<Status>> {
    let client = connect(url).await?;
    answered(ANSWER, statuses(&client, migrations)).await
}

pub(crate) async fn statuses(client: &Client, migrations: &[Migration]) -> Result<Vec<Status>> {
    let rows = recorded(client, None).await?;
    let mut rows: BTreeMap<i64, Recorded> = rows.into_iter().map(|row| (row.version, row)).collect();
    let mut all = Vec::new();
    for Migration { version, name, sql } in in_order(migrations)? {
        let row = rows.remove(version);
        let altered = row.as_ref().is_some_and(|row| row.checksum != digest(sql));
        let applied = row.map(|row| row.applied);
        all.push(Status { version: *version, name: (*name).to_owned(), applied, known: true, altered });
    }
    all.extend(rows.into_values().map(|Recorded { version, name, applied, .. }| Status {
        version,
        name,
        applied: Some(applied),
        known: false,
        altered: false,
    }));
    all.sort_by_key(|status| status.version);
    Ok(all)
}

/// Any number will do; it must only be the same for all.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7310579619325830465)";

/// As the application's own: all who come after one that waits for a table queue behind it.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS pgspan_migrations (
    version    bigint PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For what takes a healthy server milliseconds.
const ANSWER: Duration = Duration::from_secs(10);

/// How long one that runs already is waited for: longer ones are rare, and whoever waits can be run again.
const TURN: Duration = Duration::from_secs(60);

async fn connect(url: &str) -> Result<Client> {
    let url: ConnectionUrl = url.parse()?;
    let mut config = url.postgres().clone();
    config.application_name(config.get_application_name().unwrap_or("pgspan migrate").to_owned());
    Ok(Dialler::new(&url, config)?.open(CONNECT_TIMEOUT).await?.client)
}

/// Applies it unless it is; false if it was. An error leaves the transaction open, and the connection's end rolls it back.
async fn apply(client: &Client, migration: &Migration) -> Result<bool> {
    let Migration { version, name, sql } = migration;
    answered(TURN + ANSWER, begin(client, TURN)).await?;
    if answered(ANSWER, is_recorded(client, migration)).await? {
        run(client, "COMMIT", "end").await?;
        return Ok(false);
    }
    let transaction = answered(ANSWER, prepare(client)).await?;
    run(client, sql, &format!("apply migration {version:04} ({name})")).await?;
    answered(ANSWER, record(client, migration, &transaction)).await?;
    run(client, "COMMIT", "commit").await?;
    Ok(true)
}

/// Takes the lock that those who migrate at once take turns by.
async fn begin(client: &Client, turn: Duration) -> Result<()> {
    // limits that the role has (`ALTER ROLE … SET`) are the application's
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {}",
        turn.as_millis()
    );
    run(client, &begin, "begin").await?;
    run(client, LOCK, "take turns with another migration").await?;
    run(client, LOCK_TIMEOUT, "begin").await
}

async fn is_recorded(client: &Client, Migration { version, name, sql }: &Migration) -> Result<bool> {
    match recorded(client, Some(*version)).await?.first() {
        None => Ok(false),
        Some(known) if known.checksum == digest(sql) => Ok(true),
        Some(_) => {
            let text = format!(
                "migration {version:04} ({name}) was altered after it was applied: restore it, and write another"
            );
            Err(Error::new(Kind::Refused, text))
        }
    }
}

/// What is needed to record it, and the transaction's id.
async fn prepare(client: &Client) -> Result<String> {
    run(client, TABLE, "create the table pgspan_migrations").await?;
    let id = client.query_typed_one("SELECT pg_current_xact_id()::text", &[]).await;
    id.and_then(|row| row.try_get(0)).map_err(|error| failed("begin", error))
}

/// Records it, if that is stored together with what it did or not at all.
async fn record(client: &Client, Migration { version, name, sql }: &Migration, begun: &str) -> Result<()> {
    let failed = |error| failed("record a migration", error);
    let id = client.query_typed_one("SELECT pg_current_xact_id_if_assigned()::text", &[]).await;
    let id: Option<String> = id.and_then(|row| row.try_get(0)).map_err(failed)?;
    if id.as_deref() != Some(begun) {
        let text = format!(
            "migration {version:04} ({name}) ended its transaction: it is not recorded, and a part of it may be stored; \
             look for that, and take COMMIT and ROLLBACK out of it"
        );
        return Err(Error::new(Kind::Refused, text));
    }
    let insert = "INSERT INTO pgspan_migrations (version, name, checksum) VALUES ($1, $2, $3)";
    let checksum = digest(sql);
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(version, Type::INT8), (name, Type::TEXT), (&checksum, Type::TEXT)];
    client.execute_typed(insert, &values).await.map_err(failed)?;
    Ok(())
}

struct Recorded {
    version: i64,
    name: String,
    checksum: String,
    applied: String,
}

/// What the table holds; nothing where there is no table.
async fn recorded(client: &Client, version: Option<i64>) -> Result<Vec<Recorded>> {
    let failed = |error| failed("read which migrations are applied", error);
    let exists = client.query_typed_one("SELECT to_regclass('pgspan_migrations') IS NOT NULL", &[]).await;
    if !exists.and_then(|row| row.try_get(0)).map_err(failed)? {
        return Ok(Vec::new());
    }
    let select =
        "SELECT version, name, checksum, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
        FROM pgspan_migrations WHERE version = coalesce($1, version) ORDER BY version";
    let rows = client.query_typed(select, &[(&version, Type::INT8)]).await.map_err(failed)?;
    let read = |row: tokio_postgres::Row| {
        Ok(Recorded {
            version: row.try_get(0)?,
            name: row.try_get(1)?,
            checksum: row.try_get(2)?,
            applied: row.try_get(3)?,
        })
    };
    rows.into_iter().map(read).collect::<Result<_, _>>().map_err(failed)
}

async fn run(client: &Client, sql: &str, what: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(|error| failed(what, error))
}

async fn answered<T>(limit: Duration, answer: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(limit, answer).await.unwrap_or_else(|_| {
        Err(Error::new(Kind::Timeout, format!("the server did not answer within {} s", limit.as_secs())))
    })
}

/// The server's primary message is shown, since it speaks of the schema; DETAIL, which quotes rows, is not.
fn failed(what: &str, error: tokio_postgres::Error) -> Error {
    let why = match error.as_db_error() {
        Some(db) if db.code() == &SqlState::LOCK_NOT_AVAILABLE => {
            format!("a lock was not free in time ({}): run it again", db.code().code())
        }
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => tls::reason(&error),
    };
    let kind = match error.code() {
        Some(code) if !is_leaving(code) => Kind::Server,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("could not {what}: {why}"))
}

/// Whether the server ends, or this connection to it (PostgreSQL documentation, appendix A): it may be back soon.
fn is_leaving(code: &SqlState) -> bool {
    matches!(*code, SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW)
}

/// Line ends do not count: a checkout may change them.
fn digest(sql: &str) -> String {
    let digest = Sha256::digest(sql.replace("\r\n", "\n"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn in_order(migrations: &[Migration]) -> Result<Vec<&Migration>> {
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

#[cfg(test)]
mod tests;
