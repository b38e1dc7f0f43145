//! Statements that can't be sent, fail, or lose their connection at any message: the table equals what the answers allow.
//!
//! Siblings that were looked for: too many parameters, a value that is too large, a value that its type does not take, a NUL in the
//! text, a parameter inside quotes and one written by hand; first, in the middle and last; alone, in a batch, in an atomic batch, in a
//! transaction and on a shared connection.

use std::time::Duration;

use anyhow::{Result, ensure};
use pgspan::{Kind, Sql, sql};
use tests::Meddling;

use crate::meddling::programs;
use crate::support::{Bed, Via, insert, next_pid, pid};

ways! {
    both: what_can_not_be_sent_is_an_error_that_says_so_and_nothing_else_is_sent,
        a_user_defined_type_comes_back_from_an_insert_after_everything_prepared_was_dropped;
}

/// More than PostgreSQL's protocol can count.
fn too_many(number: &i32) -> Sql<'_> {
    (0..70_000).fold(Sql::new("SELECT 1 WHERE 1 IN (0"), |sql, _| sql.push(", ").bind(number)).push(")")
}

async fn what_can_not_be_sent_is_an_error_that_says_so_and_nothing_else_is_sent(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let number = 1_i32;
    let mut unsendable = vec![
        ("unnest", Kind::Parameter, too_many(&number)),
        ("U+0000", Kind::Parameter, Sql::new("SELECT '\0'")),
        ("inside quotes", Kind::Parameter, Sql::new("SELECT '").bind(&number).push("'")),
        ("by hand", Kind::Refused, Sql::new("DELETE FROM students WHERE name = $1")),
        ("by hand", Kind::Refused, Sql::new("DELETE FROM students WHERE 1 = $1 AND 1 = ").bind(&number)),
    ];
    unsendable.push(("by hand", Kind::Refused, Sql::from("DELETE FROM students WHERE name = $1")));
    for (text, kind, sql) in &unsendable {
        let mut session = db.session().await?;
        let is_told = |error: &pgspan::Error, position: Option<usize>| {
            assert!(error.kind() == *kind && error.to_string().contains(text), "{error}");
            assert!(!error.is_retryable() && error.statement_index() == position, "{error}");
        };
        let before = match via {
            Via::Nothing => Some(pid(&mut session).await?),
            _ => None,
        };
        is_told(&session.execute(sql).await.unwrap_err(), None);
        is_told(&db.execute(sql).await.unwrap_err(), None);
        for position in 0..3 {
            let mut batch = vec![insert("a"), insert("b")];
            batch.insert(position, sql.clone());
            is_told(&session.batch(batch.clone()).await.expect_err("sent"), Some(position));
            is_told(&session.batch(batch.clone()).atomic().await.expect_err("sent"), Some(position));
            let mut tx = session.transaction();
            tx.execute(insert("c")).await?;
            is_told(&tx.batch(batch).await.expect_err("sent"), Some(position));
            assert_eq!(tx.commit().await.unwrap_err().kind(), Kind::RolledBack);
        }
        assert!(bed.students().await?.is_empty(), "{text}");
        if let Some(before) = before {
            assert_eq!(pid(&mut session).await?, before, "the session goes on");
            drop(session);
            assert_eq!(next_pid(&db).await?, before, "and its connection is kept");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_message_that_is_too_large_is_not_sent() -> Result<()> {
    let bed = Bed::with_students(Via::Nothing).await?;
    let db = bed.db().await?;
    let huge = vec![b'x'; 1_073_741_824];
    let mut session = db.session().await?;
    for sql in [sql!("SELECT length({huge})"), Sql::new("SELECT length(").bind(&huge).push(")")] {
        let error = session.execute(&sql).await.unwrap_err();
        assert!(error.kind() == Kind::Parameter && error.to_string().contains("1 GB"), "{error}");
        let error = session.batch([insert("a"), sql]).await.expect_err("sent");
        assert_eq!((error.kind(), error.statement_index()), (Kind::Parameter, Some(1)));
    }
    session.execute(insert("b")).await?;
    assert_eq!(bed.students().await?, ["b"]);
    Ok(())
}

/// The server forgets prepared statements, and the client used to look types up by some: the row was stored, and told not to be.
async fn a_user_defined_type_comes_back_from_an_insert_after_everything_prepared_was_dropped(
    via: Via,
) -> Result<()> {
    let bed = Bed::new(via).await?;
    bed.run("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TABLE people(id serial, mood mood)").await?;
    for prepare in [false, true] {
        let db = bed
            .db_with(|settings| {
                settings.prepare = prepare && via == Via::Nothing;
                if via == Via::Nothing {
                    settings.recycle = pgspan::Recycle::DiscardAll;
                }
            })
            .await?;
        for round in 0..3 {
            let mut session = db.session().await?;
            if via == Via::Nothing && round == 1 {
                session.execute("DEALLOCATE ALL").await?;
            }
            for _ in 0..2 {
                let returned: String = session
                    .fetch_one(sql!("INSERT INTO people(mood) VALUES ('happy') RETURNING mood"))
                    .await?;
                assert_eq!(returned, "happy");
            }
        }
    }
    let stored: i64 = bed.other.query_one("SELECT count(*) FROM people", &[]).await?.get(0);
    assert_eq!(stored, 12);
    Ok(())
}

/// What may be in the table after the answers to one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Yes,
    No,
    Unknown,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_cut_at_any_message_the_table_is_what_the_answers_allow() -> Result<()> {
    let bed = Bed::with_students(Via::Nothing).await?;
    bed.run(
        "CREATE TYPE mood AS ENUM ('sad'); INSERT INTO students VALUES ('taken');
         CREATE PROCEDURE store(given text, fails bool) LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO students VALUES (given); COMMIT;
            IF fails THEN RAISE 'again' USING ERRCODE = '40001'; END IF;
         END $$",
    )
    .await?;
    let (mut cut, mut unknown) = (0, 0);
    for seed in 0..programs() / 2 {
        let (db, _meddler) = bed
            .behind(Meddling::Cut { seed, among: 40 }, |settings| {
                settings.prepare = seed % 2 == 1;
                settings.statement_timeout = Duration::from_millis(500);
                settings.lock_timeout = Duration::from_millis(500);
            })
            .await?;
        let names: Vec<String> = (0..9).map(|number| format!("{seed} {number}")).collect();
        let mut stored = Vec::new();
        let state = |result: Result<(), pgspan::Error>| match result {
            Ok(()) => Stored::Yes,
            Err(error) if error.is_outcome_unknown() => Stored::Unknown,
            Err(_) => Stored::No,
        };
        let number = 1_i32;
        let [a, b, c, d, e, f, g, h, i] = names.as_slice() else { anyhow::bail!("nine names") };
        'program: {
            // one statement, whose answer has a column of a type that is not built in
            let Ok(mut session) = db.session().await else { break 'program };
            let sql = sql!("INSERT INTO students VALUES ({a}) RETURNING name, 'sad'::mood AS mood");
            let one = session.fetch_one::<(String, String)>(sql).await.map(drop);
            stored.push((vec![a], state(one)));
            // an atomic batch, with one that can't be sent or that fails in some programs
            let mut statements = vec![insert(b), insert(c)];
            match seed % 4 {
                0 => statements.insert(1, too_many(&number)),
                1 => statements.insert(1, insert("taken")),
                _ => {}
            }
            if session.execute(sql!("SELECT 1").reads_only()).await.is_err() {
                let Ok(another) = db.session().await else { break 'program };
                session = another;
            }
            let batch = session.batch(statements).atomic().await.map(drop);
            stored.push((vec![b, c], state(batch)));
            // a transaction, on whatever connection there is, with its COMMIT by itself or in the flight of its last statement
            let Ok(mut session) = db.session().await else { break 'program };
            let transaction = async {
                let mut tx = session.transaction();
                tx.execute(insert(d)).await?;
                if seed % 5 == 0 {
                    let _ = tx.execute(too_many(&number)).await;
                }
                if seed % 3 == 0 {
                    return tx.commit_with([insert(e)]).await.map(drop);
                }
                tx.execute(insert(e)).await?;
                tx.commit().await
            };
            stored.push((vec![d, e], state(transaction.await)));
            // a batch of which each statement is for itself: the error speaks of one
            let Ok(mut session) = db.session().await else { break 'program };
            match session.batch([insert(g), insert(h)]).await {
                Ok(_) => stored.extend([(vec![g], Stored::Yes), (vec![h], Stored::Yes)]),
                Err(error) if error.is_outcome_unknown() => stored.push((vec![g], Stored::Unknown)),
                Err(error) => match error.statement_index() {
                    Some(0) => stored.push((vec![g], Stored::No)),
                    Some(_) => stored.push((vec![h], Stored::No)),
                    None => stored.extend([(vec![g], Stored::No), (vec![h], Stored::No)]),
                },
            }
            // a procedure that commits by itself, and fails behind that in some programs: it ran once at most
            let fails = seed % 2 == 0;
            let called = session.execute(sql!("CALL store({i}, {fails})")).await;
            match called {
                Err(error) if error.sqlstate().is_some_and(|code| code.code() == "40001") => {
                    stored.push((vec![i], Stored::Yes));
                }
                called => stored.push((vec![i], state(called.map(drop)))),
            }
        }
        stored.push((vec![f], state(db.execute(insert(f)).await.map(drop))));
        tokio::time::sleep(Duration::from_millis(2)).await; // a commit under way
        let students = bed.students().await?;
        for (names, state) in stored {
            let found = names.iter().filter(|name| students.contains(name)).count();
            ensure!(found == 0 || found == names.len(), "program {seed}: half of {names:?} is stored");
            match state {
                Stored::Yes => ensure!(found > 0, "program {seed}: {names:?} is not stored"),
                Stored::No => ensure!(found == 0, "program {seed}: {names:?} is stored"),
                Stored::Unknown => unknown += 1,
            }
            cut += usize::from(state != Stored::Yes);
        }
        db.close();
    }
    ensure!(unknown > 0 && cut > unknown, "{unknown} of {cut}");
    Ok(())
}
