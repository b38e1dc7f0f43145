//! Services of one's own, as real processes: `examples/notes`, 20 lines on `Program`, and `examples/tls.rs`, which does TLS itself.
//!
//! Siblings that were looked for: a router with probes of its own; a folder without migrations; a unix socket where TLS is wanted; a
//! client that connects and says nothing while others shake hands; a name that is taken for another's (metrics, `application_name`).

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::routing::get;
use pgspan_server::metrics::prometheus_client::metrics::counter::Counter;
use pgspan_server::program::{Given, Program, Setting};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tests::{Process, free_port, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

use crate::bed::Bed;
use crate::program::{exchange, nowhere};

/// What cargo builds with the tests, unless it is told to build one test alone.
fn example(name: &str) -> Result<PathBuf> {
    let (program, folder) = (tests::target_dir().join("debug/examples").join(name), "native-server/examples");
    let source = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/main.rs")];
    let source = source.map(|path| tests::root().join(path)).into_iter().find(|path| path.exists());
    let changed = |path: &PathBuf| fs::metadata(path)?.modified();
    let is_fresh = changed(&program).is_ok_and(|built| {
        source.as_ref().is_some_and(|source| changed(source).is_ok_and(|changed| changed < built))
    });
    ensure!(is_fresh, "build it first: cargo build -p pgspan-server --example {name}");
    Ok(program)
}

fn run(
    name: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<(Option<i32>, String, String)> {
    let mut command = Command::new(example(name)?);
    let Output { status, stdout, stderr } =
        command.args(arguments).env_clear().envs(environment.iter().copied()).output()?;
    Ok((status.code(), String::from_utf8(stdout)?, String::from_utf8(stderr)?))
}

async fn text(port: u16, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("{request}host: a\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// Fault rows S3, S15 and S21.
#[tokio::test]
async fn twenty_lines_are_a_program_with_all_that_operators_need_and_nothing_of_the_sample() -> Result<()> {
    let bed = Bed::new("own notes").await?;
    let url = bed.database().await?;
    let (port, operations) = (free_port()?, free_port()?);
    let (listen, metrics) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{operations}"));
    let environment = [
        ("DATABASE_URL", &*url),
        ("LISTEN_ADDR", &listen),
        ("METRICS_ADDR", &metrics),
        ("DRAIN_GRACE_MS", "0"),
    ];
    let (code, _, faults) = run("notes", &["check"], &environment)?;
    assert_eq!(code, Some(1), "{faults}");
    assert!(faults.contains("notes: schema: 1 of the migrations not applied: run migrate"), "{faults}");
    let (code, _, faults) = run("notes", &["probe"], &environment)?;
    assert!(code == Some(1) && faults.contains("does not answer"), "{faults}");

    let log = tests::target_dir().join(format!("tests/own-notes-{}.log", std::process::id()));
    let mut command = Command::new(example("notes")?);
    command.arg("serve").env_clear().envs(environment);
    let mut process = Process::start("notes", &mut command, &log)?;
    http::wait_until_ok(&mut process, port, &["/livez"], Duration::from_secs(10)).await?;
    let (code, _, faults) = run("notes", &["probe"], &environment)?;
    assert!(code == Some(1) && faults.contains("notes: not ready: HTTP/1.1 503"), "{faults}");
    assert_eq!(run("notes", &["migrate"], &environment)?.1, "applied notes\n");
    assert_eq!(run("notes", &["check"], &environment)?.0, Some(0));
    http::wait_until_ok(&mut process, port, &["/readyz"], Duration::from_secs(5)).await?;
    http::wait_until_ok(&mut process, operations, &["/readyz"], Duration::from_secs(5)).await?;
    assert_eq!(run("notes", &["probe"], &environment)?, (Some(0), String::new(), String::new()));

    let added = exchange(
        port,
        "POST /notes HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
    )
    .await?;
    assert!(added.starts_with("HTTP/1.1 201 "), "{added}");
    assert!(text(port, "GET /notes HTTP/1.1\r\n").await?.ends_with(r#"["hello"]"#));
    let shown = text(operations, "GET /metrics HTTP/1.1\r\n").await?;
    let counted = r#"pgspan_http_requests_total{method="POST",route="/notes",status="201"} 1"#;
    assert!(shown.contains(counted) && shown.contains("pgspan_panics_total 0"), "{shown}");

    let admin = bed.admin().await?;
    let name = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'notes'";
    assert!(admin.query_one(name, &[]).await?.get::<_, i64>(0) > 0);
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let tables = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    assert_eq!(client.query_one(tables, &[]).await?.get::<_, String>(0), "notes pgspan_migrations");

    let (_, help, _) = run("notes", &["serve", "--help"], &[])?;
    assert!(
        help.contains("POOL_SIZE") && !help.contains("API_TOKEN") && !help.contains("ANONYMOUS"),
        "{help}"
    );
    let (code, _, faults) = run("notes", &["serve"], &[("POOL_SIZE", "0"), ("DATABASE_URL", &url)])?;
    assert!(code == Some(2) && faults.starts_with("notes: POOL_SIZE: "), "{faults}");
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait().await?.code(), Some(0), "{}", process.last_lines());
    Ok(())
}

#[tokio::test]
async fn a_listener_that_is_handed_in_does_tls_and_no_client_holds_up_another() -> Result<()> {
    let folder = tests::target_dir().join(format!("tests/own-tls-{}", std::process::id()));
    tests::private_dir(&folder)?;
    let openssl = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=a -addext \
                   subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout key -out cert";
    let made = Command::new("openssl").args(openssl.split_whitespace()).current_dir(&folder).output();
    let Ok(made) = made else {
        tests::skip("TLS needs the program openssl to make a certificate");
        return Ok(());
    };
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (port, operations) = (free_port()?, free_port()?);
    let (cert, key) = (folder.join("cert").display().to_string(), folder.join("key").display().to_string());
    let (listen, metrics) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{operations}"));
    let database = nowhere()?;
    let environment = [
        ("DATABASE_URL", &*database),
        ("LISTEN_ADDR", &listen),
        ("METRICS_ADDR", &metrics),
        ("DRAIN_GRACE_MS", "0"),
        ("TLS_CERT", &cert),
        ("TLS_KEY", &key),
        ("WORKER_THREADS", "2"),
    ];
    let mut command = Command::new(example("tls")?);
    let log = folder.join("log");
    let mut process = Process::start("tls", command.arg("serve").env_clear().envs(environment), &log)?;
    http::wait_until_ok(&mut process, operations, &["/livez"], Duration::from_secs(10)).await?;

    let _silent = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&cert)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    for _ in 0..4 {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let shaken = connector.connect(ServerName::try_from("127.0.0.1")?, stream);
        let mut stream = tokio::time::timeout(Duration::from_secs(3), shaken).await.context("it waits")??;
        // what both speak: the server serves no HTTP/2 here
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert!(answer.ends_with("hello 127.0.0.1, over TLS"), "{answer}");
    }
    let plain = exchange(port, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap_or_default();
    assert!(!plain.contains("hello"), "{plain}");

    let (code, _, faults) = run("tls", &["serve"], &[("DATABASE_URL", &database), ("TLS_CERT", &cert)])?;
    assert!(code == Some(2) && faults.contains("hello: TLS_KEY: must be a file"), "{faults}");
    let unix = format!("unix:{}", folder.join("socket").display());
    let refused = environment.map(|(name, value)| match name {
        "LISTEN_ADDR" => (name, &*unix),
        "METRICS_ADDR" => (name, "off"),
        _ => (name, value),
    });
    let (code, _, faults) = run("tls", &["serve"], &refused)?;
    assert!(code == Some(2) && faults.contains("can't listen on a unix socket"), "{faults}");

    process.signal(Signal::TERM)?;
    assert_eq!(process.wait().await?.code(), Some(0), "{}", process.last_lines());
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// A program that panics, counts, and hears of signals; in a process of its own.
fn child() -> ExitCode {
    const NAME: &[Setting] = &[Setting::secret("GREETING", "TEXT", "What it says [default: none]")];
    let greeting = |given: &mut Given<'_>| Ok(given.secret("GREETING")?.unwrap_or_default());
    Program::new("child").metric_prefix("kid").settings(NAME, greeting).run_from(
        ["child", "serve"],
        async |host| {
            let (said, reloads) =
                (Arc::new(watch::Sender::new(host.settings.clone())), Counter::<u64>::default());
            host.metrics.register(|registry| registry.register("kid_reloads", "Reloads", reloads.clone()));
            let renewed = said.clone();
            host.at_hangup(move |given| {
                renewed.send_replace(greeting(given)?);
                reloads.inc();
                Ok(())
            });
            let draining = host.draining();
            tokio::spawn(async move {
                draining.begun().await;
                println!("a task of its own was told");
            });
            let say = get(async move || said.borrow().clone());
            let fail = get(async || -> &'static str { panic!("CANARY") });
            Ok(Router::new().route("/say", say).route("/panic", fail))
        },
    )
}

/// Fault row N20. The test starts itself once more, as the program.
#[tokio::test]
async fn a_program_of_ones_own_counts_panics_hears_of_sighup_and_tells_its_tasks_of_the_end() -> Result<()> {
    if std::env::var_os("PGSPAN_CHILD").is_some() {
        tokio::task::spawn_blocking(child).await?;
        return Ok(());
    }
    let folder = tests::target_dir().join(format!("tests/own-child-{}", std::process::id()));
    tests::private_dir(&folder)?;
    let (port, operations) = (free_port()?, free_port()?);
    let (listen, metrics) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{operations}"));
    let (greeting, database) = (folder.join("greeting"), nowhere()?);
    fs::write(&greeting, "hello")?;
    let greeting = greeting.display().to_string();
    let mut command = Command::new(std::env::current_exe()?);
    let name = "own::a_program_of_ones_own_counts_panics_hears_of_sighup_and_tells_its_tasks_of_the_end";
    command.args([name, "--exact", "--nocapture"]).env_clear().envs([
        ("PGSPAN_CHILD", "1"),
        ("DATABASE_URL", &*database),
        ("LISTEN_ADDR", &listen),
        ("METRICS_ADDR", &metrics),
        ("GREETING_FILE", &greeting),
        ("DRAIN_GRACE_MS", "0"),
    ]);
    let mut process = Process::start("child", &mut command, &folder.join("log"))?;
    http::wait_until_ok(&mut process, port, &["/livez"], Duration::from_secs(10)).await?;
    assert!(text(port, "GET /say HTTP/1.1\r\n").await?.ends_with("hello"));
    let answer = text(port, "GET /panic HTTP/1.1\r\n").await?;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains(r#""code":"internal""#), "{answer}");

    fs::write(&greeting, "good day")?;
    process.signal(Signal::HUP)?;
    let started = Instant::now();
    while !text(port, "GET /say HTTP/1.1\r\n").await?.ends_with("good day") {
        ensure!(started.elapsed() < Duration::from_secs(5), "it does not hear of SIGHUP");
        sleep(Duration::from_millis(20)).await;
    }
    let shown = text(operations, "GET /metrics HTTP/1.1\r\n").await?;
    for line in ["kid_panics_total 1\n", "kid_reloads_total 1\n", "kid_log_lines_dropped_total 0\n"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    process.signal(Signal::TERM)?;
    assert_eq!(process.wait().await?.code(), Some(0), "{}", process.last_lines());
    let log = fs::read_to_string(folder.join("log"))?;
    assert!(log.contains("a task of its own was told") && log.contains("a panic place="), "{log}");
    assert!(!log.contains("CANARY"), "{log}");
    fs::remove_dir_all(&folder)?;
    Ok(())
}
