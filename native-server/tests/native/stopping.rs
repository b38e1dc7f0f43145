//! How connections end: when they are idle for too long, when a head does not come, and when the server stops.
//!
//! Siblings that were looked for: clients that ask in turn, that are idle, that wait to be accepted, that speak HTTP/2, and that
//! do not read.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::serve::{Running, start_with};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// One answer, or nothing if the connection ended.
async fn ask(stream: &mut TcpStream) -> Result<String> {
    stream.write_all(REQUEST).await?;
    let mut answer = vec![0; 1000];
    let length = timeout(Duration::from_secs(5), stream.read(&mut answer)).await.context("no answer")??;
    answer.truncate(length);
    Ok(String::from_utf8(answer)?)
}

/// Until the other side closes.
async fn closed_after(stream: &mut TcpStream) -> Result<Duration> {
    let started = Instant::now();
    assert_eq!(timeout(Duration::from_secs(5), stream.read(&mut [0; 100])).await.context("open")??, 0);
    Ok(started.elapsed())
}

/// Fault row N7.
#[tokio::test]
async fn an_idle_connection_outlives_the_header_timeout_and_ends_at_its_own() -> Result<()> {
    for http2 in [false, true] {
        let server = start_with(Router::new(), |options| {
            (options.header_timeout, options.http2) = (Duration::from_millis(200), http2);
            options.keep_alive = Duration::from_millis(900);
        })
        .await?;
        let mut stream = TcpStream::connect(server.address).await?;
        for _ in 0..3 {
            sleep(Duration::from_millis(500)).await;
            assert!(ask(&mut stream).await?.ends_with("here"));
        }
        let lasted = closed_after(&mut stream).await?;
        assert!((800..2000).contains(&lasted.as_millis()), "{lasted:?}");
        let mut silent = TcpStream::connect(server.address).await?;
        let lasted = closed_after(&mut silent).await?;
        assert!((800..2000).contains(&lasted.as_millis()), "{lasted:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_header_timeout_begins_with_a_requests_first_byte() -> Result<()> {
    let server =
        start_with(Router::new(), |options| options.header_timeout = Duration::from_millis(300)).await?;
    let mut stream = TcpStream::connect(server.address).await?;
    for _ in 0..2 {
        assert!(ask(&mut stream).await?.ends_with("here"));
        sleep(Duration::from_millis(400)).await;
    }
    stream.write_all(b"GET / HTTP/1.1\r\n").await?;
    let lasted = closed_after(&mut stream).await?;
    assert!((200..1500).contains(&lasted.as_millis()), "{lasted:?}");
    Ok(())
}

#[tokio::test]
async fn clients_that_ask_in_turn_lose_no_request_when_the_server_stops() -> Result<()> {
    for grace in [Duration::ZERO, Duration::from_millis(100)] {
        let server = start_with(Router::new(), |options| {
            options.grace = grace;
            options.idle_grace = Duration::from_millis(1500);
        })
        .await?;
        let address = server.address;
        let mut clients = Vec::new();
        for pause in 0..32 {
            let mut stream = TcpStream::connect(address).await?;
            clients.push(tokio::spawn(async move {
                let mut answered = 0;
                loop {
                    let answer = ask(&mut stream).await?;
                    anyhow::ensure!(answer.ends_with("here"), "request {answered} was lost: {answer:?}");
                    answered += 1;
                    if answer.contains("connection: close") {
                        return Ok(answered);
                    }
                    sleep(Duration::from_millis(pause * 10)).await;
                }
            }));
        }
        sleep(Duration::from_millis(300)).await;
        let _ = server.stop.send(());
        for client in clients {
            assert!(client.await?? > 0);
        }
        assert_eq!(timeout(Duration::from_secs(5), server.end).await??, Ok(()));
    }
    Ok(())
}

#[tokio::test]
async fn what_waits_to_be_accepted_when_the_server_stops_is_answered() -> Result<()> {
    let server = start_with(Router::new(), |_| {}).await?;
    let Running { address, stop, end, .. } = server;
    let waiting: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address)).collect::<Result<_, _>>()?;
    let _ = stop.send(()); // nothing was awaited, so that none is accepted yet
    for stream in waiting {
        stream.set_nonblocking(true)?;
        let answer = ask(&mut TcpStream::from_std(stream)?).await?;
        assert!(answer.ends_with("here") && answer.contains("connection: close"), "{answer:?}");
    }
    assert_eq!(end.await?, Ok(()));
    Ok(())
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() -> Result<()> {
    for http2 in [false, true] {
        let server = start_with(Router::new(), |options| options.http2 = http2).await?;
        let mut idle = TcpStream::connect(server.address).await?;
        assert!(ask(&mut idle).await?.ends_with("here"));
        let stream = TokioIo::new(TcpStream::connect(server.address).await?);
        if http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            sender.send_request(Request::get("http://a/").body(Body::empty())?).await?;
        }
        let _ = server.stop.send(());
        assert_eq!(timeout(Duration::from_secs(3), server.end).await??, Ok(()));
    }
    Ok(())
}

/// Fault row N24.
#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_counted_at_the_end() -> Result<()> {
    let large = Router::new().route("/large", get(async || vec![b'a'; 16 * 1024 * 1024]));
    let server = start_with(large, |options| options.drain = Duration::from_millis(300)).await?;
    let _unread = server.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    sleep(Duration::from_millis(100)).await;
    let _ = server.stop.send(());
    let left = server.end.await?.err().context("it finished")?;
    assert_eq!((left.requests, left.connections), (0, 1));
    assert!(
        left.to_string().contains("0 requests were running, and 1 clients had not read their answers"),
        "{left}"
    );
    Ok(())
}
