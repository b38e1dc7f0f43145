//! What an object keeps after thousands of connections and requests: nothing.
//!
//! Looked for: connections that were opened, reset, refused and given up; sessions, single statements, deadlines and failures. Memory
//! is what the program has allocated, to the byte; the runtime's own is not counted, which grows with each socket for a Worker of
//! plain JavaScript too. A timer, a promise or a socket that is never settled would show in it: each is held by a future of ours, and
//! by the closures that the runtime has of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use tests::{Edge, Proxy};

use crate::support::{Bed, get, other_worker};

async fn allocated(edge: &Edge) -> Result<i64> {
    // what ends within two seconds has ended
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let answer = get(edge, "/memory").await?;
    answer.body.parse().with_context(|| answer.body.clone())
}

#[tokio::test]
async fn thousands_of_connections_leave_nothing_behind() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    let pool = other_worker(&proxy.url(&bed.url), "pool", &[]).await?;
    let open = async |rounds: usize| {
        for _ in 0..rounds {
            for answer in join_all([(); 8].map(|()| get(&pool, "/taint"))).await {
                ensure!(answer?.status == 200, "a connection failed");
            }
        }
        anyhow::Ok(proxy.traffic().len())
    };
    let before = (open(25).await?, allocated(&pool).await?);
    let after = (open(250).await?, allocated(&pool).await?);
    let connections = i64::try_from(after.0 - before.0)?;
    assert!(connections >= 2000, "{connections} connections");
    let kept = after.1 - before.1;
    assert!(kept < connections * 4, "{connections} connections left {kept} bytes");
    Ok(())
}

/// 4,800 requests, or as many as `PGSPAN_REQUESTS` says.
#[tokio::test]
async fn thousands_of_requests_of_all_kinds_leave_nothing_behind() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    let hasty = [("STATEMENT_TIMEOUT_MS", "200"), ("LOCK_TIMEOUT_MS", "200"), ("ACQUIRE_TIMEOUT_MS", "1000")];
    let pool = other_worker(&proxy.url(&bed.url), "pool", &hasty).await?;
    let asked = [KINDS, KINDS].concat();
    let ask = async |rounds: usize| {
        for round in 0..rounds {
            if round % 10 == 9 {
                proxy.reset();
            }
            for answer in join_all(asked.iter().map(|path| get(&pool, path))).await {
                answer?;
            }
        }
        allocated(&pool).await
    };
    let wanted = std::env::var("PGSPAN_REQUESTS").ok().and_then(|requests| requests.parse::<usize>().ok());
    let rounds = wanted.unwrap_or(4_800).div_ceil(asked.len());
    let before = ask(40).await?;
    // what is kept of one request shows in a few thousand; what is kept of one in a thousand shows in many
    let after = ask(rounds).await?;
    let (kept, requests) = (after - before, i64::try_from(rounds * asked.len())?);
    assert!(kept < ONCE.min(requests * 2), "{requests} requests left {kept} bytes");
    assert!(proxy.most_open() <= 6 && proxy.open_now() <= 5, "{} now", proxy.open_now());
    Ok(())
}

const KINDS: [&str; 8] =
    ["/backend", "/shared", "/write", "/fail", "/shared", "/abandon/100", "/backend", "/taint"];
/// What grows once and is used again: tables, queues, buffers.
const ONCE: i64 = 32 * 1024;
