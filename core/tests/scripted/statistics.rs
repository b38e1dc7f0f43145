//! What a database counts.

use pgspan::testing::{Reply, Statement};
use pgspan::{Database, Kind, Statistics};

use crate::bed::Bed;

/// Answers `FAIL` and a SQLSTATE with that error.
fn failing(statement: &Statement<'_>) -> Reply {
    match statement.text() {
        "COPY a FROM STDIN" => Reply::copy_in().then(Reply::error("23505")),
        "COPY b TO STDOUT" => Reply::copy_out(["1\n"]).then(Reply::error("23503")),
        "SELECT two" => Reply::value("n", 1_i64).then(Reply::error("22012")),
        "LISTEN \"gone\"" => Reply::error("55000"),
        text => text.strip_prefix("FAIL ").map_or(Reply::ok(), Reply::error),
    }
}

/// How often errors of this class were counted, and how often any.
fn counted(db: &Database, class: &str) -> (u64, u64) {
    let sqlstates = db.statistics().sqlstates;
    let all = sqlstates.iter().map(|(_, count)| count).sum();
    (sqlstates.into_iter().find(|(known, _)| known == class).map_or(0, |(_, count)| count), all)
}

#[test]
fn an_error_of_the_server_is_counted_once_wherever_it_came() {
    let mut bed = Bed::new(failing);
    let db = bed.db.clone();
    let (mut classes, mut sum) = (std::collections::HashMap::new(), 0);
    let mut one_more = |class: &'static str, what: &str| {
        let count: &mut u64 = classes.entry(class).or_default();
        *count += 1;
        sum += 1;
        assert_eq!(counted(&db, class), (*count, sum), "{what}: {:?}", db.statistics());
    };
    bed.run(async {
        db.execute("FAIL 42P01").await.unwrap_err();
        one_more("42", "on a shared connection");
        db.listen("gone").await.unwrap_err();
        one_more("55", "LISTEN");

        let mut session = db.session().await.unwrap();
        session.execute("FAIL 22003").await.unwrap_err();
        one_more("22", "in a session");
        session.fetch_stream::<i64>("FAIL 42703").await.unwrap_err();
        one_more("42", "instead of a stream");
        let mut rows = session.fetch_stream::<i64>("SELECT two").await.unwrap();
        assert_eq!(rows.next().await.unwrap(), Some(1));
        rows.next().await.unwrap_err();
        one_more("22", "in a stream");
        session.batch(["SELECT 1", "FAIL 23505"]).await.unwrap_err();
        one_more("23", "in a batch");
        session.batch(["SELECT 1", "FAIL 23514", "SELECT 2"]).atomic().await.unwrap_err();
        one_more("23", "in an atomic batch, where what follows fails with it");

        let mut tx = session.transaction();
        tx.execute("FAIL 23502").await.unwrap_err();
        one_more("23", "in a transaction");
        assert_eq!(tx.commit().await.unwrap_err().kind(), Kind::RolledBack);
        let mut copy = db.session().await.unwrap();
        let mut tx = copy.transaction();
        let mut data = tx.copy_in("COPY a FROM STDIN").await.unwrap();
        data.send("1\n").await.unwrap();
        data.finish().await.unwrap_err();
        one_more("23", "at the end of a COPY");
        tx.rollback().await.unwrap();
        let mut tx = copy.transaction();
        let mut data = tx.copy_out("COPY b TO STDOUT").await.unwrap();
        while let Ok(Some(_)) = data.next().await {}
        one_more("23", "in a COPY");
    });
}

#[test]
fn an_error_of_begin_and_of_commit_is_counted_once_too() {
    for (at, class) in [("BEGIN", "54"), ("COMMIT", "40")] {
        let mut bed = Bed::new(move |statement| match statement.text() {
            "BEGIN" if at == "BEGIN" => Reply::error("54001"),
            "COMMIT" if at == "COMMIT" => Reply::error("40002"),
            _ => Reply::ok(),
        });
        let db = bed.db.clone();
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let mut tx = session.transaction();
            let _ = tx.execute("UPDATE t SET x = 1").await;
            let _ = tx.commit().await;
            assert_eq!(counted(&db, class), (1, 1), "{at}");
            let _ = db.session().await.unwrap().batch(["UPDATE t SET x = 1"; 2]).atomic().await;
            assert_eq!(counted(&db, class), (2, 2), "{at}, in one flight");
        });
    }
}

#[test]
fn a_login_that_is_refused_is_counted_on_either_way_in() {
    let mut bed = Bed::new(|_| Reply::ok());
    bed.driver.on_connect(|_| Reply::fatal("53300"));
    let db = bed.db.clone();
    bed.run(async {
        db.session().await.unwrap_err();
        assert_eq!(counted(&db, "53"), (1, 1));
        db.execute("SELECT 1").await.unwrap_err();
        assert_eq!(counted(&db, "53"), (2, 2));
        db.listen("jobs").await.unwrap_err();
        assert_eq!(counted(&db, "53"), (3, 3));
    });
}

#[test]
fn what_the_server_never_said_is_not_counted_and_its_own_classes_are_one() {
    let mut bed = Bed::new(|statement| match statement.text() {
        "SELECT lost" => Reply::close(),
        _ => failing(statement),
    });
    let db = bed.db.clone();
    bed.run(async {
        db.execute("SELECT lost").await.unwrap_err();
        db.execute("COMMIT").await.unwrap_err();
        db.fetch_one::<i64>("SELECT none").await.unwrap_err();
        assert_eq!(db.statistics().sqlstates, []);
        for statement in ["FAIL AB123", "FAIL é1234", "FAIL Z", "FAIL "] {
            db.execute(statement).await.unwrap_err();
        }
        assert_eq!(db.statistics().sqlstates, [("other".to_owned(), 4)]);
    });
}

#[test]
fn what_is_done_again_is_counted_and_what_is_given_up_is_not() {
    let mut bed = Bed::new(failing);
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        session.batch(["FAIL 40P01"]).atomic().await.unwrap_err();
        assert_eq!((db.statistics().retries, counted(&db, "40")), (2, (3, 3)));
        session.batch(["FAIL 23505"]).atomic().await.unwrap_err();
        let error = session.execute("FAIL 40001").await.unwrap_err();
        assert_eq!(db.statistics().retries, 2);
        assert!(db.retry().again(&error).await);
        assert_eq!(db.statistics().retries, 3);
        let hurried = db.with_deadline(std::time::Duration::from_millis(4));
        assert!(!hurried.retry().again(&error).await);
        assert_eq!(db.statistics().retries, 3);
    });
}

#[test]
fn all_clones_count_together() {
    let mut bed = Bed::new(failing);
    let db = bed.db.clone();
    let request = db.with_deadline(std::time::Duration::from_secs(1));
    assert_eq!(db.statistics(), Statistics::default());
    bed.run(async {
        request.execute("FAIL 22003").await.unwrap_err();
        db.execute("SELECT 1").await.unwrap();
    });
    assert_eq!(request.round_trips().0, 1);
    assert_eq!(db.statistics().round_trips, 2);
    assert_eq!(db.statistics().sqlstates, request.statistics().sqlstates);
}
