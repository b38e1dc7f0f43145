//! COPY in both directions.
//!
//! Siblings that were looked for: both directions, each given to the other's function, and the server's own files; refused at the start, by a
//! row, by its transaction; dropped in the middle.

use anyhow::{Context, Result};
use pgspan::{Kind, sql};

use crate::support::{Bed, Via, code, insert, next_pid, pid};

ways! {
    both:
    what_is_copied_in_is_stored_with_the_transaction_and_copied_out_again,
    a_row_that_postgresql_refuses_fails_the_copy_and_the_session_is_usable,
    a_copy_that_cant_begin_is_an_error_and_nothing_of_its_transaction_is_stored,
    a_copy_dropped_in_the_middle_is_rolled_back_and_its_connection_closed,
    a_copy_the_other_way_is_refused_and_costs_nothing;
}

const IN: &str = "COPY students(name) FROM STDIN";
const OUT: &str = "COPY (SELECT name FROM students ORDER BY name) TO STDOUT";

async fn what_is_copied_in_is_stored_with_the_transaction_and_copied_out_again(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let mut tx = session.transaction();
    let mut copy = tx.copy_in(IN).await?;
    for piece in ["Thu", "nder\nBo", "b\n"] {
        copy.send(piece).await?;
    }
    assert_eq!(copy.finish().await?, 2);
    tx.execute(insert("Zed")).await?;
    assert!(bed.students().await?.is_empty());
    let mut copied = Vec::new();
    let mut copy = tx.copy_out(OUT).await?;
    while let Some(piece) = copy.next().await? {
        copied.extend_from_slice(&piece);
    }
    assert!(copy.next().await?.is_none());
    drop(copy);
    assert_eq!(copied, b"Bob\nThunder\nZed\n");
    tx.commit().await?;
    assert_eq!(bed.students().await?, ["Bob", "Thunder", "Zed"]);
    drop(session);
    assert_eq!(next_pid(&db).await?, before);
    bed.is_at_rest().await
}

async fn a_copy_the_other_way_is_refused_and_costs_nothing(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    for (is_in, text) in [
        (true, OUT),
        (true, "COPY students FROM PROGRAM 'echo a'"),
        (true, "COPY students TO '/nowhere'"),
        (false, IN),
        (false, "COPY students TO PROGRAM 'cat'"),
        (false, "COPY students FROM '/nowhere'"),
    ] {
        let mut tx = session.transaction();
        tx.execute("SELECT 1").await?;
        let error = match is_in {
            true => tx.copy_in(text).await.err(),
            false => tx.copy_out(text).await.err(),
        };
        assert_eq!(error.context(text)?.kind(), Kind::Refused, "{text}");
        tx.rollback().await?;
    }
    for text in [IN, OUT] {
        let error = session.execute(text).await.err().context(text)?;
        assert!(error.kind() == Kind::Refused && error.to_string().contains("copy_in"), "{error}");
    }
    // with the server's own files and programs it is a statement like another
    assert_eq!(session.execute("COPY students FROM PROGRAM 'echo a'").await?, 1);
    assert_eq!(session.execute("COPY students TO PROGRAM 'cat > /dev/null'").await?, 1);
    drop(session);
    assert_eq!(next_pid(&db).await?, before);
    Ok(())
}

async fn a_row_that_postgresql_refuses_fails_the_copy_and_the_session_is_usable(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    // refused with the last row, and refused with the first while megabytes follow
    for following in [0, 300] {
        let mut tx = session.transaction();
        tx.execute(insert("before")).await?;
        let mut copy = tx.copy_in(IN).await?;
        let mut result = copy.send("a\na\n").await;
        for number in 0..following {
            if result.is_ok() {
                result = copy.send(format!("{}{number}\n", "x".repeat(20_000))).await;
            }
        }
        let result = match result {
            Ok(()) => copy.finish().await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(code(&result), Some("23505"), "{result:?}");
        assert_eq!(tx.commit().await.err().map(|error| error.kind()), Some(Kind::RolledBack));
        assert_eq!(pid(&mut session).await?, before);
    }
    assert!(bed.students().await?.is_empty());
    Ok(())
}

async fn a_copy_that_cant_begin_is_an_error_and_nothing_of_its_transaction_is_stored(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    assert_eq!(code(&tx.copy_out("COPY nowhere TO STDOUT").await.map(drop)), Some("42P01"));
    drop(tx);
    let mut tx = session.transaction();
    let error = tx.copy_in("INSERT INTO students VALUES ('a')").await.err().context("it was sent")?;
    assert_eq!(error.kind(), Kind::Refused);
    drop(tx);
    assert_eq!(session.execute(IN).await.err().map(|error| error.kind()), Some(Kind::Refused));
    assert_eq!(pid(&mut session).await?, before);

    // tokio-postgres loses its connection over this one
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    assert_eq!(code(&tx.copy_in("COPY nowhere FROM STDIN").await.map(drop)), Some("42P01"));
    assert_eq!(tx.commit().await.err().map(|error| error.kind()), Some(Kind::RolledBack));
    assert_eq!(session.execute(insert("b")).await.err().map(|error| error.kind()), Some(Kind::Unusable));
    drop(session);
    assert_ne!(next_pid(&db).await?, before);
    assert!(bed.students().await?.is_empty());
    Ok(())
}

async fn a_copy_dropped_in_the_middle_is_rolled_back_and_its_connection_closed(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    bed.run("INSERT INTO students SELECT 'student ' || n FROM generate_series(1, 100000) n").await?;
    let db = bed.db().await?;
    for out in [false, true] {
        let mut session = db.session().await?;
        let before = pid(&mut session).await?;
        let mut tx = session.transaction();
        if out {
            let mut copy = tx.copy_out("COPY students TO STDOUT").await?;
            assert!(copy.next().await?.is_some());
        } else {
            let mut copy = tx.copy_in(IN).await?;
            copy.send("dropped\n").await?;
        }
        assert_eq!(tx.commit().await.err().map(|error| error.kind()), Some(Kind::RolledBack));
        drop(session);
        assert_ne!(next_pid(&db).await?, before);
        bed.gone(before).await?;
    }
    let stored: i64 = db.fetch_one(sql!("SELECT count(*) FROM students WHERE name = 'dropped'")).await?;
    assert_eq!(stored, 0);
    Ok(())
}
