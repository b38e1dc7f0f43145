//! Single statements on the connections they share.
//!
//! Siblings that were looked for: what one caller can do to the others (a slow statement, an error, a dropped future, a hurry), and what a
//! connection can (its server ends, it breaks).

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use pgspan::{Database, Kind, sql};
use tokio::time::timeout;

use crate::support::{Bed, Via, insert};

ways! {
    both:
    a_shared_connection_whose_backend_was_terminated_is_replaced_without_an_error,
    who_waits_on_a_connection_that_breaks_gets_an_error_and_later_callers_none,
    a_slow_statement_does_not_hold_others_up,
    what_needs_a_session_is_refused_on_a_shared_connection,
    an_error_of_the_server_ends_neither_the_connection_nor_a_neighbour,
    without_shared_connections_a_statement_takes_one_of_the_pool;
    pipelined:
    many_statements_share_few_connections,
    a_shared_statement_that_is_dropped_does_not_harm_its_neighbours;
}

async fn pid(db: &Database) -> pgspan::Result<i32> {
    db.fetch_one(sql!("SELECT pg_backend_pid()")).await
}

async fn many_statements_share_few_connections(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db_with(|settings| settings.shared_connections = 2).await?;
    let pids = join_all((0..200_i64).map(|n| {
        let db = db.clone();
        async move { db.fetch_one::<(i64, i32)>(sql!("SELECT {n}, pg_backend_pid()")).await }
    }))
    .await;
    let mut distinct = std::collections::BTreeSet::new();
    for (n, answer) in pids.into_iter().enumerate() {
        let (answered, pid) = answer?;
        assert_eq!(usize::try_from(answered)?, n);
        distinct.insert(pid);
    }
    assert!((1..=2).contains(&distinct.len()), "{distinct:?}");
    Ok(())
}

async fn a_shared_connection_whose_backend_was_terminated_is_replaced_without_an_error(
    via: Via,
) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db_with(|settings| settings.shared_connections = 1).await?;
    let before = pid(&db).await?;
    bed.terminate(before).await?;
    for name in ["a", "b"] {
        db.execute(insert(name)).await?;
    }
    assert_ne!(pid(&db).await?, before);
    assert_eq!(bed.students().await?, ["a", "b"]);
    Ok(())
}

async fn who_waits_on_a_connection_that_breaks_gets_an_error_and_later_callers_none(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db_with(|settings| settings.shared_connections = 1).await?;
    let pid = pid(&db).await?;
    let (sleeping, killed) = tokio::join!(db.execute(sql!("SELECT pg_sleep(4)").reads_only()), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bed.terminate(pid).await
    });
    killed?;
    assert!(sleeping.is_err_and(|error| error.kind() == Kind::Unavailable && error.is_retryable()));
    db.execute(sql!("SELECT 1")).await?;
    Ok(())
}

async fn a_slow_statement_does_not_hold_others_up(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db_with(|settings| settings.shared_connections = 2).await?;
    let slow = tokio::spawn({
        let db = db.clone();
        async move { db.execute(sql!("SELECT pg_sleep(2)")).await }
    });
    let sleeps =
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    while bed.other.query(sleeps, &[]).await?.is_empty() {
        assert!(!slow.is_finished());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let started = Instant::now();
    for _ in 0..20 {
        db.fetch_one::<i32>(sql!("SELECT 1")).await?;
    }
    assert!(started.elapsed() < Duration::from_secs(1) && !slow.is_finished(), "{:?}", started.elapsed());
    slow.await??;
    Ok(())
}

async fn a_shared_statement_that_is_dropped_does_not_harm_its_neighbours(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db_with(|settings| settings.shared_connections = 1).await?;
    let before = pid(&db).await?;
    assert!(timeout(Duration::from_millis(50), db.execute(sql!("SELECT pg_sleep(0.3)"))).await.is_err());
    assert_eq!(pid(&db).await?, before);
    Ok(())
}

async fn what_needs_a_session_is_refused_on_a_shared_connection(via: Via) -> Result<()> {
    let db = Bed::new(via).await?.db().await?;
    for text in [
        "SET timezone = 'UTC'",
        "BEGIN",
        "COPY x FROM STDIN",
        "LISTEN x",
        "CREATE TEMP TABLE x()",
        "PREPARE x AS SELECT 1",
    ] {
        let error = db.execute(text).await.err().context(text)?;
        assert_eq!(error.kind(), Kind::Refused, "{text}: {error}");
        assert!(error.to_string().contains("session"), "{text}: {error}");
    }
    Ok(())
}

async fn an_error_of_the_server_ends_neither_the_connection_nor_a_neighbour(via: Via) -> Result<()> {
    let db = Bed::new(via).await?.db_with(|settings| settings.shared_connections = 1).await?;
    let before = pid(&db).await?;
    let (good, bad) =
        tokio::join!(db.fetch_one::<i32>(sql!("SELECT 1")), db.fetch_one::<i32>(sql!("SELECT 1 / 0")));
    assert_eq!((good?, bad.is_err()), (1, true));
    assert_eq!(pid(&db).await?, before);
    Ok(())
}

async fn without_shared_connections_a_statement_takes_one_of_the_pool(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db_with(|settings| settings.shared_connections = 0).await?;
    let shared = pid(&db).await?;
    assert_eq!(crate::support::next_pid(&db).await?, shared);
    Ok(())
}
