//! What a user's router may need of the server: who asks, connections that speak another protocol, a word when it stops, its own
//! answer to a panic, bodies that end, metrics beside the server's.
//!
//! Siblings that were looked for: an upgraded connection at the cap, at the end, and one that does not end; an upgrade while the server
//! drains (its `Connection` header must stay); an upgrade that is refused; the same with HTTP/2 spoken beside; a body that comes in
//! drops, and one that comes in one piece after the deadline began.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, UPGRADE};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pgspan_server::metrics::Metrics;
use pgspan_server::metrics::prometheus_client::metrics::counter::Counter;
use pgspan_server::serve::{Draining, OnPanic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::bed::driver;
use crate::program::nowhere;
use crate::serve::{Running, all, start_with};

#[tokio::test]
async fn the_address_of_the_client_is_told() -> Result<()> {
    let peer = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string();
    for http2 in [false, true] {
        let more = Router::new().route("/peer", get(peer));
        let server = start_with(more, |options| options.http2 = http2).await?;
        let stream = server.send("GET /peer HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
        let ours = stream.local_addr()?.to_string();
        assert!(all(stream).await?.ends_with(&ours));
    }
    Ok(())
}

/// Speaks a protocol of its own that echoes, until the client ends or the server is about to stop.
async fn echo(draining: Draining, mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
        tokio::select! {
            _ = tokio::io::copy(&mut read, &mut write) => {}
            () = draining.begun() => {}
        }
        let _ = write.write_all(b"bye").await;
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(UPGRADE, "echo"), (CONNECTION, "upgrade")]).into_response()
}

/// The connection, once it speaks it.
async fn upgraded(mut stream: TcpStream) -> Result<TcpStream> {
    stream
        .write_all(b"GET /echo HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    ensure!(head.starts_with("HTTP/1.1 101 ") && head.contains("connection: upgrade"), "{head}");
    Ok(stream)
}

async fn echoes(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"hello").await?;
    let mut answer = [0; 5];
    timeout(Duration::from_secs(3), stream.read_exact(&mut answer)).await.context("no echo")??;
    assert_eq!(&answer, b"hello");
    Ok(())
}

#[tokio::test]
async fn an_upgraded_connection_counts_is_never_idle_and_ends_when_the_server_is_told_to() -> Result<()> {
    for http2 in [false, true] {
        let draining = Draining::default();
        let told = draining.clone();
        let more = Router::new().route("/echo", any(async move |request| echo(told.clone(), request).await));
        let server = start_with(more, |options| {
            (options.draining, options.http2, options.max_connections) = (draining.clone(), http2, 2);
            (options.keep_alive, options.header_timeout) =
                (Duration::from_millis(300), Duration::from_millis(300));
        })
        .await?;
        let mut one = upgraded(TcpStream::connect(server.address).await?).await?;
        echoes(&mut one).await?;
        sleep(Duration::from_millis(700)).await; // longer than an idle connection and a head may take
        echoes(&mut one).await?;
        let mut other = upgraded(TcpStream::connect(server.address).await?).await?;
        // both places are taken by connections that are not idle
        let third = server.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
        sleep(Duration::from_millis(200)).await;
        echoes(&mut one).await?;
        echoes(&mut other).await?;
        drop(other);
        assert!(all(third).await?.ends_with("here"), "its place is free again");

        let Running { stop, end, .. } = server;
        let _ = stop.send(());
        assert_eq!(all(one).await?, "bye");
        assert_eq!(timeout(Duration::from_secs(3), end).await??, Ok(()));
    }
    Ok(())
}

#[tokio::test]
async fn an_upgraded_connection_that_does_not_end_is_counted_at_the_end() -> Result<()> {
    let more = Router::new().route("/echo", any(async |request| echo(Draining::default(), request).await));
    let server = start_with(more, |options| {
        (options.drain, options.grace) = (Duration::from_millis(300), Duration::from_millis(300));
    })
    .await?;
    let mut before = upgraded(TcpStream::connect(server.address).await?).await?;
    let during = server.send("").await?;
    sleep(Duration::from_millis(50)).await;
    let Running { stop, end, .. } = server;
    let _ = stop.send(());
    sleep(Duration::from_millis(50)).await;
    let mut during = upgraded(during).await?; // its head says that it upgrades, though the server is about to stop
    echoes(&mut during).await?;
    echoes(&mut before).await?;
    let left = end.await?.err().context("it finished")?;
    assert_eq!((left.requests, left.connections), (0, 2), "{left}");
    Ok(())
}

#[tokio::test]
async fn a_panic_is_answered_as_the_program_says() -> Result<()> {
    let server = start_with(Router::new(), |options| {
        let answer = |id: Option<&str>| {
            (StatusCode::IM_A_TEAPOT, format!("sorry {}", id.unwrap_or("stranger"))).into_response()
        };
        options.on_panic = Some(OnPanic::new(answer));
    })
    .await?;
    let answer = server.get("/panic").await?;
    assert!(answer.starts_with("HTTP/1.1 418 ") && answer.ends_with("sorry mine"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_body_that_comes_in_drops_is_408_at_its_deadline() -> Result<()> {
    let read = Router::new().route("/read", post(async |body: String| format!("{} bytes", body.len())));
    let server = start_with(read, |options| {
        (options.body_timeout, options.body_deadline) =
            (Duration::from_millis(400), Duration::from_millis(900));
    })
    .await?;
    let head = "POST /read HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 100\r\n\r\n";
    let (started, mut dropping) = (Instant::now(), server.send(head).await?);
    let mut answer = [0; 12];
    let answered = async {
        loop {
            dropping.write_all(b"a").await?; // always in time for the next one
            if let Ok(read) = timeout(Duration::from_millis(150), dropping.read_exact(&mut answer)).await {
                return read;
            }
        }
    };
    timeout(Duration::from_secs(5), answered).await.context("it reads for ever")??;
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!((800..3000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());

    let mut in_time = server.send(head).await?;
    sleep(Duration::from_millis(300)).await;
    in_time.write_all(&[b'a'; 100]).await?;
    assert!(all(in_time).await?.ends_with("100 bytes"));
    Ok(())
}

#[tokio::test]
async fn an_http_2_connection_ends_by_age_and_what_it_asked_for_is_answered() -> Result<()> {
    let server = start_with(Router::new(), |options| {
        (options.http2, options.http2_age) = (true, Duration::from_millis(200));
    })
    .await?;
    let stream = TokioIo::new(TcpStream::connect(server.address).await?);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    let connection = tokio::spawn(connection);
    let ask = |path: &str| Request::get(format!("http://a{path}")).body(Body::empty());
    assert_eq!(sender.send_request(ask("/")?).await?.status(), 200);
    let slow = sender.send_request(ask("/slow")?).await?; // it takes longer than the connection may get old
    assert_eq!(slow.status(), 200);
    timeout(Duration::from_secs(3), connection).await.context("it is open still")???;
    assert!(sender.send_request(ask("/")?).await.is_err());

    // one that speaks HTTP/1.1 is not concerned: its client says when it has enough
    let mut one = TcpStream::connect(server.address).await?;
    for _ in 0..3 {
        one.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
        ensure!(one.read(&mut [0; 1000]).await? > 0, "it closed");
        sleep(Duration::from_millis(150)).await;
    }
    Ok(())
}

#[tokio::test]
async fn metrics_of_ones_own_are_in_the_same_registry_and_the_prefix_can_be_set() -> Result<()> {
    let (db, driver) = driver(&nowhere()?, 300, |_| {})?;
    let metrics = Metrics::named("shop", &db, &driver);
    let orders: Counter = Counter::default();
    metrics.register(|registry| registry.register("shop_orders", "Orders taken", orders.clone()));
    orders.inc_by(3);
    let server = start_with(metrics.router(), |options| options.metrics = Some(metrics)).await?;
    server.get("/").await?;
    let shown = server.get("/metrics").await?;
    assert!(shown.contains("shop_orders_total 3\n"), "{shown}");
    assert!(shown.contains(r#"shop_http_requests_total{method="GET",route="/",status="200"} 1"#), "{shown}");
    assert!(shown.contains("shop_pool_connections 0") && !shown.contains("pgspan_"), "{shown}");
    Ok(())
}
