//! Serialization failures and deadlocks, and trying again.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use pgspan::{Database, Isolation, TransactionOptions, sql};
use tokio::sync::Barrier;

use crate::support::{Bed, Via, insert, pid};

ways! {
    both:
    a_serialization_failure_is_tried_again_with_what_is_there_then,
    what_fails_three_times_is_an_error,
    other_errors_are_not_tried_again,
    an_atomic_batch_tries_again_by_itself_and_not_for_ever,
    one_of_two_transactions_in_a_deadlock_gives_way_and_succeeds_when_tried_again;
}

/// Adds one to the account, while another takes the same row in the first `rivals` attempts.
async fn deposit(bed: &Bed, db: &Database, tries: &AtomicU32, rivals: u32) -> pgspan::Result<()> {
    let attempt = tries.fetch_add(1, Ordering::Relaxed);
    let mut session = db.session().await?;
    let mut tx = session.transaction_with(TransactionOptions::new().isolation(Isolation::RepeatableRead));
    let money: i64 = tx.fetch_one(sql!("SELECT money FROM account")).await?;
    if attempt < rivals {
        bed.run("UPDATE account SET money = money + 100").await.unwrap();
    }
    tx.execute(sql!("UPDATE account SET money = {new}", new = money + 1)).await?;
    tx.commit().await
}

async fn retried(bed: &Bed, rivals: u32) -> Result<(pgspan::Result<()>, u32)> {
    bed.run("DROP TABLE IF EXISTS account; CREATE TABLE account(money int8); INSERT INTO account VALUES (0)")
        .await?;
    let (db, tries) = (bed.db().await?, AtomicU32::new(0));
    let mut retry = db.retry();
    let done = loop {
        match deposit(bed, &db, &tries, rivals).await {
            Err(error) if retry.again(&error).await => {}
            done => break done,
        }
    };
    Ok((done, tries.into_inner()))
}

async fn money(bed: &Bed) -> Result<i64> {
    Ok(bed.other.query_one("SELECT money FROM account", &[]).await?.get(0))
}

async fn a_serialization_failure_is_tried_again_with_what_is_there_then(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let (done, tries) = retried(&bed, 1).await?;
    done?;
    assert_eq!((tries, money(&bed).await?), (2, 101));
    Ok(())
}

async fn what_fails_three_times_is_an_error(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let (done, tries) = retried(&bed, u32::MAX).await?;
    let error = done.err().context("it succeeded")?;
    assert!(error.is_serialization_failure() && error.is_retryable(), "{error}");
    assert_eq!((tries, money(&bed).await?), (3, 300));
    Ok(())
}

async fn other_errors_are_not_tried_again(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    session.execute(insert("a")).await?;
    let error = session.execute(insert("a")).await.err().context("twice")?;
    assert!(!db.retry().again(&error).await);
    Ok(())
}

async fn an_atomic_batch_tries_again_by_itself_and_not_for_ever(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    bed.run(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION conflicts(times int8) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('tries') <= times THEN RAISE 'conflict' USING ERRCODE = 'serialization_failure'; END IF;
         END $$",
    )
    .await?;
    let mut session = bed.db().await?.session().await?;
    let before = pid(&mut session).await?;
    session.batch([insert("a"), sql!("SELECT conflicts(2)"), insert("b")]).atomic().await?;
    assert_eq!(bed.students().await?, ["a", "b"]);
    bed.run("ALTER SEQUENCE tries RESTART").await?;
    let error =
        session.batch([insert("c"), sql!("SELECT conflicts(99)")]).atomic().await.err().context("stored")?;
    assert!(error.is_serialization_failure() && error.statement_index() == Some(1), "{error}");
    let tries: i64 = bed.other.query_one("SELECT last_value FROM tries", &[]).await?.get(0);
    assert_eq!((tries, bed.students().await?.len()), (3, 2));
    // in a transaction it is part of it, and not tried again
    bed.run("ALTER SEQUENCE tries RESTART").await?;
    let mut tx = session.transaction();
    assert!(tx.batch([sql!("SELECT conflicts(1)")]).atomic().await.is_err());
    drop(tx);
    assert_eq!(pid(&mut session).await?, before);
    Ok(())
}

async fn one_of_two_transactions_in_a_deadlock_gives_way_and_succeeds_when_tried_again(
    via: Via,
) -> Result<()> {
    let bed = Bed::new(via).await?;
    bed.run(
        "CREATE TABLE account(id int8 PRIMARY KEY, money int8); INSERT INTO account VALUES (1, 0), (2, 0)",
    )
    .await?;
    let (db, both, deadlocks) = (bed.db().await?, Barrier::new(2), AtomicU32::new(0));
    let transfer = async |from: i64, to: i64| {
        let (mut retry, mut first) = (db.retry(), true);
        loop {
            let meet = std::mem::take(&mut first);
            let work = async {
                let mut session = db.session().await?;
                let mut tx = session.transaction();
                tx.execute(sql!("UPDATE account SET money = money - 1 WHERE id = {from}")).await?;
                if meet {
                    both.wait().await;
                }
                tx.execute(sql!("UPDATE account SET money = money + 1 WHERE id = {to}")).await?;
                tx.commit().await
            };
            let done: pgspan::Result<()> = work.await;
            deadlocks.fetch_add(
                u32::from(done.as_ref().is_err_and(pgspan::Error::is_deadlock)),
                Ordering::Relaxed,
            );
            match done {
                Err(error) if retry.again(&error).await => {}
                done => break done,
            }
        }
    };
    let (one, other) = tokio::join!(transfer(1, 2), transfer(2, 1));
    one?;
    other?;
    assert_eq!(deadlocks.into_inner(), 1);
    let total: i64 = db.fetch_one(sql!("SELECT sum(money)::int8 FROM account WHERE money = 0")).await?;
    assert_eq!(total, 0);
    Ok(())
}
