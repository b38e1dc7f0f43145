//! What an error of the server says of its statement: whether it is definite, whether anything may be stored, and whether the
//! connection can still be used.
//!
//! The siblings that were looked for: each way of sending (autocommit, shared, in a transaction, COMMIT, an atomic batch, a stream);
//! FATAL of every class that a retry is made for; 40003 with and without a routine; ERROR of class 08 and 57P0 from PostgreSQL, from a
//! RAISE, and from something in between, which names no routine; statements that commit by themselves while they run, alone, in a
//! batch, on a shared connection and in a transaction, where they can't.

use futures_util::TryStreamExt;
use pgspan::testing::Reply;
use pgspan::{Error, Kind, Settings};

use crate::bed::Bed;

const UPDATE: &str = "UPDATE t SET x = 1";

fn answering(at: &'static str, reply: Reply) -> Bed {
    let mut settings = Settings::default();
    settings.shared_connections = 1;
    Bed::with(settings, move |statement| match statement.text() {
        text if text == at => reply.clone(),
        _ => Reply::affected(1),
    })
}

fn times(bed: &Bed, text: &str) -> usize {
    bed.driver.statements().iter().filter(|sent| *sent == text).count()
}

/// All ways to send a statement that may be stored when its answer does not come.
fn each_way(bed: &mut Bed) -> Vec<(&'static str, Error)> {
    let db = bed.db.clone();
    bed.run(async {
        let shared = db.execute(UPDATE).await.unwrap_err();
        let alone = db.session().await.unwrap().execute(UPDATE).await.unwrap_err();
        let mut session = db.session().await.unwrap();
        let batch = session.batch([UPDATE]).await.map(drop).unwrap_err();
        let mut session = db.session().await.unwrap();
        let one = session.batch([UPDATE]).atomic().await.map(drop).unwrap_err();
        let mut session = db.session().await.unwrap();
        let atomic = session.batch(["SELECT 1", UPDATE]).atomic().await.map(drop).unwrap_err();
        let mut session = db.session().await.unwrap();
        let streamed = async { session.fetch_stream::<i64>(UPDATE).await?.try_collect::<Vec<_>>().await };
        let streamed = streamed.await.map(drop).unwrap_err();
        [
            ("shared", shared),
            ("alone", alone),
            ("batch", batch),
            ("atomic of one", one),
            ("atomic", atomic),
            ("streamed", streamed),
        ]
        .into()
    })
}

#[test]
fn a_fatal_error_leaves_the_outcome_unknown_whatever_its_code_and_nothing_is_tried_again() {
    for code in ["40001", "40P01", "55P03", "57014", "57P01", "25006", "53300", "23505", "08006", "XX000"] {
        let mut bed = answering(UPDATE, Reply::fatal(code));
        for (way, error) in each_way(&mut bed) {
            assert_eq!(error.kind(), Kind::OutcomeUnknown, "{code} {way}: {error}");
            assert!(!error.is_retryable(), "{code} {way}");
            assert!(
                !error.is_serialization_failure() && !error.is_deadlock() && !error.is_unique_violation()
            );
            let db = bed.db.clone();
            assert!(!bed.run(async { db.retry().again(&error).await }), "{code} {way}");
        }
        assert_eq!(times(&bed, UPDATE), 6, "{code}: each was sent once");
        bed.the_next_session_works();
    }
}

#[test]
fn so_it_is_at_commit() {
    for reply in [Reply::fatal("40001"), Reply::fatal("40P01"), Reply::error("40003")] {
        let mut bed = answering("COMMIT", reply.clone());
        let db = bed.db.clone();
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let mut tx = session.transaction();
            tx.execute(UPDATE).await.unwrap();
            let interactive = tx.commit().await.unwrap_err();
            let mut session = db.session().await.unwrap();
            let batch = session.batch([UPDATE, UPDATE]).atomic().await.map(drop).unwrap_err();
            for error in [interactive, batch] {
                assert_eq!(error.kind(), Kind::OutcomeUnknown, "{reply:?}: {error}");
                assert!(!error.is_retryable() && !db.retry().again(&error).await, "{reply:?}");
            }
        });
        assert_eq!(times(&bed, "COMMIT"), 2);
        bed.the_next_session_works();
    }
}

#[test]
fn statement_completion_unknown_is_an_unknown_outcome() {
    for reply in [Reply::error("40003"), Reply::error("40003").routine("exec_stmt_raise")] {
        let mut bed = answering(UPDATE, reply);
        for (way, error) in each_way(&mut bed) {
            assert_eq!(error.kind(), Kind::OutcomeUnknown, "{way}: {error}");
            assert!(!error.is_retryable());
        }
    }
}

/// In a transaction that was not to be committed yet nothing can be stored.
#[test]
fn a_fatal_error_before_commit_is_unavailable() {
    let mut bed = answering(UPDATE, Reply::fatal("40001"));
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        tx.execute("SELECT 1").await.unwrap();
        assert_eq!(tx.execute(UPDATE).await.unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(tx.commit().await.unwrap_err().kind(), Kind::RolledBack);
    });
    bed.the_next_session_works();
}

#[test]
fn an_error_of_postgresql_itself_is_definite_whatever_its_class_and_costs_no_connection() {
    for code in ["08P01", "08006", "08003", "57P01", "57P03", "57P05", "XX000", "53300", "40001", "P0001"] {
        let mut bed = answering(UPDATE, Reply::error(code).routine("exec_stmt_raise"));
        for (way, error) in each_way(&mut bed) {
            assert_eq!(error.kind(), Kind::Server, "{code} {way}: {error}");
            assert_eq!(error.sqlstate().map(|code| code.code()), Some(code), "{way}");
        }
        let db = bed.db.clone();
        bed.run(async {
            // in a transaction, which goes on behind a savepoint
            let mut session = db.session().await.unwrap();
            let mut tx = session.transaction();
            tx.execute("SELECT 1").await.unwrap();
            let mut inner = tx.savepoint("a");
            assert_eq!(inner.execute(UPDATE).await.unwrap_err().kind(), Kind::Server, "{code}");
            inner.rollback().await.unwrap();
            tx.commit().await.unwrap();
        });
        bed.settle();
        let connections = bed.driver.connections();
        assert_eq!(connections.iter().filter(|log| log.dialled).count(), 1, "{code}: the shared one is kept");
        assert!(connections.iter().all(|log| !log.ended && (log.dialled || log.idle)), "{code}");
    }
}

/// A pooler says so when it lost its server: what became of the statement nobody knows.
#[test]
fn an_error_of_class_08_from_something_in_between_is_a_lost_connection() {
    for code in ["08006", "08P01", "57P01", "57P03"] {
        let mut bed = answering(UPDATE, Reply::error(code));
        for (way, error) in each_way(&mut bed) {
            assert_eq!(error.kind(), Kind::OutcomeUnknown, "{code} {way}: {error}");
        }
        bed.the_next_session_works();
        assert!(bed.driver.connections().iter().filter(|log| log.dialled).all(|log| log.ended), "{code}");
    }
}

/// Each with a name to count it by.
const COMMITTING: [&str; 9] = [
    "CALL work()",
    "/* a */ call work()",
    "DO $$ BEGIN COMMIT; END $$",
    "VACUUM users",
    "CLUSTER users",
    "REINDEX TABLE users",
    "CREATE INDEX CONCURRENTLY ON users(name)",
    "DROP INDEX CONCURRENTLY users_name",
    "ALTER TABLE a DETACH PARTITION b CONCURRENTLY",
];

#[test]
fn what_commits_by_itself_is_not_repeated() {
    for statement in COMMITTING {
        for code in ["40001", "40P01", "57014", "55P03"] {
            let mut bed = answering(statement, Reply::error(code).routine("anything"));
            let db = bed.db.clone();
            bed.run(async {
                let mut session = db.session().await.unwrap();
                let errors = [
                    session.batch([statement]).atomic().await.map(drop).unwrap_err(),
                    session.batch([statement]).await.map(drop).unwrap_err(),
                    session.execute(statement).await.unwrap_err(),
                    db.execute(statement).await.unwrap_err(),
                ];
                for error in errors {
                    assert_eq!(error.kind(), Kind::Server, "{statement}: {error}");
                    assert!(!error.is_retryable(), "{statement}: {error}");
                    assert!(!db.retry().again(&error).await, "{statement}: {error}");
                }
            });
            assert_eq!(times(&bed, statement), 4, "{statement} {code}");
        }
    }
}

/// There it can't commit: PostgreSQL refuses that, or it runs as part of the transaction.
#[test]
fn in_a_transaction_it_may_be_repeated_with_the_transaction() {
    let mut bed = answering("CALL work()", Reply::error("40001").routine("anything"));
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        let error = tx.execute("CALL work()").await.unwrap_err();
        assert!(error.is_retryable() && db.retry().again(&error).await);
        drop(tx);
        session.batch(["CALL work()", UPDATE]).atomic().await.map(drop).unwrap_err();
    });
    assert_eq!(times(&bed, "CALL work()"), 1 + 3);
}
