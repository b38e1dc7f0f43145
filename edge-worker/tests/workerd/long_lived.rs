//! What an object keeps after thousands of connections and requests: nothing.
//!
//! Looked for: connections that were opened, reset, refused and given up; sessions, single statements, deadlines and failures. Memory
//! is what the program has allocated, to the byte; the runtime's own is not counted, which grows with each socket for a Worker of
//! plain JavaScript too.

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

#[tokio::test]
async fn thousands_of_requests_of_all_kinds_leave_nothing_behind() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    let hasty = [("STATEMENT_TIMEOUT_MS", "200"), ("LOCK_TIMEOUT_MS", "200"), ("ACQUIRE_TIMEOUT_MS", "1000")];
    let pool = other_worker(&proxy.url(&bed.url), "pool", &hasty).await?;
    let paths = ["/backend", "/shared", "/write", "/fail", "/shared", "/abandon/100", "/backend", "/taint"];
    let ask = async |rounds: usize| {
        for round in 0..rounds {
            if round % 10 == 9 {
                proxy.reset();
            }
            for answer in join_all(paths.iter().chain(&paths).map(|path| get(&pool, path))).await {
                answer?;
            }
        }
        allocated(&pool).await
    };
    let before = ask(40).await?;
    let requests = 300 * 2 * i64::try_from(paths.len())?;
    let after = ask(300).await?;
    let kept = after - before;
    assert!(kept < requests * 2, "{requests} requests left {kept} bytes");
    assert!(proxy.most_open() <= 6 && proxy.open_now() <= 5, "{} now", proxy.open_now());
    Ok(())
}
