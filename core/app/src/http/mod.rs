//! The endpoints, and what every answer has in common.

mod envelope;
mod handlers;
mod input;
mod problem;
mod readiness;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::get;
use pgspan::{Database, Error};

use envelope::{envelope, request_id, seal};
use problem::Problem;
use readiness::Readiness;
pub use writes::Writes;

/// How the application is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Who may write. Default: no one.
    pub writes: Writes,
    /// How long a request may take, its body included. Default: 10 s, longer than any statement may.
    pub request_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { writes: Writes::default(), request_timeout: Duration::from_secs(10) }
    }
}

/// The application's router, the same on both hosts. Build it once: that costs more than a request. A request that brings a
/// [`Database`] of its own, as an extension, is answered from that.
///
/// # Tests without a server
///
/// A router can be tested against what a server does seldom, by the feature `testing` of pgspan:
///
/// ```
/// use axum::body::Body;
/// use axum::http::{Request, StatusCode};
/// use pgspan::testing::{Reply, ScriptedDriver};
/// use pgspan_app::{Options, Writes, router};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// const TOKEN: &str = "a-token-of-a-test";
///
/// async fn status_where_a_write_is_answered_by(mut reply: impl FnMut() -> Reply + Send + 'static) -> StatusCode {
///     let (driver, mut backend) = ScriptedDriver::new(move |statement| match statement.text() {
///         text if text.starts_with("INSERT") => reply(),
///         _ => Reply::ok(),
///     });
///     let writes = Writes::from_settings(Some(TOKEN), false).expect("a token that is long enough");
///     let app = router(pgspan::connect(driver), Options { writes, ..Options::default() });
///     let request = Request::post("/users")
///         .header("host", "shop.example")
///         .header("content-type", "application/json")
///         .header("authorization", format!("Bearer {TOKEN}"))
///         .body(Body::from(r#"{"names":["Bob"]}"#))
///         .expect("a request");
///     backend.run(app.oneshot(request)).await.expect("never fails").status()
/// }
///
/// // the answer is lost: 503, with the code commit_outcome_unknown
/// assert_eq!(status_where_a_write_is_answered_by(Reply::close).await, 503);
///
/// // two deadlocks, then it goes well
/// let mut deadlocks = 2;
/// let deadlock_twice = move || match deadlocks {
///     0 => Reply::ok(),
///     _ => {
///         deadlocks -= 1;
///         Reply::error("40P01")
///     }
/// };
/// assert_eq!(status_where_a_write_is_answered_by(deadlock_twice).await, 201);
/// # Ok(())
/// # }
/// ```
pub fn router(db: Database, options: Options) -> Router {
    let app = Arc::new(App { db, options, readiness: Readiness::default() });
    Router::new()
        .route("/add", get(handlers::add).post(handlers::post_add))
        .route("/users", get(handlers::list_users).post(handlers::post_users))
        .route("/livez", get(handlers::livez))
        .route("/readyz", get(handlers::readyz))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(envelope(app.clone()))
        .with_state(app)
}

/// What a host serves that can't start because of its settings: every request is answered with what is wrong.
///
/// It is for hosts that can't refuse to start, as a Worker can't.
pub fn misconfigured(faults: &[Error]) -> Router {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let problem = Problem::misconfigured(&faults.join("; "));
    Router::new()
        .fallback(async move |headers: HeaderMap| seal(problem.into_response(), request_id(&headers)))
}

/// What every handler can reach.
struct App {
    db: Database,
    options: Options,
    readiness: Readiness,
}
