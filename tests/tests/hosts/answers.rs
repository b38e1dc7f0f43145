//! What a router of somebody else answers at the edge (`tests/worker`), and what is left of a request that it did not read.
//!
//! An answer that the runtime refuses panicked the isolate. Siblings that were looked for: every status; every byte of a
//! header; statuses without a body that have one; headers that belong to the connection; a header twice; a length that is
//! not the body's; a body that breaks off; an answer that is compressed already; a URL that axum can't take.
//!
//! A body that nobody read broke the connection. Siblings: short and long ones, with a length and in chunks, read in part, of a
//! method that has none by custom, one that stops arriving, one that is too long to be taken, and one that the client withholds.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::{Edge, Launch};

use crate::kept::Kept;
use crate::support::{Database, eventually};

const MODES: [&str; 2] = ["pool", "socket"];

async fn start(connect: &str) -> Result<(Edge, Database)> {
    let database = Database::empty().await?;
    let patient = [("STATEMENT_TIMEOUT_MS", "600000"), ("LOCK_TIMEOUT_MS", "600000")];
    let settings = [&patient[..], &[("PGSPAN_CONNECT", connect), ("DATABASE_URL", &database.url)]].concat();
    Ok((Edge::start_another("tests/worker", &settings).await?, database))
}

#[tokio::test]
async fn no_answer_ends_more_than_its_own_request() -> Result<()> {
    for connect in MODES {
        let (mut edge, database) = start(connect).await?;
        let port = edge.port();
        let locked = database.connect().await?;
        locked.execute("SELECT pg_advisory_lock(1)", &[]).await?;
        // it waits for the lock as long as all the others are answered
        let beside = tokio::spawn(async move { Kept::to(port).await?.ask("GET", "/wait", "", b"").await });
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'";
        eventually("a request waits", async || {
            Ok(locked.query_one(waits, &[&database.name]).await?.get::<_, i64>(0) == 1)
        })
        .await?;
        statuses(port).await?;
        header_bytes(port).await?;
        odd_headers(port).await?;
        locked.execute("SELECT pg_advisory_unlock(1)", &[]).await?;
        let beside = beside.await??;
        assert_eq!((beside.status, beside.text().as_str()), (200, "the lock was free"), "{connect}");
        let log = std::fs::read_to_string(edge.process().log())?;
        assert!(!log.contains("panic") && !log.contains("Critical"), "{connect}: {log}");
    }
    Ok(())
}

async fn statuses(port: u16) -> Result<()> {
    let mut kept = Kept::to(port).await?;
    for status in 100..=999 {
        for body in ["", "text"] {
            let path = format!("/answer?status={status}&body={body}");
            for method in ["GET", "HEAD"] {
                let answer = kept.ask(method, &path, "", b"").await?;
                match status {
                    204 | 205 | 304 => {
                        assert_eq!((answer.status, answer.text().as_str()), (status, ""), "{path}")
                    }
                    200..=599 => {
                        let body = if method == "HEAD" { "" } else { body };
                        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{path}");
                    }
                    _ => {
                        assert_eq!(answer.status, 500, "{path}");
                        let problem = answer.header("content-type") == "application/problem+json";
                        assert!(problem && !answer.header("x-request-id").is_empty(), "{answer:?}");
                    }
                }
            }
        }
    }
    Ok(())
}

async fn header_bytes(port: u16) -> Result<()> {
    let mut kept = Kept::to(port).await?;
    // one by one, where the one byte is no UTF-8 beyond ASCII; 127 and those below 32 are no header's, but for the tab
    for byte in (32..=126).chain([9]).chain(128..=255_u8) {
        let value = [b'a', byte, b'b'];
        let sent = String::from_utf8_lossy(&value).into_owned();
        let answer = kept.ask("GET", &format!("/answer?header=x-it:61{byte:02x}62"), "", b"").await?;
        assert_eq!(answer.status, 200, "{byte}");
        assert_eq!(answer.all("x-it"), [sent.as_bytes()], "{byte}");
    }
    for value in ["/größe", "attachment; filename=\"naïve.csv\"", "日本語", "\u{1f980}", "\u{ff}", "a\u{80}b"]
    {
        let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
        let answer = kept.ask("GET", &format!("/answer?status=303&header=location:{hex}"), "", b"").await?;
        assert_eq!((answer.status, answer.all("location")), (303, vec![value.as_bytes()]), "{value}");
    }
    Ok(())
}

async fn odd_headers(port: u16) -> Result<()> {
    let hex = |value: &str| value.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (name, value) in [
        ("content-length", "3"),
        ("content-length", "30"),
        ("content-length", "-1"),
        ("content-length", "x"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "gzip"),
        ("connection", "close"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("keep-alive", "timeout=1"),
        ("te", "trailers"),
        ("trailer", "x-it"),
        ("date", "never"),
        ("content-type", ""),
        ("content-encoding", "identity"),
        ("x-long", &"v".repeat(8_000)),
    ] {
        for status in [200, 204, 304] {
            let path = format!("/answer?status={status}&body=text&header={name}:{}", hex(value));
            for method in ["GET", "HEAD", "POST"] {
                let answer = Kept::to(port).await?.ask(method, &path, "", b"").await?;
                ensure!(answer.status == status, "{method} {name}: {value}: {answer:?}");
                let body = if status == 200 && method != "HEAD" { "text" } else { "" };
                ensure!(answer.text() == body, "{method} {name}: {value}: {answer:?}");
            }
        }
    }
    for method in ["GET", "POST"] {
        let answer = Kept::to(port).await?.ask(method, "/broken", "x-request-id: a-1\r\n", b"").await?;
        ensure!(answer.status == 500 && answer.header("x-request-id") == "a-1", "{method}: {answer:?}");
        ensure!(
            answer.text().contains(r#""code":"internal""#) && !answer.text().contains("CANARY"),
            "{answer:?}"
        );
    }
    let twice = format!("/answer?header=set-cookie:{}&header=set-cookie:{}", hex("a=1"), hex("b=2"));
    let answer = Kept::to(port).await?.ask("GET", &twice, "", b"").await?;
    assert_eq!(answer.all("set-cookie"), [b"a=1", b"b=2"]);
    // a body that is compressed already is not compressed again
    for encoding in ["gzip", "br", "deflate"] {
        let path = format!("/answer?body=packed&header=content-encoding:{}", hex(encoding));
        let accept = format!("accept-encoding: {encoding}\r\n");
        let answer = Kept::to(port).await?.ask("GET", &path, &accept, b"").await?;
        assert_eq!((answer.text().as_str(), answer.header("content-encoding")), ("packed", encoding));
    }
    let answer = Kept::to(port).await?.ask("GET", &format!("/{}", "x".repeat(70_000)), "", b"").await;
    // the runtime may refuse it itself
    ensure!(answer.is_err() || answer.is_ok_and(|answer| (400..500).contains(&answer.status)));
    Ok(())
}

#[tokio::test]
async fn what_nobody_read_of_a_request_does_not_break_its_connection() -> Result<()> {
    for connect in MODES {
        let (edge, _database) = start(connect).await?;
        let chunk = |length: usize| format!("{length:x}\r\n{}\r\n", "c".repeat(length));
        for length in [1, 10, 3_000, 70_000, 200_000, 600_000] {
            let body = vec![b'b'; length];
            let chunked = format!("{}{}0\r\n\r\n", chunk(length / 2 + 1), chunk(length / 2 + 1));
            let times = if length == 10 || length == 200_000 { 200 } else { 20 };
            for method in ["POST", "PUT", "DELETE", "GET"] {
                let mut kept = Kept::to(edge.port()).await?;
                for number in 0..times {
                    let said = format!("{connect} {method} {length}, request {number}");
                    let answer = kept.ask(method, "/refuse", "", &body).await;
                    let answer = answer.map_err(|error| error.context(said.clone()))?;
                    assert_eq!((answer.status, answer.text().as_str()), (401, "no"), "{said}");
                }
                for (path, status) in
                    [("/refuse", 401), ("/first-piece", 200), ("/nowhere", 404), ("/all", 200)]
                {
                    if path == "/all" && length > 200_000 {
                        continue;
                    }
                    kept.ask(method, path, "", &body).await?;
                    let head =
                        format!("{method} {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
                    kept.send(format!("{head}{chunked}").as_bytes()).await?;
                    let answer = kept.answer(false).await?;
                    assert_eq!(answer.status, status, "{connect} {method} {path} {length} in chunks");
                }
                let answer = kept.ask("POST", "/all", "", b"seven b").await?;
                assert_eq!(answer.text(), "7", "{connect} {method} {length}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn two_hundred_refused_writes_on_a_kept_connection_are_answered_in_wrangler_dev_too() -> Result<()> {
    for connect in MODES {
        let database = Database::empty().await?;
        let settings = [("PGSPAN_CONNECT", connect), ("DATABASE_URL", &database.url)];
        let launch = Launch {
            worker: Some("tests/worker"),
            settings: &settings,
            in_wrangler: true,
            ..Launch::default()
        };
        let mut edge = launch.start().await?;
        for length in [10, 200_000] {
            let (mut kept, body) = (Kept::to(edge.port()).await?, vec![b'b'; length]);
            for number in 0..200 {
                let answer = kept.ask("POST", "/refuse", "", &body).await;
                let answer =
                    answer.map_err(|error| error.context(format!("{connect} {length}, {number}")))?;
                assert_eq!(
                    (answer.status, answer.text().as_str()),
                    (401, "no"),
                    "{connect} {length}, {number}"
                );
            }
        }
        let log = edge.process().last_lines();
        assert!(!log.contains("Can't read from request stream"), "{connect}: {log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_body_that_stops_or_never_ends_does_not_keep_its_answer() -> Result<()> {
    for connect in MODES {
        let (edge, _database) = start(connect).await?;
        // one that stops, with a length and in chunks; one that is declared too long to be taken; one that the client withholds
        for (head, is_at_once) in [
            ("content-length: 100\r\n\r\nsome", false),
            ("transfer-encoding: chunked\r\n\r\n4\r\nsome\r\n", false),
            ("content-length: 1000000000\r\n\r\nsome", true),
            ("expect: 100-continue\r\ncontent-length: 100\r\n\r\n", true),
        ] {
            let mut kept = Kept::to(edge.port()).await?;
            let asked = Instant::now();
            kept.send(format!("POST /refuse HTTP/1.1\r\nhost: a\r\n{head}").as_bytes()).await?;
            let answer = kept.answer(false).await?;
            assert_eq!((answer.status, answer.text().as_str()), (401, "no"), "{connect} {head:?}");
            let limit = Duration::from_millis(if is_at_once { 900 } else { 4_000 });
            assert!(asked.elapsed() < limit, "{connect} {head:?}: {:?}", asked.elapsed());
        }
        assert_eq!(Kept::to(edge.port()).await?.ask("POST", "/all", "", b"12").await?.text(), "2");
    }
    Ok(())
}
