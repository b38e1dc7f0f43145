//! How long a statement may take: given to one statement, a batch, a transaction, a session, a stream and a COPY.
//!
//! Siblings that were looked for: the longer and the shorter limit, alone and beside others with the usual one, `SET LOCAL` and `SET`
//! by the caller, a failure in between, a savepoint and a transaction that were rolled back, no limit at all, the smallest and the greatest time; what the
//! session's own limit travels with: a statement, a transaction that is committed, rolled back, fails, or ends with its last statements, an
//! atomic batch, a stream, a COPY.

use std::time::Duration;

use anyhow::{Context, Result};
use pgspan::{Database, Kind, Session, TransactionOptions, sql};

use crate::support::{Bed, Via, pid};

ways! {
    both: a_statement_can_be_given_its_time, a_batch_can_be_given_its_time, each_statement_of_a_batch_has_its_own_time,
        a_transaction_can_be_given_its_time, a_callers_own_set_local_counts, a_stream_is_limited_by_silence,
        a_copy_is_limited_by_silence, a_shorter_time_ends_a_statement_and_nothing_else;
    direct: a_sessions_time_ends_with_it_whatever_it_traveled_with, a_time_that_was_rolled_back_is_believed_by_nobody,
        a_session_can_be_given_its_time_and_the_next_has_the_usual_one, every_limit_costs_no_round_trip,
        the_greatest_and_the_smallest_time_are_kept, a_limit_in_a_savepoint_that_is_rolled_back_is_gone;
}

const USUAL: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(5);

/// Statements may take 400 ms, so that one of 1.2 s is ended by the server, and would be by us.
async fn db(bed: &Bed) -> Result<Database> {
    bed.db_with(|settings| (settings.statement_timeout, settings.lock_timeout) = (USUAL, USUAL)).await
}

fn slow() -> pgspan::Sql<'static> {
    sql!("SELECT pg_sleep(1.2)").reads_only()
}

/// What the server has for the next statement.
async fn limit(session: &mut Session) -> pgspan::Result<String> {
    session.fetch_one(sql!("SELECT current_setting('statement_timeout')")).await
}

async fn a_statement_can_be_given_its_time(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = db(&bed).await?;
    let mut session = db.session().await?;
    assert!(session.execute(slow()).await.is_err_and(|error| error.is_timeout()) || via != Via::Nothing);
    let mut session = db.session().await?;
    session.execute(slow().timeout(LONG)).await?;
    db.execute(slow().timeout(LONG)).await?;
    let mut tx = session.transaction();
    tx.execute(slow().timeout(LONG)).await?;
    let failed = tx.execute(slow()).await.err().context("the usual limit holds again")?;
    assert!(failed.is_timeout(), "{failed}");
    drop(tx);
    if via == Via::Nothing {
        assert_eq!(limit(&mut session).await?, "400ms");
        // also after a failure
        session.execute(sql!("SELECT 1/0").timeout(LONG)).await.unwrap_err();
        assert_eq!(limit(&mut session).await?, "400ms");
    }
    Ok(())
}

async fn a_batch_can_be_given_its_time(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let mut session = db(&bed).await?.session().await?;
    session.batch([slow(), sql!("SELECT 1")]).timeout(LONG).await?;
    session.batch([sql!("SELECT 1"), slow()]).atomic().timeout(LONG).await?;
    session.batch([sql!("SELECT 1"), slow().timeout(LONG), sql!("SELECT 2")]).atomic().await?;
    let failed =
        session.batch([slow().timeout(LONG), slow()]).atomic().await.err().context("the usual limit")?;
    assert!(failed.is_timeout() && failed.statement_index() == Some(1), "{failed}");
    Ok(())
}

async fn each_statement_of_a_batch_has_its_own_time(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let mut session = db(&bed).await?.session().await?;
    // together they take more than one may
    let statements = || (0..6).map(|_| sql!("SELECT pg_sleep(0.2)").reads_only());
    session.batch(statements()).await?;
    session.batch(statements()).atomic().await?;
    let mut tx = session.transaction();
    tx.batch(statements()).await?;
    tx.commit().await?;
    Ok(())
}

async fn a_transaction_can_be_given_its_time(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let mut session = db(&bed).await?.session().await?;
    let mut tx = session.transaction_with(TransactionOptions::new().timeout(LONG));
    tx.execute(slow()).await?;
    let mut savepoint = tx.transaction();
    savepoint.execute(slow()).await?;
    savepoint.commit().await?;
    tx.commit().await?;
    let mut tx = session.transaction();
    assert!(tx.execute(slow()).await.unwrap_err().is_timeout());
    Ok(())
}

async fn a_callers_own_set_local_counts(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let mut session = db(&bed).await?.session().await?;
    let mut tx = session.transaction();
    tx.execute("SET LOCAL statement_timeout = '5s'").await?;
    tx.execute(slow()).await?;
    tx.execute(sql!("SELECT 1").timeout(USUAL)).await?;
    tx.execute(slow()).await?;
    tx.commit().await?;
    session.batch([sql!("SET LOCAL statement_timeout TO 5000"), slow()]).atomic().await?;
    assert!(session.transaction().execute(slow()).await.unwrap_err().is_timeout());
    Ok(())
}

async fn a_stream_is_limited_by_silence(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let mut session = db(&bed).await?.session().await?;
    // eight rows, 200 ms apart, each as large as what the server sends at a time
    let rows = || {
        sql!("SELECT repeat('x', 9000) FROM generate_series(1, 8) n WHERE pg_sleep(0.2) IS NOT NULL")
            .reads_only()
    };
    let mut tx = session.transaction();
    let mut stream = tx.fetch_stream::<String>(rows()).await?;
    let mut count = 0;
    while stream.next().await?.is_some() {
        count += 1;
    }
    drop(stream);
    assert_eq!(count, 8);
    assert!(tx.execute(slow()).await.unwrap_err().is_timeout(), "the usual limit holds again");
    drop(tx);
    if via == Via::Nothing {
        let mut stream = session.fetch_stream::<String>(rows()).await?;
        while stream.next().await?.is_some() {}
        drop(stream);
        assert_eq!(limit(&mut session).await?, "400ms");
    }
    let silent = async {
        let mut stream = session.fetch_stream::<Option<String>>(slow()).await?;
        stream.next().await
    };
    assert!(silent.await.unwrap_err().is_timeout());
    Ok(())
}

async fn a_copy_is_limited_by_silence(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = db(&bed).await?.session().await?;
    let mut tx = session.transaction();
    let mut copy = tx.copy_in("COPY students FROM STDIN").await?;
    for name in ["a\n", "b\n", "c\n", "d\n", "e\n", "f\n"] {
        copy.send(name).await?;
        tokio::time::sleep(Duration::from_millis(200)).await; // more than a statement's limit in all
    }
    assert_eq!(copy.finish().await?, 6);
    assert!(tx.execute(slow()).await.is_err(), "the usual limit holds again");
    drop(tx);
    let mut tx = session.transaction();
    let mut out = tx
        .copy_out("COPY (SELECT repeat('x', 9000) FROM generate_series(1, 8) n WHERE pg_sleep(0.2) IS NOT NULL) TO STDOUT")
        .await?;
    let mut bytes = 0;
    while let Some(piece) = out.next().await? {
        bytes += piece.len();
    }
    assert_eq!(bytes, 8 * 9001);
    drop(out);
    let mut out = tx.copy_out(sql!("COPY (SELECT pg_sleep(1.2)) TO STDOUT").timeout(LONG)).await?;
    while out.next().await?.is_some() {}
    drop(out);
    tx.commit().await?;
    Ok(())
}

async fn a_shorter_time_ends_a_statement_and_nothing_else(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let short = Duration::from_millis(50);
    for _ in 0..2 {
        let error = session.execute(slow().timeout(short)).await.unwrap_err();
        assert_eq!((error.kind(), error.sqlstate().map(|code| code.code())), (Kind::Server, Some("57014")));
    }
    session.execute(slow()).await?;
    if via == Via::Nothing {
        assert_eq!(pid(&mut session).await?, before);
    }
    Ok(())
}

async fn a_session_can_be_given_its_time_and_the_next_has_the_usual_one(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = db(&bed).await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    session.set_timeout(LONG);
    session.execute(slow()).await?;
    session.batch([slow(), sql!("SELECT 1")]).await?;
    let mut tx = session.transaction();
    tx.execute(slow()).await?;
    tx.commit().await?;
    session.execute(sql!("SELECT 1").timeout(USUAL)).await?;
    assert_eq!(limit(&mut session).await?, "5s");
    drop(session);
    let mut next = db.session().await?;
    assert_eq!((pid(&mut next).await?, limit(&mut next).await?.as_str()), (before, "400ms"));
    Ok(())
}

async fn a_sessions_time_ends_with_it_whatever_it_traveled_with(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = db(&bed).await?;
    for way in 0..8 {
        let mut session = db.session().await?;
        let before = pid(&mut session).await?;
        session.set_timeout(Duration::from_millis(50));
        match way {
            0 => {
                let mut tx = session.transaction();
                tx.execute("SELECT 1").await?;
                tx.commit().await?;
            }
            1 => {
                let mut tx = session.transaction();
                tx.execute("SELECT 1").await?;
                tx.rollback().await?;
            }
            2 => {
                let mut tx = session.transaction();
                tx.execute("SELECT 1/0").await.unwrap_err();
            }
            3 => drop(session.transaction().commit_with(["SELECT 1", "SELECT 2"]).await?),
            4 => drop(session.batch(["SELECT 1", "SELECT 2"]).atomic().await?),
            5 => drop(session.batch(["SELECT 1", "SELECT 1/0"]).atomic().await.unwrap_err()),
            6 => {
                let mut rows = session.fetch_stream::<i32>("SELECT generate_series(1, 3)").await?;
                while rows.next().await?.is_some() {}
            }
            _ => {
                let mut tx = session.transaction();
                let mut copy = tx.copy_out("COPY students TO STDOUT").await?;
                while copy.next().await?.is_some() {}
                drop(copy);
                tx.commit().await?;
            }
        }
        drop(session);
        let mut next = db.session().await?;
        let found = (pid(&mut next).await?, limit(&mut next).await?);
        assert_eq!(found, (before, "400ms".to_owned()), "way {way}");
    }
    Ok(())
}

/// PostgreSQL undoes a SET with its transaction. The session must not go on with a limit that the server does not have.
async fn a_time_that_was_rolled_back_is_believed_by_nobody(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db_with(|settings| settings.statement_timeout = Duration::from_secs(3)).await?;
    let short = "SET statement_timeout = '20ms'";
    for way in 0..5 {
        let mut session = db.session().await?;
        match way {
            0 => {
                let mut tx = session.transaction();
                tx.execute(short).await?;
                tx.rollback().await?;
            }
            1 => {
                let mut tx = session.transaction();
                tx.execute(short).await?;
            }
            2 => {
                let mut tx = session.transaction();
                let mut savepoint = tx.savepoint("a");
                savepoint.execute(short).await?;
                savepoint.rollback().await?;
                tx.execute("SELECT pg_sleep(0.8)").await.with_context(|| format!("way {way}"))?;
                tx.commit().await?;
            }
            3 => drop(session.batch([short, "SELECT 1/0"]).atomic().await.unwrap_err()),
            _ => {
                let options = TransactionOptions::new().force_rollback();
                let mut dry = session.transaction_with(options);
                dry.execute(short).await?;
                dry.commit().await?;
            }
        }
        session.execute("SELECT pg_sleep(0.8)").await.with_context(|| format!("way {way}"))?;
        assert_eq!(limit(&mut session).await?, "3s", "way {way}");
        session.set_timeout(Duration::from_millis(20));
        let ended = session.execute("SELECT pg_sleep(0.8)").await.err().context("20 ms are over")?;
        assert!(ended.is_timeout(), "way {way}: {ended}");
    }
    // and what was committed is believed by both, also where it was sent as a stream
    let mut session = db.session().await?;
    session.batch(["SET statement_timeout = '9s'", "SELECT 1"]).atomic().await?;
    session.execute("SELECT pg_sleep(3.8)").await?;
    let mut rows = session.fetch_stream::<i32>("SET statement_timeout = '8s'").await?;
    assert!(rows.next().await?.is_none());
    drop(rows);
    assert_eq!(limit(&mut session).await?, "8s");
    Ok(())
}

async fn every_limit_costs_no_round_trip(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let (db, proxy) = bed.behind_proxy(|_| {}).await?;
    let mut session = db.session().await?;
    let mut before = proxy.round_trips();
    let mut one_more = |what: &str| {
        let (now, then) = (proxy.round_trips(), before);
        before = now;
        assert_eq!(now - then, 1, "{what}");
    };
    session.execute(sql!("SELECT 1").timeout(LONG)).await?;
    one_more("a statement");
    session.batch([sql!("SELECT 1").timeout(USUAL), sql!("SELECT 2")]).timeout(LONG).await?;
    one_more("a batch");
    session.batch([sql!("SELECT 1").timeout(USUAL), sql!("SELECT 2")]).timeout(LONG).atomic().await?;
    one_more("an atomic batch");
    let mut tx = session.transaction_with(TransactionOptions::new().timeout(LONG));
    tx.execute(sql!("SELECT 1")).await?;
    one_more("the first statement of a transaction");
    tx.execute(sql!("SELECT 1").timeout(USUAL)).await?;
    one_more("another");
    tx.commit().await?;
    Ok(())
}

async fn the_greatest_and_the_smallest_time_are_kept(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed
        .db_with(|settings| {
            (settings.statement_timeout, settings.lock_timeout) = (Duration::MAX, Duration::MAX);
            (settings.acquire_timeout, settings.idle_in_transaction_timeout) = (Duration::MAX, Duration::MAX);
        })
        .await?;
    let mut session = db.session().await?;
    assert_eq!(limit(&mut session).await?, "2147483647ms");
    session.execute(sql!("SELECT 1").timeout(Duration::MAX)).await?;
    session.set_timeout(Duration::MAX);
    session.batch([sql!("SELECT 1"), sql!("SELECT 2")]).atomic().timeout(Duration::MAX).await?;
    db.with_deadline(Duration::MAX).execute(sql!("SELECT 1")).await?;
    for tiny in [Duration::ZERO, Duration::from_nanos(1), Duration::from_micros(500)] {
        let error = session.execute(slow().timeout(tiny)).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
    }
    let db = bed.db_with(|settings| settings.statement_timeout = Duration::ZERO).await?;
    let left =
        db.session().await?.fetch_one::<String>(sql!("SELECT current_setting('statement_timeout')")).await;
    assert!(left.as_ref().map_or_else(pgspan::Error::is_timeout, |limit| limit == "1ms"), "{left:?}");
    Ok(())
}

async fn a_limit_in_a_savepoint_that_is_rolled_back_is_gone(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let mut session = db(&bed).await?.session().await?;
    let mut tx = session.transaction();
    tx.execute(sql!("SELECT 1")).await?;
    let mut savepoint = tx.transaction();
    savepoint.execute("SET LOCAL statement_timeout = '5s'").await?;
    savepoint.execute(slow()).await?;
    savepoint.rollback().await?;
    let kept: String = tx.fetch_one(sql!("SELECT current_setting('statement_timeout')")).await?;
    assert_eq!(kept, "400ms");
    let mut savepoint = tx.transaction();
    savepoint.execute("SET LOCAL statement_timeout = '5s'").await?;
    savepoint.commit().await?;
    tx.execute(slow()).await?;
    tx.commit().await?;
    Ok(())
}
