//! Futures that are dropped at every one of their polls.
//!
//! Siblings that were looked for: every way of sending, on an empty pool and on a warm one, with answers that come whole and in pieces.

use std::future::Future;
use std::pin::Pin;

use pgspan::testing::Reply;
use pgspan::types::Type;
use pgspan::{Database, Settings, TransactionOptions};

use crate::bed::{Bed, poll_once};

const INSERT: &str = "INSERT INTO users(name) VALUES ('Bob')";
const FAILS: &str = "INSERT INTO users(name) VALUES ('Thunder')";

type Scenario = Pin<Box<dyn Future<Output = pgspan::Result<()>>>>;

fn bed(packet: Option<usize>, shared: usize) -> Bed {
    let mut settings = Settings::default();
    settings.shared_connections = shared;
    let bed = Bed::with(settings, |statement| match statement.text() {
        "SELECT n" => Reply::columns(&[("n", Type::INT8)]).row(&[&1_i64]).row(&[&2_i64]).row(&[&3_i64]),
        "SELECT 1::int8" => Reply::value("one", 1_i64),
        "SELECT pg_current_xact_id()::text AS pgspan_transaction_id" => {
            Reply::value("pgspan_transaction_id", "4711")
        }
        "COPY t TO STDOUT" => Reply::copy_out(["1\n", "2\n"]),
        FAILS => Reply::error("23505"),
        _ => Reply::ok(),
    });
    bed.driver.packets_of(packet);
    bed
}

/// Polls a scenario exactly 0, 1, 2, … times and drops it; then nothing is left open, and the next session works.
/// Gives how often it was dropped before its end.
fn drop_at_every_poll(shared: usize, scenario: impl Fn(Database) -> Scenario) -> usize {
    let mut dropped = 0;
    // a pool that is empty, and one with a connection in it; answers that come at once, and in pieces
    for (warm, packet) in [(false, None), (true, None), (false, Some(40)), (true, Some(3))] {
        let mut over = false;
        for polls in 0.. {
            let mut bed = bed(packet, shared);
            if warm {
                bed.the_next_session_works();
            }
            let mut future = scenario(bed.db.clone());
            for _ in 0..polls {
                if let std::task::Poll::Ready(done) = poll_once(future.as_mut()) {
                    done.expect("nothing goes wrong here");
                    over = true;
                    break;
                }
                bed.step();
            }
            let seen = bed.driver.statements().len();
            drop(future);
            if !over {
                dropped += 1;
            }
            bed.settle();
            bed.nothing_is_left_open();
            let sent = bed.driver.statements();
            if polls <= 1 && seen == 0 && !warm {
                assert!(sent.is_empty(), "sent by its Drop: {sent:?}");
            }
            bed.the_next_session_works();
            the_next_shared_statement_works(&mut bed);
            if over {
                break;
            }
            assert!(polls < 10_000, "it does not end");
        }
    }
    dropped
}

fn the_next_shared_statement_works(bed: &mut Bed) {
    let db = bed.db.clone();
    assert_eq!(bed.run(db.fetch_one::<i64>(crate::bed::NEXT)).expect("a shared statement"), 42);
    bed.settle();
    for log in bed.driver.connections() {
        assert!(log.ended || log.unanswered == 0, "it owes an answer: {log:?}");
    }
}

#[test]
fn a_statement_of_a_session() {
    let dropped = drop_at_every_poll(2, |db| {
        Box::pin(async move {
            let mut session = db.session().await?;
            assert_eq!(session.fetch_one::<i64>("SELECT 1::int8").await?, 1);
            session.execute(INSERT).await?;
            Ok(())
        })
    });
    assert!(dropped > 50, "{dropped}");
}

#[test]
fn a_transaction_of_two_statements() {
    let dropped = drop_at_every_poll(2, |db| {
        Box::pin(async move {
            let mut session = db.session().await?;
            let mut tx = session.transaction_with(TransactionOptions::new().read_only(false).with_id());
            tx.execute(INSERT).await?;
            assert_eq!(tx.fetch_all::<i64>("SELECT n").await?, [1, 2, 3]);
            tx.commit().await
        })
    });
    assert!(dropped > 100, "{dropped}");
}

#[test]
fn a_transaction_with_savepoints_and_a_statement_that_fails() {
    drop_at_every_poll(2, |db| {
        Box::pin(async move {
            let mut session = db.session().await?;
            let mut tx = session.transaction();
            let mut savepoint = tx.savepoint("a");
            savepoint.execute(FAILS).await.unwrap_err();
            savepoint.rollback().await?;
            let mut savepoint = tx.transaction();
            savepoint.execute(INSERT).await?;
            drop(savepoint);
            let mut savepoint = tx.transaction();
            savepoint.batch([INSERT, INSERT]).await?;
            savepoint.commit().await?;
            tx.commit().await?;

            let mut failed = session.transaction();
            failed.execute(FAILS).await.unwrap_err();
            failed.commit().await.unwrap_err();
            Ok(())
        })
    });
}

#[test]
fn a_transaction_that_ends_with_its_last_statements() {
    let dropped = drop_at_every_poll(2, |db| {
        Box::pin(async move {
            let mut session = db.session().await?;
            let mut tx = session.transaction();
            tx.execute(INSERT).await?;
            tx.commit_with([INSERT, "SELECT n"]).await?;
            session.transaction().commit_with([INSERT]).await?;
            session.transaction().commit_with([INSERT, FAILS]).await.unwrap_err();
            Ok(())
        })
    });
    assert!(dropped > 50, "{dropped}");
}

#[test]
fn a_batch_atomic_or_not() {
    drop_at_every_poll(2, |db| {
        Box::pin(async move {
            let mut session = db.session().await?;
            session.batch([INSERT, "SELECT n"]).atomic().await?;
            session.batch([INSERT, INSERT]).await?;
            session.batch([INSERT, FAILS, INSERT]).atomic().await.unwrap_err();
            Ok(())
        })
    });
}

#[test]
fn a_stream_of_rows() {
    drop_at_every_poll(2, |db| {
        Box::pin(async move {
            let mut session = db.session().await?;
            let mut rows = session.fetch_stream::<i64>("SELECT n").await?;
            for expected in 1..=3 {
                assert_eq!(rows.next().await?, Some(expected));
            }
            assert_eq!(rows.next().await?, None);
            let mut tx = session.transaction();
            let mut rows = tx.fetch_stream::<i64>("SELECT n").await?;
            while rows.next().await?.is_some() {}
            tx.commit().await
        })
    });
}

#[test]
fn a_copy_in_and_out() {
    drop_at_every_poll(2, |db| {
        Box::pin(async move {
            let mut session = db.session().await?;
            let mut tx = session.transaction();
            let mut copy = tx.copy_in("COPY t FROM STDIN").await?;
            copy.send("1\n2\n").await?;
            copy.send("3\n".repeat(3_000)).await?;
            assert_eq!(copy.finish().await?, 3_002);
            let mut copy = tx.copy_out("COPY t TO STDOUT").await?;
            let mut lines = Vec::new();
            while let Some(piece) = copy.next().await? {
                lines.extend(piece);
            }
            assert_eq!(lines, b"1\n2\n");
            tx.commit().await
        })
    });
}

#[test]
fn the_taking_of_a_session() {
    drop_at_every_poll(2, |db| Box::pin(async move { db.session().await.map(drop) }));
}

#[test]
fn a_shared_statement() {
    for shared in [0, 1, 2] {
        drop_at_every_poll(shared, |db| {
            Box::pin(async move {
                assert_eq!(db.fetch_one::<i64>("SELECT 1::int8").await?, 1);
                assert_eq!(db.fetch_all::<i64>("SELECT n").await?, [1, 2, 3]);
                Ok(())
            })
        });
    }
}

#[test]
fn a_transaction_that_is_dropped_unanswered_is_never_recycled() {
    let mut bed = bed(None, 2);
    let db = bed.db.clone();
    let mut session = bed.run(db.session()).unwrap();
    let mut tx = session.transaction();
    {
        let mut insert = Box::pin(tx.execute(INSERT));
        assert!(poll_once(insert.as_mut()).is_pending());
    }
    drop(tx);
    drop(session);
    bed.settle();
    assert!(bed.connection(0).ended && bed.connection(0).recycled == 0);
    assert!(!bed.driver.statements().contains(&"ROLLBACK".to_owned()));
    bed.the_next_session_works();
}

#[test]
fn a_session_whose_state_was_changed_is_not_recycled() {
    let mut bed = bed(None, 2);
    let db = bed.db.clone();
    bed.run(async {
        db.session().await.unwrap().execute("SET timezone = 'UTC'").await.unwrap();
        db.session().await.unwrap().taint();
        assert_eq!(db.execute("LISTEN a").await.unwrap_err().kind(), pgspan::Kind::Refused);
    });
    assert!(bed.connection(0).ended && bed.connection(1).ended);
    bed.the_next_session_works();
}

#[test]
fn discard_all_travels_behind_a_session_where_it_is_asked_for() {
    let mut settings = Settings::default();
    settings.recycle = pgspan::Recycle::DiscardAll;
    let mut bed = Bed::with(settings, |_| Reply::ok());
    let db = bed.db.clone();
    bed.run(async { db.session().await.unwrap().execute("SELECT 1").await.unwrap() });
    bed.settle();
    assert_eq!(bed.driver.statements(), ["SELECT 1", "DISCARD ALL"]);
    bed.the_next_session_works();
}
