//! LISTEN on a connection of its own.
//!
//! The siblings that were looked for: the caller's deadline before, during and after it listens; a database that is closed before, during
//! and after `next`, and while it tries to connect again; a path that is deaf from the start, after LISTEN, and after some
//! notifications; a server that refuses LISTEN.

use std::time::Duration;

use futures_util::future::join;
use pgspan::testing::Reply;
use pgspan::{Event, Kind, Settings};

use crate::bed::Bed;

#[test]
fn a_listener_hears_its_channel_and_says_when_it_may_have_missed_something() {
    let mut bed = Bed::new(|_| Reply::ok());
    let (db, driver) = (bed.db.clone(), bed.driver.clone());
    let mut listener = bed.run(db.listen("jobs")).unwrap();
    driver.notify("jobs", "1");
    driver.notify("others", "2");
    driver.notify("jobs", "3");
    for payload in ["1", "3"] {
        assert!(
            matches!(bed.run(listener.next()), Event::Notification { payload: heard, .. } if heard == payload)
        );
    }
    driver.lose_connections();
    assert_eq!(bed.run(listener.next()), Event::Missed);
    driver.notify("jobs", "4");
    assert!(matches!(bed.run(listener.next()), Event::Notification { payload, .. } if payload == "4"));
    assert_eq!(driver.statements(), ["LISTEN \"jobs\"", "LISTEN \"jobs\""]);
}

#[test]
fn a_listener_tries_again_until_the_server_is_back() {
    let mut bed = Bed::new(|_| Reply::ok());
    let (db, driver) = (bed.db.clone(), bed.driver.clone());
    let mut listener = bed.run(db.listen("jobs")).unwrap();
    driver.on_connect(|number| if number < 5 { Reply::close() } else { Reply::ok() });
    driver.lose_connections();
    assert_eq!(bed.run(listener.next()), Event::Missed);
    let waited = pgspan::Driver::now(&driver).as_millis();
    assert!((1_300..=1_700).contains(&waited), "100 + 200 + 400 + 800 ms ± 10 %: {waited}");
}

#[test]
fn a_listener_behind_a_pooler_is_refused() {
    let mut settings = Settings::default();
    settings.pooler = Some(pgspan::Pooler::Transaction);
    let mut bed = Bed::with(settings, |_| Reply::ok());
    let db = bed.db.clone();
    assert_eq!(bed.run(db.listen("jobs")).unwrap_err().kind(), Kind::Refused);
}

#[test]
fn a_listener_outlives_its_callers_deadline() {
    let mut bed = Bed::new(|_| Reply::ok());
    let (db, driver) = (bed.db.clone(), bed.driver.clone());
    bed.run(async {
        let hurried = db.with_deadline(Duration::from_secs(1));
        let mut listener = hurried.listen("jobs").await.unwrap();
        pgspan::Driver::sleep(&driver, Duration::from_secs(2)).await;
        assert_eq!(hurried.execute("SELECT 1").await.unwrap_err().kind(), Kind::Timeout, "its own is over");
        for payload in ["1", "2"] {
            driver.lose_connections();
            assert_eq!(listener.next().await, Event::Missed);
            driver.notify("jobs", payload);
            assert!(
                matches!(listener.next().await, Event::Notification { payload: heard, .. } if heard == payload)
            );
        }
    });
}

#[test]
fn whoever_begins_to_listen_waits_no_longer_than_its_deadline() {
    for silent in [true, false] {
        let mut bed =
            Bed::new(
                move |_| if silent { Reply::silence() } else { Reply::ok().after(Duration::from_secs(3)) },
            );
        let db = bed.db.clone();
        let error = bed.run(async {
            db.with_deadline(Duration::from_secs(1)).listen("jobs").await.map(drop).unwrap_err()
        });
        assert_eq!(error.kind(), Kind::Timeout, "{error}");
        assert_eq!(pgspan::Driver::now(&bed.driver), Duration::from_secs(1));
        bed.driver.advance(Duration::from_secs(3)); // until the server answers
        bed.settle();
        assert!(bed.connection(0).ended, "nobody listens there");
    }
}

#[test]
fn a_listener_ends_with_its_database() {
    let mut bed = Bed::new(|_| Reply::ok());
    let (db, driver) = (bed.db.clone(), bed.driver.clone());
    bed.run(async {
        let mut waiting = db.listen("jobs").await.unwrap();
        let mut later = db.listen("jobs").await.unwrap();
        let closing = async {
            pgspan::Driver::sleep(&driver, Duration::from_secs(1)).await;
            db.close();
        };
        assert_eq!(join(waiting.next(), closing).await.0, Event::Closed, "at once");
        assert_eq!(pgspan::Driver::now(&driver), Duration::from_secs(1));
        for listener in [&mut waiting, &mut later] {
            assert_eq!(listener.next().await, Event::Closed);
            assert_eq!(listener.next().await, Event::Closed, "and from then on");
        }
        assert_eq!(db.listen("jobs").await.map(drop).unwrap_err().kind(), Kind::Unavailable);
    });
    bed.settle();
    assert!(bed.driver.connections().iter().all(|log| log.ended));
}

#[test]
fn one_that_tries_to_connect_again_ends_with_the_database_too() {
    let mut bed = Bed::new(|_| Reply::ok());
    let (db, driver) = (bed.db.clone(), bed.driver.clone());
    bed.run(async {
        let mut listener = db.listen("jobs").await.unwrap();
        driver.on_connect(|_| Reply::silence());
        driver.lose_connections();
        let closing = async {
            pgspan::Driver::sleep(&driver, Duration::from_secs(7)).await;
            db.close();
        };
        assert_eq!(join(listener.next(), closing).await.0, Event::Closed);
        assert_eq!(pgspan::Driver::now(&driver), Duration::from_secs(7));
    });
}

/// The server's side says nothing any more, and does not close either.
#[test]
fn a_dead_path_is_noticed_within_twenty_seconds() {
    let mut bed = Bed::new(|_| Reply::ok());
    let (db, driver) = (bed.db.clone(), bed.driver.clone());
    // what LISTEN and the login take is known by trying: the next connection goes deaf right behind it
    let deaf_after = {
        let mut bed = Bed::new(|_| Reply::ok());
        let db = bed.db.clone();
        let driver = bed.driver.clone();
        (1..4096)
            .find(|bytes| {
                driver.stop_connections_after(*bytes);
                bed.run(async { db.listen("jobs").await.is_ok() })
            })
            .unwrap()
    };
    bed.run(async {
        driver.stop_connections_after(deaf_after);
        let mut listener = db.listen("jobs").await.unwrap();
        driver.stop_connections_after(None);
        assert_eq!(listener.next().await, Event::Missed);
        let noticed = pgspan::Driver::now(&driver);
        assert!(noticed <= Duration::from_secs(21), "{noticed:?}");
        driver.notify("jobs", "1");
        assert!(matches!(listener.next().await, Event::Notification { .. }));
    });
    assert!(bed.connection(0).ended, "the deaf one is closed");
}

/// It is asked now and then, and nothing is said of it.
#[test]
fn a_healthy_channel_may_be_silent_for_days() {
    let mut bed = Bed::new(|_| Reply::ok());
    let (db, driver) = (bed.db.clone(), bed.driver.clone());
    bed.run(async {
        let mut listener = db.listen("jobs").await.unwrap();
        let notifying = async {
            pgspan::Driver::sleep(&driver, Duration::from_secs(86_400)).await;
            driver.notify("jobs", "at last");
        };
        let (event, ()) = join(listener.next(), notifying).await;
        assert!(matches!(event, Event::Notification { payload, .. } if payload == "at last"));
    });
    assert_eq!(bed.driver.connections().len(), 1);
}

#[test]
fn a_server_that_refuses_to_listen_is_told_at_once() {
    let mut bed = Bed::new(|_| Reply::error("42501"));
    let db = bed.db.clone();
    let error = bed.run(async { db.listen("jobs").await.map(drop).unwrap_err() });
    assert_eq!((error.kind(), error.sqlstate().map(|code| code.code())), (Kind::Server, Some("42501")));
}
