//! A connection that died without a word: it is found out, it ends, and its place is free.
//!
//! Looked for: shared connections and exclusive ones, in use and idle; with statements that come after and without; a login that is
//! never answered; a whole pool that died while only a monitor asked; a monitor that keeps nothing open; and what is written to the
//! log meanwhile. In an object, and in requests of their own where these can have it.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use tests::{Proxy, Way};
use tokio::time::sleep;

use crate::support::{Bed, all_closed, get, other_worker, within, written};

const IMPATIENT: [(&str, &str); 3] =
    [("ACQUIRE_TIMEOUT_MS", "2000"), ("STATEMENT_TIMEOUT_MS", "500"), ("LOCK_TIMEOUT_MS", "500")];

#[tokio::test]
async fn connections_that_died_in_use_are_replaced_time_and_again() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    let pool = other_worker(&proxy.url(&bed.url), "pool", &IMPATIENT).await?;
    for round in 0..7 {
        for path in ["/shared", "/backend"] {
            let answer = get(&pool, path).await?;
            assert_eq!(answer.status, 200, "{path}, round {round}: {}", answer.body);
        }
        proxy.forget();
        // each of the two kinds is found out by one request
        for path in ["/shared", "/backend"] {
            assert_eq!(get(&pool, path).await?.status, 503, "{path}, round {round}");
        }
        within(Duration::from_secs(3), "the dead are closed", || proxy.open_now() == 0).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_dead_connection_ends_though_no_request_comes_after() -> Result<()> {
    let bed = Bed::new().await?;
    for connect in ["pool", "socket"] {
        for path in ["/shared", "/backend", "/write", "/abandon/9000", "/taint"] {
            let proxy = Proxy::before(&bed.url).await?;
            let edge = other_worker(&proxy.url(&bed.url), connect, &IMPATIENT).await?;
            for way in [Way::Up, Way::Down] {
                if connect == "pool" {
                    get(&edge, path).await?;
                }
                proxy.lose(way);
                get(&edge, path).await?;
                all_closed(&proxy, Duration::from_secs(3)).await?;
                proxy.pass().await;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_died_while_only_a_monitor_asked_costs_no_request_its_answer() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    let pool = other_worker(&proxy.url(&bed.url), "pool", &[]).await?;
    let all = async |path: &str| {
        for answer in try_join_all([(); 4].map(|()| get(&pool, path))).await? {
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        }
        anyhow::Ok(())
    };
    all("/wait").await?;
    all("/shared").await?;
    let before = proxy.open_now();
    assert!(before >= 4, "{before} are open");
    for _ in 0..8 {
        sleep(Duration::from_secs(4)).await;
        assert_eq!(get(&pool, "/livez").await?.status, 200);
    }
    proxy.forget();
    let answer = get(&pool, "/write").await?;
    assert_eq!((answer.status, written(&bed).await?), (200, 1), "{}", answer.body);
    all("/shared").await?;
    all("/write").await?;
    assert_eq!(written(&bed).await?, 5);
    Ok(())
}

#[tokio::test]
async fn a_monitor_keeps_no_connection_open() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    let pool = other_worker(&proxy.url(&bed.url), "pool", &[]).await?;
    for path in ["/backend", "/shared"] {
        assert_eq!(get(&pool, path).await?.status, 200, "{path}");
    }
    for _ in 0..24 {
        sleep(Duration::from_secs(4)).await;
        assert_eq!(get(&pool, "/livez").await?.status, 200);
        if proxy.open_now() == 0 {
            return Ok(());
        }
    }
    anyhow::bail!("after 96 s {} connections are open", proxy.open_now())
}

#[tokio::test]
async fn a_failed_attempt_is_logged_once_whichever_deadline_ends_it() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    proxy.deaf();
    let settings = [("ACQUIRE_TIMEOUT_MS", "1200")];
    let mut pool = other_worker(&proxy.url(&bed.url), "pool", &settings).await?;
    for (expected, path) in (1..).zip(["/write", "/shared", "/backend", "/listen/1", "/write"]) {
        assert_eq!(get(&pool, path).await?.status, 503, "{path}");
        let log = std::fs::read_to_string(pool.process().log())?;
        assert_eq!(log.matches("the database can't be reached").count(), expected, "{path}: {log}");
        // the next attempt's turn
        sleep(Duration::from_millis(1100)).await;
    }
    Ok(())
}
