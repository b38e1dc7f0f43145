//! What only the Worker does.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::support::{Database, Host, Kind};

#[tokio::test]
async fn a_missing_setting_is_named_in_every_answer() -> Result<()> {
    // the bed waits for /livez, which such a Worker answers with 500, so it is started with another fault first
    let is_named = async |kind: Kind| {
        let database = Database { url: "postgres://u@127.0.0.1:1/d".into(), name: "d".into() };
        let settings = [("API_TOKEN", "short"), ("STATEMENT_TIMEOUT_MS", "soon")];
        let error = match Host::with(kind, database, &settings).await {
            Ok(_) => anyhow::bail!("a Worker with a wrong setting called itself alive"),
            Err(error) => format!("{error:#}"),
        };
        for part in ["500", "API_TOKEN", "STATEMENT_TIMEOUT_MS"] {
            assert!(error.contains(part), "{kind:?}, {part}: {error}");
        }
        Ok(())
    };
    tokio::try_join!(is_named(Kind::Socket), is_named(Kind::Pool))?;
    Ok(())
}

#[tokio::test]
async fn many_requests_in_one_isolate_do_not_touch_each_others_sockets() -> Result<()> {
    let host = Host::start(Kind::Socket).await?;
    let sums = (0..200).map(|number| {
        let host = &host;
        async move { host.get(&format!("/add?a={number}&b=1")).await.map(|answer| (number, answer)) }
    });
    let mut sums = futures_util::stream::StreamExt::buffer_unordered(futures_util::stream::iter(sums), 16);
    while let Some(answer) = futures_util::stream::StreamExt::next(&mut sums).await {
        let (number, answer) = answer?;
        answer.is(200, &format!("{{\"sum\":{}}}", number + 1));
    }
    Ok(())
}

#[tokio::test]
async fn the_pool_keeps_its_connections_between_requests_and_opens_no_more_than_five() -> Result<()> {
    let host = Host::start(Kind::Pool).await?;
    let backends = async || -> Result<Vec<i32>> {
        let query = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND application_name = 'pgspan' ORDER BY pid";
        let rows = host.database.connect().await?.query(query, &[&host.database.name]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    };
    let ask = async |number: u32| -> Result<()> {
        match number % 2 {
            0 => host.get("/add?a=1&b=2").await?.is(200, r#"{"sum":3}"#),
            _ => assert_eq!(host.post("/users", format!("{{\"names\":[\"{number}\"]}}")).await?.status, 201),
        }
        Ok(())
    };
    let answers = futures_util::stream::iter((0..200).map(&ask));
    futures_util::TryStreamExt::try_collect::<Vec<()>>(futures_util::StreamExt::buffer_unordered(
        answers, 32,
    ))
    .await?;
    let before = backends().await?;
    assert!((1..=5).contains(&before.len()), "{before:?}");
    for number in 200..220 {
        ask(number).await?;
    }
    assert_eq!(backends().await?, before, "the same connections, none opened anew");
    Ok(())
}

#[tokio::test]
async fn the_worker_is_at_most_400_kib_and_its_cold_start_is_told() -> Result<()> {
    let worker = tests::root().join("edge-worker");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for part in ["entry.mjs", "build/index.js", "build/index_bg.wasm"] {
        std::io::Write::write_all(&mut packed, &std::fs::read(worker.join(part))?)?;
    }
    let size = packed.finish()?.len();
    let database = Database::migrated().await?;
    let started = std::time::Instant::now();
    let host = Host::with(Kind::Pool, database, &[]).await?;
    host.get("/add?a=1&b=2").await?.is(200, r#"{"sum":3}"#);
    let told = format!(
        "the Worker: {} KiB (gzip), from the runtime's start to the first answer of PostgreSQL {} ms\n",
        size / 1024,
        started.elapsed().as_millis()
    );
    // not by println, which the test runner keeps to itself
    std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes())?;
    assert!(size <= 400 * 1024, "{size} bytes");
    Ok(())
}

#[tokio::test]
async fn deadlines_that_pass_at_once_in_several_objects_are_each_answered_in_time() -> Result<()> {
    let each_in_time = async |kind: Kind| {
        // so that it is the request's own deadline, of 10 s, that passes
        let patient = [("POOL_SHARDS", "3"), ("STATEMENT_TIMEOUT_MS", "60000"), ("LOCK_TIMEOUT_MS", "60000")];
        let host = &Host::with(kind, Database::migrated().await?, &patient).await?;
        let other = host.database.connect().await?;
        other.batch_execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE").await?;
        let asked = (0..12).map(|number| async move {
            tokio::time::sleep(Duration::from_millis(100) * number).await;
            let sent = Instant::now();
            anyhow::Ok((host.get("/users").await?, sent.elapsed()))
        });
        for (answer, took) in futures_util::future::try_join_all(asked).await? {
            answer.is_problem(504, "timeout");
            assert!((9_900..13_000).contains(&took.as_millis()), "{kind:?}: {took:?}");
        }
        other.batch_execute("ROLLBACK").await?;
        assert_eq!(host.get("/users").await?.status, 200);
        anyhow::Ok(())
    };
    tokio::try_join!(each_in_time(Kind::Pool), each_in_time(Kind::Socket))?;
    Ok(())
}

#[tokio::test]
async fn several_objects_share_the_load() -> Result<()> {
    let database = Database::migrated().await?;
    let host = Host::with(Kind::Pool, database, &[("POOL_SHARDS", "3"), ("DATABASE_SHARED", "1")]).await?;
    for number in 0..60 {
        host.get(&format!("/add?a={number}&b=1")).await?.is(200, &format!("{{\"sum\":{}}}", number + 1));
    }
    // one request at a time needs one connection of each object
    assert_eq!(host.database.states().await?.len(), 3);
    Ok(())
}
