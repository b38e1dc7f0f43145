//! Many tenants in one database, by row level security: the statements of docs/multi-tenant.md.
//!
//! Siblings that were looked for: a tenant read after another on one connection; a transaction and one flight; a setting that was forgotten,
//! before and after one was set; a row of another tenant, read, changed and stored; what sets the tenant for the session.

use anyhow::{Context, Result};
use pgspan::{Database, FromRow, Kind, Sql, sql};

use crate::support::{Bed, Via, code};

const TABLES: &str = "
    CREATE TABLE orders (
        id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        tenant bigint NOT NULL DEFAULT nullif(current_setting('app.tenant', true), '')::bigint,
        item   text NOT NULL
    );
    ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON orders USING (tenant = nullif(current_setting('app.tenant', true), '')::bigint);
";

#[derive(Debug, FromRow)]
struct Order {
    id: i64,
    item: String,
}

fn tenant_is(tenant: &i64) -> Sql<'_> {
    sql!("SELECT set_config('app.tenant', {tenant}::text, true)")
}

async fn orders(db: &Database, tenant: i64) -> pgspan::Result<Vec<Order>> {
    let mut session = db.session().await?;
    let read = sql!("SELECT id, item FROM orders ORDER BY id");
    let mut results = session.batch([tenant_is(&tenant), read]).atomic().await?;
    results.fetch_all(1)
}

async fn add_order(db: &Database, tenant: i64, item: &str) -> pgspan::Result<i64> {
    let mut session = db.session().await?;
    let mut tx = session.transaction();
    tx.execute(tenant_is(&tenant)).await?;
    let id = tx.fetch_one(sql!("INSERT INTO orders (item) VALUES ({item}) RETURNING id")).await?;
    tx.commit().await?;
    Ok(id)
}

/// The database as a role sees it that owns nothing, with one connection of each kind.
async fn shop(bed: &Bed, role: &str) -> Result<Database> {
    bed.run(TABLES).await?;
    bed.run(&format!(
        "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN PASSWORD 'secret';
         GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO {role}"
    ))
    .await?;
    let (_, place) = bed.url.split_once('@').context("the URL names no user")?;
    let settings = bed.settings(|settings| settings.shared_connections = 1);
    let url = format!("postgres://{role}:secret@{place}");
    Ok(pgspan_server::connect_with(&url, settings).await?)
}

async fn each_tenant_has_its_own_rows(via: Via, role: &str) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = shop(&bed, role).await?;
    let (first, second) = (add_order(&db, 7, "a bicycle").await?, add_order(&db, 8, "a saw").await?);
    for (tenant, id, item) in [(7, first, "a bicycle"), (8, second, "a saw"), (7, first, "a bicycle")] {
        let [order] = orders(&db, tenant).await?.try_into().map_err(|rows| anyhow::anyhow!("{rows:?}"))?;
        assert_eq!((order.id, order.item.as_str()), (id, item));
    }
    assert!(orders(&db, 9).await?.is_empty());

    // forgotten, on a connection where it was set and on one where it never was
    let mut session = db.session().await?;
    assert_eq!(session.fetch_one::<i64>("SELECT count(*) FROM orders").await?, 0);
    assert_eq!(db.fetch_one::<i64>("SELECT count(*) FROM orders").await?, 0);
    let nobodys = session.execute("INSERT INTO orders (item) VALUES ('nobody''s')").await;
    assert_eq!(code(&nobodys), Some("42501"), "{nobodys:?}");

    // another tenant's
    let mut tx = session.transaction();
    tx.execute(tenant_is(&7)).await?;
    assert_eq!(tx.execute(sql!("UPDATE orders SET item = 'stolen' WHERE id = {second}")).await?, 0);
    let stored = tx.execute("INSERT INTO orders (tenant, item) VALUES (8, 'a gift')").await;
    assert_eq!(code(&stored), Some("42501"), "{stored:?}");
    drop(tx);

    // for longer than a transaction
    let refused = db.execute("SET app.tenant = '7'").await;
    assert_eq!(refused.map_err(|error| error.kind()), Err(Kind::Refused));
    let without_effect = session.execute("SET LOCAL app.tenant = '7'").await;
    assert_eq!(without_effect.map_err(|error| error.kind()), Err(Kind::Refused));
    assert_eq!(
        bed.other.query("SELECT FROM orders WHERE item IN ('a bicycle', 'a saw')", &[]).await?.len(),
        2
    );
    Ok(())
}

#[tokio::test]
async fn each_tenant_has_its_own_rows_directly() -> Result<()> {
    each_tenant_has_its_own_rows(Via::Nothing, "shop_directly").await
}

#[tokio::test]
async fn each_tenant_has_its_own_rows_behind_a_pooler() -> Result<()> {
    each_tenant_has_its_own_rows(Via::Forgetful, "shop_behind").await
}
