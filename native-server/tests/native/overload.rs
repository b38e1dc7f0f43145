//! The bounds of the HTTP server: what is beyond one is refused at once, and what was held is free again.
//!
//! Siblings that were looked for: hang-ups over HTTP/1.1 and resets over HTTP/2; GET, HEAD and the methods that write; a body
//! that never ends, one that comes in pieces of a byte, one that is refused before it is read; an answer that nobody reads,
//! large and small; connections that are idle, and that never said anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode};
use axum::routing::{any, get, post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::serve::{Running, all, start_with};

/// Work that lasts until it is released, and how much of it there is.
#[derive(Clone, Default)]
struct Work {
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    finished: Arc<AtomicUsize>,
    release: Arc<Notify>,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Work {
    fn route(&self) -> Router {
        let work = self.clone();
        Router::new()
            .route("/work", any(async move || work.run().await))
            .route("/livez", get(async || "live"))
    }

    async fn run(self) -> &'static str {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        let counted = Counted(self.running.clone());
        self.most.fetch_max(running, Ordering::SeqCst);
        self.release.notified().await;
        drop(counted);
        self.finished.fetch_add(1, Ordering::SeqCst);
        "worked"
    }

    async fn until_running(&self, wanted: usize) -> Result<()> {
        let started = Instant::now();
        while self.running.load(Ordering::SeqCst) != wanted {
            let running = self.running.load(Ordering::SeqCst);
            ensure!(started.elapsed() < Duration::from_secs(5), "{running} run, and not {wanted}");
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

fn is_refused(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.contains(r#""code":"unavailable""#) && answer.contains(r#""retryable":true"#), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
}

/// Fault row N1.
#[tokio::test]
async fn requests_are_bounded_though_nobody_waits_for_them_any_more() -> Result<()> {
    let work = Work::default();
    let server = start_with(work.route(), |options| options.max_requests = 5).await?;
    for _ in 0..5 {
        let hung_up = server.send("POST /work HTTP/1.1\r\nhost: a\r\n\r\n").await?;
        sleep(Duration::from_millis(20)).await;
        drop(hung_up);
    }
    work.until_running(5).await?;
    for _ in 0..10 {
        let asked = Instant::now();
        is_refused(&server.get("/").await?);
        assert!(asked.elapsed() < Duration::from_secs(1), "it waited {:?}", asked.elapsed());
    }
    assert!(server.get("/livez").await?.ends_with("live"), "a probe is answered all the same");
    work.release.notify_waiters();
    work.until_running(0).await?;
    assert!(server.get("/").await?.ends_with("here"));
    assert_eq!(work.finished.load(Ordering::SeqCst), 5);
    Ok(())
}

#[tokio::test]
async fn what_only_reads_ends_with_its_client_and_what_writes_runs_to_its_end() -> Result<()> {
    for (method, goes_on) in
        [("GET", false), ("HEAD", false), ("OPTIONS", false), ("POST", true), ("PUT", true), ("DELETE", true)]
    {
        let work = Work::default();
        let server = start_with(work.route(), |_| {}).await?;
        let stream = server.send(&format!("{method} /work HTTP/1.1\r\nhost: a\r\n\r\n")).await?;
        work.until_running(1).await?;
        drop(stream);
        if goes_on {
            sleep(Duration::from_millis(100)).await;
            work.until_running(1).await?;
            work.release.notify_waiters();
        }
        work.until_running(0).await?;
        assert_eq!(work.finished.load(Ordering::SeqCst), usize::from(goes_on), "{method}");
    }
    Ok(())
}

/// Fault row N2.
#[tokio::test]
async fn streams_that_are_reset_count_until_their_work_ends() -> Result<()> {
    for method in [Method::POST, Method::GET] {
        let work = Work::default();
        let server = start_with(work.route(), |options| {
            options.http2 = true;
            options.max_requests = 20;
        })
        .await?;
        let stream = TokioIo::new(TcpStream::connect(server.address).await?);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        let mut refused = 0;
        for _ in 0..10 {
            let mut asked = Vec::new();
            for _ in 0..15 {
                let request = Request::builder().method(&method).uri("http://a/work").body(Body::empty())?;
                asked.push(tokio::spawn(sender.clone().send_request(request)));
            }
            sleep(Duration::from_millis(50)).await;
            for one in asked {
                match one.is_finished() {
                    true => refused += usize::from(one.await??.status() == StatusCode::SERVICE_UNAVAILABLE),
                    false => one.abort(), // which resets the stream
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        let most = work.most.load(Ordering::SeqCst);
        match method {
            Method::POST => assert!(most == 20 && refused == 130, "{most} ran, {refused} were refused"),
            _ => assert!(most <= 15 && refused == 0, "{most} ran, {refused} were refused: they did not end"),
        }
        if method == Method::GET {
            work.until_running(0).await?;
        }
    }
    Ok(())
}

fn upload() -> Router {
    Router::new()
        .route("/upload", post(async |body: Bytes| body.len().to_string()))
        .route("/refuse", post(async || (StatusCode::UNAUTHORIZED, "who are you?")))
}

async fn begin_upload(server: &Running, path: &str, sent: usize, of: usize) -> Result<TcpStream> {
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {of}\r\n\r\n");
    let mut stream = server.send(&head).await?;
    stream.write_all(&vec![b'a'; sent]).await?;
    Ok(stream)
}

/// Fault row N3.
#[tokio::test]
async fn bodies_that_never_end_are_bounded_together_and_what_they_held_is_free_again() -> Result<()> {
    let server = start_with(upload(), |options| options.max_bodies = 100 * 1024).await?;
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(begin_upload(&server, "/upload", 48 * 1024, 200_000).await?);
    }
    // 32 KiB of each count, so that three may stay
    let (mut refused, mut held) = (0, Vec::new());
    for mut stream in open {
        let mut answer = String::new();
        match timeout(Duration::from_millis(500), stream.read_to_string(&mut answer)).await {
            Ok(read) => {
                read?;
                is_refused(&answer);
                refused += 1;
            }
            Err(_) => held.push(stream),
        }
    }
    assert!((2..=3).contains(&held.len()) && refused == 10 - held.len(), "{} are held", held.len());
    let small = begin_upload(&server, "/upload", 1000, 1000).await?;
    assert!(all(small).await?.ends_with("1000"), "a small body needs no room");
    drop(held);
    sleep(Duration::from_millis(100)).await;
    let large = begin_upload(&server, "/upload", 90_000, 90_000).await?;
    assert!(all(large).await?.ends_with("90000"));
    Ok(())
}

#[tokio::test]
async fn a_body_in_pieces_of_a_byte_counts_as_what_it_costs() -> Result<()> {
    let server = start_with(upload(), |options| options.max_bodies = 1024 * 1024).await?;
    let head = "POST /upload HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut stream = server.send(head).await?;
    let pieces = "1\r\na\r\n".repeat(40_000);
    let _ = stream.write_all(pieces.as_bytes()).await;
    is_refused(&all(stream).await?);
    Ok(())
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending_and_one_that_asked_sends_nothing() -> Result<()> {
    let server = start_with(upload(), |_| {}).await?;
    for _ in 0..20 {
        let mut stream = begin_upload(&server, "/refuse", 100_000, 4_000_000).await?;
        sleep(Duration::from_millis(5)).await;
        stream.write_all(&vec![b'a'; 900_000]).await?;
        let mut answer = vec![0; 1000];
        let length = timeout(Duration::from_secs(5), stream.read(&mut answer)).await??;
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.ends_with("who are you?"), "{answer}");
    }
    let head = "POST /refuse HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4000000\r\n\r\n";
    let answer = all(server.send(head).await?).await?;
    assert!(answer.starts_with("HTTP/1.1 401 ") && !answer.contains("100 Continue"), "{answer}");
    Ok(())
}

/// Fault row N8.
#[tokio::test]
async fn a_body_that_stops_arriving_is_408_and_one_that_goes_on_is_read() -> Result<()> {
    let server = start_with(upload(), |options| options.body_timeout = Duration::from_millis(300)).await?;
    let answer = all(begin_upload(&server, "/upload", 10, 20).await?).await?;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains(r#""code":"request_timeout""#),
        "{answer}"
    );
    let mut slow = begin_upload(&server, "/upload", 10, 20).await?;
    for _ in 0..10 {
        sleep(Duration::from_millis(100)).await;
        slow.write_all(b"a").await?;
    }
    assert!(all(slow).await?.ends_with("20"));
    Ok(())
}

/// Fault row N4.
#[tokio::test]
async fn answers_that_nobody_reads_are_bounded_together() -> Result<()> {
    const SIZE: usize = 16 * 1024 * 1024; // more than the system's buffers
    let large = Router::new().route("/large", get(async || vec![b'a'; SIZE]));
    let server = start_with(large, |options| options.max_bodies = 3 * SIZE + 1).await?;
    let ask = async || server.send("GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let mut unread = Vec::new();
    for _ in 0..3 {
        let mut stream = ask().await?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await?;
        assert_eq!(&start, b"HTTP/1.1 200");
        unread.push(stream);
    }
    is_refused(&all(ask().await?).await?);
    assert!(server.get("/").await?.ends_with("here"), "a small answer needs no room");
    drop(unread.pop());
    sleep(Duration::from_millis(100)).await;
    assert!(all(ask().await?).await?.len() > SIZE);
    let read = all(unread.pop().context("none")?).await?;
    assert!(read.len() > SIZE, "what is sent in slices is whole");
    Ok(())
}

/// Fault row N5.
#[tokio::test]
async fn at_the_cap_the_connection_that_is_idle_for_longest_ends_for_a_new_one() -> Result<()> {
    let work = Work::default();
    let server = start_with(work.route(), |options| options.max_connections = 3).await?;
    let mut working = server.send("GET /work HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    work.until_running(1).await?;
    let mut silent = TcpStream::connect(server.address).await?;
    sleep(Duration::from_millis(50)).await;
    let mut answered = server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    let mut answer = vec![0; 1000];
    assert_ne!(answered.read(&mut answer).await?, 0);
    assert!(server.get("/").await?.ends_with("here"));
    assert_eq!(timeout(Duration::from_secs(5), silent.read(&mut answer)).await??, 0, "it was not closed");
    answered.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    assert_ne!(answered.read(&mut answer).await?, 0, "the wrong one was closed");
    let begun = server.send("GET / HTTP/1.1\r\nho").await?; // not idle
    sleep(Duration::from_millis(50)).await;
    // the last that is idle ends, and then all are in use
    let second = server.send("GET /work HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    work.until_running(2).await?;
    assert!(timeout(Duration::from_millis(300), server.get("/")).await.is_err(), "it is over its cap");
    drop((begun, second));
    assert!(server.get("/").await?.ends_with("here"));
    work.release.notify_waiters();
    assert_ne!(working.read(&mut answer).await?, 0);
    Ok(())
}
