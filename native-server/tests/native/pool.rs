//! Fault rows A1, A2, A5, A8, A11, A13, C1, C2, D1, D2 of the native pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use pgspan::{Kind, Settings, Sql, sql};
use pgspan_server::{Driver, PoolSettings};
use tests::{Cluster, Proxy, Way};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::bed::{Bed, driver, is_cancelled, named, pid, pool};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_a_full_pool_get_an_error_at_their_deadline_that_says_what_they_waited_for() -> Result<()>
{
    let bed = Bed::new("full").await?;
    let db = bed.pool(2, 500)?;
    let _held = (db.session().await?, db.session().await?);
    let waits = (0..20).map(|_| async {
        let started = Instant::now();
        (db.session().await.err(), started.elapsed())
    });
    for (error, waited) in join_all(waits).await {
        let error = error.context("a connection came from nowhere")?;
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().contains("none of the 2 connections became free within 500 ms"), "{error}");
        assert!((500..600).contains(&waited.as_millis()), "{waited:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_longest_is_served_first() -> Result<()> {
    let bed = Bed::new("fifo").await?;
    let db = bed.pool(1, 3000)?;
    let held = db.session().await?;
    let served = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for number in 0..5 {
        let (db, served) = (db.clone(), served.clone());
        waiters.push(tokio::spawn(async move {
            let session = db.session().await?;
            served.lock().unwrap().push(number);
            drop(session);
            Ok::<_, pgspan::Error>(())
        }));
        sleep(Duration::from_millis(20)).await;
    }
    drop(held);
    for waiter in waiters {
        waiter.await??;
    }
    assert_eq!(*served.lock().unwrap(), [0, 1, 2, 3, 4]);
    Ok(())
}

#[tokio::test]
async fn when_the_queue_is_full_too_the_refusal_comes_at_once() -> Result<()> {
    let bed = Bed::new("queue").await?;
    let db = bed.pool_with(2000, |pool| (pool.size, pool.max_waiters) = (1, 3))?;
    let held = db.session().await?;
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { db.session().await.map(drop) })
        })
        .collect();
    sleep(Duration::from_millis(50)).await;
    let started = Instant::now();
    let error = db.session().await.err().context("a fourth caller waited")?;
    assert!(started.elapsed() < Duration::from_millis(20), "{:?}", started.elapsed());
    assert_eq!(error.to_string(), "all 1 connections are in use, and 3 callers wait already");
    drop(held);
    for waiter in waiters {
        waiter.await??;
    }
    db.session().await?; // and the queue is as long as before
    Ok(())
}

#[tokio::test]
async fn a_session_dropped_in_the_middle_of_a_statement_frees_its_slot_and_ends_its_backend() -> Result<()> {
    let bed = Bed::new("dropped").await?;
    let db = bed.pool(1, 1000)?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let sleeping = session.execute(sql!("SELECT pg_sleep(5)"));
    assert!(timeout(Duration::from_millis(200), sleeping).await.is_err());
    drop(session);

    let mut next = db.session().await?;
    assert_ne!(pid(&mut next).await?, before);
    let gone = bed.gone(before).await?;
    assert!(gone < Duration::from_millis(1200), "{gone:?}");
    Ok(())
}

#[tokio::test]
async fn a_backend_terminated_while_idle_is_never_given_out() -> Result<()> {
    let bed = Bed::new("terminated").await?;
    let db = bed.pool(2, 1000)?;
    let (mut one, mut other) = (db.session().await?, db.session().await?);
    let pids = [pid(&mut one).await?, pid(&mut other).await?];
    drop((one, other));
    let admin = bed.admin().await?;
    for pid in pids {
        admin.execute("SELECT pg_terminate_backend($1)", &[&pid]).await?;
        bed.gone(pid).await?;
    }
    sleep(Duration::from_millis(50)).await; // the news has to arrive
    for _ in 0..2 {
        assert!(!pids.contains(&pid(&mut db.session().await?).await?));
    }
    Ok(())
}

/// A statement that fails with this SQLSTATE.
fn failing(sqlstate: &str) -> Sql<'static> {
    Sql::new(format!("DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$")).reads_only()
}

/// What a function may raise as if the server were leaving, or as any other error. The connection is as good as before: a server
/// that really leaves says FATAL, and closes it.
const RAISED: [&str; 5] = ["08000", "08006", "57P01", "57P03", "22012"];

#[tokio::test]
async fn a_connection_whose_server_is_read_only_is_never_given_out_again_and_any_other_error_leaves_it()
-> Result<()> {
    let bed = Bed::new("never again").await?;
    let (db, driver) = driver(&bed.url(), 1000, |pool| pool.size = 1)?;
    let mut seen = Vec::new();
    for in_a_transaction in [false, true] {
        for (sqlstate, is_kept) in RAISED.map(|raised| (raised, true)).into_iter().chain([("25006", false)]) {
            let mut session = db.session().await?;
            let before = pid(&mut session).await?;
            assert!(!seen.contains(&before), "{sqlstate}: given out again after {seen:?}");
            let error = match in_a_transaction {
                false => session.execute(failing(sqlstate)).await.err(),
                true => session.transaction().execute(failing(sqlstate)).await.err(),
            };
            let error = error.context("the statement succeeded")?;
            assert_eq!(error.sqlstate().map(|code| code.code()), Some(sqlstate), "{error}");
            drop(session);
            match is_kept {
                true => assert_eq!(pid(&mut db.session().await?).await?, before, "{sqlstate}"),
                false => {
                    assert!(error.is_retryable(), "{error}");
                    bed.gone(before).await?;
                    seen.push(before);
                }
            }
        }
    }
    let statistics = driver.statistics();
    assert_eq!((statistics.opened, statistics.discarded), (2, 2), "{statistics:?}");
    Ok(())
}

#[tokio::test]
async fn a_shared_connection_whose_server_is_read_only_gets_no_further_statement() -> Result<()> {
    let bed = Bed::new("never shared").await?;
    let mut settings = Settings::default();
    settings.shared_connections = 1;
    let driver = Driver::new(&bed.url().parse()?, &settings, PoolSettings::default())?;
    let db = pgspan::connect_with(driver, settings);
    let shared = async || -> pgspan::Result<i32> { db.fetch_one(sql!("SELECT pg_backend_pid()")).await };
    let before = shared().await?;
    for sqlstate in RAISED {
        assert!(db.execute(failing(sqlstate)).await.is_err());
        assert_eq!(shared().await?, before, "{sqlstate} is its caller's alone");
    }
    assert!(db.execute(failing("25006")).await.is_err());
    assert_ne!(shared().await?, before);
    bed.gone(before).await?;
    Ok(())
}

#[tokio::test]
async fn a_backend_terminated_in_the_middle_of_a_statement_is_never_given_out_again() -> Result<()> {
    let bed = Bed::new("terminated busy").await?;
    let (db, driver) = driver(&bed.url(), 1000, |pool| pool.size = 1)?;
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    let sleeping = tokio::spawn(async move {
        let ended = session.execute(Sql::new("SELECT pg_sleep(4)").reads_only()).await;
        drop(session);
        ended
    });
    let admin = bed.admin().await?;
    let busy =
        "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND query LIKE '%pg_sleep%' AND state = 'active'";
    while admin.query_opt(busy, &[&before]).await?.is_none() {
        sleep(Duration::from_millis(10)).await;
    }
    admin.execute("SELECT pg_terminate_backend($1)", &[&before]).await?;
    let error = sleeping.await?.err().context("it was not terminated")?;
    assert_eq!(error.sqlstate().map(|code| code.code()), Some("57P01"), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
    let mut next = db.session().await?;
    assert_ne!(pid(&mut next).await?, before);
    let statistics = driver.statistics();
    assert_eq!((statistics.size, statistics.lost + statistics.discarded), (1, 1), "{statistics:?}");
    Ok(())
}

#[tokio::test]
async fn when_a_database_becomes_read_only_each_connection_that_says_so_is_left() -> Result<()> {
    let bed = Bed::new("read only").await?;
    let url = bed.database().await?;
    let (admin, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    admin.batch_execute("CREATE TABLE t (a int)").await?;
    let db = pool(&named(&url, "read only"), 1000, |pool| pool.size = 1)?;
    let write = async || -> Result<(i32, Option<String>)> {
        let mut session = db.session().await?;
        let pid = pid(&mut session).await?;
        let refused = session.execute("INSERT INTO t VALUES (1)").await.err();
        Ok((pid, refused.and_then(|error| error.sqlstate().map(|code| code.code().to_owned()))))
    };
    let (first, refused) = write().await?;
    assert_eq!(refused, None);
    assert_eq!(write().await?, (first, None));
    let name: String = admin.query_one("SELECT current_database()::text", &[]).await?.get(0);
    let read_only = async |mode: &str| {
        let alter = format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = {mode}");
        admin.batch_execute(&alter).await?;
        // what is open knows nothing of it: end it
        let open = "pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()";
        admin.query(&format!("SELECT pg_terminate_backend(pid) FROM {open}"), &[&name]).await?;
        while !admin.query(&format!("SELECT 1 FROM {open}"), &[&name]).await?.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        let _ = db.session().await?.execute(sql!("SELECT 1")).await; // the one that was ended, if that is not known yet
        anyhow::Ok(())
    };
    read_only("on").await?;
    let mut pids = vec![first];
    for _ in 0..3 {
        let (pid, refused) = write().await?;
        assert_eq!(refused.as_deref(), Some("25006"));
        assert!(!pids.contains(&pid), "given out again");
        bed.gone(pid).await?;
        pids.push(pid);
    }
    read_only("off").await?;
    let (last, refused) = write().await?;
    assert_eq!(refused, None);
    assert_eq!(write().await?, (last, None));
    Ok(())
}

/// The last one used is looked at first; what was unused for longer than one that is dead is not trusted either.
#[tokio::test]
async fn a_connection_that_died_unused_is_found_out_and_so_are_all_that_were_unused_as_long() -> Result<()> {
    let bed = Bed::new("unused").await?;
    let proxy = Proxy::before(&bed.url()).await?;
    let (db, driver) = driver(&proxy.url(&bed.url()), 5000, |pool| {
        (pool.size, pool.check_after) = (2, Duration::from_millis(100));
    })?;
    let (mut one, mut other) = (db.session().await?, db.session().await?);
    let pids = [pid(&mut one).await?, pid(&mut other).await?];
    drop((one, other));
    sleep(Duration::from_millis(150)).await;
    proxy.lose(Way::Up); // the check never arrives
    let started = Instant::now();
    let taking = tokio::spawn({
        let db = db.clone();
        async move { pid(&mut db.session().await?).await }
    });
    sleep(Duration::from_millis(300)).await;
    proxy.pass().await;
    let taken = taking.await??;
    assert!(!pids.contains(&taken), "given out though it was not heard of: {taken} of {pids:?}");
    assert!((900..1900).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    let statistics = driver.statistics();
    assert_eq!((statistics.size, statistics.opened, statistics.lost), (1, 3, 1), "{statistics:?}");
    Ok(())
}

#[tokio::test]
async fn a_clean_session_gives_its_connection_to_the_next() -> Result<()> {
    let bed = Bed::new("clean").await?;
    let db = bed.pool(4, 1000)?;
    let first = pid(&mut db.session().await?).await?;
    for _ in 0..10 {
        assert_eq!(pid(&mut db.session().await?).await?, first);
    }
    assert_eq!(bed.backends().await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_caller_that_gives_up_takes_nothing_with_it() -> Result<()> {
    let bed = Bed::new("cancelled").await?;
    let db = bed.pool_with(1000, |pool| {
        (pool.size, pool.max_waiters) = (2, 2);
        pool.check_after = Duration::ZERO; // so that taking one has more places to be dropped at
    })?;
    for micros in (0..8000).step_by(40) {
        let _ = timeout(Duration::from_micros(micros), db.session()).await;
    }
    let all = join_all((0..2).map(|_| db.session())).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let waiting = timeout(Duration::from_millis(50), db.session()).await;
    assert!(waiting.is_err(), "there are more connections than two, or no place to wait");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_connections_are_replaced_under_load_without_a_failure() -> Result<()> {
    let bed = Bed::new("lifetime").await?;
    let db = bed.pool_with(2000, |pool| (pool.size, pool.lifetime) = (3, Duration::from_secs(1)))?;
    let served = AtomicUsize::new(0);
    let end = Instant::now() + Duration::from_secs(5);
    let load = (0..6).map(|_| async {
        let mut pids = std::collections::BTreeSet::new();
        while Instant::now() < end {
            pids.insert(pid(&mut db.session().await?).await?);
            served.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<_, pgspan::Error>(pids)
    });
    let mut pids = std::collections::BTreeSet::new();
    for one in join_all(load).await {
        pids.extend(one?);
    }
    let served = served.into_inner();
    assert!(pids.len() >= 9 && served > 100, "{} connections, {served} sessions", pids.len());
    Ok(())
}

#[tokio::test]
async fn when_the_pool_is_closed_what_runs_finishes_and_what_waits_or_comes_is_refused() -> Result<()> {
    let bed = Bed::new("closed").await?;
    let (db, driver) = driver(&bed.url(), 2000, |pool| pool.size = 2)?;
    let (mut running, idle) = (db.session().await?, db.session().await?);
    let running = tokio::spawn(async move {
        running.execute(sql!("SELECT pg_sleep(1)")).await?;
        running.fetch_one::<i64>(sql!("SELECT 1::int8")).await
    });
    let shared = {
        let db = db.clone();
        tokio::spawn(async move { db.fetch_one::<i64>(sql!("SELECT 1::int8 FROM pg_sleep(1)")).await })
    };
    let waiting = {
        let db = db.clone();
        tokio::spawn(async move { db.session().await.map(drop) })
    };
    sleep(Duration::from_millis(400)).await;
    db.close();
    driver.close();
    let refused = waiting.await?.err().context("one that waited was served")?;
    assert_eq!((refused.kind(), refused.to_string().as_str()), (Kind::Unavailable, "the pool is closed"));
    assert_eq!(db.session().await.err().map(|error| error.kind()), Some(Kind::Unavailable));
    let refused = db.execute(sql!("SELECT 1")).await.err().context("a statement was sent")?;
    assert_eq!((refused.kind(), refused.is_retryable()), (Kind::Unavailable, true));
    assert_eq!((running.await??, shared.await??), (1, 1));
    drop(idle);
    bed.no_backends().await
}

#[tokio::test]
async fn a_connection_unused_for_too_long_is_closed_though_nobody_asks_for_one() -> Result<()> {
    let bed = Bed::new("idle").await?;
    let db = bed.pool_with(1000, |pool| pool.idle_timeout = Duration::from_millis(300))?;
    let pid = pid(&mut db.session().await?).await?;
    bed.gone(pid).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_and_is_used_soon_after_it_comes() -> Result<()> {
    let mut cluster = Cluster::throwaway(&[]).await?;
    let url = named(&cluster.url("postgres"), "healing");
    cluster.stop().await?;
    let db = pool(&url, 1000, |_| {})?;
    for _ in 0..5 {
        let started = Instant::now();
        let error = db.session().await.err().context("there is no server")?;
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(started.elapsed() < Duration::from_millis(1100), "{:?}", started.elapsed());
        let text = error.to_string();
        assert!(text.contains("refused") || text.contains("none could be opened"), "{text}");
    }
    for crash in [false, true] {
        cluster.start().await?;
        let started = Instant::now();
        while db.session().await.is_err() {
            ensure!(started.elapsed() < Duration::from_secs(2), "it does not heal");
        }
        let sum: i64 = db.fetch_one(sql!("SELECT 1::int8")).await?;
        assert_eq!(sum, 1);
        match crash {
            false => cluster.stop().await?,
            true => cluster.kill().await?,
        }
        let error = db.session().await.err().context("there is no server")?;
        assert_eq!(error.kind(), Kind::Unavailable);
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_at_the_deadline() -> Result<()> {
    let deaf = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("postgres://alice:CANARY@{}/d", deaf.local_addr()?);
    let db = pool(&url, 400, |_| {})?;
    for statement in [false, true] {
        let started = Instant::now();
        let error = match statement {
            false => db.session().await.err(),
            true => db.execute(sql!("SELECT 1")).await.err(),
        };
        let error = error.context("a connection came from nowhere")?;
        assert!((400..500).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(!format!("{error} {error:?}").contains("CANARY"));
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_told_by_its_sqlstate_and_not_by_itself() -> Result<()> {
    let bed = Bed::new("password").await?;
    let (scheme, rest) =
        bed.url().split_once("://").map(|(a, b)| (a.to_owned(), b.to_owned())).context("a URL")?;
    let (login, place) = rest.split_once('@').context("a login")?;
    let user = login.split(':').next().unwrap_or_default();
    let db = pool(&format!("{scheme}://{user}:CANARY@{place}"), 1000, |_| {})?;
    let error = db.session().await.err().context("any password will do")?;
    assert_eq!((error.kind(), error.sqlstate().map(|code| code.code())), (Kind::Unavailable, Some("28P01")));
    assert!(!format!("{error} {error:?}").contains("CANARY"));
    Ok(())
}

#[tokio::test]
async fn a_unix_socket_will_do() -> Result<()> {
    let cluster = Cluster::throwaway(&[]).await?;
    let Some(folder) = cluster.socket_dir() else {
        tests::skip("the path of the cluster's unix socket would be too long");
        return Ok(());
    };
    let url =
        cluster.url("postgres").replace("127.0.0.1:", &format!("{}:", folder.display()).replace('/', "%2F"));
    let db = pool(&url, 1000, |_| {})?;
    let address: Option<std::net::IpAddr> = db.fetch_one(sql!("SELECT inet_client_addr()")).await?;
    assert_eq!(address, None);
    is_cancelled(&db, &cluster.admin().await?).await
}

#[tokio::test]
async fn so_many_connections_as_are_to_be_warm_are_kept_and_replaced() -> Result<()> {
    let bed = Bed::new("warm").await?;
    let (db, driver) = driver(&bed.url(), 2000, |pool| {
        (pool.size, pool.min_idle, pool.idle_timeout) = (6, 3, Duration::from_millis(400));
    })?;
    drop(join_all((0..6).map(|_| db.session())).await);
    let settled = async |what: &str| {
        let started = Instant::now();
        while driver.statistics().idle != 3 || driver.statistics().size != 3 {
            ensure!(started.elapsed() < Duration::from_secs(10), "{what}: {:?}", driver.statistics());
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    settled("those beyond three stay").await?;
    sleep(Duration::from_millis(1000)).await;
    settled("the last three were closed").await?;
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
    bed.admin().await?.execute(kill, &[&format!("warm {}", std::process::id())]).await?;
    sleep(Duration::from_millis(500)).await;
    settled("the lost ones are not replaced").await?;
    assert!(driver.statistics().opened >= 9 && driver.statistics().lost >= 3, "{:?}", driver.statistics());
    Ok(())
}

#[tokio::test]
async fn while_a_connection_is_opened_to_be_warm_callers_have_those_that_are() -> Result<()> {
    let bed = Bed::new("warm outage").await?;
    let proxy = Proxy::before(&bed.url()).await?;
    let (db, driver) = driver(&proxy.url(&bed.url()), 3000, |pool| {
        (pool.size, pool.min_idle, pool.idle_timeout) = (4, 3, Duration::from_millis(400));
    })?;
    let mut session = db.session().await?;
    let lost = pid(&mut session).await?;
    drop(session);
    while driver.statistics().size < 3 {
        sleep(Duration::from_millis(20)).await;
    }
    proxy.refuse().await; // what is open goes on
    bed.admin().await?.execute("SELECT pg_terminate_backend($1)", &[&lost]).await?;
    bed.gone(lost).await?;
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let started = Instant::now();
        pid(&mut db.session().await?).await?;
        let waited = started.elapsed();
        assert!(waited < Duration::from_millis(80), "{waited:?}: {:?}", driver.statistics());
        sleep(Duration::from_millis(10)).await;
    }
    let statistics = driver.statistics();
    assert!(statistics.failed >= 2 && statistics.size == 2, "{statistics:?}");
    proxy.pass().await;
    while driver.statistics().size < 3 {
        ensure!(end.elapsed() < Duration::from_secs(5), "it is not replaced: {:?}", driver.statistics());
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn attempts_that_their_callers_gave_up_are_counted_as_failed() -> Result<()> {
    let deaf = TcpListener::bind("127.0.0.1:0").await?;
    let (db, driver) = driver(&format!("postgres://u@{}/d", deaf.local_addr()?), 200, |_| {})?;
    assert!(db.session().await.is_err());
    assert!(db.execute(sql!("SELECT 1")).await.is_err());
    let statistics = driver.statistics();
    assert_eq!((statistics.failed, statistics.size, statistics.in_use), (2, 0, 0), "{statistics:?}");
    Ok(())
}

#[tokio::test]
async fn what_the_pool_does_is_counted() -> Result<()> {
    let bed = Bed::new("counted").await?;
    let (db, driver) = driver(&bed.url(), 1000, |pool| (pool.size, pool.max_waiters) = (2, 1))?;
    let (mut one, other) = (db.session().await?, db.session().await?);
    let waiting = {
        let db = db.clone();
        tokio::spawn(async move { db.session().await.map(drop) })
    };
    sleep(Duration::from_millis(50)).await;
    let now = driver.statistics();
    assert_eq!((now.max, now.size, now.in_use, now.idle, now.waiting), (2, 2, 2, 0, 1));
    assert!(db.session().await.is_err());
    assert!(waiting.await?.is_err());
    let pid = pid(&mut one).await?;
    drop((one, other));
    let then = driver.statistics();
    assert_eq!((then.waits, then.refused, then.timeouts, then.opened, then.waiting), (1, 1, 1, 2, 0));
    assert_eq!((then.idle, then.in_use, then.lost, then.discarded, then.dialled), (2, 0, 0, 0, 0));

    bed.admin().await?.execute("SELECT pg_terminate_backend($1)", &[&pid]).await?;
    bed.gone(pid).await?;
    sleep(Duration::from_millis(50)).await;
    let mut both = [db.session().await?, db.session().await?];
    both[0].taint();
    drop(both);
    db.execute(sql!("SELECT 1")).await?;
    let last = driver.statistics();
    assert_eq!((last.opened, last.lost, last.discarded, last.dialled, last.failed), (3, 1, 1, 1, 0));
    assert!(db.statistics().round_trips >= 2);
    Ok(())
}

#[tokio::test]
async fn of_several_hosts_the_first_that_takes_writes_is_used_and_left_when_it_no_longer_does() -> Result<()>
{
    let (mut one, other) = (Cluster::throwaway(&[]).await?, Cluster::throwaway(&[]).await?);
    let nowhere = format!("127.0.0.1:{}", tests::free_port()?);
    for cluster in [&one, &other] {
        let role = "CREATE ROLE everywhere SUPERUSER LOGIN PASSWORD 'CANARY'";
        cluster.admin().await?.batch_execute(role).await?;
    }
    let url = format!(
        "postgres://everywhere:CANARY@{nowhere},127.0.0.1:{},127.0.0.1:{}/postgres?sslmode=disable&target_session_attrs=read-write",
        one.port(),
        other.port()
    );
    let db = pool(&url, 3000, |_| {})?;
    let port = async || -> pgspan::Result<i32> {
        db.session().await?.fetch_one(sql!("SELECT inet_server_port()")).await
    };
    assert_eq!(port().await?, i32::from(one.port()));
    let admin = one.admin().await?;
    admin.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await?;
    admin.batch_execute("SELECT pg_reload_conf()").await?;
    sleep(Duration::from_millis(300)).await;
    // the first write is refused (25006), and its connection is not used again
    let refused = db.session().await?.execute(sql!("CREATE TABLE t (a int)")).await;
    assert_eq!(
        refused.err().and_then(|error| error.sqlstate().map(|code| code.code().to_owned())).as_deref(),
        Some("25006")
    );
    assert_eq!(port().await?, i32::from(other.port()));
    drop(admin);
    one.stop().await?;
    assert_eq!(port().await?, i32::from(other.port()));
    Ok(())
}
