//! Round trips of one request, counted by the bed's proxy between a Worker and PostgreSQL.

use std::time::Duration;

use ::tests::Proxy;
use anyhow::Result;
use tokio::time::sleep;

use crate::answer::Endpoint;
use crate::load::Connection;

/// Each way, so that what is said in one flight is seen as one.
const LATENCY: Duration = Duration::from_millis(10);

/// Long enough for what is said after the answer (a connection's good-bye) to have been said.
const SETTLED: Duration = Duration::from_millis(300);

/// Round trips of a request that connects first and closes after the answer.
///
/// TCP's own is added, which the proxy does not see; the good-bye is taken off, which it counts and nobody waits for.
pub(crate) async fn cold(proxy: &Proxy, port: u16, endpoint: Endpoint) -> Result<f64> {
    proxy.delay(LATENCY);
    let mut fewest = f64::INFINITY;
    let mut client = Connection::open(port).await?;
    for _ in 0..3 {
        let before = proxy.traffic().len();
        client.ask(endpoint, Connection::number()).await?;
        sleep(SETTLED).await;
        let opened = proxy.traffic().split_off(before);
        let trips: u32 = opened
            .iter()
            .map(|connection| {
                let said = u32::try_from(connection.round_trips).unwrap_or(u32::MAX);
                let (tcp, good_bye) = (1, 1);
                (said + tcp).saturating_sub(good_bye)
            })
            .sum();
        fewest = fewest.min(f64::from(trips));
    }
    Ok(fewest)
}

/// Round trips of a request on connections that are open already.
pub(crate) async fn warm(proxy: &Proxy, port: u16, endpoint: Endpoint) -> Result<f64> {
    proxy.delay(LATENCY);
    let mut client = Connection::open(port).await?;
    // Enough for every connection that may be opened to be open.
    for _ in 0..10 {
        client.ask(endpoint, Connection::number()).await?;
    }
    sleep(SETTLED).await;
    let mut most = 0;
    for _ in 0..5 {
        let before = proxy.round_trips();
        client.ask(endpoint, Connection::number()).await?;
        most = most.max(proxy.round_trips() - before);
    }
    Ok(f64::from(u32::try_from(most).unwrap_or(u32::MAX)))
}
