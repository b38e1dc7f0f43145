//! Migrations.

use std::time::Duration;

use anyhow::{Context, Result};
use pgspan::Kind;
use pgspan_server::migrate::{Migration, migrate, migrate_with, status, status_with};
use tokio::time::timeout;

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

#[tokio::test]
async fn a_server_that_leaves_in_the_middle_is_told_from_a_migration_that_fails() -> Result<()> {
    let bed = Bed::new("migrate lost").await?;
    let url = bed.database().await?;
    let lost = [Migration { sql: "SELECT pg_terminate_backend(pg_backend_pid())", ..SLOW }];
    let error = migrate_with(&url, &lost).await.err().context("it passed")?;
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_eq!(migrate_with(&url, &[BAD]).await?, ["bad"]);
    let error =
        migrate_with(&url, &[SLOW, Migration { version: 4, ..BAD }]).await.err().context("it passed")?;
    assert_eq!(error.kind(), Kind::Server, "{error}");
    Ok(())
}

#[tokio::test]
async fn a_migration_gives_up_on_a_lock_before_those_behind_it_wait_long() -> Result<()> {
    let bed = Bed::new("migrate locked").await?;
    let url = bed.database().await?;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("CREATE TABLE held()").await?;
    client.batch_execute("BEGIN; LOCK TABLE held IN ACCESS SHARE MODE").await?;
    let altering = [Migration { version: 2, name: "altering", sql: "ALTER TABLE held ADD COLUMN a int" }];
    let error = timeout(Duration::from_secs(5), migrate_with(&url, &altering)).await.context("it waits")?;
    let expected =
        "could not apply migration 0002 (altering): a lock was not free in time (55P03): run it again";
    assert_eq!(error.err().context("it passed")?.to_string(), expected);
    client.batch_execute("COMMIT").await?;
    assert_eq!(migrate_with(&url, &altering).await?, ["altering"]);
    Ok(())
}

#[tokio::test]
async fn a_statement_timeout_that_is_meant_for_the_application_does_not_end_a_migration() -> Result<()> {
    let bed = Bed::new("migrate limits").await?;
    let url = format!("{}&options=-c%20statement_timeout%3D100", bed.database().await?);
    assert_eq!(migrate_with(&url, &[SLOW]).await?, ["slow"]);
    Ok(())
}

#[tokio::test]
async fn a_migration_that_ends_its_transaction_is_an_error_and_not_recorded() -> Result<()> {
    let bed = Bed::new("migrate ending").await?;
    let url = bed.database().await?;
    for (version, sql) in [
        (2, "CREATE TABLE one(); COMMIT"),
        (3, "CREATE TABLE two(); COMMIT; BEGIN; CREATE TABLE three()"),
        (4, "CREATE TABLE four(); ROLLBACK"),
    ] {
        let ending = [Migration { version, name: "ending", sql }];
        let error = migrate_with(&url, &ending).await.err().context("it passed")?;
        assert_eq!(error.kind(), Kind::Refused, "{sql}: {error}");
        assert!(error.to_string().contains("(ending) ended its transaction"), "{sql}: {error}");
        assert!(status_with(&url, &ending).await?.iter().all(|one| one.applied.is_none()), "{sql}");
    }
    Ok(())
}
