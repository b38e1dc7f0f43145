//! One caller's time is nobody else's: its deadline says nothing about the connection or the server, its listener outlives it, and what
//! it gave up still counts.
//!
//! The siblings that were looked for: the deadline that passes while a statement, a dial, a check of an unused connection or a session is
//! waited for; one caller and many; a deadline inside a deadline, in both orders and three deep; the counts of each; a dropped
//! statement, and one whose deadline passed, before the next chooses its connection.

use std::time::Duration;

use futures_util::future::{join, join_all};
use pgspan::testing::Reply;
use pgspan::{Kind, Settings};

use crate::bed::{Bed, poll_once};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn sharing(connections: usize) -> Bed {
    let mut settings = Settings::default();
    settings.shared_connections = connections;
    Bed::with(settings, |statement| match statement.text() {
        "SELECT slow" => Reply::value("n", 0_i64).after(Duration::from_secs(2)),
        "SELECT fifty" => Reply::value("n", 0_i64).after(MS(50)),
        _ => Reply::ok(),
    })
}

fn dialled(bed: &Bed) -> usize {
    bed.driver.connections().iter().filter(|log| log.dialled).count()
}

#[test]
fn two_hundred_callers_in_a_hurry_leave_the_shared_connection_as_it_is() {
    let mut bed = sharing(1);
    let db = bed.db.clone();
    bed.run(async {
        for _ in 0..200 {
            let error = db.with_deadline(MS(10)).execute("SELECT fifty").await.unwrap_err();
            assert_eq!(error.kind(), Kind::OutcomeUnknown);
            db.execute("SELECT 1").await.unwrap();
        }
        let hurried = db.with_deadline(MS(10));
        let answers = join_all((0..20).map(|_| hurried.execute("SELECT fifty"))).await;
        assert!(answers.iter().all(Result::is_err));
        db.execute("SELECT 1").await.unwrap();
    });
    assert_eq!(dialled(&bed), 1);
    assert!(!bed.connection(0).ended);
}

#[test]
fn the_statements_own_limit_does_retire_it() {
    let mut bed = sharing(1);
    let mut settings = Settings::default();
    settings.shared_connections = 1;
    settings.statement_timeout = MS(20);
    let db = pgspan::connect_with(bed.driver.clone(), settings);
    bed.run(async {
        db.execute("SELECT slow").await.unwrap_err();
        db.execute("SELECT 1").await.unwrap();
    });
    assert_eq!(dialled(&bed), 2);
}

#[test]
fn a_callers_deadline_while_it_dials_does_not_count_as_a_failure_of_the_server() {
    let mut bed = sharing(2);
    let (db, driver) = (bed.db.clone(), bed.driver.clone());
    bed.driver.on_connect(|_| Reply::ok().after(MS(100)));
    bed.run(async {
        for _ in 0..10 {
            // the first connection is not there yet, and then the second
            let error = db.with_deadline(MS(10)).execute("SELECT 1").await.unwrap_err();
            assert_eq!(error.kind(), Kind::Timeout, "{error}");
        }
        db.execute("SELECT 1").await.unwrap();
        let busy = db.execute("SELECT slow");
        let others = async {
            pgspan::Driver::sleep(&driver, MS(10)).await;
            for _ in 0..10 {
                let hurried = db.with_deadline(MS(20));
                assert!(hurried.execute("SELECT 1").await.is_err());
            }
            let before = driver.connections().len();
            db.execute("SELECT 1").await.unwrap();
            assert_eq!(driver.connections().len(), before + 1, "it was dialled at once, without a pause");
        };
        join(busy, others).await.0.unwrap();
    });
}

#[test]
fn what_a_caller_gave_up_still_counts_on_its_connection() {
    for dropped in [true, false] {
        let mut bed = sharing(2);
        let (db, driver) = (bed.db.clone(), bed.driver.clone());
        // both are opened
        bed.run(join(db.execute("SELECT fifty"), async {
            pgspan::Driver::sleep(&driver, MS(10)).await;
            db.execute("SELECT fifty").await
        }))
        .1
        .unwrap();
        assert_eq!(dialled(&bed), 2);
        bed.run(async {
            if dropped {
                let mut given_up = Box::pin(db.execute("SELECT slow"));
                assert!(poll_once(given_up.as_mut()).is_pending());
                pgspan::Driver::sleep(&driver, MS(1)).await; // it is written
                drop(given_up);
            } else {
                db.with_deadline(MS(5)).execute("SELECT slow").await.unwrap_err();
            }
            let started = pgspan::Driver::now(&driver);
            for _ in 0..10 {
                db.execute("SELECT 1").await.unwrap();
            }
            assert_eq!(pgspan::Driver::now(&driver), started, "it waited behind what was given up");
        });
        assert_eq!(dialled(&bed), 2);
    }
}

#[test]
fn of_two_deadlines_the_earlier_holds() {
    for (outer, inner) in [(300, 60_000), (60_000, 300), (300, 300)] {
        let mut bed = Bed::new(|_| Reply::silence());
        let db = bed.db.clone();
        let error = bed.run(async {
            let outer = db.with_deadline(MS(outer));
            outer.with_deadline(MS(inner)).with_deadline(MS(90_000)).execute("SELECT 1").await.unwrap_err()
        });
        assert_eq!(error.kind(), Kind::OutcomeUnknown);
        assert_eq!(pgspan::Driver::now(&bed.driver), MS(300));
    }
}

/// Those of a caller inside count for the caller around it, and not for its neighbour.
#[test]
fn the_round_trips_of_an_inner_caller_count_for_the_outer_one() {
    let mut bed = Bed::new(|_| Reply::ok().after(MS(10)));
    let db = bed.db.clone();
    bed.run(async {
        let outer = db.with_deadline(MS(1000));
        outer.execute("SELECT 1").await.unwrap();
        let inner = outer.with_deadline(MS(500));
        inner.execute("SELECT 1").await.unwrap();
        inner.session().await.unwrap().execute("SELECT 1").await.unwrap();
        let neighbour = outer.with_deadline(MS(500));
        assert_eq!(neighbour.round_trips(), (0, Duration::ZERO));
        assert_eq!(inner.round_trips(), (2, MS(20)));
        assert_eq!(outer.round_trips(), (3, MS(30)));
        assert_eq!(db.round_trips().0, 3);
    });
}

#[test]
fn a_deadline_that_passes_while_a_session_is_waited_for_is_the_callers() {
    let mut bed = Bed::new(|_| Reply::ok());
    bed.driver.on_connect(|_| Reply::ok().after(Duration::from_secs(3)));
    let db = bed.db.clone();
    let error = bed.run(async { db.with_deadline(MS(10)).session().await.map(drop).unwrap_err() });
    assert_eq!(error.kind(), Kind::Timeout);
    bed.driver.on_connect(|_| Reply::ok());
    bed.run(async { db.session().await.unwrap().execute("SELECT 1").await.unwrap() });
}
