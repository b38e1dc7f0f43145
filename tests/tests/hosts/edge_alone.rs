//! What only the Worker does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use reqwest::Method;
use tests::Launch;

use crate::kept::Kept;
use crate::support::{Answer, Database, Host, Kind, TOKEN, eventually};

/// What is wrong with these settings, as every request is told. Siblings of the missing one that were looked for: each kind of value
/// that `[vars]` can hold, for settings of each kind.
async fn faults(settings: &[(&str, &str)]) -> Result<String> {
    let url = [("DATABASE_URL", "postgres://u@127.0.0.1:1/d")];
    let url = &url[..usize::from(!settings.iter().any(|(name, _)| *name == "DATABASE_URL"))];
    let settings = [url, settings].concat();
    let edge = Launch { settings: &settings, livez: 500, ..Launch::default() }.start().await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let answer = Answer::of(http.get(edge.url() + "/livez")).await?;
    let problem = answer.is_problem(500, "misconfigured");
    Ok(problem["detail"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_setting_that_is_missing_or_nonsense_is_named_in_every_answer() -> Result<()> {
    let mut cases = Vec::new();
    for connect in ["pool", "socket"] {
        let connect = ("PGSPAN_CONNECT", connect);
        cases.push(vec![connect, ("API_TOKEN", "short"), ("STATEMENT_TIMEOUT_MS", "soon")]);
        cases.push(vec![connect, ("API_TOKEN", "json:{\"a\":1}"), ("STATEMENT_TIMEOUT_MS", "json:[500]")]);
        cases.push(vec![connect, ("ALLOW_ANONYMOUS_WRITES", "yes"), ("DATABASE_PREPARE", "json:1")]);
        cases.push(vec![connect, ("ALLOW_ANONYMOUS_WRITES", "json:0"), ("STATEMENT_TIMEOUT_MS", "json:1.5")]);
        cases.push(vec![connect, ("DATABASE_URL", "json:null"), ("LOCK_TIMEOUT_MS", "json:{}")]);
        cases.push(vec![connect, ("PGSPAN_LOGIN", "json:[]")]);
    }
    for shards in ["three", "-2", "0", "json:1e9", "json:true", "json:[1]"] {
        cases.push(vec![("POOL_SHARDS", shards), ("POOL_LOCATION_HINT", "nowhere"), ("MAX_REQUESTS", "0")]);
    }
    cases.push(vec![("POOL_SIZE", "json:6")]);
    cases.push(vec![
        ("POOL_LOCATION_HINT", "json:7"),
        ("MAX_REQUESTS", "json:1.5"),
        ("POOL_SIZE", "json:{}"),
    ]);
    cases.push(vec![("PGSPAN_CONNECT", "json:1")]);
    for settings in cases {
        let faults = faults(&settings).await?;
        for (name, value) in settings.iter().filter(|(_, value)| !["pool", "socket"].contains(value)) {
            assert!(faults.contains(&format!("{name}: ")), "{name}={value}: {faults}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn settings_may_be_numbers_and_booleans() -> Result<()> {
    for kind in [Kind::Pool, Kind::Socket] {
        let settings = [
            ("STATEMENT_TIMEOUT_MS", "json:600"),
            ("LOCK_TIMEOUT_MS", "json:500"),
            ("ALLOW_ANONYMOUS_WRITES", "json:true"),
            ("DATABASE_PREPARE", "json:false"),
            ("POOL_SHARDS", "json:2"),
            ("MAX_REQUESTS", "json:9"),
        ];
        let host = Host::with(kind, Database::migrated().await?, &settings).await?;
        let other = host.database.connect().await?;
        other.batch_execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE").await?;
        let asked = Instant::now();
        host.get("/users").await?.is_problem(503, "contention");
        // by default a lock is waited for for two seconds
        assert!(asked.elapsed() < Duration::from_millis(1_900), "{kind:?}: {:?}", asked.elapsed());
        other.batch_execute("ROLLBACK").await?;
        let write = host.request(Method::POST, "/users").header("content-type", "application/json");
        assert_eq!(Answer::of(write.body(r#"{"names":["a"]}"#)).await?.status, 201, "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_object_answers_only_so_many_requests_at_a_time() -> Result<()> {
    let settings = [("MAX_REQUESTS", "8"), ("API_TOKEN", TOKEN)];
    let host = Host::with(Kind::Pool, Database::migrated().await?, &settings).await?;
    let port = host.url().rsplit(':').next().unwrap_or_default().parse()?;
    let head = "POST /add HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"a\":1";
    for _ in 0..2 {
        let mut held = Vec::new();
        for _ in 0..8 {
            let mut kept = Kept::to(port).await?;
            kept.send(head.as_bytes()).await?;
            held.push(kept);
        }
        eventually("eight are inside", async || Ok(host.get("/livez").await?.status == 503)).await?;
        for path in ["/add", "/users", "/nowhere"] {
            let refused = host.post(path, vec![b' '; 200_000]).await?;
            let problem = refused.is_problem(503, "unavailable");
            assert_eq!((refused.header("retry-after"), &problem["retryable"]), ("1", &true.into()));
        }
        for kept in &mut held {
            kept.send(b",\"b\":2}").await?;
            assert_eq!(kept.answer(false).await?.text(), r#"{"sum":3}"#);
        }
        assert_eq!(host.get("/livez").await?.status, 200);
        // and those who leave in the middle make room, too: their bodies break off
        for _ in 0..8 {
            Kept::to(port).await?.send(head.as_bytes()).await?;
        }
        eventually("there is room", async || Ok(host.get("/livez").await?.status == 200)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_declared_too_large_is_refused_before_it_comes() -> Result<()> {
    for kind in [Kind::Pool, Kind::Socket] {
        let host = Host::start(kind).await?;
        let port = host.url().rsplit(':').next().unwrap_or_default().parse()?;
        for (path, token, status) in
            [("/users", TOKEN, 413), ("/add", TOKEN, 413), ("/users", "none", 401), ("/nowhere", "none", 404)]
        {
            for length in [262_145, 1_000_000, 1_048_577, 1_000_000_000_u64] {
                let mut kept = Kept::to(port).await?;
                let asked = Instant::now();
                let head = format!(
                    "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
                     authorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n{{"
                );
                kept.send(head.as_bytes()).await?;
                let answer = kept.answer(false).await?;
                assert_eq!(answer.status, status, "{kind:?} {path} {length}: {}", answer.text());
                // the rest of one that could still be taken is waited for, for a second
                let limit = Duration::from_millis(if length > 1_048_576 { 900 } else { 3_000 });
                assert!(asked.elapsed() < limit, "{kind:?} {path} {length}: {:?}", asked.elapsed());
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn uploads_of_anybody_that_are_held_open_are_not_kept() -> Result<()> {
    let settings = [("API_TOKEN", TOKEN)];
    let mut host = Host::with(Kind::Pool, Database::migrated().await?, &settings).await?;
    let port = host.url().rsplit(':').next().unwrap_or_default().parse()?;
    let before = host.memory()?;
    let mut held = Vec::new();
    for number in 0..900 {
        let path = if number % 10 == 0 { "/users" } else { "/add" };
        let mut kept = Kept::to(port).await?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 250000\r\n\r\n"
        );
        kept.send(head.as_bytes()).await?;
        // what is refused may be closed before it has all been sent
        let _ = kept.send(&vec![b' '; 249_999]).await;
        held.push(kept);
    }
    let mut most = 0;
    for _ in 0..50 {
        most = most.max(host.memory()?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let grown = most.saturating_sub(before);
    // 900 connections and what they sent are 62 MB by themselves; were all bodies kept, or drained at once, it would be 320 and 150
    assert!(grown < 140_000, "{before} KiB, and {grown} more");
    drop(held);
    eventually("it is well", async || Ok(host.get("/add?a=1&b=2").await?.status == 200)).await
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
    // as the benchmark does, and wrangler: other programs for the same form pack half a percent worse
    let mut gzip = std::process::Command::new("gzip");
    gzip.args(["-9", "-c"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut gzip = gzip.spawn().context("gzip")?;
    let mut parts = Vec::new();
    for part in ["entry.mjs", "build/index.js", "build/index_bg.wasm"] {
        parts.extend(std::fs::read(worker.join(part))?);
    }
    let mut input = gzip.stdin.take().context("gzip takes nothing")?;
    let feeding = std::thread::spawn(move || std::io::Write::write_all(&mut input, &parts));
    let size = gzip.wait_with_output()?.stdout.len();
    feeding.join().map_err(|_| anyhow::anyhow!("gzip took nothing"))??;
    assert!(size > 100_000, "gzip gave {size} bytes");
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
async fn connections_are_given_up_when_no_request_came_for_as_long_as_was_set() -> Result<()> {
    let settings = [("POOL_IDLE_TIMEOUT_MS", "2000")];
    let host = Host::with(Kind::Pool, Database::migrated().await?, &settings).await?;
    for _ in 0..2 {
        for number in 0..4 {
            host.get("/users").await?.is(200, r#"{"users":[],"next":null}"#);
            assert!(!host.database.states().await?.is_empty(), "request {number}");
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        eventually("they are given up", async || Ok(host.database.states().await?.is_empty())).await?;
    }
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
