//! Transactions and savepoints: what is sent for them, and what a failure inside leaves.
//!
//! Siblings that were looked for: committed, rolled back, dropped, without a statement, as a dry run; savepoints in savepoints; a failure of the
//! beginning, of a statement, of what could not be sent, of the COMMIT.

use pgspan::testing::{Reply, Status};
use pgspan::{Isolation, Kind, TransactionOptions};

use crate::bed::Bed;

const INSERT: &str = "INSERT INTO users(name) VALUES ('Bob')";
const FAILS: &str = "INSERT INTO users(name) VALUES ('Thunder')";

fn bed() -> Bed {
    Bed::new(|statement| match statement.text() {
        FAILS => Reply::error("23505").constraint("users_name_key"),
        text if text.starts_with("INSERT") => Reply::affected(1),
        "SELECT pg_current_xact_id()::text AS pgspan_transaction_id" => {
            Reply::value("pgspan_transaction_id", "4711")
        }
        _ => Reply::ok(),
    })
}

#[test]
fn begin_travels_with_the_first_statement_in_one_flight() {
    let mut bed = bed();
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        assert_eq!(tx.execute(INSERT).await.unwrap(), 1);
        assert_eq!(tx.execute(INSERT).await.unwrap(), 1);
        tx.commit().await.unwrap();
    });
    assert_eq!(bed.driver.statements(), ["BEGIN", INSERT, INSERT, "COMMIT"]);
    assert_eq!(bed.driver.flights(), 3);
    bed.the_next_session_works();
    assert_eq!(bed.driver.connections().len(), 1);
}

#[test]
fn options_and_the_id_travel_in_the_same_flight() {
    let mut bed = bed();
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let options = TransactionOptions::new().isolation(Isolation::Serializable).with_id();
        let mut tx = session.transaction_with(options);
        tx.execute(INSERT).await.unwrap();
        assert_eq!(tx.id().unwrap().to_string(), "4711");
        tx.commit().await.unwrap();
    });
    assert_eq!(bed.driver.statements()[..2], ["BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"]);
    assert_eq!(bed.driver.flights(), 2);
}

#[test]
fn a_transaction_without_a_statement_sends_nothing() {
    let mut bed = bed();
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        session.transaction().commit().await.unwrap();
        session.transaction().rollback().await.unwrap();
        let mut tx = session.transaction();
        tx.transaction().commit().await.unwrap();
        drop(tx);
    });
    assert!(bed.driver.statements().is_empty());
    assert!(bed.connection(0).idle);
}

#[test]
fn a_dropped_transaction_is_rolled_back_and_its_connection_recycled() {
    let mut bed = bed();
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        tx.execute(INSERT).await.unwrap();
    });
    bed.settle();
    assert_eq!(bed.driver.statements(), ["BEGIN", INSERT, "ROLLBACK"]);
    bed.the_next_session_works();
    assert_eq!(bed.driver.connections().len(), 1);
    assert_eq!(bed.connection(0).recycled, 2);
}

#[test]
fn a_dropped_transaction_holds_its_locks_no_longer_though_its_session_is_kept() {
    let mut bed = bed();
    let db = bed.db.clone();
    let mut session = bed.run(db.session()).unwrap();
    let mut tx = session.transaction();
    bed.run(tx.execute(INSERT)).unwrap();
    drop(tx);
    bed.settle();
    assert_eq!(bed.connection(0).status, Status::Idle);
    assert_eq!(bed.driver.statements(), ["BEGIN", INSERT, "ROLLBACK"]);
    drop(session);
    bed.the_next_session_works();
}

#[test]
fn the_rollback_of_a_dropped_transaction_travels_with_the_next_statement() {
    let mut bed = bed();
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        assert!(tx.execute(FAILS).await.unwrap_err().is_unique_violation());
        drop(tx);
        session.execute(INSERT).await.unwrap();
    });
    assert_eq!(bed.driver.statements(), ["BEGIN", FAILS, "ROLLBACK", INSERT]);
    assert_eq!(bed.driver.flights(), 2);
    bed.the_next_session_works();
}

#[test]
fn the_commit_after_a_swallowed_error_is_an_error_and_never_sent() {
    let mut bed = bed();
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        tx.execute(INSERT).await.unwrap();
        let _ = tx.execute(FAILS).await;
        let error = tx.commit().await.unwrap_err();
        assert_eq!(error.kind(), Kind::RolledBack);
        assert!(error.to_string().contains("23505"), "{error}");
        assert!(!error.is_retryable());
    });
    assert_eq!(bed.driver.statements(), ["BEGIN", INSERT, FAILS, "ROLLBACK"]);
    bed.the_next_session_works();
}

#[test]
fn so_is_the_commit_after_a_statement_that_could_not_be_sent() {
    let mut bed = bed();
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        for statement in 0..3 {
            let mut tx = session.transaction();
            tx.execute(INSERT).await.unwrap();
            let error = match statement {
                0 => tx.execute("COMMIT").await.unwrap_err(),
                1 => tx.execute(pgspan::Sql::new("SELECT ").bind(&Unfit)).await.unwrap_err(),
                _ => tx.batch([pgspan::Sql::new("SELECT ").bind(&Unfit)]).await.unwrap_err(),
            };
            assert!(matches!(error.kind(), Kind::Refused | Kind::Parameter), "{error}");
            assert_eq!(tx.commit().await.unwrap_err().kind(), Kind::RolledBack, "{statement}");
        }
    });
    assert!(!bed.driver.statements().contains(&"COMMIT".to_owned()));
    bed.the_next_session_works();
}

use crate::batches::Unfit;

#[test]
fn a_savepoint_that_was_rolled_back_clears_its_failure() {
    for by_drop in [false, true] {
        let mut bed = bed();
        let db = bed.db.clone();
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let mut tx = session.transaction();
            tx.execute(INSERT).await.unwrap();
            let mut savepoint = tx.transaction();
            savepoint.execute(FAILS).await.unwrap_err();
            match by_drop {
                true => drop(savepoint),
                false => savepoint.rollback().await.unwrap(),
            }
            tx.execute(INSERT).await.unwrap();
            tx.commit().await.unwrap();
        });
        assert_eq!(
            bed.driver.statements(),
            [
                "BEGIN",
                INSERT,
                "SAVEPOINT \"pgspan_1\"",
                FAILS,
                "ROLLBACK TO \"pgspan_1\"",
                "RELEASE \"pgspan_1\"",
                INSERT,
                "COMMIT",
            ]
        );
        bed.the_next_session_works();
    }
}

#[test]
fn the_commit_of_a_savepoint_with_a_swallowed_error_is_an_error_and_the_transaction_goes_on() {
    let mut bed = bed();
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        tx.execute(INSERT).await.unwrap();
        let mut savepoint = tx.transaction();
        savepoint.execute(FAILS).await.unwrap_err();
        assert_eq!(savepoint.commit().await.unwrap_err().kind(), Kind::RolledBack);
        tx.execute(INSERT).await.unwrap();
        tx.commit().await.unwrap();
    });
    assert_eq!(bed.driver.statements().last().unwrap(), "COMMIT");
}

#[test]
fn three_levels_begin_with_the_first_statement_of_the_innermost() {
    let mut bed = bed();
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut outer = session.transaction();
        let mut middle = outer.transaction();
        let mut inner = middle.savepoint("inner");
        inner.execute(INSERT).await.unwrap();
        inner.commit().await.unwrap();
        middle.execute(FAILS).await.unwrap_err();
        middle.rollback().await.unwrap();
        outer.execute(INSERT).await.unwrap();
        outer.commit().await.unwrap();
    });
    assert_eq!(
        bed.driver.statements(),
        [
            "BEGIN",
            "SAVEPOINT \"pgspan_1\"",
            "SAVEPOINT \"inner\"",
            INSERT,
            "RELEASE \"inner\"",
            FAILS,
            "ROLLBACK TO \"pgspan_1\"",
            "RELEASE \"pgspan_1\"",
            INSERT,
            "COMMIT",
        ]
    );
    assert_eq!(bed.driver.flights(), 6);
    assert_eq!(bed.connection(0).status, Status::Idle);
}

#[test]
fn a_savepoints_name_is_just_a_name() {
    let mut bed = bed();
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        for name in ["s1; drop table students", "a\"b", "-"] {
            for keep in [true, false, true] {
                let mut savepoint = tx.savepoint(name);
                savepoint.execute(INSERT).await.unwrap();
                match keep {
                    true => savepoint.commit().await.unwrap(),
                    false => savepoint.rollback().await.unwrap(),
                }
            }
        }
        tx.commit().await.unwrap();
    });
    let statements = bed.driver.statements();
    assert!(statements.contains(&"SAVEPOINT \"s1; drop table students\"".to_owned()), "{statements:?}");
    assert!(statements.contains(&"ROLLBACK TO \"a\"\"b\"".to_owned()), "{statements:?}");
}

#[test]
fn a_dry_run_is_rolled_back_without_an_error_and_with_one_if_a_statement_failed() {
    let mut bed = bed();
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let dry = TransactionOptions::new().force_rollback();
        let mut tx = session.transaction_with(dry.clone());
        tx.execute(INSERT).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = session.transaction_with(dry);
        tx.execute(FAILS).await.unwrap_err();
        assert_eq!(tx.commit().await.unwrap_err().kind(), Kind::RolledBack);
    });
    assert_eq!(bed.driver.statements(), ["BEGIN", INSERT, "ROLLBACK", "BEGIN", FAILS, "ROLLBACK"]);
}

#[test]
fn a_deferred_constraint_fails_the_commit_and_leaves_the_session_usable() {
    let mut bed = Bed::new(|statement| match statement.text() {
        "COMMIT" => Reply::error("23505").constraint("deferred_key"),
        "ROLLBACK" => panic!("there is nothing to roll back"),
        _ => Reply::affected(1),
    });
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        tx.execute(INSERT).await.unwrap();
        let error = tx.commit().await.unwrap_err();
        assert_eq!((error.kind(), error.constraint()), (Kind::Server, Some("deferred_key")));
        session.execute(INSERT).await.unwrap();
    });
}

#[test]
fn a_begin_that_failed_before_a_statement_that_did_not_leaves_the_outcome_unknown() {
    let mut bed = Bed::new(|statement| match statement.text() {
        "BEGIN" => Reply::error("53200"),
        _ => Reply::affected(1),
    });
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        let error = tx.execute(INSERT).await.unwrap_err();
        assert_eq!(error.kind(), Kind::OutcomeUnknown);
        assert!(!error.is_retryable());
        drop(tx);
        assert_eq!(session.execute(INSERT).await.unwrap_err().kind(), Kind::Unusable);
        drop(session);

        let mut session = db.session().await.unwrap();
        let error = session.batch([INSERT; 2]).atomic().await.unwrap_err();
        assert_eq!(error.kind(), Kind::OutcomeUnknown);
    });
    assert!(bed.connection(0).ended && bed.connection(1).ended);
}

/// Found by this test: the statement's silence was taken for its failure.
#[test]
fn a_begin_that_failed_before_a_statement_without_an_answer_leaves_the_outcome_unknown() {
    for reply in [Reply::close(), Reply::silence(), Reply::fatal("57P01")] {
        let mut bed = Bed::new(move |statement| match statement.text() {
            "BEGIN" => Reply::error("53200"),
            _ => reply.clone(),
        });
        let db = bed.db.clone();
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let mut tx = session.transaction();
            assert_eq!(tx.execute(INSERT).await.unwrap_err().kind(), Kind::OutcomeUnknown);
            drop(tx);
            let mut session = db.session().await.unwrap();
            let error = session.batch([INSERT]).atomic().await.unwrap_err();
            assert_eq!(error.kind(), Kind::OutcomeUnknown);
        });
        assert!(bed.connection(0).ended && bed.connection(1).ended);
    }
}

#[test]
fn a_begin_that_failed_before_statements_that_failed_too_is_just_an_error() {
    let mut bed = Bed::new(|statement| match statement.text() {
        "BEGIN" => Reply::error("53200"),
        INSERT => Reply::error("53200"),
        _ => Reply::ok(),
    });
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        assert_eq!(tx.execute(INSERT).await.unwrap_err().kind(), Kind::Server);
    });
    bed.settle();
    bed.the_next_session_works();
}

#[test]
fn a_set_transaction_that_fails_fails_the_block() {
    let mut bed = Bed::new(|statement| match statement.text() {
        text if text.starts_with("SET TRANSACTION") => Reply::error("0A000"),
        _ => Reply::affected(1),
    });
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction_with(TransactionOptions::new().read_only(false));
        let error = tx.execute(INSERT).await.unwrap_err();
        assert_eq!(error.sqlstate().unwrap().code(), "0A000");
        assert_eq!(tx.commit().await.unwrap_err().kind(), Kind::RolledBack);
    });
    assert!(!bed.driver.statements().contains(&"COMMIT".to_owned()));
    bed.the_next_session_works();
}
