//! Statements on shared connections.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join, join_all};
use pgspan::testing::{ConnectionLog, Reply};
use pgspan::{Driver, Kind, Settings, Sql};

use crate::bed::Bed;

fn dialled(bed: &Bed) -> Vec<ConnectionLog> {
    bed.driver.connections().into_iter().filter(|log| log.dialled).collect()
}

/// Opens the second connection while the first is busy.
fn both_connections(bed: &mut Bed) {
    let (db, driver) = (bed.db.clone(), bed.driver.clone());
    let later = async {
        driver.sleep(Duration::from_millis(200)).await;
        db.execute("SELECT slow").await
    };
    bed.run(join(db.execute("SELECT slow"), later)).1.unwrap();
    assert_eq!(dialled(bed).len(), 2);
}

fn answering() -> Bed {
    Bed::new(|statement| match statement.text() {
        "SELECT $1" => Reply::value("n", statement.param::<i64>(1).expect("a parameter")),
        "SELECT slow" => Reply::value("n", 0_i64).after(Duration::from_secs(2)),
        "SELECT silent" => Reply::silence(),
        "SELECT lost" => Reply::close(),
        "SELECT fails" => Reply::error("22012"),
        "SELECT leaving" => Reply::error("57P01"),
        _ => Reply::ok(),
    })
}

#[test]
fn many_statements_share_two_connections_and_each_gets_its_own_answer() {
    let mut bed = answering();
    let db = bed.db.clone();
    let answers = bed.run(join_all((0..200_i64).map(|n| {
        let db = db.clone();
        async move { db.fetch_one::<i64>(Sql::new("SELECT ").bind(&n)).await.unwrap() }
    })));
    assert_eq!(answers, (0..200).collect::<Vec<_>>());
    assert!(dialled(&bed).len() <= 2);
}

#[test]
fn a_connection_that_broke_is_replaced_without_an_error_for_later_callers() {
    let mut bed = answering();
    let db = bed.db.clone();
    bed.run(db.execute("SELECT 1")).unwrap();
    bed.driver.lose_connections();
    bed.settle();
    for _ in 0..3 {
        bed.run(db.execute("SELECT 1")).unwrap();
    }
    assert_eq!(dialled(&bed).len(), 2);
    bed.run(db.execute(Sql::new("SELECT lost").reads_only())).unwrap_err();
    bed.run(db.execute("SELECT 1")).unwrap();
    assert_eq!(dialled(&bed).len(), 3);
}

#[test]
fn a_lost_connection_fails_what_was_in_flight_and_nothing_else() {
    let mut bed = answering();
    both_connections(&mut bed);
    let db = bed.db.clone();
    bed.run(async {
        let (lost, with_it) = join(db.execute(Sql::new("SELECT lost").reads_only()), async {
            // the other connection
            db.fetch_one::<i64>(Sql::new("SELECT ").bind(&7_i64)).await
        })
        .await;
        assert_eq!(lost.unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(with_it.unwrap(), 7);
    });
}

#[test]
fn a_connection_on_which_a_deadline_passed_gets_no_new_statement() {
    let mut settings = Settings::default();
    settings.shared_connections = 1;
    let mut bed = Bed::with(settings, |statement| match statement.text() {
        "SELECT silent" => Reply::silence(),
        _ => Reply::ok(),
    });
    let db = bed.db.clone();
    bed.run(async {
        let error = db.execute("SELECT silent").await.unwrap_err();
        assert_eq!(error.kind(), Kind::OutcomeUnknown);
        db.execute("SELECT 1").await.unwrap();
    });
    let connections = dialled(&bed);
    assert_eq!(connections[0].statements, ["SELECT silent"]);
    assert_eq!(connections[1].statements, ["SELECT 1"]);
}

#[test]
fn a_connection_whose_server_is_leaving_gets_no_new_statement() {
    let mut bed = answering();
    let db = bed.db.clone();
    bed.run(async {
        db.execute("SELECT leaving").await.unwrap_err();
        db.execute("SELECT 1").await.unwrap();
    });
    assert_eq!(dialled(&bed)[1].statements, ["SELECT 1"]);
}

#[test]
fn an_error_on_a_shared_connection_is_its_callers_alone() {
    let mut bed = answering();
    let db = bed.db.clone();
    bed.run(async {
        assert_eq!(db.execute("SELECT fails").await.unwrap_err().kind(), Kind::Server);
        db.execute("SELECT 1").await.unwrap();
    });
    assert_eq!(dialled(&bed).len(), 1);
}

#[test]
fn the_least_loaded_connection_is_taken() {
    let mut bed = answering();
    let db = bed.db.clone();
    both_connections(&mut bed);
    let before: Vec<usize> = dialled(&bed).iter().map(|log| log.statements.len()).collect();
    assert_eq!(before.len(), 2);
    bed.run(join_all((0..4).map(|_| db.execute("SELECT slow"))));
    let after = dialled(&bed);
    let taken: Vec<usize> =
        std::iter::zip(after, before).map(|(log, before)| log.statements.len() - before).collect();
    assert_eq!(taken, [2, 2]);
}

#[test]
fn a_slow_statement_does_not_hold_up_those_on_the_other_connection() {
    let mut bed = answering();
    both_connections(&mut bed);
    let (db, driver) = (bed.db.clone(), bed.driver.clone());
    let started = driver.now();
    bed.run(async {
        let quick = async {
            for _ in 0..10 {
                db.execute("SELECT 1").await.unwrap();
            }
            assert_eq!(driver.now(), started, "it waited for the slow one");
        };
        join(db.execute("SELECT slow"), quick).await.0.unwrap();
    });
    assert_eq!(bed.driver.now(), started + Duration::from_secs(2));
}

#[test]
fn one_connection_is_dialled_at_a_time() {
    let mut bed = answering();
    let times = Arc::new(Mutex::new(Vec::new()));
    let (seen, clock) = (times.clone(), bed.driver.clone());
    bed.driver.on_connect(move |_| {
        seen.lock().unwrap().push(clock.now());
        Reply::ok().after(Duration::from_millis(100))
    });
    let (db, driver) = (bed.db.clone(), bed.driver.clone());
    let many = || join_all((0..20).map(|_| db.execute("SELECT slow")));
    let later = async {
        driver.sleep(Duration::from_millis(200)).await;
        many().await
    };
    bed.run(join(many(), later));
    // the others wait for the first, and while the second is dialled they take the first
    assert_eq!(*times.lock().unwrap(), [Duration::ZERO, Duration::from_millis(200)]);
}

#[test]
fn a_server_that_is_down_is_asked_once_at_a_time_and_every_caller_told() {
    let mut bed = answering();
    bed.driver.on_connect(|_| Reply::close());
    let db = bed.db.clone();
    let errors = bed.run(join_all((0..20).map(|_| db.execute("SELECT 1"))));
    assert!(errors.iter().all(|answer| answer.as_ref().unwrap_err().kind() == Kind::Unavailable));
    bed.driver.on_connect(|_| Reply::ok());
    bed.run(db.execute("SELECT 1")).unwrap();
}

#[test]
fn without_shared_connections_a_statement_takes_one_of_its_own() {
    let mut settings = Settings::default();
    settings.shared_connections = 0;
    let mut bed = Bed::with(settings, |_| Reply::ok());
    let db = bed.db.clone();
    bed.run(async {
        db.execute("SELECT 1").await.unwrap();
        db.execute("SELECT 1").await.unwrap();
    });
    assert!(dialled(&bed).is_empty());
    assert_eq!(bed.connection(0).recycled, 2);
}

/// What waits is bounded, and what is refused is so at once.
#[test]
fn so_many_statements_wait_on_a_connection_and_further_ones_are_refused() {
    let mut settings = Settings::default();
    settings.shared_connections = 1;
    let mut bed = Bed::with(settings, |_| Reply::silence());
    let db = bed.db.clone();
    let errors = bed.run(join_all((0..3_000).map(|_| db.execute("SELECT 1"))));
    let refused = errors.iter().filter(|answer| answer.as_ref().is_err_and(pgspan::Error::is_unavailable));
    assert_eq!(refused.count(), 3_000 - 2_048);
    assert_eq!(bed.driver.statements().len(), 2_048);
}
