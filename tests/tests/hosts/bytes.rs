//! Both hosts answer the same requests with the same bytes.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Host, Kind, TOKEN};

/// A request as it is recorded: method, path, media type, body.
type Recorded = (Method, String, Option<&'static str>, Vec<u8>);

#[tokio::test]
async fn five_hundred_requests_are_answered_with_the_same_bytes() -> Result<()> {
    let native = Host::start(Kind::Native).await?;
    let edges = [Host::start(Kind::Socket).await?, Host::start(Kind::Pool).await?];
    let requests = recorded();
    assert!(requests.len() >= 500, "{}", requests.len());
    for (number, request) in requests.iter().enumerate() {
        let native = send(&native, number, request).await?;
        let (method, path, media_type, body) = request;
        let shown = format!("{number}: {method} {path} {media_type:?} {}", String::from_utf8_lossy(body));
        for edge in &edges {
            assert_eq!(native, send(edge, number, request).await?, "{shown}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn header_bytes_beyond_ascii_are_the_same_to_both_hosts() -> Result<()> {
    let native = Host::start(Kind::Native).await?;
    let edges = [Host::start(Kind::Socket).await?, Host::start(Kind::Pool).await?];
    let long = "é".repeat(4_500); // within 16 KiB, though not if each byte were two
    let values: [&[u8]; 4] =
        [b"\xff", b"caf\xc3\xa9", b"Bearer \x80\x80\x80\x80\x80\x80\x80\x80\x80", long.as_bytes()];
    for name in
        ["x-any", "x-request-id", "authorization", "content-type", "idempotency-key", "accept", "origin"]
    {
        for value in values {
            for (method, path) in [(Method::GET, "/add?a=1&b=2"), (Method::POST, "/users")] {
                let ask = async |host: &Host| -> Result<(u16, String)> {
                    let mut request = host.request(method.clone(), path).body(r#"{"names":["a"]}"#);
                    if name != "authorization" {
                        request = request.bearer_auth(TOKEN);
                    }
                    if name != "content-type" {
                        request = request.header("content-type", "application/json");
                    }
                    let value = reqwest::header::HeaderValue::from_bytes(value)?;
                    let answer = Answer::of(request.header(name, value)).await?;
                    // the id may be a new one, and is of no matter here
                    let id = answer.header("x-request-id").to_owned();
                    assert!(!id.is_empty());
                    Ok((answer.status.as_u16(), answer.text().replace(&id, "ID")))
                };
                let expected = ask(&native).await?;
                for edge in &edges {
                    assert_eq!(ask(edge).await?, expected, "{method} {name}: {}", value.escape_ascii());
                }
            }
        }
    }
    Ok(())
}

/// Status, the headers that are ours, and the body; the time the database took is not the same.
async fn send(
    host: &Host,
    number: usize,
    request: &Recorded,
) -> Result<(u16, Vec<(String, String)>, String)> {
    let (method, path, media_type, body) = request;
    let mut builder =
        host.request(method.clone(), path).bearer_auth(TOKEN).header("x-request-id", format!("r-{number}"));
    if let Some(media_type) = media_type {
        builder = builder.header("content-type", *media_type);
    }
    let answer = Answer::of(builder.body(body.clone())).await?;
    let ours = [
        "content-type",
        "content-length",
        "cache-control",
        "x-content-type-options",
        "x-request-id",
        "server-timing",
        "retry-after",
        "www-authenticate",
        "allow",
    ];
    let headers = ours.map(|name| {
        // readiness is asked for at most once a second, so whether this request asked is a matter of time
        let is_chance = name == "server-timing" && path == "/readyz";
        let value = if is_chance { "" } else { answer.header(name) };
        let value = value.split(';').filter(|part| !part.starts_with("dur=")).collect::<Vec<_>>().join(";");
        (name.to_owned(), value)
    });
    Ok((answer.status.as_u16(), headers.to_vec(), answer.text()))
}

fn recorded() -> Vec<Recorded> {
    const JSON: Option<&str> = Some("application/json");
    let mut requests: Vec<Recorded> = Vec::new();
    let numbers = [
        "0",
        "-1",
        "1",
        "9007199254740993",
        "9223372036854775807",
        "-9223372036854775808",
        "1.5",
        "x",
        "",
        "007",
        "%31",
        "%zz",
    ];
    for a in numbers {
        for b in numbers {
            requests.push((Method::GET, format!("/add?a={a}&b={b}"), None, vec![]));
            requests.push((
                Method::POST,
                "/add".into(),
                JSON,
                format!("{{\"a\":{a},\"b\":{b}}}").into_bytes(),
            ));
        }
    }
    for number in 0..60 {
        let names = json!({ "names": [format!("user {number}"), format!("Ünïcödé {}", number / 2)] });
        requests.push((Method::POST, "/users".into(), JSON, names.to_string().into_bytes()));
        requests.push((Method::GET, format!("/users?limit={number}&after={}", number / 3), None, vec![]));
    }
    for method in
        [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS]
    {
        for path in ["/", "/add", "/users", "/livez", "/readyz", "/nowhere", "/users/1"] {
            for media_type in [None, JSON, Some("text/plain")] {
                requests.push((method.clone(), path.into(), media_type, vec![]));
            }
        }
    }
    requests
}
