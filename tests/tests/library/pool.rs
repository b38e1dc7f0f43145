//! The pool's rows that are about what a session was doing when it was dropped. The others are pgspan-server's own tests.
//! Straight to PostgreSQL: behind a pooler the backend is not the connection.

use anyhow::Result;
use pgspan::sql;

use crate::support::{Bed, Via, insert, next_pid, pid};

#[tokio::test]
async fn the_third_checkout_has_the_first_ones_backend() -> Result<()> {
    let db = Bed::new(Via::Nothing).await?.db().await?;
    let first = next_pid(&db).await?;
    assert_eq!([next_pid(&db).await?, next_pid(&db).await?], [first, first]);
    Ok(())
}

#[tokio::test]
async fn a_session_dropped_in_a_transaction_or_in_a_failed_one_is_idle_for_the_next() -> Result<()> {
    let bed = Bed::with_students(Via::Nothing).await?;
    let db = bed.db().await?;
    for failed in [false, true] {
        let mut session = db.session().await?;
        let before = pid(&mut session).await?;
        let mut tx = session.transaction();
        tx.execute(insert("a")).await?;
        if failed {
            assert!(tx.execute(insert("a")).await.is_err());
        }
        drop(tx);
        drop(session);
        let mut next = db.session().await?;
        assert_eq!(pid(&mut next).await?, before, "failed: {failed}");
        assert_eq!(bed.state(before).await?.as_deref(), Some("idle"));
        assert_eq!(next.fetch_one::<i64>(sql!("SELECT count(*) FROM students")).await?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_session_dropped_after_a_statement_that_failed_gives_its_connection_back() -> Result<()> {
    let db = Bed::new(Via::Nothing).await?.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    assert!(session.execute(sql!("SELECT 1 / 0")).await.is_err());
    drop(session);
    assert_eq!(next_pid(&db).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_backend_terminated_while_idle_is_never_seen() -> Result<()> {
    let bed = Bed::new(Via::Nothing).await?;
    let db = bed.db().await?;
    for _ in 0..3 {
        let before = next_pid(&db).await?;
        bed.terminate(before).await?;
        assert_ne!(next_pid(&db).await?, before);
    }
    Ok(())
}
