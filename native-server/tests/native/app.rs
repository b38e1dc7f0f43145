//! The application on this host: what its probes are told, and what becomes of a write that nobody waits for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use pgspan::{Database, Settings, sql};
use pgspan_http::{Options, Writes};
use pgspan_server::{Driver, PoolSettings, migrate, serve};
use tests::http;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::bed::{Bed, MIGRATIONS, named};

const TOKEN: &str = "a-token-of-the-tests";

/// Serves the application from a pool of this size on a port of its own, to the end of the test.
async fn serve(url: &str, size: usize) -> Result<(u16, Database)> {
    let mut settings = Settings::default();
    (settings.acquire_timeout, settings.shared_connections) = (Duration::from_millis(800), 1);
    let mut pool = PoolSettings::default();
    pool.size = size;
    let db = pgspan::connect_with(Driver::new(&url.parse()?, &settings, pool)?, settings);
    let writes = Writes::from_settings(Some(TOKEN), false)?;
    let router = pgspan_app::router(db.clone(), Options { writes, ..Options::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(serve::serve(listener, router, serve::Options::default(), std::future::pending()));
    Ok((port, db))
}

/// Longer than an answer is kept.
const LATER: Duration = Duration::from_millis(1100);

async fn ready(port: u16) -> Result<u16> {
    sleep(LATER).await;
    http::status(port, "/readyz").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_pool_is_ready_for_a_while_and_a_refused_login_at_once_not() -> Result<()> {
    let bed = Bed::new("ready").await?;
    let url = bed.database().await?;
    migrate(&url, MIGRATIONS).await?;
    let role = format!("ready_{}", std::process::id());
    let admin = bed.admin().await?;
    let password = async |verb: &str, password: &str| {
        admin.batch_execute(&format!("{verb} ROLE \"{role}\" LOGIN PASSWORD '{password}'")).await
    };
    password("CREATE", "one").await?;
    let (scheme, rest) = url.split_once("://").context("a URL")?;
    let (_, place) = rest.split_once('@').context("a login")?;
    let (port, db) = serve(&format!("{scheme}://{role}:one@{place}"), 1).await?;
    assert_eq!(http::status(port, "/readyz").await?, 200);
    db.execute(sql!("SELECT 1")).await?; // a shared connection too

    let mut held = db.session().await?;
    let started = Instant::now();
    assert_eq!(ready(port).await?, 200);
    let waited = started.elapsed().saturating_sub(LATER);
    assert!(waited < Duration::from_millis(750), "a probe may have a second: {waited:?}");

    password("ALTER", "other").await?;
    held.taint(); // so that the pool has no connection
    drop(held);
    assert_eq!(ready(port).await?, 503);
    db.execute(sql!("SELECT 1")).await?; // though the shared one still works
    password("ALTER", "one").await?;
    let healing = Instant::now();
    while ready(port).await? != 200 {
        ensure!(healing.elapsed() < Duration::from_secs(5), "it does not heal");
    }

    let held = db.session().await?;
    let started = Instant::now();
    while ready(port).await? == 200 {
        ensure!(started.elapsed() < Duration::from_secs(20), "it is ready though nobody gets a connection");
    }
    assert!(started.elapsed() > Duration::from_secs(8), "{:?}", started.elapsed());
    drop(held);
    assert_eq!(ready(port).await?, 200);
    Ok(())
}

/// Fault row N27.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_probe_in_the_middle_of_a_burst_is_ready() -> Result<()> {
    let bed = Bed::new("ready first").await?;
    let url = bed.database().await?;
    migrate(&url, MIGRATIONS).await?;
    let (port, db) = serve(&url, 1).await?;
    let held = db.session().await?;
    let started = Instant::now();
    assert_eq!(http::status(port, "/readyz").await?, 200);
    assert!(
        started.elapsed() < Duration::from_millis(900),
        "a probe may have a second: {:?}",
        started.elapsed()
    );
    let started = Instant::now();
    while ready(port).await? == 200 {
        ensure!(
            started.elapsed() < Duration::from_secs(20),
            "it is ready though nobody ever got a connection"
        );
    }
    drop(held);
    assert_eq!(ready(port).await?, 200);
    Ok(())
}

/// Fault row N25.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_migrations_are_applied_requests_are_503_and_may_be_repeated() -> Result<()> {
    let bed = Bed::new("not migrated").await?;
    let url = bed.database().await?;
    let (port, _db) = serve(&url, 2).await?;
    let answer =
        crate::program::exchange(port, "GET /users HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.contains(r#""code":"unavailable""#) && answer.contains("not set up"), "{answer}");
    migrate(&url, MIGRATIONS).await?;
    assert_eq!(http::status(port, "/users").await?, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_probes_come_at_once_the_database_is_asked_once() -> Result<()> {
    let bed = Bed::new("probes").await?;
    let url = bed.database().await?;
    migrate(&url, MIGRATIONS).await?;
    let (port, db) = serve(&url, 4).await?;
    for status in join_all((0..20).map(|_| http::status(port, "/readyz"))).await {
        assert_eq!(status?, 200);
    }
    assert_eq!(db.statistics().round_trips, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_client_hangs_up_is_committed() -> Result<()> {
    let bed = Bed::new("hung up").await?;
    let url = named(&bed.database().await?, "hung up");
    migrate(&url, MIGRATIONS).await?;
    let (port, _db) = serve(&url, 2).await?;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE users IN EXCLUSIVE MODE").await?;
    let body = r#"{"names":["Thunder"]}"#;
    let head = format!(
        "POST /users HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'hung up'";
    let (admin, started) = (bed.admin().await?, Instant::now()); // within a transaction the view would stay as it is
    while admin.query_one(waits, &[]).await?.get::<_, i64>(0) == 0 {
        ensure!(started.elapsed() < Duration::from_secs(3), "the write does not wait for the lock");
        sleep(Duration::from_millis(10)).await;
    }
    drop(stream);
    sleep(Duration::from_millis(200)).await;
    client.batch_execute("COMMIT").await?;
    let started = Instant::now();
    while client.query_one("SELECT count(*) FROM users", &[]).await?.get::<_, i64>(0) == 0 {
        ensure!(started.elapsed() < Duration::from_secs(3), "nothing was stored");
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
