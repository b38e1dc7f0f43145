//! One suite, two hosts, both ways in which the Worker holds its connections, and PgBouncer before the database.

use std::time::Duration;

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{Answer, Database, Host, Kind, TOKEN, eventually};

/// Runs each test against both hosts, as `both::native::…`, `both::edge_socket::…` and `both::edge_pool::…`; and, where a
/// server is there, through PgBouncer, if that is installed.
macro_rules! both {
    (with a server: $($served:ident),*; without: $($alone:ident),*;) => {
        mod native {
            $(#[tokio::test] async fn $served() -> anyhow::Result<()> { super::$served(super::Kind::Native).await })*
            $(#[tokio::test] async fn $alone() -> anyhow::Result<()> { super::$alone(super::Kind::Native).await })*
        }
        mod edge_socket {
            $(#[tokio::test] async fn $served() -> anyhow::Result<()> { super::$served(super::Kind::Socket).await })*
            $(#[tokio::test] async fn $alone() -> anyhow::Result<()> { super::$alone(super::Kind::Socket).await })*
        }
        mod edge_pool {
            $(#[tokio::test] async fn $served() -> anyhow::Result<()> { super::$served(super::Kind::Pool).await })*
            $(#[tokio::test] async fn $alone() -> anyhow::Result<()> { super::$alone(super::Kind::Pool).await })*
        }
        mod native_bouncer {
            $(#[tokio::test] async fn $served() -> anyhow::Result<()> {
                super::through_a_bouncer(super::Kind::NativeBouncer, super::$served).await
            })*
        }
        mod edge_hyperdrive {
            $(#[tokio::test] async fn $served() -> anyhow::Result<()> {
                super::through_a_bouncer(super::Kind::Hyperdrive, super::$served).await
            })*
        }
        mod edge_socket_bouncer {
            $(#[tokio::test] async fn $served() -> anyhow::Result<()> {
                super::through_a_bouncer(super::Kind::SocketBouncer, super::$served).await
            })*
        }
    };
}

both! {
    with a server:
    two_numbers_are_added_exactly,
    a_sum_beyond_64_bits_is_the_databases_refusal,
    users_are_stored_in_the_order_of_the_request,
    a_name_that_exists_stores_none_of_the_request,
    a_name_twice_in_one_request_stores_neither,
    a_deferred_constraint_is_a_conflict_at_commit,
    users_are_listed_page_by_page,
    names_come_back_as_they_were_sent,
    a_body_that_is_too_large_is_refused,
    only_uncompressed_json_is_read,
    a_query_where_there_is_none_is_refused,
    writes_need_the_token,
    without_a_token_no_one_writes,
    while_everyone_may_write_only_this_machine_is_answered,
    every_answer_has_its_headers,
    unknown_paths_and_methods_are_problems,
    too_many_headers_are_refused,
    a_lock_held_elsewhere_is_contention,
    a_missing_schema_is_not_ready_and_tells_nothing,
    nothing_is_left_in_a_transaction;
    without:
    what_does_not_fit_is_named_and_never_reaches_the_database,
    a_database_that_is_not_there_is_unavailable_and_heals;
}

async fn through_a_bouncer(kind: Kind, test: impl AsyncFnOnce(Kind) -> Result<()>) -> Result<()> {
    match tests::PgBouncer::is_installed() {
        true => test(kind).await,
        false => {
            tests::skip("what goes through a transaction pooler needs the Debian package pgbouncer");
            Ok(())
        }
    }
}

async fn two_numbers_are_added_exactly(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    host.get("/add?a=30000&b=30000").await?.is(200, r#"{"sum":60000}"#);
    host.get("/add?a=9007199254740993&b=1").await?.is(200, r#"{"sum":9007199254740994}"#);
    host.get("/add?b=-2&a=%31").await?.is(200, r#"{"sum":-1}"#);
    host.post("/add", r#"{"a":1,"b":2}"#).await?.is(200, r#"{"sum":3}"#);
    host.post("/add", r#" {"b":-9223372036854775808,"a":9223372036854775807} "#)
        .await?
        .is(200, r#"{"sum":-1}"#);
    Ok(())
}

async fn a_sum_beyond_64_bits_is_the_databases_refusal(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    let problem = host.get("/add?a=9223372036854775807&b=1").await?.is_problem(422, "invalid_data");
    assert_eq!(problem["sqlstate"], "22003");
    host.get("/add?a=1&b=2").await?.is(200, r#"{"sum":3}"#);
    Ok(())
}

async fn users_are_stored_in_the_order_of_the_request(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    let stored = host.post("/users", r#"{"names":["Thunder","Bob"]}"#).await?;
    stored.is(201, r#"{"users":[{"id":1,"name":"Thunder"},{"id":2,"name":"Bob"}]}"#);
    assert_eq!(host.database.names().await?, ["Thunder", "Bob"]);
    Ok(())
}

async fn a_name_that_exists_stores_none_of_the_request(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    host.post("/users", r#"{"names":["Thunder","Bob"]}"#).await?;
    for names in [r#"{"names":["Thunder","Bob"]}"#, r#"{"names":["Zed","Bob"]}"#] {
        let problem = host.post("/users", names).await?.is_problem(409, "unique_violation");
        assert_eq!(
            (&problem["constraint"], &problem["sqlstate"]),
            (&json!("users_name_key"), &json!("23505"))
        );
        assert_eq!(problem["retryable"], false);
    }
    assert_eq!(host.database.names().await?, ["Thunder", "Bob"]);
    assert_eq!(host.post("/users", r#"{"names":["Zed"]}"#).await?.status, 201);
    Ok(())
}

async fn a_name_twice_in_one_request_stores_neither(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    host.post("/users", r#"{"names":["a","a"]}"#).await?.is_problem(409, "unique_violation");
    assert!(host.database.names().await?.is_empty());
    Ok(())
}

async fn a_deferred_constraint_is_a_conflict_at_commit(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    let deferred = "ALTER TABLE users DROP CONSTRAINT users_name_key; \
                    ALTER TABLE users ADD CONSTRAINT users_name_key UNIQUE (name) DEFERRABLE INITIALLY DEFERRED";
    host.database.connect().await?.batch_execute(deferred).await?;
    let problem = host.post("/users", r#"{"names":["a","a"]}"#).await?.is_problem(409, "unique_violation");
    assert_eq!(problem["constraint"], "users_name_key");
    assert!(host.database.names().await?.is_empty());
    Ok(())
}

async fn users_are_listed_page_by_page(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    host.get("/users").await?.is(200, r#"{"users":[],"next":null}"#);
    host.post("/users", r#"{"names":["a","b","c"]}"#).await?;
    host.get("/users?limit=2")
        .await?
        .is(200, r#"{"users":[{"id":1,"name":"a"},{"id":2,"name":"b"}],"next":2}"#);
    host.get("/users?limit=2&after=2").await?.is(200, r#"{"users":[{"id":3,"name":"c"}],"next":null}"#);
    host.get("/users?limit=3")
        .await?
        .is(200, r#"{"users":[{"id":1,"name":"a"},{"id":2,"name":"b"},{"id":3,"name":"c"}],"next":null}"#);
    for query in ["limit=0", "limit=1001", "limit=-1", "limit=", "after=x", "limit=1&limit=1", "page=1"] {
        host.get(&format!("/users?{query}")).await?.is_problem(422, "invalid_request");
    }
    Ok(())
}

async fn names_come_back_as_they_were_sent(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    let names = [
        "😀".repeat(200),
        "Ünï\u{301}cödé \"quoted\" \\ </script>".into(),
        "O'Brien; DROP TABLE users".into(),
    ];
    let body = json!({ "names": names });
    let stored = host.post("/users", body.to_string()).await?;
    assert_eq!(stored.status, 201, "{}", stored.text());
    let escaped = r#"{"names":["\ud83d\ude00"]}"#;
    assert_eq!(host.post("/users", escaped).await?.json()?["users"][0]["name"], "😀");
    let listed = host.get("/users").await?.json()?;
    for (position, name) in names.iter().enumerate() {
        assert_eq!(listed["users"][position]["name"], *name);
    }
    Ok(())
}

async fn what_does_not_fit_is_named_and_never_reaches_the_database(kind: Kind) -> Result<()> {
    // no database at all: whatever took a connection would answer 503
    let database = Database::at("postgres://nobody:none@127.0.0.1:1/none", "none");
    let host = Host::with(kind, database, &[("API_TOKEN", TOKEN)]).await?;
    for body in ["{", "", "{}x", "{\"a\":NaN,\"b\":1}", "[1", "{\"a\":1 \"b\":2}"] {
        host.post("/add", body).await?.is_problem(400, "malformed_request");
        host.post("/users", body).await?.is_problem(400, "malformed_request");
    }
    host.post("/add", b"{\"a\":\"\xff\"}".to_vec()).await?.is_problem(400, "malformed_request");
    host.get("/add?a=%zz&b=1").await?.is_problem(400, "malformed_request");
    for value in ["9223372036854775808", "1.5", "1e3", "1e400", "\"1\"", "null", "true", "[]", "{}"] {
        let problem =
            host.post("/add", format!("{{\"a\":{value},\"b\":1}}")).await?.is_problem(422, "invalid_request");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.starts_with("a: ")), "{problem}");
    }
    for (body, field) in [
        ("[1,2]", "body"),
        ("{\"a\":1}", "b"),
        ("{\"a\":1,\"b\":2,\"c\":3}", "c"),
        ("{\"a\":1,\"a\":1,\"b\":2}", "a"),
    ] {
        let problem = host.post("/add", body).await?.is_problem(422, "invalid_request");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.starts_with(field)), "{problem}");
    }
    for query in
        ["", "a=1", "a=1&b=x", "a=1&b=9223372036854775808", "a=1&b=2&c=3", "a=1&b=2&b=3", "a=1.0&b=1"]
    {
        host.get(&format!("/add?{query}")).await?.is_problem(422, "invalid_request");
    }
    let long = "x".repeat(201);
    let many = vec!["x"; 101];
    for names in [
        json!([]),
        json!(["ok", ""]),
        json!([" \t\u{3000}"]),
        json!([long]),
        json!(many),
        json!(["a\u{0}b"]),
        json!([1]),
        json!("a"),
        json!(null),
        json!({}),
    ] {
        let problem = host.post("/users", json!({ "names": names }).to_string()).await?;
        let problem = problem.is_problem(422, "invalid_request");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.starts_with("names")), "{problem}");
    }
    Ok(())
}

async fn a_body_that_is_too_large_is_refused(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    let large = vec![b' '; 256 * 1024 + 1];
    host.post("/users", large.clone()).await?.is_problem(413, "too_large");
    let chunks = futures_util::stream::iter(
        large.chunks(10_000).map(<[u8]>::to_vec).map(Ok::<_, std::io::Error>).collect::<Vec<_>>(),
    );
    host.post("/users", reqwest::Body::wrap_stream(chunks)).await?.is_problem(413, "too_large");
    for (size, status) in [(256 * 1024 - 1, 201), (256 * 1024, 201), (256 * 1024 + 1, 413)] {
        let mut body = format!("{{\"names\":[\"{size}\"]}}").into_bytes();
        body.resize(size, b' ');
        assert_eq!(host.post("/users", body).await?.status, status, "{size}");
    }
    let emoji: Vec<String> = (0..100).map(|n| format!("{}{n:02}", "\\ud83d\\ude00".repeat(198))).collect();
    let largest = format!("{{\"names\":[\"{}\"]}}", emoji.join("\",\""));
    assert_eq!(host.post("/users", largest).await?.status, 201);
    Ok(())
}

async fn only_uncompressed_json_is_read(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    let post = |headers: &[(&str, &str)]| {
        let mut request = host.request(Method::POST, "/add").body(r#"{"a":1,"b":2}"#);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request)
    };
    for refused in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
        post(&[("content-type", refused)]).await?.is_problem(415, "unsupported_media_type");
    }
    post(&[]).await?.is_problem(415, "unsupported_media_type");
    let compressed = post(&[("content-type", "application/json"), ("content-encoding", "gzip")]).await?;
    compressed.is_problem(415, "unsupported_media_type");
    assert_eq!(compressed.header("accept-encoding"), "identity");
    post(&[("content-type", "application/json"), ("content-encoding", "Identity")])
        .await?
        .is(200, r#"{"sum":3}"#);
    post(&[("content-type", "application/json; charset=utf-8")]).await?.is(200, r#"{"sum":3}"#);
    Ok(())
}

async fn a_query_where_there_is_none_is_refused(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    host.post("/add?a=1", r#"{"a":1,"b":2}"#).await?.is_problem(422, "invalid_request");
    host.post("/users?dry_run=true", r#"{"names":["a"]}"#).await?.is_problem(422, "invalid_request");
    assert!(host.database.names().await?.is_empty());
    host.post("/add?", r#"{"a":1,"b":2}"#).await?.is(200, r#"{"sum":3}"#);
    Ok(())
}

async fn writes_need_the_token(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    let post = || {
        let request = host.request(Method::POST, "/users").header("content-type", "application/json");
        request.body(r#"{"names":["a"]}"#)
    };
    let none = Answer::of(post()).await?;
    none.is_problem(401, "unauthorized");
    assert_eq!(none.header("www-authenticate"), "Bearer");
    let wrong = Answer::of(post().bearer_auth("not-the-token-0123456789")).await?;
    wrong.is_problem(401, "unauthorized");
    assert_eq!(wrong.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    assert!(host.database.names().await?.is_empty());
    // the media type is looked at before anything else
    let form = host.request(Method::POST, "/users").header("content-type", "text/plain").body("{");
    Answer::of(form).await?.is_problem(415, "unsupported_media_type");
    assert_eq!(Answer::of(post().bearer_auth(TOKEN)).await?.status, 201);
    Ok(())
}

async fn without_a_token_no_one_writes(kind: Kind) -> Result<()> {
    let host = Host::with(kind, Database::migrated().await?, &[]).await?;
    let problem = host.post("/users", r#"{"names":["a"]}"#).await?.is_problem(403, "forbidden");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("API_TOKEN")), "{problem}");
    host.get("/add?a=1&b=2").await?.is(200, r#"{"sum":3}"#);
    Ok(())
}

async fn while_everyone_may_write_only_this_machine_is_answered(kind: Kind) -> Result<()> {
    let host = Host::with(kind, Database::migrated().await?, &[("ALLOW_ANONYMOUS_WRITES", "true")]).await?;
    let write = |name: &str, headers: &[(&str, String)]| {
        let mut request = host.request(Method::POST, "/users").header("content-type", "application/json");
        for (header, value) in headers {
            request = request.header(*header, value);
        }
        Answer::of(request.body(json!({ "names": [name] }).to_string()))
    };
    assert_eq!(write("a", &[]).await?.status, 201);
    assert_eq!(write("b", &[("origin", host.url())]).await?.status, 201);
    for origin in ["http://example.com", "null", "http://127.0.0.1:1"] {
        write("c", &[("origin", origin.into())]).await?.is_problem(403, "forbidden");
    }
    write("c", &[("host", "rebound.example.com".into())]).await?.is_problem(403, "forbidden");
    let read = host.request(Method::GET, "/add?a=1&b=2").header("host", "rebound.example.com");
    Answer::of(read).await?.is_problem(403, "forbidden");
    assert_eq!(host.database.names().await?, ["a", "b"]);
    Ok(())
}

async fn every_answer_has_its_headers(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    let mut ids = std::collections::HashSet::new();
    for (path, asked) in
        [("/add?a=1&b=2", true), ("/users", true), ("/livez", false), ("/nowhere", false), ("/add", false)]
    {
        let answer = host.get(path).await?;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(ids.insert(answer.header("x-request-id").to_owned()), "{path}");
        let timing = answer.header("server-timing");
        assert_eq!(
            timing.starts_with("db;dur=") && timing.ends_with(";desc=\"1 round trip\""),
            asked,
            "{path}: {timing}"
        );
    }
    let stored = host.post("/users", r#"{"names":["a","b"]}"#).await?;
    assert!(stored.header("server-timing").ends_with(";desc=\"1 round trip\""), "{:?}", stored.headers);
    let given = Answer::of(host.request(Method::GET, "/livez").header("x-request-id", "Abc-123")).await?;
    assert_eq!(given.header("x-request-id"), "Abc-123");
    for bad in ["", "a b", "a_b", &"x".repeat(65)] {
        let answer = Answer::of(host.request(Method::GET, "/livez").header("x-request-id", bad)).await?;
        assert_eq!(answer.header("x-request-id").len(), 36, "{bad}");
    }
    Ok(())
}

async fn unknown_paths_and_methods_are_problems(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    for path in ["/nowhere", "/add/", "/Users", "//add"] {
        host.get(path).await?.is_problem(404, "not_found");
    }
    let refused = Answer::of(host.request(Method::DELETE, "/users")).await?;
    refused.is_problem(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), "GET,HEAD,POST");
    let refused = Answer::of(host.request(Method::POST, "/livez")).await?;
    refused.is_problem(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), "GET,HEAD");
    let head = Answer::of(host.request(Method::HEAD, "/add?a=1&b=2")).await?;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-type"), "application/json");
    Ok(())
}

async fn too_many_headers_are_refused(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    let mut many = host.request(Method::GET, "/livez");
    for number in 0..101 {
        many = many.header(format!("x-{number}"), "1");
    }
    Answer::of(many).await?.is_problem(431, "headers_too_large");
    let large = host.request(Method::GET, "/livez").header("x-large", "x".repeat(20_000));
    Answer::of(large).await?.is_problem(431, "headers_too_large");
    host.get(&format!("/livez?{}", "x".repeat(17_000))).await?.is_problem(431, "headers_too_large");
    Ok(())
}

async fn a_lock_held_elsewhere_is_contention(kind: Kind) -> Result<()> {
    let settings = [("API_TOKEN", TOKEN), ("LOCK_TIMEOUT_MS", "300")];
    let host = Host::with(kind, Database::migrated().await?, &settings).await?;
    let other = host.database.connect().await?;
    other.batch_execute("BEGIN; LOCK TABLE users IN EXCLUSIVE MODE").await?;
    let answer = host.post("/users", r#"{"names":["a"]}"#).await?;
    let problem = answer.is_problem(503, "contention");
    assert_eq!((&problem["sqlstate"], &problem["retryable"]), (&json!("55P03"), &json!(true)));
    assert_eq!(answer.header("retry-after"), "1");
    other.batch_execute("ROLLBACK").await?;
    assert_eq!(host.post("/users", r#"{"names":["a"]}"#).await?.status, 201);
    Ok(())
}

async fn a_missing_schema_is_not_ready_and_tells_nothing(kind: Kind) -> Result<()> {
    let host = Host::with(kind, Database::empty().await?, &[("API_TOKEN", TOKEN)]).await?;
    assert_eq!(host.get("/livez").await?.status, 200);
    host.get("/readyz").await?.is_problem(503, "unavailable");
    let answer = host.get("/users").await?;
    answer.is_problem(503, "unavailable");
    assert!(!answer.text().contains("users"), "{}", answer.text());
    host.database.migrate()?;
    eventually("ready", async || Ok(host.get("/readyz").await?.status == 200)).await
}

async fn a_database_that_is_not_there_is_unavailable_and_heals(kind: Kind) -> Result<()> {
    let mut cluster = tests::Cluster::throwaway(&[]).await?;
    let url = cluster.create_database("late").await?;
    let database = Database::at(url, "late");
    database.migrate()?;
    cluster.stop().await?;
    let mut host = Host::with(kind, database, &[("API_TOKEN", TOKEN), ("ACQUIRE_TIMEOUT_MS", "500")]).await?;
    assert_eq!(host.get("/livez").await?.status, 200);
    host.get("/readyz").await?.is_problem(503, "unavailable");
    let answer = host.get("/add?a=1&b=2").await?;
    assert_eq!(answer.is_problem(503, "unavailable")["retryable"], true);
    assert_eq!(answer.header("retry-after"), "1");
    for told in ["127.0.0.1", &cluster.port().to_string(), "pgspan"] {
        assert!(!answer.text().contains(told), "{told}: {}", answer.text());
    }
    cluster.start().await?;
    tokio::time::sleep(Duration::from_secs(2)).await; // the contract's promise
    host.get("/add?a=1&b=2").await?.is(200, r#"{"sum":3}"#);
    let password = host.database.url.split([':', '@']).nth(2).unwrap_or("none").to_owned();
    assert!(!host.log()?.contains(&password), "the password is in the log");
    Ok(())
}

async fn nothing_is_left_in_a_transaction(kind: Kind) -> Result<()> {
    let host = Host::start(kind).await?;
    host.post("/users", r#"{"names":["a"]}"#).await?;
    host.post("/users", r#"{"names":["b","a"]}"#).await?.is_problem(409, "unique_violation");
    // a client that hangs up in the middle of a write
    let other = host.database.connect().await?;
    other.batch_execute("BEGIN; LOCK TABLE users IN EXCLUSIVE MODE").await?;
    let write =
        tokio::time::timeout(Duration::from_millis(200), host.post("/users", r#"{"names":["c","d"]}"#)).await;
    assert!(write.is_err());
    other.batch_execute("ROLLBACK").await?;
    // one that hangs up in the middle of its request
    let mut stream = TcpStream::connect(host.url().trim_start_matches("http://")).await?;
    let half = format!(
        "POST /users HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 40\r\n\r\n{{\"names\":[\"half\"]"
    );
    stream.write_all(half.as_bytes()).await?;
    drop(stream);
    eventually("no connection in a transaction", async || {
        Ok(!host
            .database
            .states()
            .await?
            .iter()
            .any(|state| state.contains("transaction") || state == "active"))
    })
    .await?;
    let names = host.database.names().await?;
    assert!(names == ["a"] || names == ["a", "c", "d"], "whole or nothing: {names:?}");
    host.get("/add?a=1&b=2").await?.is(200, r#"{"sum":3}"#);
    if kind == Kind::Socket {
        eventually("every connection closed", async || Ok(host.database.states().await?.is_empty())).await?;
    }
    Ok(())
}
