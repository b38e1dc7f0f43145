//! Applies one migration: in a transaction, or outside of one where it says so.

use std::time::Duration;

use pgspan::{Error, Kind, Result};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::failure::{ANSWER, answered, failed, not_applied, run};
use super::migration::Migration;
use super::record::{is_recorded, is_same_transaction, prepare, record};

/// Any number will do; it must only be the same for all.
const LOCK: i64 = 7_310_579_619_325_830_465;

/// As the application's own: all who come after one that waits for a table queue behind it.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

/// Limits that a role has (`ALTER ROLE … SET`) are the application's. Not every server knows all of them.
const NO_LIMITS: &str = "SELECT set_config(name, '0', $1) FROM pg_settings
    WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')";

/// The first line of a migration that runs outside a transaction.
const NO_TRANSACTION: &str = "-- pgspan: no transaction";

/// How long one that runs already is waited for: longer ones are rare, and whoever waits can be run again.
pub(super) const TURN: Duration = Duration::from_secs(60);

/// How soon it is looked again whether it is this one's turn.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Applies it unless it is; false if it was. An error leaves the transaction open, and the connection's end rolls it back.
pub(super) async fn apply(client: &Client, migration: &Migration) -> Result<bool> {
    answered(ANSWER, run(client, "DISCARD ALL", "begin")).await?;
    match migration.sql.trim_start_matches('\u{feff}').starts_with(NO_TRANSACTION) {
        true => apply_outside(client, migration).await,
        false => apply_inside(client, migration).await,
    }
}

async fn apply_inside(client: &Client, migration: &Migration) -> Result<bool> {
    let Migration { version, name, sql } = migration;
    begin(client, TURN).await?;
    if answered(ANSWER, is_recorded(client, migration)).await? {
        run(client, "COMMIT", "end").await?;
        return Ok(false);
    }
    let transaction = answered(ANSWER, prepare(client)).await?;
    let applied = client.batch_execute(sql).await;
    applied.map_err(|error| not_applied(migration, error))?;
    answered(ANSWER, is_same_transaction(client, &transaction)).await?.then_some(()).ok_or_else(|| {
        let text = format!(
            "migration {version:04} ({name}) ended its transaction: it is not recorded, and a part of it may be stored; \
             look for that, and take COMMIT and ROLLBACK out of it"
        );
        Error::new(Kind::Refused, text)
    })?;
    // the record is written by whoever connected, whatever role the migration took
    answered(ANSWER, run(client, "RESET SESSION AUTHORIZATION; RESET ROLE", "record a migration")).await?;
    answered(ANSWER, record(client, migration, true)).await?;
    run(client, "COMMIT", "commit").await?;
    Ok(true)
}

/// In three steps: it is noted that it begins, it is run, it is noted that it has ended.
async fn apply_outside(client: &Client, migration: &Migration) -> Result<bool> {
    begin(client, TURN).await?;
    if answered(ANSWER, is_recorded(client, migration)).await? {
        run(client, "COMMIT", "end").await?;
        return Ok(false);
    }
    // the lock of the session goes on where that of the transaction ends
    let keep = client.query_typed_one("SELECT pg_advisory_lock($1)", &[(&LOCK, Type::INT8)]);
    answered(ANSWER, async { keep.await.map_err(|error| failed("take turns", error)) }).await?;
    answered(ANSWER, prepare(client)).await?;
    answered(ANSWER, record(client, migration, false)).await?;
    run(client, "COMMIT", "commit").await?;
    answered(ANSWER, no_limits(client, false)).await?;
    let lock_timeout = "SET lock_timeout = '2s'";
    answered(ANSWER, run(client, lock_timeout, "begin")).await?;
    let applied = client.batch_execute(migration.sql).await;
    applied.map_err(|error| not_applied(migration, error).with_prefix("left half done"))?;
    answered(ANSWER, run(client, "RESET SESSION AUTHORIZATION; RESET ROLE", "record a migration")).await?;
    let finish = "UPDATE public.pgspan_migrations SET finished = true, applied_at = now() WHERE version = $1";
    answered(ANSWER, async {
        let finished = client.execute_typed(finish, &[(&migration.version, Type::INT8)]).await;
        finished.map_err(|error| failed("record a migration", error))
    })
    .await?;
    answered(ANSWER, run(client, "DISCARD ALL", "end")).await?; // with the lock
    Ok(true)
}

/// Begins a transaction that has the lock by which those who migrate at once take turns. Who waits for it is in no transaction:
/// `CREATE INDEX CONCURRENTLY` waits for all that are.
pub(super) async fn begin(client: &Client, turn: Duration) -> Result<()> {
    let started = Instant::now();
    loop {
        let begun = async {
            run(client, "BEGIN ISOLATION LEVEL READ COMMITTED", "begin").await?;
            no_limits(client, true).await?;
            run(client, LOCK_TIMEOUT, "begin").await?;
            let lock = "SELECT pg_try_advisory_xact_lock($1)";
            let row = client.query_typed_one(lock, &[(&LOCK, Type::INT8)]).await;
            row.and_then(|row| row.try_get::<_, bool>(0)).map_err(|error| failed("take turns", error))
        };
        if answered(ANSWER, begun).await? {
            return Ok(());
        }
        answered(ANSWER, run(client, "ROLLBACK", "take turns")).await?;
        if started.elapsed() >= turn {
            let text =
                format!("another migration is running, and was for {} s: run it again", turn.as_secs());
            return Err(Error::unavailable(text));
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn no_limits(client: &Client, in_transaction: bool) -> Result<()> {
    let set = client.query_typed(NO_LIMITS, &[(&in_transaction, Type::BOOL)]).await;
    set.map(drop).map_err(|error| failed("begin", error))
}
