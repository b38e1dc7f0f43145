//! No more than six sockets at a time, whatever happens to them, and a place is waited for.
//!
//! Six is what Cloudflare allows; the proxy, and for connects under way the kernel, say how many there are. Looked for: sessions that
//! can't be given back, by a changed setting, by a statement that was dropped, and by an error in a transaction; a server that
//! accepts and never answers; a host that swallows packets; a reset of everything; cancels at the same time; a listener that takes a
//! socket from a full pool; and each of these in an object and in a request of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use tests::{Edge, Proxy, Way};
use tokio::time::sleep;

use crate::support::{Bed, all_closed, get, other_worker, within};

const SIX: usize = 6;

/// Asks so many times, so many at once; gives the answers that were not 200.
async fn ask(edge: &Edge, path: &str, rounds: usize, at_once: usize) -> Result<Vec<String>> {
    let mut failed = Vec::new();
    for _ in 0..rounds {
        for answer in join_all((0..at_once).map(|_| get(edge, path))).await {
            let answer = answer?;
            if answer.status != 200 {
                failed.push(format!("{} {}", answer.status, answer.body));
            }
        }
    }
    Ok(failed)
}

#[tokio::test]
async fn a_session_that_can_t_be_given_back_costs_nobody_an_error() -> Result<()> {
    let bed = Bed::new().await?;
    for latency in [0, 10] {
        let proxy = Proxy::before(&bed.url).await?;
        proxy.delay(Duration::from_millis(latency));
        let edge = other_worker(&proxy.url(&bed.url), "pool", &[]).await?;
        for path in ["/taint", "/abandon/300"] {
            let failed = ask(&edge, path, 5, 8).await?;
            assert!(failed.is_empty(), "{path}, {latency} ms: {} of 40: {failed:?}", failed.len());
            assert!(proxy.most_open() <= SIX, "{path}, {latency} ms: {}", proxy.most_open());
        }
        let mut edge = edge;
        let log = edge.process().last_lines();
        assert!(!log.contains("can't be reached"), "{log}");
    }
    Ok(())
}
