//! `commit_with`: the last statements and COMMIT in one flight.
//!
//! Siblings that were looked for: a transaction that has begun and one that has not; no statement, one and two; a statement that fails,
//! can't be sent or is refused, first and last; an earlier failure; a savepoint and a dry run; COMMIT refused, answered by ROLLBACK, or
//! not answered, and the connection lost at each statement, read only and not; an own limit.

use std::time::Duration;

use pgspan::testing::{Reply, Status};
use pgspan::{Kind, Sql, TransactionOptions};

use crate::bed::Bed;

const INSERT: &str = "INSERT INTO users(name) VALUES ('Bob')";
const AUDIT: &str = "INSERT INTO audit VALUES ('Bob')";
const FAILS: &str = "INSERT INTO users(name) VALUES ('Thunder')";

fn bed(at: &'static str, reply: Reply) -> Bed {
    Bed::new(move |statement| match statement.text() {
        text if text == at => reply.clone(),
        FAILS => Reply::error("23505").constraint("users_name_key"),
        "SELECT pg_current_xact_id()::text AS pgspan_transaction_id" => {
            Reply::value("pgspan_transaction_id", "4711")
        }
        text if text.starts_with("INSERT") => Reply::affected(1),
        _ => Reply::ok(),
    })
}

#[test]
fn the_last_statements_and_commit_are_one_flight() {
    for begun in [false, true] {
        let mut bed = bed("", Reply::ok());
        let db = bed.db.clone();
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let mut tx = session.transaction();
            if begun {
                tx.execute(INSERT).await.unwrap();
            }
            let results = tx.commit_with([AUDIT, INSERT]).await.unwrap();
            assert_eq!((results.len(), results.affected(0).unwrap()), (2, 1));
            session.execute(INSERT).await.unwrap(); // in autocommit again
        });
        let expected = ["BEGIN", INSERT, AUDIT, INSERT, "COMMIT", INSERT];
        let expected: Vec<_> =
            expected.into_iter().enumerate().filter(|(n, _)| begun || *n != 1).map(|(_, s)| s).collect();
        assert_eq!(bed.driver.statements(), expected);
        assert_eq!(bed.driver.flights(), 2 + usize::from(begun));
        bed.the_next_session_works();
        assert_eq!(bed.driver.connections().len(), 1);
    }
}

#[test]
fn without_a_statement_it_is_a_commit() {
    let mut bed = bed("", Reply::ok());
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        assert!(session.transaction().commit_with(Vec::<Sql<'_>>::new()).await.unwrap().is_empty());
        let mut tx = session.transaction();
        tx.execute(INSERT).await.unwrap();
        assert!(tx.commit_with(Vec::<Sql<'_>>::new()).await.unwrap().is_empty());
    });
    assert_eq!(bed.driver.statements(), ["BEGIN", INSERT, "COMMIT"]);
}

#[test]
fn a_statement_that_fails_decides_and_the_session_goes_on() {
    for (statements, position) in [([FAILS, AUDIT], 0), ([AUDIT, FAILS], 1)] {
        let mut bed = bed("", Reply::ok());
        let db = bed.db.clone();
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let mut tx = session.transaction();
            tx.execute(INSERT).await.unwrap();
            let error = tx.commit_with(statements).await.unwrap_err();
            assert!(error.is_unique_violation(), "{error}");
            assert_eq!(error.statement_index(), Some(position));
            session.execute(INSERT).await.unwrap();
        });
        bed.settle();
        assert_eq!(bed.connection(0).status, Status::Idle);
        bed.the_next_session_works();
        assert_eq!(bed.driver.connections().len(), 1);
    }
}

#[test]
fn what_can_not_be_sent_rolls_back_and_nothing_of_it_is_sent() {
    let long = "x".repeat(10);
    for begun in [false, true] {
        for statement in 0..3 {
            let mut bed = bed("", Reply::ok());
            let db = bed.db.clone();
            let bad = match statement {
                0 => Sql::new("SELECT ").bind(&i64::MAX).push("\0"),
                1 => Sql::new("COMMIT"),
                _ => Sql::new("SELECT '").bind(&long).push("'"),
            };
            bed.run(async {
                let mut session = db.session().await.unwrap();
                let mut tx = session.transaction();
                if begun {
                    tx.execute(INSERT).await.unwrap();
                }
                let error = tx.commit_with([Sql::new(AUDIT), bad]).await.unwrap_err();
                assert!(matches!(error.kind(), Kind::Parameter | Kind::Refused), "{error}");
                assert_eq!(error.statement_index(), Some(1), "{error}");
            });
            bed.settle();
            let expected: &[&str] = if begun { &["BEGIN", INSERT, "ROLLBACK"] } else { &[] };
            assert_eq!(bed.driver.statements(), expected);
            bed.the_next_session_works();
            assert_eq!(bed.driver.connections().len(), 1);
        }
    }
}

#[test]
fn after_a_failure_nothing_more_is_sent() {
    let mut bed = bed("", Reply::ok());
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        tx.execute(FAILS).await.unwrap_err();
        let error = tx.commit_with([AUDIT]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::RolledBack);
    });
    bed.settle();
    assert_eq!(bed.driver.statements(), ["BEGIN", FAILS, "ROLLBACK"]);
}

#[test]
fn from_a_savepoint_and_in_a_dry_run_the_end_is_a_flight_of_its_own() {
    let mut bed = bed("", Reply::ok());
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        tx.savepoint("a").commit_with([AUDIT]).await.unwrap();
        tx.commit().await.unwrap();
        let dry = session.transaction_with(TransactionOptions::new().force_rollback());
        dry.commit_with([AUDIT]).await.unwrap();
    });
    let expected = ["BEGIN", "SAVEPOINT \"a\"", AUDIT, "RELEASE \"a\"", "COMMIT", "BEGIN", AUDIT, "ROLLBACK"];
    assert_eq!(bed.driver.statements(), expected);
    bed.the_next_session_works();
}

#[test]
fn a_commit_that_is_refused_stores_nothing_and_keeps_the_connection() {
    let mut bed = bed("COMMIT", Reply::error("23503").constraint("users_team_fkey"));
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let error = session.transaction().commit_with([AUDIT]).await.unwrap_err();
        assert_eq!((error.kind(), error.constraint()), (Kind::Server, Some("users_team_fkey")));
        assert_eq!(error.statement_index(), None);
    });
    bed.the_next_session_works();
}

#[test]
fn a_lost_connection_is_an_unknown_outcome_with_the_transactions_id_unless_it_only_reads() {
    for at in [AUDIT, "COMMIT"] {
        for reply in [Reply::close(), Reply::fatal("57P01"), Reply::affected(1).cut_after(3)] {
            for reads in [false, true] {
                let mut bed = bed(at, reply.clone());
                let db = bed.db.clone();
                bed.run(async {
                    let mut session = db.session().await.unwrap();
                    let options = TransactionOptions::new().with_id();
                    let options = if reads { options.read_only(true) } else { options };
                    let mut tx = session.transaction_with(options);
                    tx.execute("SELECT 1").await.unwrap();
                    let error = tx.commit_with([AUDIT]).await.unwrap_err();
                    let kind = if reads { Kind::Unavailable } else { Kind::OutcomeUnknown };
                    assert_eq!(error.kind(), kind, "{at}: {error}");
                    assert_eq!(error.is_retryable(), reads);
                    let id = error.transaction_id().map(|id| id.to_string());
                    assert_eq!(id, (!reads).then(|| "4711".to_owned()));
                });
                bed.the_next_session_works();
                assert!(bed.connection(0).ended);
            }
        }
    }
}

#[test]
fn a_limit_of_its_own_is_set_for_one_statement_alone() {
    let mut bed = bed("", Reply::ok());
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        tx.execute(INSERT).await.unwrap();
        tx.commit_with([Sql::new(AUDIT).timeout(Duration::from_secs(30))]).await.unwrap();
    });
    assert_eq!(bed.driver.statements(), ["BEGIN", INSERT, AUDIT, "COMMIT"]);
    assert_eq!(
        bed.connection(0).limits,
        ["SET LOCAL statement_timeout TO 30000", "SET LOCAL statement_timeout TO DEFAULT"]
    );
    assert_eq!(bed.driver.flights(), 2);
    bed.the_next_session_works();
}
