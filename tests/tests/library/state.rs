//! Nothing of one session is seen by the next.

use anyhow::{Context, Result};
use pgspan::{Kind, Recycle, sql};

use crate::support::{Bed, Via, insert, next_pid, pid};

ways! {
    both:
    a_statement_that_changes_the_sessions_state_ends_its_connection_with_it,
    set_local_ends_with_its_transaction_and_costs_no_connection,
    transaction_control_is_refused_as_a_statement_and_nothing_is_sent,
    after_everything_no_prepared_statement_is_left_and_nothing_is_in_a_transaction;
    // a pooler gives each transaction another server connection, and refuses that setting
    direct:
    what_no_statement_shows_is_said_by_hand,
    discard_all_cleans_what_no_statement_shows_and_keeps_the_connection;
}

async fn a_statement_that_changes_the_sessions_state_ends_its_connection_with_it(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db().await?;
    for text in [
        "SET timezone = 'Asia/Tokyo'",
        "set session statement_timeout = 0",
        "CREATE TEMP TABLE scratch()",
        "LISTEN news",
        "PREPARE p AS SELECT 1",
        "RESET ALL",
        "/* hidden */ SET timezone = 'Asia/Tokyo'",
    ] {
        let mut session = db.session().await?;
        let before = pid(&mut session).await?;
        if via != Via::Nothing {
            let refused = session.execute(text).await.err().context(text)?;
            assert_eq!(refused.kind(), Kind::Refused, "{text}");
            continue;
        }
        session.execute(text).await?;
        assert_eq!(pid(&mut session).await?, before, "{text}"); // its own state it keeps
        drop(session);
        assert_ne!(next_pid(&db).await?, before, "{text}");
        bed.gone(before).await?;
    }
    Ok(())
}

async fn set_local_ends_with_its_transaction_and_costs_no_connection(via: Via) -> Result<()> {
    let db = Bed::new(via).await?.db().await?;
    let zone = sql!("SELECT current_setting('timezone')");
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let default: String = session.fetch_one(&zone).await?;
    let mut tx = session.transaction();
    tx.execute(sql!("SET LOCAL timezone = 'Asia/Tokyo'")).await?;
    assert_eq!(tx.fetch_one::<String>(&zone).await?, "Asia/Tokyo");
    tx.commit().await?;
    drop(session);
    let mut next = db.session().await?;
    assert_eq!((pid(&mut next).await?, next.fetch_one::<String>(&zone).await?), (before, default));
    Ok(())
}

async fn transaction_control_is_refused_as_a_statement_and_nothing_is_sent(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let (db, proxy) = bed.behind_proxy(|_| {}).await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let sent = proxy.traffic();
    for text in [
        "BEGIN",
        "START TRANSACTION",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "SAVEPOINT a",
        "RELEASE a",
        "PREPARE TRANSACTION 'x'",
        "-- x\ncommit",
        "/* /* x */ */ begin",
    ] {
        let error = session.execute(text).await.err().context(text)?;
        assert_eq!(error.kind(), Kind::Refused, "{text}");
        assert!(error.to_string().contains("transaction"), "{text}: {error}");
        let batch = session.batch([insert("a"), text.into()]).await.err().context(text)?;
        assert_eq!(batch.kind(), Kind::Refused, "{text}");
    }
    assert_eq!(proxy.traffic(), sent);
    drop(session);
    assert_eq!(next_pid(&db).await?, before);
    assert!(bed.students().await?.is_empty());
    Ok(())
}

async fn what_no_statement_shows_is_said_by_hand(via: Via) -> Result<()> {
    let db = Bed::new(via).await?.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    session.execute(sql!("SELECT count(*) FROM pg_class")).await?;
    session.taint();
    drop(session);
    assert_ne!(next_pid(&db).await?, before);
    Ok(())
}

async fn discard_all_cleans_what_no_statement_shows_and_keeps_the_connection(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    bed.run(
        "CREATE FUNCTION leave() RETURNS void LANGUAGE plpgsql AS
         $$ BEGIN PERFORM set_config('pgspan.left', 'dirty', false), pg_advisory_lock(7); END $$",
    )
    .await?;
    for (recycle, expected) in [(Recycle::Clean, "dirty"), (Recycle::DiscardAll, "")] {
        let db = bed.db_with(|settings| settings.recycle = recycle).await?;
        let mut session = db.session().await?;
        let before = pid(&mut session).await?;
        session.execute(sql!("SELECT leave()")).await?;
        drop(session);
        let mut next = db.session().await?;
        let left: Option<String> =
            next.fetch_one(sql!("SELECT current_setting('pgspan.left', true)")).await?;
        assert_eq!((left.as_deref(), pid(&mut next).await?), (Some(expected), before));
        let locks: i64 = next
            .fetch_one(sql!(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            ))
            .await?;
        assert_eq!(locks, i64::from(recycle == Recycle::Clean));
        if recycle == Recycle::Clean {
            next.taint(); // not for the next round
        }
    }
    Ok(())
}

async fn after_everything_no_prepared_statement_is_left_and_nothing_is_in_a_transaction(
    via: Via,
) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    bed.run("CREATE TYPE mood AS ENUM ('happy'); CREATE TYPE address AS (city text)").await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    session.execute(insert("a")).await?;
    session.batch([insert("b"), insert("c")]).atomic().await?;
    assert!(session.execute(insert("a")).await.is_err());
    assert!(session.execute(sql!("SELEKT")).await.is_err());
    let _: Vec<String> = session.fetch_all(sql!("SELECT 'happy'::mood::text")).await?;
    let _: serde_json::Value = session.fetch_one(sql!("SELECT to_jsonb(ROW('x')::address)")).await?;
    while session.fetch_stream::<i32>(sql!("SELECT 1 WHERE false")).await?.next().await?.is_some() {}
    let mut tx = session.transaction();
    let mut copy = tx.copy_in("COPY students FROM STDIN").await?;
    copy.send("d\n").await?;
    copy.finish().await?;
    let mut copy = tx.copy_out("COPY students TO STDOUT").await?;
    while copy.next().await?.is_some() {}
    drop(copy);
    let mut savepoint = tx.savepoint("s");
    savepoint.execute(insert("e")).await?;
    savepoint.rollback().await?;
    tx.commit().await?;
    let left: Vec<String> = session.fetch_all(sql!("SELECT statement FROM pg_prepared_statements")).await?;
    assert_eq!(left, [""; 0]);
    drop(session);
    let mut session = db.session().await?;
    assert_eq!(pid(&mut session).await?, before);
    let left: i64 = db.fetch_one(sql!("SELECT count(*) FROM pg_prepared_statements")).await?;
    assert_eq!(left, 0);
    bed.is_at_rest().await
}
