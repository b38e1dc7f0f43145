//! Somebody's service: what its handlers can rely on, and what its callers can. `core/app/tests/answers.rs` has each answer to the byte.
//!
//! Siblings that were looked for: each extractor on its own and with the others, in the order they stand; methods with a body and
//! without; each mode of writing; errors of the service's own and of the database.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use axum::routing::{delete, get, post};
use pgspan::sql;
use pgspan::testing::{Reply, ScriptedDriver};
use pgspan::types::Type;
use pgspan_http::{Db, JsonBody, Lines, Options, Problem, Query, Writer, Writes, service};
use serde_json::Value;
use tower::ServiceExt;

const TOKEN: &str = "a-token-of-the-tests";

enum ShopError {
    SoldOut,
    Database(pgspan::Error),
}

impl From<ShopError> for Problem {
    fn from(error: ShopError) -> Problem {
        match error {
            ShopError::SoldOut => Problem::new(StatusCode::CONFLICT, "sold_out", "none is left"),
            ShopError::Database(error) if error.constraint() == Some("products_sku_key") => {
                Problem::from(error).with_code("sku_taken", "another product has this number")
            }
            ShopError::Database(error) => error.into(),
        }
    }
}

fn routes() -> Router {
    async fn order() -> Result<(), Problem> {
        Err(ShopError::SoldOut)?
    }
    async fn create(_: Writer, Db(db): Db, JsonBody(_): JsonBody<Value>) -> Result<(), Problem> {
        db.execute(sql!("INSERT INTO products DEFAULT VALUES")).await.map_err(ShopError::Database)?;
        Ok(())
    }
    async fn greet(mut query: Query) -> Result<String, Problem> {
        let name: String = query.required("name")?;
        query.finish()?;
        Ok(name)
    }
    async fn numbers(lines: Lines) -> Result<Response, Problem> {
        let page = |db: pgspan::Database, after: Option<i64>| async move {
            let after = after.unwrap_or(0);
            let rows: Vec<i64> =
                db.fetch_all(sql!("SELECT n FROM numbers WHERE n > {after}").reads_only()).await?;
            let next = rows.last().copied();
            Ok((rows, next))
        };
        lines.pages(page).await
    }
    async fn slow(Db(db): Db) -> Result<(), Problem> {
        db.execute(sql!("SELECT pg_sleep(60)").reads_only()).await?;
        Ok(())
    }
    Router::new()
        .route("/order", get(order))
        .route("/products", post(create).put(create))
        .route("/products/7", delete(async |_: Writer| "gone"))
        .route("/cancel", post(async |_: Writer| "cancelled"))
        .route("/import", post(async |_: Writer, _: JsonBody<Value, 512>| ()))
        .route("/greet", get(greet))
        .route("/numbers", get(numbers))
        .route("/slow", get(slow))
        .route("/panic", get(async || -> () { panic!("on purpose") }))
}

/// The status, and the body: a string where it is no JSON.
async fn ask(
    writes: Writes,
    reply: Reply,
    request: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, Value) {
    let (driver, mut backend) = ScriptedDriver::new(move |_| reply.clone());
    let options = Options { writes, request_timeout: Duration::from_secs(3) };
    let db = pgspan::connect(driver.clone());
    let started = db.now();
    let app = service(routes(), db.clone(), options, || sql!("SELECT to_regclass('products') IS NOT NULL"));
    let (method, path) = request.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let answer = backend.run(app.oneshot(request)).await.unwrap();
    assert!(db.now() - started <= Duration::from_secs(4), "the deadline is 3 s");
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let body: Value =
        serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8(body.to_vec()).unwrap().into());
    if status >= 400 {
        assert_eq!((&body["request_id"], &body["status"]), (&id.into(), &status.into()), "{body}");
    }
    (status, body)
}

async fn code(writes: Writes, request: &str, headers: &[(&str, &str)], body: &str) -> Value {
    let (status, answer) = ask(writes, Reply::ok(), request, headers, body).await;
    if status < 400 { status.into() } else { answer["code"].clone() }
}

fn token() -> Writes {
    Writes::from_settings(Some(TOKEN), false).unwrap()
}

const JSON: (&str, &str) = ("content-type", "application/json");
const BEARER: (&str, &str) = ("authorization", "Bearer a-token-of-the-tests");
const WRONG: (&str, &str) = ("authorization", "Bearer another-token-of-tests");

#[tokio::test]
async fn a_service_has_codes_of_its_own() {
    let (status, problem) = ask(token(), Reply::ok(), "GET /order", &[], "").await;
    assert_eq!(
        (status, &problem["code"], &problem["detail"]),
        (409, &"sold_out".into(), &"none is left".into())
    );

    let exists = |constraint| Reply::error("23505").constraint(constraint);
    let (status, problem) =
        ask(token(), exists("products_sku_key"), "POST /products", &[JSON, BEARER], "{}").await;
    assert_eq!((status, &problem["code"], &problem["sqlstate"]), (409, &"sku_taken".into(), &"23505".into()));
    assert_eq!(problem["constraint"], "products_sku_key");
    let (status, problem) = ask(token(), exists("another"), "POST /products", &[JSON, BEARER], "{}").await;
    assert_eq!((status, &problem["code"]), (409, &"unique_violation".into()));
}

#[tokio::test]
async fn a_writer_is_known_before_a_body_is_read_and_a_post_is_json_whether_or_not_it_has_a_body() {
    let large = " ".repeat(300 * 1024);
    for (request, headers, body, expected) in [
        ("POST /products", &[JSON, BEARER][..], "{}", Value::from(200)),
        ("PUT /products", &[JSON, BEARER], "{}", 200.into()),
        ("POST /products", &[JSON, WRONG], &large, "unauthorized".into()),
        ("POST /products", &[JSON], &large, "unauthorized".into()),
        ("POST /products", &[JSON, BEARER], &large, "too_large".into()),
        ("PUT /products", &[JSON], &large, "unauthorized".into()),
        ("POST /import", &[JSON, BEARER], &format!("{large}{{}}"), 200.into()),
        ("POST /import", &[JSON, BEARER], &format!("{large}{large}{{}}"), "too_large".into()),
        ("PUT /products", &[BEARER], "{}", "unsupported_media_type".into()),
        ("POST /products", &[BEARER], "{}", "unsupported_media_type".into()),
        ("POST /cancel", &[BEARER], "", "unsupported_media_type".into()),
        ("POST /cancel", &[JSON, BEARER], "", 200.into()),
        ("DELETE /products/7", &[BEARER], "", 200.into()),
        ("DELETE /products/7", &[WRONG], "", "unauthorized".into()),
        ("DELETE /products/7", &[], "", "unauthorized".into()),
    ] {
        assert_eq!(code(token(), request, headers, body).await, expected, "{request} {headers:?}");
    }
    assert_eq!(code(Writes::Forbidden, "DELETE /products/7", &[BEARER], "").await, "forbidden");
}

#[tokio::test]
async fn while_everyone_may_write_no_other_host_and_no_page_of_another_site_does() {
    let here = ("host", "localhost:8080");
    for request in ["POST /cancel", "DELETE /products/7", "PUT /products", "POST /products"] {
        let of = async |headers: &[(&str, &str)]| {
            code(Writes::Anonymous, request, &[&[JSON], headers].concat(), "{}").await
        };
        assert_eq!(of(&[here]).await, 200, "{request}");
        assert_eq!(of(&[here, ("origin", "http://localhost:8080")]).await, 200, "{request}");
        assert_eq!(of(&[here, ("origin", "http://evil.example")]).await, "forbidden", "{request}");
        assert_eq!(of(&[("host", "evil.example")]).await, "forbidden", "{request}");
        assert_eq!(of(&[]).await, "forbidden", "{request}");
    }
}

#[tokio::test]
async fn a_query_is_an_extractor() {
    let (status, body) = ask(token(), Reply::ok(), "GET /greet?name=a%20b+c", &[], "").await;
    assert_eq!((status, body), (200, "a b c".into()));
    assert_eq!(code(token(), "GET /greet?name=a&nmae=b", &[], "").await, "invalid_request");
    assert_eq!(code(token(), "GET /greet?name=%ff", &[], "").await, "malformed_request");
}

#[tokio::test]
async fn a_request_ends_at_its_deadline_and_a_panic_is_an_answer() {
    let (status, problem) = ask(token(), Reply::silence(), "GET /slow", &[], "").await;
    assert_eq!((status, &problem["code"]), (504, &"timeout".into()));
    let (status, problem) = ask(token(), Reply::ok(), "GET /panic", &[], "").await;
    assert_eq!((status, &problem["code"]), (500, &"internal".into()));
}

#[tokio::test]
async fn the_probes_and_unknown_paths_are_answered() {
    let ready = |ready| ask(token(), Reply::value("ready", ready), "GET /readyz", &[], "");
    assert_eq!(ready(true).await.0, 200);
    assert_eq!(ready(false).await.0, 503);
    assert_eq!(ask(token(), Reply::close(), "GET /livez", &[], "").await.0, 200);
    assert_eq!(code(token(), "GET /nowhere", &[], "").await, "not_found");
    assert_eq!(code(token(), "PATCH /products", &[], "").await, "method_not_allowed");
}

#[tokio::test]
async fn a_route_outside_the_envelope_says_so() {
    let bare = Router::new().route("/", get(async |_: Db| ()));
    let answer = bare.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 500);
}

/// The answer to a list of numbers in pages of two, whose server gives this reply to the third page.
async fn numbers(third: Reply) -> (Response, ScriptedDriver, pgspan::testing::Backend) {
    let (driver, mut backend) = ScriptedDriver::new(move |statement| {
        let after: i64 = statement.param(1).unwrap();
        let page = Reply::columns(&[("n", Type::INT8)]);
        match after {
            0 | 2 => page.row(&[&(after + 1)]).row(&[&(after + 2)]),
            _ => third.clone(),
        }
    });
    let options = Options { request_timeout: Duration::from_secs(3), ..Options::default() };
    let app = service(routes(), pgspan::connect(driver.clone()), options, || sql!("SELECT true"));
    let request = Request::get("/numbers").body(Body::empty()).unwrap();
    let answer = backend.run(app.oneshot(request)).await.unwrap();
    (answer, driver, backend)
}

#[tokio::test]
async fn a_list_is_read_page_by_page_as_it_is_taken() {
    let (answer, driver, mut backend) = numbers(Reply::columns(&[("n", Type::INT8)])).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/x-ndjson".parse().unwrap())
    );
    assert_eq!(driver.statements().len(), 1, "the first page, and no other before it is taken");
    driver.advance(Duration::from_secs(60)); // a slow client costs no deadline
    let body = backend.run(to_bytes(answer.into_body(), usize::MAX)).await.unwrap();
    assert_eq!(body, "1\n2\n3\n4\n");
    assert_eq!(driver.statements().len(), 3);
}

#[tokio::test]
async fn a_list_that_fails_breaks_off_or_is_a_problem_if_nothing_was_sent() {
    for fault in [Reply::error("XX000"), Reply::close(), Reply::silence()] {
        let (answer, _driver, mut backend) = numbers(fault.clone()).await;
        assert_eq!(answer.status(), 200);
        assert!(backend.run(to_bytes(answer.into_body(), usize::MAX)).await.is_err(), "{fault:?}");
    }
    let (status, problem) = ask(token(), Reply::error("XX000"), "GET /numbers", &[], "").await;
    assert_eq!((status, &problem["code"]), (500, &"internal".into()));
}
