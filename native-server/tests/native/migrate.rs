//! Migrations.

use anyhow::{Context, Result};
use pgspan::Kind;
use pgspan_server::migrate::{Migration, migrate, migrate_with, status, status_with};

use crate::bed::Bed;

const SLOW: Migration = Migration {
    version: 2,
    name: "slow",
    sql: "CREATE TABLE slow AS SELECT 1 FROM pg_sleep(0.3); CREATE TABLE slower()",
};
const BAD: Migration =
    Migration { version: 3, name: "bad", sql: "CREATE TABLE halfway(); CREATE TABLE slow()" };

#[tokio::test]
async fn each_migration_is_applied_once_though_two_run_at_once() -> Result<()> {
    let bed = Bed::new("migrate twice").await?;
    let url = bed.database().await?;
    assert!(status(&url).await?.iter().all(|one| one.known && one.applied.is_none()));
    let (one, other) = tokio::join!(migrate_with(&url, &[SLOW]), migrate_with(&url, &[SLOW]));
    let mut applied = [one?, other?];
    applied.sort();
    assert_eq!(applied, [vec![], vec!["slow"]]);
    assert_eq!(migrate(&url).await?, ["users"]);
    assert_eq!(migrate(&url).await?, [""; 0]);
    let all = status(&url).await?;
    assert!(all.iter().all(|one| one.applied.is_some() && !one.altered), "{all:?}");
    assert!(all.iter().any(|one| one.name == "slow" && !one.known), "{all:?}");
    Ok(())
}

#[tokio::test]
async fn an_applied_migration_that_was_altered_is_an_error() -> Result<()> {
    let bed = Bed::new("migrate altered").await?;
    let url = bed.database().await?;
    migrate_with(&url, &[SLOW]).await?;
    let altered = [Migration { sql: "CREATE TABLE another()", ..SLOW }];
    let error = migrate_with(&url, &altered).await.err().context("it passed")?;
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("0002 (slow) was altered"), "{error}");
    assert!(status_with(&url, &altered).await?.iter().all(|one| one.altered));
    Ok(())
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_and_those_before_it_stay() -> Result<()> {
    let bed = Bed::new("migrate failing").await?;
    let url = bed.database().await?;
    let error = migrate_with(&url, &[BAD, SLOW]).await.err().context("it passed")?;
    assert!(error.to_string().contains("0003 (bad)") && error.to_string().contains("42P07"), "{error}");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let row =
        client.query_one("SELECT to_regclass('halfway') IS NULL, to_regclass('slower') IS NULL", &[]).await?;
    assert_eq!((row.get(0), row.get(1)), (true, false));
    Ok(())
}
