//! A commit that says it is one is one.
//!
//! Siblings that were looked for: what can fail before a COMMIT, and be swallowed (a statement, a parameter, a refusal, a savepoint's beginning);
//! what fails at it (a deferred constraint); the connection lost before it, with it, and behind it; a transaction, an atomic batch, the last
//! flight, and autocommit; a deadline before and behind it.

use std::time::Duration;

use anyhow::{Context, Result};
use pgspan::{Json, Kind, TransactionOptions, TransactionStatus, sql};
use tests::Way;
use tokio::time::sleep;

use crate::support::{Bed, Via, code, insert, next_pid, pid};

ways! {
    both:
    a_commit_after_a_swallowed_error_is_an_error_and_nothing_is_stored,
    a_parameter_that_does_not_fit_fails_the_transaction_it_was_swallowed_in,
    a_statement_that_is_refused_fails_the_transaction_it_was_swallowed_in,
    a_savepoint_that_could_not_begin_never_undoes_another_of_its_name,
    a_deferred_constraint_is_told_at_the_commit_and_the_session_is_usable,
    a_deferred_constraint_fails_an_atomic_batch,
    a_commit_in_the_flight_of_the_last_statements_stores_all_or_nothing,
    a_connection_cut_after_commit_was_forwarded_is_an_unknown_outcome_that_can_be_found_out,
    an_atomic_batch_cut_after_its_commit_is_an_unknown_outcome_and_not_tried_again,
    an_autocommit_statement_cut_before_its_answer_is_unknown_unless_it_only_reads,
    a_backend_killed_before_commit_was_written_is_unavailable_and_nothing_is_stored,
    a_backend_killed_during_a_statement_of_a_transaction_is_unavailable,
    an_answer_to_commit_that_never_comes_is_an_unknown_outcome_at_its_deadline,
    a_commit_whose_deadline_has_passed_is_not_sent;
}

const NONE: [&str; 0] = [];

async fn a_commit_after_a_swallowed_error_is_an_error_and_nothing_is_stored(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let before = pid(&mut session).await?;
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    assert!(tx.execute(insert("a")).await.is_err());
    assert_eq!(code(&tx.execute(insert("b")).await), Some("25P02"));
    let error = tx.commit().await.err().context("a lie")?;
    assert_eq!(error.kind(), Kind::RolledBack);
    assert!(error.to_string().contains("23505"), "{error}");
    assert!(!error.is_retryable() && !error.is_outcome_unknown());
    assert_eq!(pid(&mut session).await?, before);
    assert_eq!(bed.students().await?, NONE);
    Ok(())
}

async fn a_parameter_that_does_not_fit_fails_the_transaction_it_was_swallowed_in(via: Via) -> Result<()> {
    for batch in [false, true] {
        let bed = Bed::with_students(via).await?;
        let mut session = bed.db().await?.session().await?;
        let mut tx = session.transaction();
        tx.execute(insert("a")).await?;
        // JSON has no such key
        let document = Json(std::collections::BTreeMap::from([((1, 2), 3)]));
        let misfit = sql!("SELECT {document}");
        let result = match batch {
            false => tx.execute(misfit).await.map(drop),
            true => tx.batch([misfit]).await.map(drop),
        };
        assert_eq!(result.err().map(|error| error.kind()), Some(Kind::Parameter));
        assert_eq!(tx.commit().await.err().map(|error| error.kind()), Some(Kind::RolledBack));
        assert_eq!(bed.students().await?, NONE);
    }
    Ok(())
}

async fn a_statement_that_is_refused_fails_the_transaction_it_was_swallowed_in(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    for copy in [false, true] {
        let mut tx = session.transaction();
        tx.execute(insert("a")).await?;
        let refused = match copy {
            false => tx.execute("COMMIT").await.map(drop),
            true => tx.copy_in("INSERT INTO students VALUES ('b')").await.map(drop),
        };
        assert_eq!(refused.err().map(|error| error.kind()), Some(Kind::Refused));
        assert_eq!(tx.commit().await.err().map(|error| error.kind()), Some(Kind::RolledBack));
    }
    assert_eq!(bed.students().await?, NONE);
    Ok(())
}

async fn a_savepoint_that_could_not_begin_never_undoes_another_of_its_name(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    let mut outer = tx.savepoint("same");
    assert!(outer.execute(insert("a")).await.is_err());
    let mut inner = outer.savepoint("same");
    assert_eq!(code(&inner.execute(insert("b")).await), Some("25P02"));
    drop(inner);
    assert_eq!(code(&outer.execute(insert("c")).await), Some("25P02"));
    drop(outer);
    tx.execute(insert("d")).await?; // and the transaction goes on
    tx.commit().await?;
    assert_eq!(bed.students().await?, ["a", "d"]);
    Ok(())
}

async fn deferred(bed: &Bed) -> Result<()> {
    bed.run("ALTER TABLE students ADD grade int8 CONSTRAINT one_each UNIQUE DEFERRABLE INITIALLY DEFERRED")
        .await
}

async fn a_deferred_constraint_is_told_at_the_commit_and_the_session_is_usable(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    deferred(&bed).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let mut tx = session.transaction();
    for name in ["a", "b"] {
        tx.execute(sql!("INSERT INTO students VALUES ({name}, 1)")).await?;
    }
    let error = tx.commit().await.err().context("stored")?;
    assert!(error.is_unique_violation() && error.kind() == Kind::Server, "{error}");
    assert_eq!(error.constraint(), Some("one_each"));
    session.execute(insert("c")).await?;
    assert_eq!(bed.students().await?, ["c"]);
    drop(session);
    assert_eq!(next_pid(&db).await?, before);
    Ok(())
}

async fn a_deferred_constraint_fails_an_atomic_batch(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    deferred(&bed).await?;
    let mut session = bed.db().await?.session().await?;
    let twice = ["a", "b"].map(|name| {
        let name = if name == "a" { &"a" } else { &"b" };
        sql!("INSERT INTO students VALUES ({name}, 1)")
    });
    let error = session.batch(twice).atomic().await.err().context("stored")?;
    assert!(error.is_unique_violation(), "{error}");
    session.execute(insert("c")).await?;
    assert_eq!(bed.students().await?, ["c"]);
    Ok(())
}

async fn a_commit_in_the_flight_of_the_last_statements_stores_all_or_nothing(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    deferred(&bed).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;

    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    let stored = tx.commit_with([insert("b"), insert("c")]).await?;
    assert_eq!((stored.affected(0)?, stored.affected(1)?), (1, 1));
    assert_eq!(bed.students().await?, ["a", "b", "c"]);

    let mut tx = session.transaction();
    tx.execute(insert("d")).await?;
    let error = tx.commit_with([insert("a"), insert("e")]).await.err().context("stored")?;
    assert!(error.is_unique_violation() && error.statement_index() == Some(0), "{error}");

    let tx = session.transaction();
    let twice = [sql!("INSERT INTO students VALUES ('f', 1)"), sql!("INSERT INTO students VALUES ('g', 1)")];
    let error = tx.commit_with(twice).await.err().context("stored")?;
    assert_eq!((error.constraint(), error.statement_index()), (Some("one_each"), None));
    assert_eq!(bed.students().await?, ["a", "b", "c"]);
    drop(session);
    assert_eq!(next_pid(&db).await?, before);
    Ok(())
}

async fn a_connection_cut_after_commit_was_forwarded_is_an_unknown_outcome_that_can_be_found_out(
    via: Via,
) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let (db, proxy) = bed.behind_proxy(|_| {}).await?;
    let mut session = db.session().await?;
    let mut tx = session.transaction_with(TransactionOptions::new().with_id());
    tx.execute(insert("a")).await?;
    proxy.cut_after("COMMIT");
    let error = tx.commit().await.err().context("it was answered")?;
    proxy.pass().await;
    assert_eq!(error.kind(), Kind::OutcomeUnknown);
    assert!(!error.is_retryable());
    let id = error.transaction_id().context("no id")?;
    assert_eq!(db.transaction_status(id).await?, TransactionStatus::Committed);
    assert_eq!(bed.students().await?, ["a"]);
    assert!(session.execute(insert("b")).await.is_err());
    Ok(())
}

async fn an_atomic_batch_cut_after_its_commit_is_an_unknown_outcome_and_not_tried_again(
    via: Via,
) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let (db, proxy) = bed.behind_proxy(|_| {}).await?;
    let mut session = db.session().await?;
    pid(&mut session).await?;
    proxy.cut_after("COMMIT");
    let error = session.batch([insert("a"), insert("b")]).atomic().await.err().context("it was answered")?;
    assert_eq!(error.kind(), Kind::OutcomeUnknown);
    assert_eq!(bed.students().await?, ["a", "b"]);
    Ok(())
}

async fn an_autocommit_statement_cut_before_its_answer_is_unknown_unless_it_only_reads(
    via: Via,
) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let (db, proxy) = bed.behind_proxy(|_| {}).await?;
    let write = sql!("INSERT INTO students(name) VALUES ('a')");
    let read = sql!("SELECT 1").reads_only();
    for (sql, expected) in [(write, Kind::OutcomeUnknown), (read, Kind::Unavailable)] {
        let mut session = db.session().await?;
        pid(&mut session).await?;
        proxy.cut_after(sql.text());
        let error = session.execute(&sql).await.err().context("it was answered")?;
        proxy.pass().await;
        assert_eq!(error.kind(), expected);
    }
    assert_eq!(bed.students().await?, ["a"]);
    Ok(())
}

async fn a_backend_killed_before_commit_was_written_is_unavailable_and_nothing_is_stored(
    via: Via,
) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let pid = pid(&mut session).await?;
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    bed.terminate(pid).await?;
    let error = tx.commit().await.err().context("committed on nothing")?;
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.is_retryable());
    assert_eq!(bed.students().await?, NONE);
    Ok(())
}

async fn a_backend_killed_during_a_statement_of_a_transaction_is_unavailable(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let pid = pid(&mut session).await?;
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    let (result, killed) = tokio::join!(tx.execute(sql!("SELECT pg_sleep(4)")), async {
        sleep(Duration::from_millis(100)).await;
        bed.terminate(pid).await
    });
    killed?;
    let error = result.err().context("it slept well")?;
    assert!(error.is_retryable() && error.kind() == Kind::Unavailable, "{error}");
    assert!(tx.commit().await.is_err_and(|error| !error.is_outcome_unknown()));
    assert_eq!(bed.students().await?, NONE);
    Ok(())
}

async fn a_commit_whose_deadline_has_passed_is_not_sent(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    next_pid(&db).await?;
    let mut session = db.with_deadline(Duration::from_millis(300)).session().await?;
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    sleep(Duration::from_millis(350)).await;
    let error = tx.commit().await.err().context("committed after the end")?;
    assert_eq!(error.kind(), Kind::Timeout, "{error}");
    drop(session);
    bed.is_at_rest().await?;
    assert_eq!(bed.students().await?, NONE);
    Ok(())
}

async fn an_answer_to_commit_that_never_comes_is_an_unknown_outcome_at_its_deadline(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let (db, proxy) = bed.behind_proxy(|s| s.statement_timeout = Duration::from_millis(300)).await?;
    let mut session = db.session().await?;
    let mut tx = session.transaction_with(TransactionOptions::new().with_id());
    tx.execute(insert("a")).await?;
    let id = tx.id().context("no id")?;
    proxy.lose(Way::Down);
    let error = tx.commit().await.err().context("it was answered")?;
    assert_eq!((error.kind(), error.transaction_id()), (Kind::OutcomeUnknown, Some(id)));
    assert_eq!(bed.students().await?, ["a"]);
    Ok(())
}
