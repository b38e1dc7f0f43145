//! Where connections come from when the server lets in fewer than the pool may have, when it is silent, and when it comes back.
//!
//! Siblings that were looked for: a limit of the role and none at all; a caller whose connection is being opened while another's
//! comes back; connections that are dead without a word while new ones work; a pool that is closed, and one whose first caller's
//! runtime has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use pgspan::{Session, Settings, sql};
use pgspan_server::{Driver, PoolSettings};
use rustix::process::{Pid, Signal, kill_process};
use tests::Cluster;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::bed::{Bed, driver, pid, pool};

/// A cluster with a role that may have so many connections, and its URL.
async fn limited(connections: i32) -> Result<(Cluster, String)> {
    let cluster = Cluster::throwaway(&[]).await?;
    let role = format!("CREATE ROLE limited LOGIN PASSWORD 'secret' CONNECTION LIMIT {connections}");
    cluster.admin().await?.batch_execute(&role).await?;
    let url = format!("postgres://limited:secret@127.0.0.1:{}/postgres", cluster.port());
    Ok((cluster, url))
}

/// Fault row N9.
#[tokio::test]
async fn a_server_that_lets_in_fewer_connections_is_a_smaller_pool() -> Result<()> {
    let (_cluster, url) = limited(2).await?;
    let (db, driver) = driver(&url, 5000, |pool| pool.size = 8)?;
    for _ in 0..3 {
        let callers = (0..20).map(|_| async {
            let mut session = db.session().await?;
            session.execute(sql!("SELECT pg_sleep(0.02)")).await
        });
        let failures: Vec<_> = join_all(callers).await.into_iter().filter_map(Result::err).collect();
        assert!(failures.is_empty(), "{} of 20 failed: {:?}", failures.len(), failures.first());
    }
    let now = driver.statistics();
    assert_eq!((now.max, now.size, now.in_use, now.waiting), (8, 2, 0, 0));
    Ok(())
}

#[tokio::test]
async fn whoever_waits_for_a_new_connection_takes_one_that_comes_back() -> Result<()> {
    let (_cluster, url) = limited(1).await?;
    let (db, driver) = driver(&url, 5000, |pool| pool.size = 2)?;
    let mut first = db.session().await?;
    let held = pid(&mut first).await?;
    let waiting = tokio::spawn({
        let db = db.clone();
        async move {
            let mut session = db.session().await?;
            pid(&mut session).await
        }
    });
    sleep(Duration::from_millis(300)).await; // the second was refused meanwhile
    assert!(driver.statistics().failed >= 1 && driver.statistics().waiting == 1);
    let given = Instant::now();
    drop(first);
    assert_eq!(timeout(Duration::from_secs(2), waiting).await???, held);
    assert!(given.elapsed() < Duration::from_millis(100), "{:?}", given.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_refusal_is_an_error_of_all_who_wait_where_there_is_no_connection_at_all() -> Result<()> {
    let (_cluster, url) = limited(0).await?;
    let db = pool(&url, 5000, |pool| pool.size = 8)?;
    let started = Instant::now();
    for refused in join_all((0..20).map(|_| db.session())).await {
        let error = refused.err().context("it was let in")?;
        assert_eq!(error.sqlstate().map(|code| code.code()), Some("53300"), "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    Ok(())
}

/// Fault row N11.
#[tokio::test]
async fn when_one_connection_dies_without_a_word_the_others_are_checked_before_they_are_used() -> Result<()> {
    let cluster = Cluster::throwaway(&[]).await?;
    let mut settings = Settings::default();
    settings.statement_timeout = Duration::from_millis(300);
    let mut pool = PoolSettings::default();
    pool.size = 6;
    let url = cluster.url("postgres");
    let db = pgspan::connect_with(Driver::new(&url.parse()?, &settings, pool)?, settings);
    let mut sessions: Vec<Session> =
        join_all((0..6).map(|_| db.session())).await.into_iter().collect::<Result<_, _>>()?;
    let mut processes = Vec::new();
    for session in &mut sessions {
        processes.extend(Pid::from_raw(pid(session).await?));
    }
    drop(sessions);
    // as if the network forgot them: they neither answer nor close
    for process in &processes {
        kill_process(*process, Signal::STOP)?;
    }
    let tried = async {
        let (started, mut failures) = (Instant::now(), 0);
        for _ in 0..6 {
            let one = async { db.session().await?.fetch_one::<i32>(sql!("SELECT 1")).await };
            failures += usize::from(one.await.is_err());
        }
        (failures, started.elapsed())
    };
    let (failures, took) = tried.await;
    for process in &processes {
        let _ = kill_process(*process, Signal::CONT);
    }
    assert_eq!(failures, 1, "one finds out, and the next know");
    assert!(took < Duration::from_secs(6), "{took:?}");
    Ok(())
}

/// Fault row N12.
#[tokio::test]
async fn a_server_that_does_not_come_back_is_tried_by_one_at_a_time() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("postgres://u@127.0.0.1:{}/d", listener.local_addr()?.port());
    let logins = Arc::new(AtomicUsize::new(0));
    let count = logins.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    let (db, driver) = driver(&url, 400, |pool| pool.size = 200)?;
    let started = Instant::now();
    let callers = (0..200).map(|_| async {
        while started.elapsed() < Duration::from_secs(2) {
            assert!(db.session().await.is_err());
        }
    });
    join_all(callers).await;
    let logins = logins.load(Ordering::SeqCst);
    // eight at first, and then one at each pause: after 100, 200, 400, 800 and 1,000 ms
    assert!((4..=8 + 6).contains(&logins), "{logins} logins");
    assert_eq!(driver.statistics().waiting, 0);
    Ok(())
}

/// Fault row N26.
#[tokio::test]
async fn a_closed_pool_opens_no_more_connections_to_keep_them_warm() -> Result<()> {
    let bed = Bed::new("supply closed").await?;
    let (db, driver) = driver(&bed.url(), 3000, |pool| {
        (pool.min_idle, pool.lifetime) = (3, Duration::from_millis(500));
    })?;
    drop(db.session().await?);
    let started = Instant::now();
    while driver.statistics().idle < 3 {
        ensure!(started.elapsed() < Duration::from_secs(5), "they are not warm");
        sleep(Duration::from_millis(20)).await;
    }
    driver.close();
    bed.no_backends().await?;
    let opened = driver.statistics().opened;
    sleep(Duration::from_millis(1000)).await;
    assert_eq!((bed.backends().await?, driver.statistics().opened), (0, opened));
    Ok(())
}

/// Fault row N26.
#[test]
fn connections_stay_warm_though_the_first_callers_runtime_has_ended() -> Result<()> {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let second = runtime()?;
    let bed = second.block_on(Bed::new("supply runtimes"))?;
    let (db, driver) = driver(&bed.url(), 3000, |pool| {
        (pool.min_idle, pool.lifetime) = (3, Duration::from_millis(800));
    })?;
    let first = runtime()?;
    first.block_on(async { db.session().await.map(drop) })?;
    drop(first);
    second.block_on(async {
        drop(db.session().await?);
        let opened = driver.statistics().opened;
        let started = Instant::now();
        while driver.statistics().opened < opened + 6 {
            ensure!(
                started.elapsed() < Duration::from_secs(6),
                "nobody keeps them warm: {:?}",
                driver.statistics()
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
}
