//! What a URL asks for is kept: an IPv6 address, a writable server, a time to connect. (What can't be kept is refused by its name: the
//! tests of `settings`.)

use std::time::Duration;

use anyhow::{Context as _, Result};
use tests::Proxy;
use tokio::net::TcpListener;

use crate::budget::carry;
use crate::support::{Bed, get, other_worker, within_async};

#[tokio::test]
async fn an_ipv6_address_is_connected_to_by_connections_and_by_cancels() -> Result<()> {
    let bed = Bed::new().await?;
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        tests::skip("an address of IPv6 needs a machine that has one");
        return Ok(());
    };
    let port = listener.local_addr()?.port();
    let server = bed.url.parse::<tokio_postgres::Config>()?;
    let server = server.get_ports().first().copied().context("no port")?;
    let url = bed.url.replacen(&format!("127.0.0.1:{server}"), &format!("[::1]:{port}"), 1);
    tokio::spawn(carry(listener, server));
    for connect in ["pool", "socket"] {
        let edge = other_worker(&url, connect, &[]).await?;
        for path in ["/backend", "/shared", "/abandon/30000"] {
            let answer = get(&edge, path).await?;
            assert_eq!(answer.status, 200, "{connect} {path}: {}", answer.body);
        }
        // without a cancel it would run for half a minute, as far as its own deadline
        within_async(Duration::from_secs(3), "the statement was cancelled", async || {
            Ok(bed.number("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep%' \
                           AND datname = current_database() AND pid <> pg_backend_pid()").await? == 0)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_none_for_a_program_that_asked_for_one_that_does() -> Result<()> {
    let bed = Bed::new().await?;
    let asked = async |wanted: &str, connect: &str| {
        let url = format!("{}?target_session_attrs={wanted}", bed.url);
        let edge = other_worker(&url, connect, &[]).await?;
        let mut answers = Vec::new();
        for path in ["/backend", "/shared"] {
            answers.push(get(&edge, path).await?);
        }
        anyhow::Ok(answers)
    };
    let (_, database) = bed.url.rsplit_once('/').context("no database")?;
    for (setting, fit, unfit) in [("off", "read-write", "read-only"), ("on", "read-only", "read-write")] {
        let set = format!("ALTER DATABASE {database} SET default_transaction_read_only = {setting}");
        bed.other.batch_execute("SET default_transaction_read_only = off").await?;
        bed.other.batch_execute(&set).await?;
        for connect in ["pool", "socket"] {
            for wanted in [fit, "any"] {
                for answer in asked(wanted, connect).await? {
                    assert_eq!(answer.status, 200, "{connect}, {setting}, {wanted}: {}", answer.body);
                }
            }
            for answer in asked(unfit, connect).await? {
                assert_eq!(answer.status, 503, "{connect}, {setting}, {unfit}: {}", answer.body);
                assert!(answer.body.contains("target_session_attrs"), "{}", answer.body);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn connect_timeout_ends_an_attempt_before_the_acquire_deadline_does() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Proxy::before(&bed.url).await?;
    proxy.deaf();
    let url = format!("{}?connect_timeout=1", proxy.url(&bed.url));
    for connect in ["pool", "socket"] {
        // far more than what the test's client waits
        let edge = other_worker(&url, connect, &[("ACQUIRE_TIMEOUT_MS", "100000")]).await?;
        let answer = get(&edge, "/backend").await?;
        assert!(answer.status == 503 && answer.body.contains("connecting took too long"), "{answer:?}");
    }
    Ok(())
}
