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
