//! What a statement leaves behind in its session is seen by its words: the next session never meets it, and what would have no effect
//! is refused.
//!
//! The siblings that were looked for are the tables in `core/scan/src/inspect/tests.rs`; here are those whose effect can be seen.

use std::time::Duration;

use anyhow::{Context, Result};
use pgspan::{Kind, Sql, sql};

use crate::support::{Bed, Via, next_pid, pid};

ways! {
    both: what_has_an_effect_only_in_a_transaction_is_refused_outside_of_one;
    direct: what_is_left_behind_is_met_by_nobody, so_it_is_with_what_a_transaction_leaves_behind, what_a_copy_calls_is_met_by_nobody,
        no_shared_connection_is_changed,
        a_transaction_that_is_read_only_by_choice_keeps_its_connection,
        a_server_that_reads_backslashes_in_strings_is_not_spoken_to;
}

/// Statements that leave something, and what shows it.
const LEAVING: [(&str, &str); 8] = [
    (
        "SELECT name INTO TEMP students FROM students",
        "SELECT count(*) = 1 FROM pg_class WHERE relname = 'students'",
    ),
    ("CREATE TABLE pg_temp.mine(a int)", "SELECT to_regclass('mine') IS NULL"),
    ("SET transaction_timeout = '90s'", "SELECT current_setting('transaction_timeout') = '0'"),
    (
        "SELECT set_config('pgspan.left', 'dirty', false)",
        "SELECT coalesce(current_setting('pgspan.left', true), '') = ''",
    ),
    (
        "DO $$ BEGIN SET pgspan.other = 'dirty'; END $$",
        "SELECT coalesce(current_setting('pgspan.other', true), '') = ''",
    ),
    (
        "SELECT pg_advisory_lock(42)",
        "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    ),
    (
        "DO $$ BEGIN PERFORM set_config('search_path', 'pg_temp, public', true); CREATE TABLE hidden(a int); END $$",
        "SELECT to_regclass('hidden') IS NULL",
    ),
    ("EXPLAIN ANALYZE CREATE TEMP TABLE explained AS SELECT 1", "SELECT to_regclass('explained') IS NULL"),
];

async fn what_is_left_behind_is_met_by_nobody(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    for (leaving, is_clean) in LEAVING {
        let mut session = db.session().await?;
        let before = pid(&mut session).await?;
        session.execute(leaving).await.context(leaving)?;
        drop(session);
        let mut next = db.session().await?;
        assert!(next.fetch_one::<bool>(is_clean).await.context(is_clean)?, "{leaving}");
        assert_ne!(pid(&mut next).await?, before, "{leaving}");
    }
    Ok(())
}

/// A search path of the transaction alone leads to a table of the session.
async fn so_it_is_with_what_a_transaction_leaves_behind(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let path = "pg_temp, public";
    for leads in [
        sql!("SET LOCAL search_path = pg_temp, public"),
        sql!("SET LOCAL search_path TO public, 'pg_temp'"),
        sql!("SET LOCAL SCHEMA 'pg_temp'"),
        sql!("SELECT set_config('search_path', 'pg_temp', true)"),
        sql!("SELECT set_config('search_path', {path}, true)"),
    ] {
        let mut session = db.session().await?;
        let before = pid(&mut session).await?;
        let mut tx = session.transaction();
        tx.execute(&leads).await.with_context(|| leads.text().to_owned())?;
        tx.execute("CREATE TABLE students AS SELECT 'not yours' AS name").await.ok();
        tx.commit().await.ok();
        drop(session);
        let mut next = db.session().await?;
        assert_eq!(next.fetch_one::<i64>("SELECT count(*) FROM students").await?, 0, "{}", leads.text());
        assert_ne!(pid(&mut next).await?, before, "{}", leads.text());
    }
    // another schema leaves nothing
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let mut tx = session.transaction();
    tx.execute("SET LOCAL search_path = public").await?;
    tx.execute("SELECT set_config('search_path', 'public', true), set_config('app.tenant', '7', true)")
        .await?;
    tx.commit().await?;
    drop(session);
    assert_eq!(next_pid(&db).await?, before);
    Ok(())
}

async fn what_a_copy_calls_is_met_by_nobody(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let mut tx = session.transaction();
    let text = "COPY (SELECT set_config('pgspan.left', 'dirty', false), pg_advisory_lock(42)) TO STDOUT";
    let mut copy = tx.copy_out(text).await?;
    while copy.next().await?.is_some() {}
    drop(copy);
    tx.commit().await?;
    drop(session);
    let mut next = db.session().await?;
    let is_clean =
        "SELECT coalesce(current_setting('pgspan.left', true), '') = '' AND count(*) = 0 FROM pg_locks
        WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    assert!(next.fetch_one::<bool>(is_clean).await?);
    assert_ne!(pid(&mut next).await?, before);
    Ok(())
}

/// The words of a statement are read as PostgreSQL reads them by default. Where it reads them otherwise, what is a string could not be told.
async fn a_server_that_reads_backslashes_in_strings_is_not_spoken_to(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db().await?;
    db.execute("SELECT 1").await?;
    let mut session = db.session().await?;
    assert!(session.execute("SET standard_conforming_strings = off").await.is_err());
    drop(session);
    db.session().await?.execute("SELECT 1").await?;
    bed.run(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET standard_conforming_strings = off', current_database()); END $$",
    )
    .await?;
    let db = bed.db().await?;
    assert_eq!(db.execute("SELECT 1").await.map_err(|error| error.kind()), Err(Kind::Unavailable));
    Ok(())
}

async fn no_shared_connection_is_changed(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    for shared in [0, 1] {
        let db = bed.db_with(|settings| settings.shared_connections = shared).await?;
        for (leaving, is_clean) in LEAVING {
            let error = db.execute(leaving).await.err().context(leaving)?;
            assert_eq!(error.kind(), Kind::Refused, "{leaving}: {error}");
            assert!(db.fetch_one::<bool>(is_clean).await?, "{leaving}");
        }
    }
    Ok(())
}

async fn what_has_an_effect_only_in_a_transaction_is_refused_outside_of_one(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    for statement in [
        "SET LOCAL app.tenant = '7'",
        "SET TRANSACTION READ ONLY",
        "set constraints all deferred",
        "SET LOCAL ROLE NONE",
    ] {
        let mut session = db.session().await?;
        let refused = [
            db.execute(statement).await.err(),
            session.execute(statement).await.err(),
            session.batch([sql!("SELECT 1"), statement.into()]).await.err(),
            // what is given a time is sent in a transaction behind a pooler, of which the caller knows nothing
            session.execute(Sql::new(statement).timeout(Duration::from_secs(1))).await.err(),
            db.execute(Sql::new(statement).timeout(Duration::from_secs(1))).await.err(),
            session.batch([Sql::new(statement)]).timeout(Duration::from_secs(1)).await.err(),
            session.batch([Sql::new(statement)]).atomic().await.err(),
        ];
        for error in refused {
            let error = error.context(statement)?;
            assert!(
                error.kind() == Kind::Refused && error.to_string().contains("only inside a transaction"),
                "{error}"
            );
        }
        let mut tx = session.transaction();
        tx.execute(statement).await.context(statement)?;
        tx.commit().await?;
        session.batch([statement.into(), sql!("SELECT 1")]).atomic().await.context(statement)?;
    }
    Ok(())
}

async fn a_transaction_that_is_read_only_by_choice_keeps_its_connection(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let mut tx = session.transaction_with(pgspan::TransactionOptions::new().read_only(true));
    let error = tx.execute("INSERT INTO students VALUES ('a')").await.err().context("stored")?;
    assert_eq!(error.sqlstate().map(|code| code.code()), Some("25006"));
    drop(tx);
    drop(session);
    assert_eq!(next_pid(&db).await?, before);
    Ok(())
}
