//! Migrations.

use std::time::Duration;

use anyhow::{Context, Result};
use pgspan::Kind;
use pgspan_server::migrate::{self, Migration, migrate, status};
use tokio::time::timeout;

use crate::bed::{Bed, MIGRATIONS};

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
    assert!(status(&url, MIGRATIONS).await?.iter().all(|one| one.known && one.applied.is_none()));
    let (one, other) = tokio::join!(migrate(&url, &[SLOW]), migrate(&url, &[SLOW]));
    let mut applied = [one?, other?];
    applied.sort();
    assert_eq!(applied, [vec![], vec!["slow"]]);
    assert_eq!(migrate(&url, MIGRATIONS).await?, ["users"]);
    assert_eq!(migrate(&url, MIGRATIONS).await?, [""; 0]);
    let all = status(&url, MIGRATIONS).await?;
    assert!(all.iter().all(|one| one.applied.is_some() && !one.altered), "{all:?}");
    assert!(all.iter().any(|one| one.name == "slow" && !one.known), "{all:?}");
    Ok(())
}

#[tokio::test]
async fn an_applied_migration_that_was_altered_is_an_error() -> Result<()> {
    let bed = Bed::new("migrate altered").await?;
    let url = bed.database().await?;
    migrate(&url, &[SLOW]).await?;
    let altered = [Migration { sql: "CREATE TABLE another()", ..SLOW }];
    let error = migrate(&url, &altered).await.err().context("it passed")?;
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("0002 (slow) was altered"), "{error}");
    assert!(status(&url, &altered).await?.iter().all(|one| one.altered));
    Ok(())
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_and_those_before_it_stay() -> Result<()> {
    let bed = Bed::new("migrate failing").await?;
    let url = bed.database().await?;
    let error = migrate(&url, &[BAD, SLOW]).await.err().context("it passed")?;
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
    let error = migrate(&url, &lost).await.err().context("it passed")?;
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_eq!(migrate(&url, &[BAD]).await?, ["bad"]);
    let error = migrate(&url, &[SLOW, Migration { version: 4, ..BAD }]).await.err().context("it passed")?;
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
    let error = timeout(Duration::from_secs(5), migrate(&url, &altering)).await.context("it waits")?;
    let expected =
        "could not apply migration 0002 (altering): a lock was not free in time (55P03): run it again";
    assert_eq!(error.err().context("it passed")?.to_string(), expected);
    client.batch_execute("COMMIT").await?;
    assert_eq!(migrate(&url, &altering).await?, ["altering"]);
    Ok(())
}

#[tokio::test]
async fn a_statement_timeout_that_is_meant_for_the_application_does_not_end_a_migration() -> Result<()> {
    let bed = Bed::new("migrate limits").await?;
    let url = format!("{}&options=-c%20statement_timeout%3D100", bed.database().await?);
    assert_eq!(migrate(&url, &[SLOW]).await?, ["slow"]);
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
        let error = migrate(&url, &ending).await.err().context("it passed")?;
        assert_eq!(error.kind(), Kind::Refused, "{sql}: {error}");
        assert!(error.to_string().contains("(ending) ended its transaction"), "{sql}: {error}");
        assert!(status(&url, &ending).await?.iter().all(|one| one.applied.is_none()), "{sql}");
    }
    Ok(())
}

/// Fault row N18: what `pg_dump` begins with, and what else a migration may set.
#[tokio::test]
async fn what_a_migration_sets_reaches_neither_the_next_one_nor_the_record() -> Result<()> {
    let bed = Bed::new("migrate settings").await?;
    let url = bed.database().await?;
    let admin = bed.admin().await?;
    admin.batch_execute("DROP ROLE IF EXISTS migrate_other; CREATE ROLE migrate_other").await?;
    let one = |version, name, sql| Migration { version, name, sql };
    let all = [
        one(
            1,
            "baseline",
            "SELECT pg_catalog.set_config('search_path', '', false); CREATE TABLE public.first()",
        ),
        one(2, "second", "CREATE TABLE second()"), // in the usual place again
        one(3, "elsewhere", "CREATE SCHEMA elsewhere; SET search_path = elsewhere; CREATE TABLE third()"),
        one(
            4,
            "role",
            "GRANT CREATE ON SCHEMA public TO migrate_other; SET ROLE migrate_other; CREATE TABLE fourth()",
        ),
        one(5, "last", "CREATE TABLE fifth()"),
        one(6, "temporary", "CREATE TEMP TABLE users(); SET lock_timeout = 1"),
        one(7, "after", "CREATE TABLE seventh AS SELECT count(*) FROM pg_class WHERE relname = 'users'"),
    ];
    let names: Vec<&str> = all.iter().map(|one| one.name).collect();
    assert_eq!(migrate(&url, &all).await?, names);
    assert_eq!(migrate(&url, &all).await?, [""; 0]);
    // another search_path at the next deployment
    let other = format!("{url}&options=-c%20search_path%3Delsewhere");
    assert_eq!(migrate(&other, &all).await?, [""; 0]);
    assert!(status(&other, &all).await?.iter().all(|one| one.applied.is_some()));
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let places = "SELECT string_agg(n.nspname || '.' || c.relname || ' ' || pg_get_userbyid(c.relowner), ',' ORDER BY c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relname IN ('second', 'third', 'fourth', 'fifth', 'pgspan_migrations') AND c.relkind = 'r'";
    let places: String = client.query_one(places, &[]).await?.get(0);
    let owner: String = client.query_one("SELECT current_user::text", &[]).await?.get(0);
    let expected = format!(
        "public.pgspan_migrations {owner},public.second {owner},elsewhere.third {owner},public.fourth migrate_other,public.fifth {owner}"
    );
    assert_eq!(places, expected);
    let left: i64 = client.query_one("SELECT * FROM seventh", &[]).await?.get(0);
    assert_eq!(left, 0, "a temporary table was left to the next");
    client.batch_execute("DROP TABLE fourth; REVOKE CREATE ON SCHEMA public FROM migrate_other").await?;
    admin.batch_execute("DROP ROLE IF EXISTS migrate_other").await?;
    Ok(())
}

/// Fault row N19.
#[tokio::test]
async fn a_migration_may_run_outside_a_transaction_and_one_left_half_done_is_gone_on_with() -> Result<()> {
    let bed = Bed::new("migrate outside").await?;
    let url = bed.database().await?;
    let parsed: pgspan::ConnectionUrl = url.parse()?;
    let table = Migration {
        version: 1,
        name: "table",
        sql: "CREATE TABLE things (id int); INSERT INTO things VALUES (1), (1)",
    };
    let index = Migration {
        version: 2,
        name: "index",
        sql: "-- pgspan: no transaction\nCREATE UNIQUE INDEX CONCURRENTLY things_id ON things (id)",
    };
    let after = Migration { version: 3, name: "after", sql: "CREATE TABLE after()" };
    let all = [table, index, after];
    let error = migrate(&url, &all).await.err().context("there are doubles")?;
    assert!(error.to_string().contains("left half done") && error.kind() == Kind::Server, "{error}");
    // nothing more is applied until someone has looked
    let error = migrate(&url, &all).await.err().context("it went on")?;
    assert!(
        error.to_string().contains("--again 2 or --as-applied 2") && error.kind() == Kind::Refused,
        "{error}"
    );
    let found: Vec<_> =
        status(&url, &all).await?.iter().map(|one| (one.applied.is_some(), one.finished)).collect();
    assert_eq!(found, [(true, true), (true, false), (false, true)]);
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("DROP INDEX things_id; DELETE FROM things").await?;
    migrate::again(&parsed, 2).await?;
    assert_eq!(migrate(&url, &all).await?, ["index", "after"]);
    let valid: bool = client
        .query_one("SELECT indisvalid FROM pg_index WHERE indexrelid = 'things_id'::regclass", &[])
        .await?
        .get(0);
    assert!(valid);
    for settled in [migrate::again(&parsed, 2).await, migrate::as_applied(&parsed, 2).await] {
        assert_eq!(settled.err().map(|error| error.kind()), Some(Kind::Refused));
    }
    client.execute("UPDATE pgspan_migrations SET finished = false WHERE version = 2", &[]).await?;
    migrate::as_applied(&parsed, 2).await?;
    assert_eq!(migrate(&url, &all).await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn two_that_build_an_index_beside_each_other_do_not_wait_for_each_other() -> Result<()> {
    let bed = Bed::new("migrate concurrently").await?;
    let url = bed.database().await?;
    let all = [
        Migration {
            version: 1,
            name: "table",
            sql: "CREATE TABLE things AS SELECT generate_series(1, 200000) AS id",
        },
        Migration {
            version: 2,
            name: "index",
            sql: "-- pgspan: no transaction\nCREATE INDEX CONCURRENTLY things_id ON things (id)",
        },
        Migration { version: 3, name: "slow", sql: SLOW.sql },
    ];
    let migrations = (0..4).map(|_| migrate(&url, &all));
    let applied = timeout(Duration::from_secs(30), futures_util::future::try_join_all(migrations)).await??;
    assert_eq!(applied.concat().len(), 3, "{applied:?}");
    Ok(())
}

#[tokio::test]
async fn limits_of_the_role_end_no_migration() -> Result<()> {
    let bed = Bed::new("migrate role").await?;
    let url = bed.database().await?;
    let known: bool = bed
        .admin()
        .await?
        .query_one("SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'transaction_timeout')", &[])
        .await?
        .get(0);
    if !known {
        tests::skip("this PostgreSQL has no transaction_timeout");
        return Ok(());
    }
    let url = format!("{url}&options=-c%20transaction_timeout%3D100%20-c%20statement_timeout%3D100");
    assert_eq!(migrate(&url, &[SLOW]).await?, ["slow"]);
    let outside =
        Migration { version: 3, name: "outside", sql: "-- pgspan: no transaction\nSELECT pg_sleep(0.3)" };
    assert_eq!(migrate(&url, &[outside]).await?, ["outside"]);
    Ok(())
}

#[tokio::test]
async fn what_is_not_sql_gets_a_sentence() -> Result<()> {
    let bed = Bed::new("migrate psql").await?;
    let url = bed.database().await?;
    for (sql, sentence) in [
        ("\\restrict abc\nCREATE TABLE one()", "a line of it begins with a backslash"),
        ("\u{feff}CREATE TABLE one()", "its text begins with a byte order mark"),
    ] {
        let error = migrate(&url, &[Migration { version: 1, name: "dump", sql }]).await.err().context(sql)?;
        assert!(error.to_string().starts_with(sentence) && error.kind() == Kind::Server, "{error}");
    }
    // a backslash that is not psql's
    let text = "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT '\n\\n' $$";
    assert_eq!(migrate(&url, &[Migration { version: 1, name: "text", sql: text }]).await?, ["text"]);
    Ok(())
}

/// Fault rows N17 and N19.
#[tokio::test]
async fn the_exit_code_says_whether_trying_again_may_help_and_whether_something_is_missing() -> Result<()> {
    let bed = Bed::new("migrate codes").await?;
    let url = bed.database().await?;
    let migrated = |url: &str| crate::program::run(&["migrate"], &[("DATABASE_URL", url)]);
    let looked = |url: &str| crate::program::run(&["migrate", "--status"], &[("DATABASE_URL", url)]);
    assert_eq!(looked(&url)?.0, Some(4));
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    // the table is there, and locked
    client.batch_execute("CREATE TABLE held(); BEGIN; CREATE TABLE users()").await?;
    let (code, _, said) = migrated(&url)?;
    assert!(code == Some(1) && said.contains("a lock was not free in time"), "{code:?} {said}");
    client.batch_execute("ROLLBACK").await?;
    assert_eq!(migrated(&url)?.0, Some(0));
    assert_eq!(looked(&url)?.0, Some(0));
    client.batch_execute("UPDATE pgspan_migrations SET checksum = 'another'").await?;
    assert_eq!((looked(&url)?.0, migrated(&url)?.0), (Some(4), Some(3)));
    // a login that is refused is so again
    let cluster = tests::Cluster::throwaway(&[]).await?;
    let wrong = format!("postgres://nobody:wrong@127.0.0.1:{}/postgres", cluster.port());
    assert_eq!((migrated(&wrong)?.0, looked(&wrong)?.0), (Some(3), Some(3)));
    Ok(())
}
