//! Connections that are lost, and what may have been committed by then.
//!
//! Siblings that were looked for: closed, ended by FATAL, ended by an error that a pooler made, and cut in the middle of a message; at BEGIN, at a
//! statement, between two, at COMMIT; a transaction, one of one flight, autocommit, read only and not.

use pgspan::testing::Reply;
use pgspan::{Kind, Sql, TransactionOptions};

use crate::bed::Bed;

const INSERT: &str = "INSERT INTO users(name) VALUES ('Bob')";

fn losing(at: &'static str, reply: Reply) -> Bed {
    Bed::new(move |statement| match statement.text() {
        text if text == at => reply.clone(),
        "SELECT pg_current_xact_id()::text AS pgspan_transaction_id" => {
            Reply::value("pgspan_transaction_id", "4711")
        }
        _ => Reply::affected(1),
    })
}

fn ways() -> [Reply; 4] {
    [Reply::close(), Reply::fatal("57P01"), Reply::error("57P01"), Reply::affected(1).cut_after(3)]
}

#[test]
fn a_server_lost_in_an_interactive_transaction_before_commit_is_unavailable_and_nothing_is_committed() {
    for reply in ways() {
        let mut bed = losing("UPDATE users SET name = 'Eve'", reply);
        let db = bed.db.clone();
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let mut tx = session.transaction();
            tx.execute(INSERT).await.unwrap();
            let error = tx.execute("UPDATE users SET name = 'Eve'").await.unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{error}");
            assert!(error.is_retryable());
            assert_eq!(tx.execute(INSERT).await.unwrap_err().kind(), Kind::Unusable);
            assert_eq!(tx.commit().await.unwrap_err().kind(), Kind::RolledBack);
        });
        assert!(!bed.driver.statements().contains(&"COMMIT".to_owned()));
        bed.the_next_session_works();
    }
}

/// Found by this test: it was an unknown outcome, though COMMIT could not have been written.
#[test]
fn a_server_lost_between_two_statements_of_a_transaction_is_unavailable_and_retryable() {
    for commit in [false, true] {
        let mut bed = losing("", Reply::ok());
        let db = bed.db.clone();
        let mut session = bed.run(db.session()).unwrap();
        let mut tx = session.transaction();
        bed.run(tx.execute(INSERT)).unwrap();
        bed.driver.lose_connections();
        bed.settle();
        let error = match commit {
            true => bed.run(tx.commit()).unwrap_err(),
            false => bed.run(async { tx.execute(INSERT).await.and(tx.commit().await) }).unwrap_err(),
        };
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        assert!(error.is_retryable());
        drop(session);
        bed.the_next_session_works();
    }
}

#[test]
fn a_commit_that_was_received_and_not_answered_is_an_unknown_outcome_with_the_transactions_id() {
    for (with_id, reply) in [false, true].into_iter().flat_map(|with_id| ways().map(|reply| (with_id, reply)))
    {
        let mut bed = losing("COMMIT", reply);
        let db = bed.db.clone();
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let options =
                if with_id { TransactionOptions::new().with_id() } else { TransactionOptions::new() };
            let mut tx = session.transaction_with(options);
            tx.execute(INSERT).await.unwrap();
            let error = tx.commit().await.unwrap_err();
            assert_eq!(error.kind(), Kind::OutcomeUnknown, "{error}");
            assert!(error.is_outcome_unknown() && !error.is_retryable());
            assert_eq!(error.transaction_id().map(|id| id.to_string()), with_id.then(|| "4711".to_owned()));
            assert!(!db.retry().again(&error).await);
            assert_eq!(session.execute(INSERT).await.unwrap_err().kind(), Kind::Unusable);
        });
        assert!(bed.driver.statements().contains(&"COMMIT".to_owned()));
        bed.the_next_session_works();
        assert!(bed.connection(0).ended);
    }
}

#[test]
fn a_read_only_commit_without_an_answer_loses_nothing() {
    let mut bed = losing("COMMIT", Reply::close());
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction_with(TransactionOptions::new().read_only(true));
        tx.execute("SELECT 1").await.unwrap();
        assert_eq!(tx.commit().await.unwrap_err().kind(), Kind::Unavailable);
    });
}

#[test]
fn a_transaction_of_one_flight_that_is_lost_is_an_unknown_outcome_and_not_retried() {
    for at in ["BEGIN", INSERT, "COMMIT"] {
        for reply in ways() {
            // behind a BEGIN that answers ERROR the rest runs in autocommit: unknown all the same
            let mut bed = losing(at, reply);
            let db = bed.db.clone();
            bed.run(async {
                let mut session = db.session().await.unwrap();
                let error =
                    session.batch([INSERT, "UPDATE users SET name = 'Eve'"]).atomic().await.unwrap_err();
                assert_eq!(error.kind(), Kind::OutcomeUnknown, "{at}: {error}");
                assert!(!error.is_retryable());
            });
            assert_eq!(bed.driver.statements().iter().filter(|text| *text == "BEGIN").count(), 1);
            bed.the_next_session_works();
            assert!(bed.connection(0).ended);
        }
    }
}

#[test]
fn an_autocommit_statement_that_is_lost_is_an_unknown_outcome_unless_it_only_reads() {
    for reply in ways() {
        let mut bed = losing("SELECT f()", reply);
        let db = bed.db.clone();
        bed.run(async {
            for shared in [false, true] {
                for (reads, kind) in [(false, Kind::OutcomeUnknown), (true, Kind::Unavailable)] {
                    let sql =
                        if reads { Sql::new("SELECT f()").reads_only() } else { Sql::new("SELECT f()") };
                    let error = match shared {
                        true => db.execute(sql).await.unwrap_err(),
                        false => db.session().await.unwrap().execute(sql).await.unwrap_err(),
                    };
                    assert_eq!(error.kind(), kind, "{error}");
                    assert_eq!(error.is_retryable(), reads);
                }
            }
        });
        bed.settle();
        bed.the_next_session_works();
        assert_eq!(bed.driver.connections().iter().filter(|log| log.ended && !log.dialled).count(), 2);
    }
}

#[test]
fn a_statement_on_a_connection_that_was_closed_meanwhile_is_unavailable_and_not_sent() {
    let mut bed = losing("", Reply::ok());
    let db = bed.db.clone();
    let mut session = bed.run(db.session()).unwrap();
    bed.driver.lose_connections();
    bed.settle();
    let error = bed.run(session.execute(INSERT)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    drop(session);
    bed.the_next_session_works();
    assert_eq!(bed.connection(0).recycled, 0);
}

#[test]
fn a_read_only_server_is_answered_by_another_connection() {
    let mut bed = losing(INSERT, Reply::error("25006"));
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let error = session.execute(INSERT).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Server);
        assert!(error.is_retryable());
    });
    assert!(bed.connection(0).ended);
}
