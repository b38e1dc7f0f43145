//! The application's routes, as a service.

use axum::Router;
use axum::routing::get;
use pgspan::Database;
use pgspan_http::{Options, service};

use crate::{handlers, users};

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
/// use pgspan_app::router;
/// use pgspan_http::{Options, Writes};
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
    let routes = Router::new()
        .route("/add", get(handlers::add).post(handlers::post_add))
        .route("/users", get(handlers::list_users).post(handlers::post_users));
    service(routes, db, options, users::schema_exists)
}
