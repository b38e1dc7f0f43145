//! Reading much, bit by bit.
//!
//! Siblings that were looked for: in autocommit, in a transaction, and as its first statement; a reader that is slow, stops, or goes; an error in
//! the middle. How long each row may take is in `limits`.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use pgspan::{FromRow, Kind, sql};
use tokio::time::sleep;

use crate::support::{Bed, Via, insert, next_pid, pid};

ways! {
    both:
    two_hundred_thousand_rows_are_read_one_by_one,
    an_error_in_the_middle_of_a_stream_is_its_last_item_and_the_session_is_usable,
    the_first_statement_of_a_transaction_may_be_a_stream,
    a_reader_that_pauses_holds_the_server_back_instead_of_filling_the_memory,
    a_stream_dropped_in_the_middle_closes_its_connection,
    a_stream_dropped_in_a_transaction_rolls_it_back;
}

const ROWS: i64 = 200_000;

#[derive(FromRow)]
struct Line {
    n: i64,
    text: String,
}

async fn two_hundred_thousand_rows_are_read_one_by_one(via: Via) -> Result<()> {
    let db = Bed::new(via).await?.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let all = sql!("SELECT n, repeat('x', 50) AS text FROM generate_series(1, {ROWS}) n");
    let mut lines = session.fetch_stream::<Line>(&all).await?;
    let mut expected = 0;
    while let Some(Line { n, text }) = lines.next().await? {
        expected += 1;
        assert_eq!((n, text.len()), (expected, 50));
    }
    assert_eq!(expected, ROWS);
    drop(lines);
    let sum: i64 = session
        .fetch_stream::<Line>(&all)
        .await?
        .try_fold(0, |sum, line| std::future::ready(Ok(sum + line.n)))
        .await?;
    assert_eq!(sum, ROWS * (ROWS + 1) / 2);
    drop(session);
    assert_eq!(next_pid(&db).await?, before); // read to its end, the connection is as good as before
    Ok(())
}

async fn a_reader_that_pauses_holds_the_server_back_instead_of_filling_the_memory(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let (db, proxy) = bed.behind_proxy(|_| {}).await?;
    let mut session = db.session().await?;
    let mut rows = session
        .fetch_stream::<String>(sql!("SELECT repeat('x', 1000) FROM generate_series(1, {ROWS})"))
        .await?;
    rows.next().await?;
    sleep(Duration::from_millis(700)).await;
    let passed: u64 = proxy.traffic().iter().map(|connection| connection.down).sum();
    assert!(passed < 40_000_000, "{passed} of 200 MB were read ahead");
    assert!(rows.next().await?.is_some());
    Ok(())
}

async fn a_stream_dropped_in_the_middle_closes_its_connection(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let mut rows = session.fetch_stream::<i64>(sql!("SELECT generate_series(1, {ROWS})")).await?;
    assert_eq!(rows.next().await?, Some(1));
    drop(rows);
    let error = session.execute(sql!("")).await.err().context("it goes on")?;
    assert_eq!(error.kind(), Kind::Unusable);
    drop(session);
    let next = next_pid(&db).await?;
    if via == Via::PgBouncer {
        return bed.is_at_rest().await; // it closes the client's connection, and keeps its own
    }
    assert_ne!(next, before);
    bed.gone(before).await?;
    Ok(())
}

async fn a_stream_dropped_in_a_transaction_rolls_it_back(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    let mut rows = tx.fetch_stream::<i64>(sql!("SELECT generate_series(1, {ROWS})")).await?;
    assert_eq!(rows.next().await?, Some(1));
    drop(rows);
    assert_eq!(tx.commit().await.err().map(|error| error.kind()), Some(Kind::RolledBack));
    drop(session);
    bed.is_at_rest().await?;
    assert!(bed.students().await?.is_empty());
    Ok(())
}

async fn an_error_in_the_middle_of_a_stream_is_its_last_item_and_the_session_is_usable(
    via: Via,
) -> Result<()> {
    let db = Bed::new(via).await?.db().await?;
    let mut session = db.session().await?;
    let mut rows =
        session.fetch_stream::<i64>(sql!("SELECT 10 / (n - 3) FROM generate_series(1::int8, 9) n")).await?;
    assert_eq!((rows.next().await?, rows.next().await?), (Some(-5), Some(-10)));
    let error = rows.next().await.err().context("divided by zero")?;
    assert_eq!(error.sqlstate().map(|code| code.code()), Some("22012"));
    assert_eq!(rows.next().await?, None);
    drop(rows);
    pid(&mut session).await?;
    Ok(())
}

async fn the_first_statement_of_a_transaction_may_be_a_stream(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let mut tx = session.transaction();
    let returned: Vec<String> = tx
        .fetch_stream::<String>(sql!("INSERT INTO students VALUES ('a'), ('b') RETURNING name"))
        .await?
        .try_collect()
        .await?;
    assert_eq!(returned, ["a", "b"]);
    assert!(bed.students().await?.is_empty());
    tx.commit().await?;
    assert_eq!(bed.students().await?, ["a", "b"]);
    Ok(())
}
