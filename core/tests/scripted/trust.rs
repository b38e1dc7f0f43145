//! Which of the shared connections is taken: how long one is trusted, and whose it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{Either, join, join_all, select};
use pgspan::driver::{Executor, Link, Watch};
use pgspan::testing::{ConnectionLog, Reply, ScriptedConnection, ScriptedDriver};
use pgspan::{Database, Driver, Error, Result, Settings};

use crate::bed::Bed;

/// The scripted driver, with what a host adds.
#[derive(Clone)]
struct Host {
    driver: ScriptedDriver,
    lifetime: Option<Duration>,
    check_after: Option<Duration>,
    /// The executor the caller is on, and how many there are.
    here: Arc<AtomicUsize>,
    executors: usize,
    /// How many connections may be opened.
    most: usize,
}

impl Driver for Host {
    type Connection = ScriptedConnection;

    async fn acquire(&self) -> Result<ScriptedConnection> {
        self.driver.acquire().await
    }

    fn recycle(&self, connection: ScriptedConnection) {
        self.driver.recycle(connection);
    }

    fn watch<'c>(&self, connection: &'c ScriptedConnection) -> &'c Watch {
        self.driver.watch(connection)
    }

    async fn dial(&self) -> Result<Link> {
        if self.driver.connections().len() >= self.most {
            self.sleep(Duration::from_secs(10)).await;
            return Err(Error::unavailable("there are enough"));
        }
        let mut link = self.driver.dial().await?;
        (link.lifetime, link.check_after) = (self.lifetime, self.check_after);
        Ok(link)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.driver.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.driver.now()
    }

    fn executor(&self) -> Executor {
        Executor { number: self.here.load(Ordering::Relaxed), of: self.executors }
    }
}

fn bed() -> Bed {
    Bed::new(|statement| match statement.text() {
        "SELECT slow" => Reply::ok().after(Duration::from_secs(2)),
        _ => Reply::ok(),
    })
}

fn host(bed: &Bed) -> Host {
    let driver = bed.driver.clone();
    Host { driver, lifetime: None, check_after: None, here: Arc::default(), executors: 1, most: usize::MAX }
}

fn connect(host: &Host) -> Database {
    pgspan::connect_with(host.clone(), Settings::default())
}

fn statements(bed: &Bed) -> Vec<Vec<String>> {
    bed.driver.connections().into_iter().map(|ConnectionLog { statements, .. }| statements).collect()
}

#[test]
fn a_connection_at_the_end_of_its_lifetime_finishes_what_it_has_and_gets_nothing_new() {
    let mut bed = bed();
    let mut host = host(&bed);
    host.lifetime = Some(Duration::from_secs(1));
    let db = connect(&host);
    bed.run(async {
        let later = async {
            host.sleep(Duration::from_millis(1500)).await;
            db.execute("SELECT 1").await
        };
        let (slow, later) = join(db.execute("SELECT slow"), later).await;
        slow.unwrap();
        later.unwrap();
    });
    assert_eq!(statements(&bed), [["SELECT slow"], ["SELECT 1"]]);
}

#[test]
fn one_that_was_unused_for_long_is_checked_before_it_is_used() {
    let mut bed = bed();
    let mut host = host(&bed);
    host.check_after = Some(Duration::from_secs(30));
    let db = connect(&host);
    bed.run(async {
        db.execute("SELECT 1").await.unwrap();
        host.sleep(Duration::from_secs(29)).await;
        db.execute("SELECT 2").await.unwrap();
        host.sleep(Duration::from_secs(31)).await;
        db.execute("SELECT 3").await.unwrap();
        db.execute("SELECT 4").await.unwrap();
    });
    assert_eq!(statements(&bed), [["SELECT 1", "SELECT 2", "", "SELECT 3", "SELECT 4"]]);
}

#[test]
fn one_that_does_not_answer_its_check_is_replaced_and_so_is_what_was_unused_as_long() {
    let mut bed = Bed::new(|statement| match statement.text() {
        "SELECT slow" => Reply::ok().after(Duration::from_secs(2)),
        "" => Reply::silence(),
        _ => Reply::ok(),
    });
    let mut host = host(&bed);
    host.check_after = Some(Duration::from_secs(30));
    let db = connect(&host);
    bed.run(async {
        let later = async {
            host.sleep(Duration::from_millis(200)).await;
            db.execute("SELECT slow").await
        };
        join(db.execute("SELECT slow"), later).await.1.unwrap();
        host.sleep(Duration::from_secs(60)).await;
        let asked = host.now();
        db.execute("SELECT 3").await.unwrap();
        assert_eq!(host.now() - asked, Duration::from_secs(1), "the check's deadline, once");
        db.execute("SELECT 4").await.unwrap();
    });
    let sent = statements(&bed);
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[2], ["SELECT 3", "SELECT 4"]);
}

/// The check's own statement makes it no busier, and so no more to be trusted.
#[test]
fn while_one_is_checked_nobody_else_is_sent_onto_it() {
    for hurried in [false, true] {
        let mut bed = Bed::new(|statement| match statement.text() {
            "SELECT 1" => Reply::ok(),
            _ if statement.connection() == 0 => Reply::silence(),
            _ => Reply::ok(),
        });
        let mut host = host(&bed);
        host.check_after = Some(Duration::from_secs(30));
        let db = connect(&host);
        bed.run(async {
            db.execute("SELECT 1").await.unwrap();
            host.sleep(Duration::from_secs(60)).await;
            if hurried {
                let hurried = db.with_deadline(Duration::from_millis(20));
                hurried.execute("SELECT 2").await.unwrap_err();
            }
            let asked = host.now();
            let callers = (0..5).map(|caller| {
                let (db, host) = (db.clone(), host.clone());
                async move {
                    host.sleep(Duration::from_millis(100 * caller)).await;
                    db.execute("SELECT 3").await.unwrap();
                }
            });
            join_all(callers).await;
            assert!(host.now() - asked <= Duration::from_millis(1500), "{:?}", host.now() - asked);
        });
        bed.settle();
        let logs = bed.driver.connections();
        assert!(logs[0].ended && !logs[0].statements.contains(&"SELECT 3".to_owned()), "{:?}", logs[0]);
    }
}

/// Looked for: callers that come with the one that checks, and while it does; a checker that is dropped, or whose own time is up; a
/// check that is answered, after which all use the connection.
#[test]
fn nobody_gets_one_that_is_being_checked() {
    for silent in [true, false] {
        let mut bed = Bed::new(move |statement| match statement.text() {
            "SELECT slow" => Reply::ok().after(Duration::from_secs(2)),
            "" if silent => Reply::silence(),
            "" => Reply::ok().after(Duration::from_millis(500)),
            _ => Reply::ok(),
        });
        let mut host = host(&bed);
        host.check_after = Some(Duration::from_secs(30));
        let db = connect(&host);
        bed.run(async {
            let later = async {
                host.sleep(Duration::from_millis(200)).await;
                db.execute("SELECT slow").await
            };
            join(db.execute("SELECT slow"), later).await.1.unwrap();
            host.sleep(Duration::from_secs(60)).await;
            let hasty = db.with_deadline(Duration::from_millis(100));
            let checking = Box::pin(hasty.execute("SELECT hasty"));
            let dropped = Box::pin(host.sleep(Duration::from_millis(50)));
            assert!(matches!(select(checking, dropped).await, Either::Right(_)), "it was checked");
            assert!(hasty.execute("SELECT hasty").await.is_err(), "its own time is up");
            let all = (0..4).map(|number| {
                let (db, host) = (&db, &host);
                async move {
                    host.sleep(Duration::from_millis(300 * number)).await;
                    db.execute("SELECT 3").await
                }
            });
            for answer in join_all(all).await {
                answer.unwrap();
            }
        });
        let sent = statements(&bed);
        let of_old = sent.iter().take(2).flatten().filter(|text| *text == "SELECT 3").count();
        assert_eq!(of_old, if silent { 0 } else { 4 }, "silent: {silent}: {sent:?}");
    }
}

#[test]
fn who_can_not_open_one_more_uses_what_there_is_and_not_everyone_tries() {
    let mut bed = bed();
    let mut host = host(&bed);
    host.most = 1;
    let db = connect(&host);
    bed.run(async {
        let slow = db.execute("SELECT slow");
        let later = async {
            host.sleep(Duration::from_millis(100)).await;
            let asked = host.now();
            db.execute("SELECT 1").await.unwrap(); // tries for a while, then waits behind the slow one
            assert_eq!(host.now() - asked, Duration::from_millis(1900));
            let (asked, slow) = (host.now(), db.execute("SELECT slow"));
            let quick = async {
                host.sleep(Duration::from_millis(10)).await;
                db.execute("SELECT 2").await.unwrap();
            };
            join(slow, quick).await.0.unwrap();
            assert_eq!(host.now() - asked, Duration::from_secs(2), "nobody tries again so soon");
        };
        join(slow, later).await.0.unwrap();
    });
    assert_eq!(statements(&bed).len(), 1);
}

#[test]
fn a_statement_goes_out_on_a_connection_of_its_own_executor() {
    let mut bed = bed();
    let mut host = host(&bed);
    host.executors = 2;
    let (db, here) = (connect(&host), host.here.clone());
    bed.run(async {
        for (number, text) in
            [(0, "SELECT 0"), (1, "SELECT 1"), (0, "SELECT 0"), (1, "SELECT 1"), (1, "SELECT 1")]
        {
            here.store(number, Ordering::Relaxed);
            db.execute(text).await.unwrap();
        }
    });
    assert_eq!(statements(&bed), [vec!["SELECT 0"; 2], vec!["SELECT 1"; 3]]);
}

#[test]
fn an_executor_opens_no_more_than_its_share_and_uses_anothers_when_its_own_is_much_busier() {
    let mut bed = bed();
    let mut host = host(&bed);
    host.executors = 2;
    let (db, here) = (connect(&host), host.here.clone());
    bed.run(async {
        db.execute("SELECT 0").await.unwrap();
        let many = join_all((0..80).map(|_| db.execute("SELECT slow")));
        let check = async {
            host.sleep(Duration::from_millis(100)).await;
            assert_eq!(host.driver.connections().len(), 1, "the other is the other's");
            here.store(1, Ordering::Relaxed);
            db.execute("SELECT 1").await.unwrap();
            here.store(0, Ordering::Relaxed);
            let asked = host.now();
            db.execute("SELECT 2").await.unwrap();
            assert_eq!(host.now(), asked, "it waited behind the eighty");
        };
        join(many, check).await;
    });
    assert_eq!(statements(&bed)[1], ["SELECT 1", "SELECT 2"]);
}

#[test]
fn one_slow_statement_on_an_executors_own_connection_holds_up_nothing_that_another_can_do() {
    let mut bed = bed();
    let mut host = host(&bed);
    host.executors = 2;
    let (db, here) = (connect(&host), host.here.clone());
    bed.run(async {
        for number in [0, 1] {
            here.store(number, Ordering::Relaxed);
            db.execute("SELECT 1").await.unwrap();
        }
        let quick = async {
            host.sleep(Duration::from_millis(100)).await;
            let asked = host.now();
            db.execute("SELECT 2").await.unwrap();
            assert_eq!(host.now(), asked, "it waited behind the slow one");
        };
        join(db.execute("SELECT slow"), quick).await.0.unwrap();
    });
    assert_eq!(statements(&bed), [vec!["SELECT 1", "SELECT 2"], vec!["SELECT 1", "SELECT slow"]]);
}

#[test]
fn each_of_three_executors_has_one_of_four_connections_and_the_first_another() {
    let mut bed = bed();
    let mut host = host(&bed);
    host.executors = 3;
    let mut settings = Settings::default();
    settings.shared_connections = 4;
    let (db, here) = (pgspan::connect_with(host.clone(), settings), host.here.clone());
    bed.run(async {
        for number in 0..3 {
            here.store(number, Ordering::Relaxed);
            let three = (0..3).map(async |after| {
                host.sleep(Duration::from_millis(100 * after)).await;
                here.store(number, Ordering::Relaxed);
                db.execute("SELECT slow").await.unwrap();
            });
            join_all(three).await;
        }
    });
    assert_eq!(statements(&bed).len(), 4);
}
