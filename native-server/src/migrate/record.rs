//! The record of what was applied: the table `public.pgspan_migrations`.

use pgspan::{Error, Kind, Result};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::failure::{failed, run};
use super::migration::{Migration, digest};

/// In a place of its own, whatever the `search_path`. `finished` came later.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS public.pgspan_migrations (
    version    bigint PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE public.pgspan_migrations ADD COLUMN IF NOT EXISTS finished boolean NOT NULL DEFAULT true";

const IS_THERE: &str = "SELECT EXISTS (SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('public.pgspan_migrations') AND attname = 'finished')";

pub(super) async fn is_recorded(
    client: &Client,
    Migration { version, name, sql }: &Migration,
) -> Result<bool> {
    match recorded(client, Some(*version)).await?.first() {
        None => Ok(false),
        Some(Recorded { finished: false, .. }) => {
            let text = format!(
                "migration {version:04} ({name}) was left half done: look what it left behind (an index that is not valid, say), \
                 then migrate with --again {version} or --as-applied {version}"
            );
            Err(Error::new(Kind::Refused, text))
        }
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
pub(super) async fn prepare(client: &Client) -> Result<String> {
    // not for nothing: while a migration runs, others may look which are applied
    let is_there = client.query_typed_one(IS_THERE, &[]).await;
    if !is_there.and_then(|row| row.try_get(0)).map_err(|error| failed("begin", error))? {
        run(client, TABLE, "create the table public.pgspan_migrations").await?;
    }
    let id = client.query_typed_one("SELECT pg_current_xact_id()::text", &[]).await;
    id.and_then(|row| row.try_get(0)).map_err(|error| failed("begin", error))
}

pub(super) async fn is_same_transaction(client: &Client, begun: &str) -> Result<bool> {
    let id = client.query_typed_one("SELECT pg_current_xact_id_if_assigned()::text", &[]).await;
    let id: Option<String> =
        id.and_then(|row| row.try_get(0)).map_err(|error| failed("record a migration", error))?;
    Ok(id.as_deref() == Some(begun))
}

pub(super) async fn record(
    client: &Client,
    Migration { version, name, sql }: &Migration,
    finished: bool,
) -> Result<()> {
    let insert =
        "INSERT INTO public.pgspan_migrations (version, name, checksum, finished) VALUES ($1, $2, $3, $4)";
    let checksum = digest(sql);
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
        [(version, Type::INT8), (name, Type::TEXT), (&checksum, Type::TEXT), (&finished, Type::BOOL)];
    let inserted = client.execute_typed(insert, &values).await;
    inserted.map(drop).map_err(|error| failed("record a migration", error))
}

pub(super) struct Recorded {
    pub(super) version: i64,
    pub(super) name: String,
    pub(super) checksum: String,
    pub(super) applied: String,
    pub(super) finished: bool,
}

/// What the table holds; nothing where there is no table.
pub(super) async fn recorded(client: &Client, version: Option<i64>) -> Result<Vec<Recorded>> {
    let failed = |error| failed("read which migrations are applied", error);
    let exists = "SELECT to_regclass('public.pgspan_migrations') IS NOT NULL";
    let exists = client.query_typed_one(exists, &[]).await;
    if !exists.and_then(|row| row.try_get(0)).map_err(failed)? {
        return Ok(Vec::new());
    }
    // a table of an earlier version has no `finished`
    let select =
        "SELECT version, name, checksum, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
            coalesce((to_jsonb(m) ->> 'finished')::boolean, true)
        FROM public.pgspan_migrations AS m WHERE version = coalesce($1, version) ORDER BY version";
    let rows = client.query_typed(select, &[(&version, Type::INT8)]).await.map_err(failed)?;
    let read = |row: tokio_postgres::Row| {
        Ok(Recorded {
            version: row.try_get(0)?,
            name: row.try_get(1)?,
            checksum: row.try_get(2)?,
            applied: row.try_get(3)?,
            finished: row.try_get(4)?,
        })
    };
    rows.into_iter().map(read).collect::<Result<_, _>>().map_err(failed)
}
