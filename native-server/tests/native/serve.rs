//! The HTTP server around any router.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Version};
use axum::routing::{any, get};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pgspan_server::serve::{Address, NotDrained, Options, serve};
use pgspan_server::workers::Workers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// A server within this process.
pub(crate) struct Running {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) end: JoinHandle<Result<(), NotDrained>>,
    finished: Arc<AtomicUsize>,
}

async fn start(change: impl FnOnce(&mut Options)) -> Result<Running> {
    start_with(Router::new(), change).await
}

pub(crate) async fn start_with(more: Router, change: impl FnOnce(&mut Options)) -> Result<Running> {
    let finished = Arc::new(AtomicUsize::new(0));
    let count = finished.clone();
    let slow = async move || {
        sleep(Duration::from_millis(300)).await;
        count.fetch_add(1, Ordering::Relaxed);
        "done"
    };
    let router = Router::new()
        .route("/slow", any(slow))
        .route("/panic", get(async || -> &'static str { panic!("CANARY") }))
        .route("/readyz", get(async || "ready"))
        .route("/", get(async || "here"))
        .merge(more);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let mut options = Options::default();
    (options.grace, options.idle_grace) = (Duration::ZERO, Duration::from_millis(200));
    change(&mut options);
    let end = tokio::spawn(serve(listener, router, options, async { drop(stopped.await) }));
    Ok(Running { address, stop, end, finished })
}

impl Running {
    pub(crate) async fn send(&self, request: &str) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<String> {
        let headers = "host: a\r\nx-request-id: mine\r\nconnection: close\r\n";
        all(self.send(&format!("GET {path} HTTP/1.1\r\n{headers}\r\n")).await?).await
    }
}

pub(crate) async fn all(mut stream: TcpStream) -> Result<String> {
    let mut text = String::new();
    timeout(Duration::from_secs(5), stream.read_to_string(&mut text)).await.context("no end")??;
    Ok(text)
}

#[tokio::test]
async fn a_panic_answers_500_in_the_form_of_all_errors_and_ends_nothing_else() -> Result<()> {
    let server = start(|_| {}).await?;
    let answer = server.get("/panic").await?;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("application/problem+json"), "{answer}");
    assert!(answer.contains(r#""code":"internal""#) && answer.contains(r#""request_id":"mine""#), "{answer}");
    assert!(!answer.contains("CANARY"), "{answer}");
    assert!(server.get("/").await?.ends_with("here"));
    Ok(())
}

#[tokio::test]
async fn what_is_under_way_finishes_when_the_server_is_told_to_stop() -> Result<()> {
    let server = start(|_| {}).await?;
    let idle = TcpStream::connect(server.address).await?;
    let mut under_way = Vec::new();
    for _ in 0..10 {
        under_way.push(server.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await?);
    }
    let given_up = server.send("POST /slow HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    sleep(Duration::from_millis(50)).await;
    drop(given_up);
    let Running { address, stop, end, finished } = server;
    let _ = stop.send(());
    for stream in under_way {
        let answer = all(stream).await?;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("done"), "{answer}");
    }
    assert_eq!(end.await?, Ok(()));
    assert_eq!(finished.load(Ordering::Relaxed), 11);
    assert!(TcpStream::connect(address).await.is_err());
    drop(idle);
    Ok(())
}

#[tokio::test]
async fn it_is_not_ready_for_a_while_before_it_stops_accepting() -> Result<()> {
    let server = start(|options| options.grace = Duration::from_millis(300)).await?;
    assert!(server.get("/readyz").await?.ends_with("ready"));
    let Running { address, stop, end, finished } = server;
    let _ = stop.send(());
    sleep(Duration::from_millis(50)).await;
    let server = Running { address, stop: oneshot::channel().0, end, finished };
    let answer = server.get("/readyz").await?;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains(r#""code":"unavailable""#), "{answer}");
    assert!(answer.contains("retry-after: 1") && answer.contains("x-request-id: mine"), "{answer}");
    assert!(server.get("/").await?.ends_with("here"));
    sleep(Duration::from_millis(350)).await;
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(server.end.await?, Ok(()));
    Ok(())
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_counted() -> Result<()> {
    let server = start(|options| options.drain = Duration::from_millis(100)).await?;
    let _stream = server.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    sleep(Duration::from_millis(50)).await;
    let _ = server.stop.send(());
    let left = server.end.await?.err().context("it finished")?;
    assert_eq!((left.requests, left.connections), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_client_that_does_not_send_its_headers_is_cut_off() -> Result<()> {
    let server = start(|options| options.header_timeout = Duration::from_millis(300)).await?;
    let started = Instant::now();
    let silent = server.send("GET / HTTP/1.1\r\nhost:").await?;
    all(silent).await?;
    let waited = started.elapsed();
    assert!((250..1000).contains(&waited.as_millis()), "{waited:?}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off() -> Result<()> {
    let server = start(|options| {
        options.write_timeout = Duration::from_millis(500);
        options.max_connections = 1;
    })
    .await?;
    let mut greedy = TcpStream::connect(server.address).await?;
    let requests = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
    // until both sides' buffers are full; nothing is read
    let asking = async { while greedy.write_all(requests.as_bytes()).await.is_ok() {} };
    timeout(Duration::from_secs(20), asking).await.context("it is never cut off")?;
    assert!(server.get("/").await?.ends_with("here"));
    Ok(())
}

#[test]
fn connections_are_spread_over_the_threads_and_each_is_served_to_its_end() -> Result<()> {
    let (workers, runtime) = Workers::start(2)?;
    runtime.block_on(connections_are_spread(workers))
}

async fn connections_are_spread(workers: Workers) -> Result<()> {
    let name = async || std::thread::current().name().unwrap_or_default().to_owned();
    let server = start_with(Router::new().route("/thread", get(name)), |options| {
        options.workers = Some(workers);
    })
    .await?;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(TcpStream::connect(server.address).await?);
    }
    let mut threads = Vec::new();
    for stream in &mut streams {
        let mut answers = Vec::new();
        for _ in 0..3 {
            stream.write_all(b"GET /thread HTTP/1.1\r\nhost: a\r\n\r\n").await?;
            let mut answer = Vec::with_capacity(1000);
            stream.read_buf(&mut answer).await?;
            answers.push(String::from_utf8(answer)?.rsplit("\r\n").next().unwrap_or_default().to_owned());
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        threads.append(&mut answers);
    }
    assert_eq!(threads.iter().filter(|name| *name == "worker-1").count(), 2, "{threads:?}");
    Ok(())
}

#[tokio::test]
async fn too_many_headers_and_too_large_ones_are_refused() -> Result<()> {
    let server = start(|_| {}).await?;
    let many = "a: b\r\n".repeat(130);
    let large = format!("a: {}\r\n", "b".repeat(70_000));
    for headers in [many, large] {
        let answer = all(server.send(&format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await?).await?;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{} bytes: {answer:?}", headers.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_small_limit_of_headers_is_kept_with_http_2_too() -> Result<()> {
    for http2 in [false, true] {
        let server = start(|options| (options.http2, options.max_header_size) = (http2, 4096)).await?;
        assert!(server.get("/").await?.ends_with("here"));
        let large = format!("a: {}\r\n", "b".repeat(100_000));
        let answer = all(server.send(&format!("GET / HTTP/1.1\r\nhost: a\r\n{large}\r\n")).await?).await?;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    }
    Ok(())
}

/// Fault row F1, smaller.
#[tokio::test]
async fn clients_that_send_a_byte_now_and_then_are_cut_off_and_others_are_served() -> Result<()> {
    for http2 in [false, true] {
        let server =
            start(|options| (options.header_timeout, options.http2) = (Duration::from_millis(500), http2))
                .await?;
        let address = server.address;
        let slow = (0..50).map(|_| {
            tokio::spawn(async move {
                let started = Instant::now();
                let mut stream = TcpStream::connect(address).await?;
                for byte in b"GET / HTTP/1.1\r\nhost: abcdefghijklmnopqrstuvwxyz" {
                    if stream.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    let mut answer = [0];
                    if let Ok(Ok(0) | Err(_)) =
                        timeout(Duration::from_millis(100), stream.read(&mut answer)).await
                    {
                        break;
                    }
                }
                Ok::<_, std::io::Error>(started.elapsed())
            })
        });
        let slow: Vec<_> = slow.collect();
        sleep(Duration::from_millis(200)).await;
        assert!(server.get("/").await?.ends_with("here"));
        for one in slow {
            let lasted = one.await??;
            assert!((450..2500).contains(&lasted.as_millis()), "{lasted:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_unix_socket_is_served_and_replaced_when_its_owner_was_killed() -> Result<()> {
    let path = std::env::temp_dir().join(format!("pgspan-serve-{}.sock", std::process::id()));
    drop(std::os::unix::net::UnixListener::bind(&path)?); // which leaves the file behind
    let address: Address = format!("unix:{}", path.display()).parse()?;
    let listener = address.listen().await?;
    assert!(address.listen().await.is_err(), "someone listens there already");
    let mode = std::fs::metadata(&path)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o666, "who may connect is up to the folder");
    let router = Router::new().route("/", get(async || "here"));
    let (stop, stopped) = oneshot::channel::<()>();
    let mut options = Options::default();
    (options.grace, options.idle_grace) = (Duration::ZERO, Duration::ZERO);
    let end = tokio::spawn(serve(listener, router, options, async { drop(stopped.await) }));
    let mut stream = tokio::net::UnixStream::connect(&path).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(answer.ends_with("here"), "{answer}");
    drop(stop);
    assert_eq!(end.await?, Ok(()));
    assert!(!path.exists());
    assert!("unix:relative".parse::<Address>().is_err());
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_never_removed_for_one() -> Result<()> {
    let path = std::env::temp_dir().join(format!("pgspan-no-socket-{}", std::process::id()));
    std::fs::write(&path, "precious")?;
    let address: Address = format!("unix:{}", path.display()).parse()?;
    let refused = address.listen().await.err().context("it listens on a file")?;
    assert_eq!(std::fs::read_to_string(&path)?, "precious");
    assert_eq!(refused.to_string(), "a file that is no socket has this path");
    std::fs::remove_file(&path)?;
    Ok(())
}

/// Whoever puts a balancer with the PROXY protocol before it sees so at once.
#[tokio::test]
async fn a_proxy_header_is_refused_with_a_bare_400() -> Result<()> {
    let server = start(|_| {}).await?;
    let rest = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for header in ["PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n", "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"] {
        let answer = all(server.send(&format!("{header}{rest}")).await?).await?;
        assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains("here"), "{answer:?}");
        assert!(answer.ends_with("\r\n\r\n"), "it has a body: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn requests_over_http_2_are_answered_side_by_side_on_one_connection() -> Result<()> {
    let server = start(|options| options.http2 = true).await?;
    let stream = TokioIo::new(TcpStream::connect(server.address).await?);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    let get = async |path: &str| -> Result<String> {
        let request = Request::get(format!("http://a{path}")).body(Body::empty())?;
        let response = sender.clone().send_request(request).await?;
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        let body = to_bytes(Body::new(response.into_body()), 1024).await?;
        Ok(String::from_utf8(body.to_vec())?)
    };
    let started = Instant::now();
    let answers = futures_util::future::join_all((0..4).map(|_| get("/slow"))).await;
    assert!(answers.into_iter().all(|answer| answer.is_ok_and(|text| text == "done")));
    assert!(started.elapsed() < Duration::from_millis(900), "one after the other: {:?}", started.elapsed());
    assert_eq!(get("/").await?, "here");
    Ok(())
}

#[tokio::test]
async fn http_2_without_tls_is_spoken_only_where_it_is_asked_for() -> Result<()> {
    for http2 in [false, true] {
        let server = start(|options| options.http2 = http2).await?;
        // the client's preface and an empty SETTINGS frame (RFC 9113, 3.4), answered by the server's own
        let mut stream = server.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        let mut frame = [0; 9];
        let answered = timeout(Duration::from_secs(5), stream.read_exact(&mut frame)).await?;
        assert_eq!(answered.is_ok() && frame[3] == 4, http2, "{frame:?}");
        assert!(server.get("/").await?.ends_with("here"));
    }
    Ok(())
}
