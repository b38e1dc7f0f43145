//! Several hosts: one that says nothing does not keep anyone from the others.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pgspan::{Settings, sql};
use pgspan_server::check;
use pgspan_server::migrate::{migrate, status};
use tokio::net::TcpListener;

use crate::bed::{Bed, MIGRATIONS, pool};

/// The URL with hosts before its own.
fn behind(url: &str, hosts: &[String]) -> Result<String> {
    let (before, after) = url.split_once('@').context("a login")?;
    Ok(format!("{before}@{},{after}", hosts.join(",")))
}

/// A host that accepts, and says nothing.
async fn silent() -> Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    Ok((listener, address))
}

#[tokio::test]
async fn behind_a_host_that_says_nothing_the_next_one_is_used_by_serve_check_and_migrate() -> Result<()> {
    let bed = Bed::new("hosts silent").await?;
    let (_listening, silent) = silent().await?;
    let url = behind(&bed.database().await?, &[silent])?;
    let started = Instant::now();
    assert_eq!(migrate(&url, MIGRATIONS).await?, ["users"]);
    // it has 10 s, of which the silent host gets the half
    assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());

    let started = Instant::now();
    let all = status(&format!("{url}&connect_timeout=1"), MIGRATIONS).await?;
    assert!(all.iter().all(|one| one.applied.is_some()));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());

    let limit = Duration::from_secs(2);
    let started = Instant::now();
    let found = check::check(&url.parse()?, &Settings::default(), limit, MIGRATIONS).await?;
    assert!(found.len() == 5 && found.iter().all(|one| one.good), "{found:?}");
    assert!(started.elapsed() < limit, "{:?}", started.elapsed());

    let started = Instant::now();
    // a caller that waits less than a connection may take
    let db = pool(&url, 1000, |pool| pool.connect_timeout = Duration::from_secs(3))?;
    let one: i32 = db.session().await?.fetch_one(sql!("SELECT 1")).await?;
    assert_eq!(one, 1);
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    Ok(())
}

#[tokio::test]
async fn when_no_host_can_be_used_the_error_says_how_many_were_tried_and_why_the_last_failed() -> Result<()> {
    let (_one_listens, one) = silent().await?;
    let (_other_listens, other) = silent().await?;
    let url = format!("postgres://alice:CANARY@{one},{other}/d");
    let error = pool(&url, 2000, |pool| pool.connect_timeout = Duration::from_millis(400))?;
    let error = error.session().await.err().context("nobody answers")?;
    let expected = "none of 2 addresses can be used, the last: could not connect: no answer within ";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert!(error.is_retryable(), "{error}");
    Ok(())
}

#[tokio::test]
async fn when_no_host_takes_writes_the_error_names_what_was_asked_for() -> Result<()> {
    let bed = Bed::new("hosts read only").await?;
    let url = bed.database().await?;
    let place = url.split('@').nth(1).and_then(|rest| rest.split('/').next()).context("a host")?;
    let name = url.rsplit('/').next().and_then(|path| path.split('?').next()).context("a name")?;
    let url = format!("{}&target_session_attrs=read-write", behind(&url, &[place.to_owned()])?);
    let alter = format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = on");
    bed.admin().await?.batch_execute(&alter).await?;
    let expected = "none of 2 addresses can be used, the last: could not connect: it takes no writes, and \
        target_session_attrs=read-write asks for a server that does";

    let error = pool(&url, 2000, |_| {})?.session().await.err().context("it takes writes")?;
    assert_eq!(error.to_string(), expected);
    let error = migrate(&url, MIGRATIONS).await.err().context("it migrated")?;
    assert_eq!(error.to_string(), expected);
    let limit = Duration::from_secs(2);
    let found = check::check(&url.parse()?, &Settings::default(), limit, MIGRATIONS).await?;
    assert!(found.len() == 1 && found.iter().all(|one| !one.good && one.text == expected), "{found:?}");

    let reading = url.replace("read-write", "read-only");
    assert!(pool(&reading, 2000, |_| {})?.session().await.is_ok());
    Ok(())
}

/// Fault row N10.
#[tokio::test]
async fn a_silent_host_costs_its_time_once_and_not_at_each_connection() -> Result<()> {
    let bed = Bed::new("hosts first").await?;
    let (_listening, silent) = silent().await?;
    let url = behind(&bed.database().await?, &[silent])?;
    let db = pool(&url, 3000, |pool| pool.connect_timeout = Duration::from_secs(3))?;
    let first = db.session().await?;
    let started = Instant::now();
    let mut more = Vec::new();
    for _ in 0..4 {
        more.push(db.session().await?);
    }
    assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
    let one: i32 = db.fetch_one(sql!("SELECT 1")).await?; // on a shared connection
    assert!(one == 1 && started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    drop((first, more));
    Ok(())
}

/// Fault row N16.
#[tokio::test]
async fn each_reason_for_which_a_host_can_not_be_used_is_told() -> Result<()> {
    let (_listening, silent) = silent().await?;
    let refused = format!("127.0.0.1:{}", tests::free_port()?);
    let url = format!("postgres://alice:CANARY@no-such-host.invalid,{refused},{silent}/d?sslmode=disable");
    let url = pgspan::ConnectionUrl::over_private_link(&url)?;
    let mut limits = Settings::default();
    limits.acquire_timeout = Duration::from_secs(3);
    let mut pool = pgspan_server::PoolSettings::default();
    pool.connect_timeout = Duration::from_millis(1500);
    let driver = pgspan_server::Driver::new(&url, &limits, pool)?;
    let error =
        pgspan::connect_with(driver, limits).session().await.err().context("nobody answers")?.to_string();
    let start = "none of 3 addresses can be used (the host's name has no address: ";
    assert!(error.starts_with(start) && error.contains(" (DNS); connection refused), the last: "), "{error}");
    assert!(
        error.contains("no answer within") && !error.contains("CANARY") && !error.contains("invalid"),
        "{error}"
    );
    Ok(())
}

/// Fault row N14.
#[tokio::test]
async fn plain_text_to_another_host_needs_a_setting_of_its_own_and_is_warned_of() -> Result<()> {
    use crate::program::{run, serving};
    let url = "postgres://u@192.0.2.1/d?sslmode=disable&connect_timeout=1";
    for command in [&["check"][..], &["migrate"]] {
        let (code, _, faults) = run(command, &[("DATABASE_URL", url)])?;
        assert!(code == Some(2) && faults.contains("DATABASE_PRIVATE_LINK=true"), "{command:?}: {faults}");
        let private =
            [("DATABASE_URL", url), ("DATABASE_PRIVATE_LINK", "true"), ("CONNECT_TIMEOUT_MS", "300")];
        let (code, _, faults) = run(command, &private)?;
        assert!(code == Some(1) && !faults.contains("DATABASE_PRIVATE_LINK"), "it is not tried: {faults}");
    }
    let (code, _, faults) = run(&["check"], &[("DATABASE_URL", url), ("DATABASE_PRIVATE_LINK", "yes")])?;
    assert!(code == Some(2) && faults.contains("DATABASE_PRIVATE_LINK: must be true or false"), "{faults}");
    // a loopback host needs none, and who encrypts is not warned
    let (_process, _, log) = serving("private", url, &[("DATABASE_PRIVATE_LINK", "true")]).await?;
    let (_other, _, quiet) =
        serving("private-not", "postgres://u@127.0.0.1:1/d", &[("DATABASE_PRIVATE_LINK", "true")]).await?;
    assert!(std::fs::read_to_string(log)?.contains("connections to the database are not encrypted"));
    assert!(!std::fs::read_to_string(quiet)?.contains("not encrypted"));
    Ok(())
}
