//! Every answer of the application, to the byte, as `answers.txt` has it: an answer is a promise to its callers, and a change of
//! one must be seen. `PGSPAN_WRITE_ANSWERS=1 cargo test -p pgspan-app --test answers` writes the file anew.
//!
//! Siblings that were looked for: each endpoint with each way to fail its input, in the query and in the body; who may write, in each of
//! the three modes; each class of SQLSTATE for a read and for a write; what is no answer at all.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use pgspan::testing::{Reply, ScriptedDriver};
use pgspan::types::Type;
use pgspan_app::router;
use pgspan_http::{Options, Writes, misconfigured};
use tower::ServiceExt;

const TOKEN: &str = "a-token-of-the-tests";
const WRITER: &[(&str, &str)] = &[JSON, ("authorization", "Bearer a-token-of-the-tests")];
const JSON: (&str, &str) = ("content-type", "application/json");
const BOB: &str = r#"{"names":["Bob"]}"#;

#[tokio::test]
async fn every_answer_is_as_it_is_written() {
    let found = answers().await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/answers.txt");
    if std::env::var_os("PGSPAN_WRITE_ANSWERS").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap();
    for (found, expected) in std::iter::zip(found.lines(), expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found, expected);
}

async fn answers() -> String {
    let mut all = String::new();
    inputs(&mut all).await;
    writers(&mut all).await;
    failures(&mut all).await;
    let faults = [
        pgspan::Error::new(pgspan::Kind::Config, "ONE: is wrong"),
        pgspan::Error::new(pgspan::Kind::Config, "TWO: is"),
    ];
    ask(&mut all, misconfigured(&faults), "GET /add?a=1&b=2", &[], "").await;
    all
}

/// What is read of a request.
async fn inputs(all: &mut String) {
    for request in [
        "GET /add?a=1&b=2",
        "HEAD /add?a=1&b=2",
        "GET /add?a=%31&b=-2",
        "GET /add",
        "GET /add?a=1",
        "GET /add?a=1&b=x",
        "GET /add?a=1&b=2&c=3",
        "GET /add?a=1&b=2&b=3",
        "GET /add?a=9223372036854775808&b=1",
        "GET /add?a=%zz&b=1",
        "GET /add?a=+1&b=1",
        "GET /users",
        "GET /users?limit=1&after=0",
        "GET /users?limit=0",
        "GET /users?limit=1001",
        "GET /users?limit=x",
        "GET /users?after=",
        "GET /users?limit=0&page=1",
        "GET /users?limit=1&limit=1",
        "GET /livez",
        "GET /readyz",
        "GET /nowhere",
        "GET /add/",
        "DELETE /users",
        "POST /livez",
        "PUT /add",
    ] {
        served(all, request, &[], "", Reply::ok()).await;
    }
    for body in [
        r#"{"a":1,"b":2}"#,
        "",
        "{",
        "{}x",
        "[1,2]",
        "1",
        "{}",
        r#"{"a":1}"#,
        r#"{"a":1,"b":2,"c":3}"#,
        r#"{"a":1,"a":1,"b":2}"#,
        r#"{"a":NaN}"#,
        r#"{"a":1e400,"b":1}"#,
        r#"{"b":1,"a":  -1.5E999}"#,
        r#"{"a":1.5,"b":1}"#,
        r#"{"a":1e3,"b":1}"#,
        r#"{"a":9223372036854775808,"b":1}"#,
        r#"{"a":"1, expected 2","b":1}"#,
        r#"{"a":"\ud800","b":1}"#,
        r#"{"a":1,"b":null}"#,
        r#"{"a":1,"b":[]}"#,
        r#"{"a":1,"b":{}}"#,
        r#"{"a":1,"b":true}"#,
        r#"{"\ud800":1}"#,
    ] {
        served(all, "POST /add", &[JSON], body, Reply::ok()).await;
    }
    for body in [
        BOB,
        r#"{"names":["\ud83d\ude00"]}"#,
        r#"{"names":[]}"#,
        r#"{"names":["ok",""]}"#,
        r#"{"names":[" \t\u3000"]}"#,
        r#"{"names":["a\u0000b"]}"#,
        r#"{"names":[1]}"#,
        r#"{"names":["ok",null]}"#,
        r#"{"names":["ok",1e400]}"#,
        r#"{"names":["ok","\ud800"]}"#,
        r#"{"names":["ok","\udc00\\"]}"#,
        r#"{"names":"a"}"#,
        r#"{"names":"\ud800"}"#,
        r#"{"names":1e400}"#,
        r#"{"names":null}"#,
        r#"{"names":{}}"#,
        r#"{"names":["a"],"x":1}"#,
        r#"{"name":["a"]}"#,
        &format!(r#"{{"names":["{}"]}}"#, "x".repeat(201)),
        &format!(r#"{{"names":[{}"x"]}}"#, r#""x","#.repeat(100)),
        &format!(r#"{{"{}":1}}"#, "y".repeat(100)),
        &" ".repeat(256 * 1024 + 1),
    ] {
        served(all, "POST /users", WRITER, body, Reply::ok()).await;
    }
    let large = "x".repeat(20_000);
    served(all, "GET /livez", &[("x-large", &large)], "", Reply::ok()).await;
    served(all, "GET /livez", &[("x-request-id", "not_one")], "", Reply::ok()).await;
    served(all, "POST /add", &[JSON, ("content-length", "300000")], "{}", Reply::ok()).await;
    for refused in ["text/plain", "application/json; charset=latin1"] {
        served(all, "POST /add", &[("content-type", refused)], "{}", Reply::ok()).await;
    }
    served(all, "POST /add", &[], "{}", Reply::ok()).await;
    served(all, "POST /add", &[JSON, ("content-encoding", "gzip")], "{}", Reply::ok()).await;
}

/// Who may write.
async fn writers(all: &mut String) {
    let wrong = ("authorization", "Bearer another-token-of-tests");
    let evil = ("host", "evil.example");
    let page = ("origin", "http://evil.example");
    for writes in [Writes::Forbidden, Writes::Anonymous, Writes::from_settings(Some(TOKEN), false).unwrap()] {
        writeln!(all, "-- writes: {writes:?}\n").unwrap();
        for headers in [&[JSON][..], WRITER, &[JSON, wrong], &[JSON, evil], &[JSON, page], &[wrong]] {
            let app = scripted(writes.clone(), Reply::ok());
            asked(all, app, "POST /users", headers, BOB).await;
            let app = scripted(writes.clone(), Reply::ok());
            asked(all, app, "POST /add", headers, "{").await;
        }
        let app = scripted(writes.clone(), Reply::ok());
        asked(all, app, "GET /add?a=1&b=2", &[evil], "").await;
    }
}

/// What a database can answer.
async fn failures(all: &mut String) {
    for code in [
        "23505", "23503", "23P01", "23001", "23514", "23502", "22003", "22P05", "54000", "40001", "40P01",
        "55P03", "42P01", "42601", "57014", "25006", "25P02", "57P01", "57P03", "3D000", "08006", "53300",
        "28P01", "40003", "P0001", "XX000",
    ] {
        for (request, headers, body) in [("GET /add?a=1&b=2", &[][..], ""), ("POST /users", WRITER, BOB)] {
            let reply =
                Reply::error(code).routine("a_routine").constraint("users_name_key").message("a secret");
            served(all, request, headers, body, reply).await;
            served(all, request, headers, body, Reply::fatal(code)).await;
        }
    }
    for lost in [Reply::close(), Reply::silence(), Reply::raw("nonsense")] {
        served(all, "GET /users", &[], "", lost.clone()).await;
        served(all, "GET /readyz", &[], "", lost.clone()).await;
        served(all, "POST /users", WRITER, BOB, lost).await;
    }
    served(all, "GET /readyz", &[], "", Reply::value("exists", false)).await;
}

async fn served(all: &mut String, request: &str, headers: &[(&str, &str)], body: &str, reply: Reply) {
    let writes = Writes::from_settings(Some(TOKEN), false).unwrap();
    asked(all, scripted(writes, reply), request, headers, body).await;
}

type App = (Router, pgspan::testing::Backend);

/// The application on a server that gives this reply to what is not transaction control; to `ok`, what the statement asks for.
fn scripted(writes: Writes, reply: Reply) -> App {
    let (driver, backend) = ScriptedDriver::new(move |statement| {
        let text = statement.text();
        if ["BEGIN", "COMMIT", "ROLLBACK", "SET"].iter().any(|word| text.starts_with(word)) {
            return Reply::ok();
        }
        if format!("{reply:?}") != format!("{:?}", Reply::ok()) {
            return reply.clone();
        }
        let user =
            |name: &str| Reply::columns(&[("id", Type::INT8), ("name", Type::TEXT)]).row(&[&1_i64, &name]);
        match text {
            text if text.contains("AS sum") => Reply::value("sum", 3_i64),
            text if text.contains("to_regclass") => Reply::value("exists", true),
            text if text.starts_with("INSERT") => user("Bob"),
            _ => user("Ada").row(&[&2_i64, &"Bob"]),
        }
    });
    (router(pgspan::connect(driver), Options { writes, ..Options::default() }), backend)
}

async fn asked(
    all: &mut String,
    (app, mut backend): App,
    request: &str,
    headers: &[(&str, &str)],
    body: &str,
) {
    backend.run(ask(all, app, request, headers, body)).await;
}

async fn ask(all: &mut String, app: Router, request: &str, headers: &[(&str, &str)], body: &str) {
    let (method, path) = request.split_once(' ').unwrap();
    let mut asking = Request::builder().method(method).uri(path).header("x-request-id", "an-id");
    if !headers.iter().any(|(name, _)| *name == "host") {
        asking = asking.header("host", "localhost");
    }
    for (name, value) in headers {
        asking
            .headers_mut()
            .unwrap()
            .insert(name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    let answer = app.oneshot(asking.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let shown = |text: &str| text.chars().take(120).collect::<String>();
    writeln!(all, "> {request}").unwrap();
    for (name, value) in headers {
        writeln!(all, "> {name}: {}", shown(value)).unwrap();
    }
    if !body.is_empty() {
        writeln!(all, "> {}", shown(body.trim_end())).unwrap();
    }
    writeln!(all, "{}", answer.status()).unwrap();
    for (name, value) in [("cache-control", "no-store"), ("x-content-type-options", "nosniff")] {
        assert_eq!(answer.headers()[name], value, "{request}");
    }
    let mut sent: Vec<String> = answer
        .headers()
        .iter()
        .filter_map(|(name, value)| match (name.as_str(), value.to_str().unwrap()) {
            ("cache-control" | "x-content-type-options" | "content-length", _)
            | ("x-request-id", "an-id") => None,
            ("x-request-id", id) => Some(format!("{name}: of {} characters", id.len())),
            (_, value) => Some(format!("{name}: {value}")),
        })
        .collect();
    sent.sort();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let body = match body.split_once(r#""request_id":""#) {
        Some((before, after)) if !after.starts_with("an-id") => {
            format!("{before}(an id of ours){}", &after[36..])
        }
        _ => body,
    };
    sent.push(body);
    writeln!(all, "{}\n", sent.join("\n")).unwrap();
}
