//! Traces, as a collector gets them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tests::{Process, http};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::program::{exchange, nowhere, run, serving};

/// What was posted where.
struct Delivery {
    target: String,
    headers: String,
    body: Vec<u8>,
}

impl Delivery {
    /// Whether this is in its protobuf, where texts are as they are.
    fn has(&self, bytes: &[u8]) -> bool {
        self.body.windows(bytes.len()).any(|window| window == bytes)
    }
}

/// A collector that takes everything.
async fn collector() -> Result<(u16, mpsc::UnboundedReceiver<Delivery>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let (deliver, delivered) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(take(BufReader::new(stream), deliver.clone()));
        }
        #[allow(unreachable_code, reason = "says what `?` returns")]
        anyhow::Ok(())
    });
    Ok((port, delivered))
}

async fn take(
    mut stream: BufReader<tokio::net::TcpStream>,
    to: mpsc::UnboundedSender<Delivery>,
) -> Result<()> {
    loop {
        let (mut target, mut headers) = (String::new(), String::new());
        stream.read_line(&mut target).await?;
        while !headers.ends_with("\r\n\r\n") {
            ensure!(stream.read_line(&mut headers).await? > 0, "the exporter hung up");
        }
        let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.context("no length")?.parse()?];
        stream.read_exact(&mut body).await?;
        to.send(Delivery { target, headers, body })?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
    }
}

/// The program, whose collector is at this port and whose database is nowhere.
async fn start(
    name: &str,
    collector: u16,
    more: &[(&str, &str)],
) -> Result<(Process, u16, std::path::PathBuf)> {
    let endpoint = format!("http://127.0.0.1:{collector}/");
    let more = [&[("ACQUIRE_TIMEOUT_MS", "500"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint)], more].concat();
    serving(name, &nowhere()?, &more).await
}

#[tokio::test]
async fn what_was_answered_is_delivered_before_the_end_and_has_nothing_of_the_callers() -> Result<()> {
    let (collector, mut delivered) = collector().await?;
    let more = [
        ("LOG_FILTER", "error"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=us"),
        ("OTEL_BSP_SCHEDULE_DELAY", "60000"), // so that nothing goes before the end
    ];
    let (mut process, port, _) = start("traces", collector, &more).await?;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let headers = format!(
        "host: a\r\nx-request-id: mine\r\nconnection: close\r\ntraceparent: 00-{trace}-b7ad6b7169203331-01\r\n\
         tracestate: v=CANARY\r\nbaggage: a=CANARY\r\nuser-agent: CANARY\r\n"
    );
    for path in ["/users?after=0", "/CANARY"] {
        exchange(port, &format!("GET {path}&CANARY HTTP/1.1\r\n{headers}\r\n")).await?;
    }
    exchange(port, &format!("GET /users HTTP/1.1\r\n{headers}\r\n")).await?;
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait().await?.code(), Some(0));
    let delivery = timeout(Duration::from_secs(5), delivered.recv()).await?.context("nothing came")?;
    assert_eq!(delivery.target, "POST /v1/traces HTTP/1.1\r\n");
    assert!(delivery.headers.contains("content-type: application/x-protobuf"), "{}", delivery.headers);
    assert!(delivery.headers.contains("x-tenant: us"), "{}", delivery.headers);
    let id: Vec<u8> = (0..16)
        .map(|byte| u8::from_str_radix(&trace[2 * byte..2 * byte + 2], 16))
        .collect::<Result<_, _>>()?;
    let expected =
        ["service.name", "pgspan-server", "GET /livez", "GET /users", "http.route", "/users", "503", "mine"];
    for expected in expected.map(str::as_bytes).into_iter().chain([id.as_slice()]) {
        let text = String::from_utf8_lossy(&delivery.body);
        assert!(delivery.has(expected), "{}: {text}", String::from_utf8_lossy(expected));
    }
    assert!(
        !delivery.has(b"CANARY") && !delivery.has(b"after"),
        "{}",
        String::from_utf8_lossy(&delivery.body)
    );
    assert!(delivered.try_recv().is_err(), "it came twice");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_no_request_and_not_the_end() -> Result<()> {
    let deaf = TcpListener::bind("127.0.0.1:0").await?;
    let more = [("DRAIN_TIMEOUT_MS", "1000"), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let (mut process, port, log) = start("traces-deaf", deaf.local_addr()?.port(), &more).await?;
    let (mut delivery, _) = timeout(Duration::from_secs(5), deaf.accept()).await??;
    assert_ne!(delivery.read(&mut [0; 64]).await?, 0);
    assert_eq!(http::status(port, "/livez").await?, 200);
    process.signal(Signal::TERM)?;
    // before the delivery's own deadline
    let ended =
        timeout(Duration::from_secs(8), process.wait()).await.context("it waits for the collector")?;
    assert_eq!(ended?.code(), Some(0));
    let text = std::fs::read_to_string(&log)?;
    assert!(text.contains("the last traces were not delivered in time"), "{text}");
    Ok(())
}

#[test]
fn a_collector_behind_tls_or_with_a_secret_in_its_url_is_refused_at_the_start() -> Result<()> {
    for url in ["https://h:4318", "http://u:CANARY@h:4318", "http://h/?key=CANARY", "h:4318", "grpc"] {
        let environment =
            [("DATABASE_URL", "postgres://u@127.0.0.1:1/d"), ("OTEL_EXPORTER_OTLP_ENDPOINT", url)];
        let (code, _, faults) = run(&["serve"], &environment)?;
        let expected = "pgspan-server: OTEL_EXPORTER_OTLP_ENDPOINT: must be an http URL";
        assert!(code == Some(2) && faults.starts_with(expected) && !faults.contains("CANARY"), "{faults}");
    }
    Ok(())
}
