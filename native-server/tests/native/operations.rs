//! What operators meet: probes under load, standard error that nobody reads, lines that repeat themselves, settings that are not
//! meant.
//!
//! Siblings that were looked for: all connections taken by requests, by silence and by heads that never end; a soft limit of files
//! below the hard one, and a hard one below the cap; standard error blocked at the start, in the middle and at the end.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tests::{free_port, http};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::program::{exchange, nowhere, program, run, serving};

/// A value that Prometheus would read.
async fn value(port: u16, name: &str) -> Result<f64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text).await?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name} in {text}"))?.parse()?)
}

/// Fault row N5.
#[tokio::test]
async fn probes_are_answered_though_every_connection_and_request_is_taken() -> Result<()> {
    let operations = free_port()?;
    let address = format!("127.0.0.1:{operations}");
    let more = [
        ("METRICS_ADDR", &*address),
        ("MAX_CONNECTIONS", "8"),
        ("MAX_REQUESTS", "4"),
        ("WORKER_THREADS", "1"),
    ];
    let (process, port, _) = serving("operations-probes", &nowhere()?, &more).await?;
    let mut held = Vec::new();
    for _ in 0..16 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let head =
            "POST /add HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
        stream.write_all(head.as_bytes()).await?; // and never the rest
        held.push(stream);
    }
    sleep(Duration::from_millis(200)).await;
    assert!(
        timeout(Duration::from_millis(500), http::status(port, "/livez")).await.is_err(),
        "there is room"
    );
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(http::status(operations, "/livez").await?, 200);
        assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    }
    assert_eq!(http::status(operations, "/readyz").await?, 503);
    assert_eq!(http::status(operations, "/add?a=1&b=2").await?, 404, "it is for probes alone");
    assert_eq!(value(operations, "pgspan_http_connections").await?, 8.0);
    assert_eq!(value(operations, "pgspan_http_connections_max").await?, 8.0);
    drop((held, process));
    Ok(())
}

/// Fault row N5.
#[tokio::test]
async fn the_soft_limit_of_files_is_raised_and_the_cap_fits_the_hard_one() -> Result<()> {
    for (limits, files, connections, lowered) in
        [("ulimit -Sn 150", None, 1024.0, false), ("ulimit -n 300", Some(300.0), 186.0, true)]
    {
        let (port, operations) = (free_port()?, free_port()?);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{limits}; exec \"$0\" serve"), env!("CARGO_BIN_EXE_pgspan-server")]);
        command.env_clear().envs([
            ("DATABASE_URL", nowhere()?),
            ("LISTEN_ADDR", format!("127.0.0.1:{port}")),
            ("METRICS_ADDR", format!("127.0.0.1:{operations}")),
            ("WORKER_THREADS", "3".to_owned()), // and so six shared connections
        ]);
        let log =
            tests::target_dir().join(format!("tests/operations-files-{}-{port}.log", std::process::id()));
        let mut process = tests::Process::start("pgspan-server", &mut command, &log)?;
        http::wait_until_ok(&mut process, port, &["/livez"], Duration::from_secs(10)).await?;
        let found = value(operations, "process_max_fds").await?;
        assert!(files.map_or(found > 150.0, |files| files == found), "{limits}: {found}");
        assert_eq!(value(operations, "pgspan_http_connections_max").await?, connections, "{limits}");
        let text = std::fs::read_to_string(&log)?;
        assert_eq!(text.contains("MAX_CONNECTIONS: lowered from 1024 to 186"), lowered, "{text}");
    }
    Ok(())
}

/// The program, whose standard error is a pipe that nobody reads.
fn unread(port: u16, operations: u16) -> Result<Child> {
    let environment = [
        ("DATABASE_URL", nowhere()?),
        ("LISTEN_ADDR", format!("127.0.0.1:{port}")),
        ("METRICS_ADDR", format!("127.0.0.1:{operations}")),
        ("LOG_FILTER", "info,pgspan_server::request=debug".to_owned()),
        ("DRAIN_GRACE_MS", "0".to_owned()),
    ];
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, &**value)).collect();
    Ok(program(&["serve"], &environment).stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?)
}

/// Fault row N6.
#[tokio::test]
async fn standard_error_that_nobody_reads_holds_up_neither_requests_nor_the_end() -> Result<()> {
    let (port, operations) = (free_port()?, free_port()?);
    let mut child = unread(port, operations)?;
    let looked = async {
        let started = Instant::now();
        while http::status(port, "/livez").await.is_err() {
            ensure!(started.elapsed() < Duration::from_secs(10), "it does not start");
            sleep(Duration::from_millis(20)).await;
        }
        let mut client = TcpStream::connect(("127.0.0.1", port)).await?;
        // 64 KiB of the pipe and all lines that may wait, and some
        let asked = async {
            for _ in 0..6000 {
                client.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await?;
                ensure!(tokio::io::AsyncReadExt::read(&mut client, &mut [0; 1024]).await? > 0, "it closed");
            }
            Ok(())
        };
        timeout(Duration::from_secs(60), asked).await.context("everything stands")??;
        drop(client);
        assert!(value(operations, "pgspan_log_lines_dropped_total").await? > 0.0);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a pid")?;
        kill_process(pid, Signal::TERM)?;
        let told = Instant::now();
        while child.try_wait()?.is_none() {
            ensure!(told.elapsed() < Duration::from_secs(8), "it does not end");
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    }
    .await;
    let _ = child.kill();
    let ended = child.wait()?;
    looked?;
    assert_eq!(ended.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn lines_that_were_dropped_are_told_once_someone_reads_again() -> Result<()> {
    let (port, operations) = (free_port()?, free_port()?);
    let mut child = unread(port, operations)?;
    let mut pipe = child.stderr.take().context("a pipe")?;
    let looked = async {
        let started = Instant::now();
        while http::status(port, "/livez").await.is_err() {
            ensure!(started.elapsed() < Duration::from_secs(10), "it does not start");
            sleep(Duration::from_millis(20)).await;
        }
        let mut client = TcpStream::connect(("127.0.0.1", port)).await?;
        while value(operations, "pgspan_log_lines_dropped_total").await? == 0.0 {
            for _ in 0..500 {
                client.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await?;
                tokio::io::AsyncReadExt::read(&mut client, &mut [0; 1024]).await?;
            }
        }
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).map(|_| text)
        });
        sleep(Duration::from_millis(2500)).await;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a pid")?;
        kill_process(pid, Signal::TERM)?;
        let text = timeout(Duration::from_secs(10), reading).await???;
        assert!(
            text.contains("log lines were dropped, since nobody took them in time lines="),
            "{}",
            text.len()
        );
        assert!(text.contains("stopped"), "the last line is there");
        anyhow::Ok(())
    }
    .await;
    let _ = child.kill();
    child.wait()?;
    looked
}

/// Fault row N6.
#[tokio::test]
async fn what_goes_wrong_again_and_again_is_a_line_a_second_with_a_count() -> Result<()> {
    let more = [("ACQUIRE_TIMEOUT_MS", "300"), ("LOG_FORMAT", "json")];
    let (mut process, port, log) = serving("operations-repeats", &nowhere()?, &more).await?;
    let started = Instant::now();
    let mut refused = 0;
    while started.elapsed() < Duration::from_millis(2500) {
        let asked = (0..20).map(|_| http::status(port, "/users"));
        refused +=
            futures_util::future::try_join_all(asked).await?.iter().filter(|code| **code == 503).count();
    }
    assert!(refused > 60, "{refused}");
    process.signal(Signal::TERM)?;
    process.wait().await?;
    let text = std::fs::read_to_string(&log)?;
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("unavailable")).collect();
    assert!((2..=12).contains(&lines.len()), "{} lines of {refused}: {lines:#?}", lines.len());
    let times = lines.iter().filter_map(|line| {
        let (_, rest) = line.split_once("\"times\":")?;
        rest.split(',').next()?.parse::<usize>().ok()
    });
    let shown = lines.iter().filter(|line| !line.contains("\"times\":")).count();
    assert_eq!(times.sum::<usize>() + shown, refused, "none is lost: {lines:#?}");
    Ok(())
}

/// Fault row N23.
#[tokio::test]
async fn two_passed_sockets_are_refused_and_the_log_names_the_address_that_is_served() -> Result<()> {
    let passed = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = passed.local_addr()?;
    let script = |count: u8| {
        let more = if count == 2 { "4<&0" } else { "" };
        format!("export LISTEN_PID=$$ LISTEN_FDS={count}; exec \"$0\" serve 3<&0 {more}")
    };
    let start = |count: u8| -> Result<Child> {
        Ok(Command::new("sh")
            .args(["-c", &script(count), env!("CARGO_BIN_EXE_pgspan-server")])
            .env_clear()
            .envs([("DATABASE_URL", &*nowhere()?), ("METRICS_ADDR", "off"), ("DRAIN_GRACE_MS", "0")])
            .stdin(std::os::fd::OwnedFd::from(passed.try_clone()?))
            .stderr(Stdio::piped())
            .spawn()?)
    };
    let refused = start(2)?.wait_with_output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && said.contains("2 sockets were passed"), "{said}");
    let child = start(1)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a pid")?;
    let answered = http::status(address.port(), "/livez").await;
    kill_process(pid, Signal::TERM)?;
    let said = String::from_utf8_lossy(&child.wait_with_output()?.stderr).into_owned();
    assert_eq!(answered?, 200);
    assert!(said.contains(&format!("listening address={address}")), "{said}");
    Ok(())
}

/// Fault rows N22 and N25.
#[tokio::test]
async fn what_is_perhaps_not_meant_is_a_warning_and_the_database_has_a_line_at_the_start() -> Result<()> {
    let more = [("POOL_SZIE", "9"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), ("PATHS", "x")];
    let (_process, _, log) = serving("operations-meant", &nowhere()?, &more).await?;
    let expected = [
        "POOL_SZIE is no setting and is ignored: is it POOL_SIZE?",
        "the database can't be used now",
        #[cfg(not(feature = "otlp"))]
        "OTEL_EXPORTER_OTLP_ENDPOINT: no traces are sent",
    ];
    let started = Instant::now();
    loop {
        let text = std::fs::read_to_string(&log)?;
        if expected.iter().all(|line| text.contains(line)) {
            assert!(!text.contains("PATHS"), "{text}");
            break;
        }
        ensure!(started.elapsed() < Duration::from_secs(6), "{text}");
        sleep(Duration::from_millis(50)).await;
    }
    let (_, out, _) = run(&["check"], &[("DATABASE_URL", &nowhere()?), ("POOL_SZIE", "9")])?;
    assert!(
        out.contains("note: POOL_SZIE is no setting") && out.contains("note: writes: nobody may write"),
        "{out}"
    );
    let (_, out, _) = run(&["check"], &[("DATABASE_URL", &nowhere()?), ("API_TOKEN", "0123456789abcdef")])?;
    assert!(!out.contains("note: "), "{out}");
    Ok(())
}

#[tokio::test]
async fn a_secret_may_be_in_a_file_and_a_token_changes_at_sighup() -> Result<()> {
    let folder = tests::target_dir().join(format!("tests/secrets-{}", std::process::id()));
    tests::private_dir(&folder)?;
    let (url, token) = (folder.join("url"), folder.join("token"));
    std::fs::write(&url, format!("{}\n", nowhere()?))?;
    std::fs::write(&token, "0123456789abcdef\n")?;
    let (url, token) = (url.display().to_string(), token.display().to_string());
    let more = [("DATABASE_URL_FILE", &*url), ("API_TOKEN_FILE", &*token), ("ACQUIRE_TIMEOUT_MS", "300")];
    let (mut process, port, log) = serving("operations-secrets", "", &more).await?;
    let write = |token: &str| {
        format!(
            "POST /users HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\
             connection: close\r\nauthorization: Bearer {token}\r\n\r\n{{\"names\":[\"a\"]}}"
        )
    };
    for (token, status) in [("0123456789abcdef", "503"), ("0123456789abcdeg", "401")] {
        let answer = exchange(port, &write(token)).await?;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }

    // what is no token, and a file that is gone, change nothing; another token takes the place of the first
    let reloads =
        [("short", "0123456789abcdef"), ("", "0123456789abcdef"), ("fedcba9876543210", "fedcba9876543210")];
    for (number, (text, valid)) in reloads.into_iter().enumerate() {
        match text {
            "" => std::fs::remove_file(&token)?,
            text => std::fs::write(&token, format!("{text}\n"))?,
        }
        process.signal(Signal::HUP)?;
        let told = |text: &str| text.lines().filter(|line| line.contains("read again")).count() > number;
        let started = Instant::now();
        while !told(&std::fs::read_to_string(&log)?) {
            ensure!(started.elapsed() < Duration::from_secs(5), "SIGHUP changed nothing");
            sleep(Duration::from_millis(20)).await;
        }
        for (given, status) in [(valid, "503"), ("0123456789abcdeg", "401")] {
            let answer = exchange(port, &write(given)).await?;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{text}: {answer}");
        }
    }
    let answer = exchange(port, &write("0123456789abcdef")).await?;
    assert!(answer.starts_with("HTTP/1.1 401 "), "the old token: {answer}");
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Fault row N1: a table that is locked, and clients that do not wait.
#[tokio::test]
async fn requests_that_nobody_waits_for_are_bounded_while_a_table_is_locked() -> Result<()> {
    let bed = crate::bed::Bed::new("operations locked").await?;
    let url = bed.database().await?;
    assert_eq!(run(&["migrate"], &[("DATABASE_URL", &url)])?.0, Some(0));
    let operations = free_port()?;
    let address = format!("127.0.0.1:{operations}");
    let token = "0123456789abcdef";
    let more = [
        ("METRICS_ADDR", &*address),
        ("API_TOKEN", token),
        ("MAX_REQUESTS", "20"),
        ("LOCK_TIMEOUT_MS", "4000"),
    ];
    let (_process, port, _) = serving("operations-locked", &url, &more).await?;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE").await?;
    let read = "GET /users HTTP/1.1\r\nhost: a\r\n\r\n".to_owned();
    let body = r#"{"names":["a"]}"#;
    let write = format!(
        "POST /users HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         authorization: Bearer {token}\r\n\r\n{body}",
        body.len()
    );
    for (request, expected) in [(&read, 0.0), (&write, 20.0)] {
        let hung_up = (0..60).map(|_| async {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.write_all(request.as_bytes()).await?;
            sleep(Duration::from_millis(50)).await;
            anyhow::Ok(())
        });
        futures_util::future::try_join_all(hung_up).await?;
        sleep(Duration::from_millis(200)).await;
        let in_flight = value(operations, "pgspan_http_requests_in_flight").await?;
        assert_eq!(in_flight, expected, "{request}");
    }
    let asked = Instant::now();
    let refused = exchange(port, "GET /add?a=1&b=2 HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1"), "{refused}");
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    assert_eq!(http::status(operations, "/livez").await?, 200);
    client.batch_execute("ROLLBACK").await?;
    let started = Instant::now();
    while http::status(port, "/users").await? != 200 {
        ensure!(started.elapsed() < Duration::from_secs(6), "it does not heal");
        sleep(Duration::from_millis(50)).await;
    }
    // what was let in and writes has run to its end: one of the names is there
    let stored: i64 = client.query_one("SELECT count(*) FROM users", &[]).await?.get(0);
    assert_eq!(stored, 1);
    Ok(())
}
