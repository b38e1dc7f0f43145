//! Deadlines, on a clock that the tests move.
//!
//! Siblings that were looked for: a statement in autocommit, in a transaction, a COMMIT, a ROLLBACK, a stream, a COPY, a login; our own limit, and
//! a caller's.

use std::time::Duration;

use pgspan::testing::Reply;
use pgspan::{Driver, Kind, Settings, Sql, TransactionOptions};

use crate::bed::Bed;

const SLOW: &str = "UPDATE users SET name = 'Eve'";

fn silent_at(at: &'static str) -> Bed {
    Bed::new(move |statement| match statement.text() {
        text if text == at => Reply::silence(),
        _ => Reply::affected(1),
    })
}

fn millis(bed: &Bed) -> u128 {
    bed.driver.now().as_millis()
}

#[test]
fn an_autocommit_statement_without_an_answer_is_an_unknown_outcome_at_its_deadline() {
    let mut bed = silent_at(SLOW);
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let error = session.execute(SLOW).await.unwrap_err();
        assert_eq!(error.kind(), Kind::OutcomeUnknown);
        assert!(!error.is_retryable());
    });
    assert_eq!(millis(&bed), 5_500);
    bed.the_next_session_works();
    assert!(bed.connection(0).ended && bed.connection(0).recycled == 0);
}

#[test]
fn one_that_only_reads_and_one_in_a_transaction_is_a_timeout() {
    let mut bed = silent_at(SLOW);
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        assert_eq!(session.execute(Sql::new(SLOW).reads_only()).await.unwrap_err().kind(), Kind::Timeout);
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        let error = tx.execute(SLOW).await.unwrap_err();
        assert!(error.kind() == Kind::Timeout && error.is_retryable());
        assert_eq!(tx.commit().await.unwrap_err().kind(), Kind::RolledBack);
    });
    assert!(!bed.driver.statements().contains(&"COMMIT".to_owned()));
    bed.the_next_session_works();
}

#[test]
fn a_commit_without_an_answer_is_an_unknown_outcome() {
    for batch in [false, true] {
        let mut bed = silent_at("COMMIT");
        let db = bed.db.clone();
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let error = match batch {
                true => session.batch([SLOW; 2]).atomic().await.unwrap_err(),
                false => {
                    let mut tx = session.transaction();
                    tx.execute(SLOW).await.unwrap();
                    tx.commit().await.unwrap_err()
                }
            };
            assert_eq!(error.kind(), Kind::OutcomeUnknown);
            assert!(!error.is_retryable());
        });
        assert_eq!(millis(&bed), 5_500);
        bed.the_next_session_works();
        assert!(bed.connection(0).ended);
    }
}

#[test]
fn a_rollback_without_an_answer_is_a_timeout_and_ends_the_connection() {
    let mut bed = silent_at("ROLLBACK");
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        tx.execute(SLOW).await.unwrap();
        assert_eq!(tx.rollback().await.unwrap_err().kind(), Kind::Timeout);
    });
    bed.the_next_session_works();
    assert!(bed.connection(0).ended);
}

#[test]
fn after_a_deadline_the_session_answers_every_call_with_an_error_that_says_so() {
    let mut bed = silent_at(SLOW);
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        session.execute(SLOW).await.unwrap_err();
        let errors = [
            session.execute("SELECT 1").await.unwrap_err(),
            session.fetch_all::<i64>("SELECT 1").await.unwrap_err(),
            session.fetch_stream::<i64>("SELECT 1").await.map(drop).unwrap_err(),
            session.batch(["SELECT 1"]).await.unwrap_err(),
            session.batch(["SELECT 1"]).atomic().await.unwrap_err(),
            in_transaction(&mut session).await,
        ];
        for error in errors {
            assert_eq!(error.kind(), Kind::Unusable);
            assert!(error.to_string().contains("take another session"), "{error}");
        }
    });
    assert_eq!(bed.driver.statements(), [SLOW]);
    bed.the_next_session_works();
}

async fn in_transaction(session: &mut pgspan::Session) -> pgspan::Error {
    let mut tx = session.transaction();
    assert_eq!(tx.copy_in("COPY t FROM STDIN").await.unwrap_err().kind(), Kind::Unusable);
    tx.execute("SELECT 1").await.unwrap_err()
}

#[test]
fn a_statement_that_takes_long_but_not_too_long_is_answered() {
    let mut bed = Bed::new(|_| Reply::affected(1).after(Duration::from_millis(5_499)));
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        assert_eq!(session.execute(SLOW).await.unwrap(), 1);
        assert_eq!(db.execute(SLOW).await.unwrap(), 1);
    });
    assert_eq!(millis(&bed), 10_998);
    bed.the_next_session_works();
}

#[test]
fn a_stream_that_stops_and_a_copy_that_is_not_taken_end_at_the_deadline() {
    let rows = || Reply::columns(&[("n", pgspan::types::Type::INT8)]).row(&[&1_i64]).then(Reply::silence());
    let mut bed = Bed::new(move |statement| match statement.text() {
        "SELECT n" => rows(),
        "COPY a FROM STDIN" => Reply::copy_in().then(Reply::silence()),
        "COPY b TO STDOUT" => Reply::copy_out(["x"]).then(Reply::silence()),
        _ => Reply::ok(),
    });
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut rows = session.fetch_stream::<i64>(Sql::new("SELECT n").reads_only()).await.unwrap();
        assert_eq!(rows.next().await.unwrap(), Some(1));
        assert_eq!(rows.next().await.unwrap_err().kind(), Kind::Timeout);
        assert_eq!(rows.next().await.unwrap(), None);

        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        let mut copy = tx.copy_in("COPY a FROM STDIN").await.unwrap();
        copy.send("1\n").await.unwrap();
        let error = copy.finish().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout, "{error:?} {:?}", std::error::Error::source(&error));
        assert_eq!(tx.commit().await.unwrap_err().kind(), Kind::RolledBack);

        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        let mut copy = tx.copy_out("COPY b TO STDOUT").await.unwrap();
        assert_eq!(copy.next().await.unwrap().unwrap(), "x");
        assert_eq!(copy.next().await.unwrap_err().kind(), Kind::Timeout);
    });
    bed.the_next_session_works();
}

#[test]
fn a_server_that_does_not_greet_is_given_up() {
    for (shared, limit) in [(false, 4_000), (true, 3_000)] {
        let mut bed = silent_at("");
        bed.driver.on_connect(|_| Reply::silence());
        let db = bed.db.clone();
        let error = bed.run(async {
            match shared {
                true => db.execute(SLOW).await.unwrap_err(),
                false => db.session().await.unwrap_err(),
            }
        });
        assert_eq!(error.kind(), Kind::Unavailable);
        assert_eq!(millis(&bed), limit);
        bed.driver.on_connect(|_| Reply::ok());
        bed.the_next_session_works();
    }
}

#[test]
fn a_login_that_is_refused_keeps_its_sqlstate() {
    let mut bed = silent_at("");
    let sentence = "password authentication failed for user \"alice\"";
    bed.driver.on_connect(move |_| Reply::fatal("28P01").message(sentence).detail("s3cr3t-CANARY"));
    let error = bed.run(bed.db.clone().session()).unwrap_err();
    assert_eq!((error.kind(), error.sqlstate().unwrap().code()), (Kind::Unavailable, "28P01"));
    let shown = format!("{error} {error:?}");
    assert!(shown.contains(sentence) && !shown.contains("CANARY"), "{shown}");
    assert!(!error.is_retryable(), "a password does not heal");
}

#[test]
fn what_a_deadline_over_everything_leaves_is_what_a_statement_may_take() {
    let mut bed = silent_at(SLOW);
    let db = bed.db.with_deadline(Duration::from_secs(1));
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let error = session.execute(Sql::new(SLOW).reads_only()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        assert_eq!(db.session().await.unwrap_err().kind(), Kind::Timeout);
        assert_eq!(db.execute("SELECT 1").await.unwrap_err().kind(), Kind::Timeout);
        assert_eq!(db.round_trips(), (1, Duration::from_secs(1)));
    });
    assert_eq!(millis(&bed), 1_000);
    assert_eq!(bed.driver.statements(), [SLOW]);
    bed.the_next_session_works();
}

/// Found by this test: COMMIT was sent without a moment left for its answer, so that the outcome was unknown.
#[test]
fn a_commit_behind_the_deadline_is_not_sent() {
    let mut bed = silent_at("");
    let db = bed.db.with_deadline(Duration::from_secs(1));
    let mut session = bed.run(db.session()).unwrap();
    let mut tx = session.transaction_with(TransactionOptions::new());
    bed.run(tx.execute(SLOW)).unwrap();
    bed.driver.advance(Duration::from_secs(2));
    let error = bed.run(tx.commit()).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout, "{error}");
    drop(session);
    bed.settle();
    assert_eq!(bed.driver.statements(), ["BEGIN", SLOW, "ROLLBACK"]);
    bed.the_next_session_works();
}

#[test]
fn the_limits_travel_behind_begin_where_a_pooler_stands_in_between() {
    let mut settings = Settings::default();
    settings.pooler = Some(pgspan::Pooler::Transaction);
    let mut bed = Bed::with(settings, |_| Reply::affected(1));
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        tx.execute(SLOW).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(session.execute("SET timezone = 'UTC'").await.unwrap_err().kind(), Kind::Refused);
    });
    assert_eq!(bed.driver.statements()[1], "SET LOCAL statement_timeout = 5000");
    assert_eq!(bed.driver.flights(), 2);
}
