//! From a Worker's fetch event to the object that holds the connections, for a Worker without `entry.mjs`.

use std::fmt;

use axum::http::HeaderMap;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use worker::js_sys::{Error as JsError, Math, Reflect};
use worker::web_sys::Response as Answer;
use worker::worker_sys::DurableObject;
use worker::{Env, Request, web_sys};

use crate::panic::PANIC;
use crate::problem::Problem;
use crate::respond::{headers, write};
use crate::shards::Shards;
use crate::upload::Upload;
use crate::variables::lookup;

/// Lets one of the objects answer a request: those of the binding `POOL`, whose class has a [`PoolObject`](crate::PoolObject).
///
/// Which one is a matter of chance (`POOL_SHARDS`), and where it is first created says `POOL_LOCATION_HINT`. A read that the
/// platform failed to deliver is asked once more.
///
/// ```no_run
/// use worker::{Context, Env, Request, Result, event, web_sys::Response};
///
/// #[event(fetch)]
/// async fn fetch(request: Request, env: Env, _: Context) -> Result<Response> {
///     pgspan_edge::forward(request, &env).await.or_else(|unanswered| unanswered.answer())
/// }
/// # fn main() {}
/// ```
///
/// # Errors
///
/// What it says of a request that no object answered is [`Unanswered`]'s.
///
/// # Cancel safety
///
/// The object goes on.
pub async fn forward(request: Request, env: &Env) -> Result<Answer, Unanswered> {
    forward_to("POOL", request, env).await
}

/// The same to the objects of another binding, such as those of a second database.
///
/// # Errors
///
/// As [`forward`].
///
/// # Cancel safety
///
/// The object goes on.
pub async fn forward_to(binding: &str, request: Request, env: &Env) -> Result<Answer, Unanswered> {
    let request = request.inner();
    let is_read = matches!(request.method().as_str(), "GET" | "HEAD");
    let mut asked = ask(binding, request, env).await;
    if is_read && asked.as_ref().is_err_and(|error| is(error, "retryable") && !is(error, "overloaded")) {
        asked = ask(binding, request, env).await;
    }
    match asked {
        Ok(answer) => Ok(answer),
        Err(error) => {
            let headers = headers(&request.headers());
            Upload::new(request, &headers).drain().await;
            Err(Unanswered::new(&error, is_read, headers))
        }
    }
}

async fn ask(binding: &str, request: &web_sys::Request, env: &Env) -> Result<Answer, JsValue> {
    // where the settings are wrong, the first object says so
    let shards = Shards::read(lookup(env)).unwrap_or(Shards::ONE);
    let (objects, name) = (env.durable_object(binding)?, shards.name(Math::random()));
    let object = match &shards.place {
        Some(place) => objects.id_from_name(&name)?.get_stub_with_location_hint(place)?,
        None => objects.id_from_name(&name)?.get_stub()?,
    };
    let answer = object.into_rpc::<DurableObject>().fetch_with_request(request)?;
    JsFuture::from(answer).await?.dyn_into()
}

/// A request that no object answered.
pub struct Unanswered {
    problem: Problem,
    cause: String,
    headers: HeaderMap,
}

impl Unanswered {
    fn new(error: &JsValue, is_read: bool, headers: HeaderMap) -> Unanswered {
        let cause = match error.dyn_ref::<JsError>() {
            Some(error) => String::from(error.message()),
            None => error.as_string().unwrap_or_else(|| "no error of the runtime".to_owned()),
        };
        let problem = match () {
            () if is(error, "overloaded") => Problem::BUSY,
            () if cause.contains(PANIC) => Problem::INTERNAL,
            () if is_read => Problem::UNAVAILABLE,
            () => Problem::OUTCOME_UNKNOWN,
        };
        Unanswered { problem, cause, headers }
    }

    /// What became of the request: `unavailable` (nothing; it may be sent again), `internal` (a panic) or
    /// `commit_outcome_unknown` (what it writes may be stored or not).
    pub fn code(&self) -> &'static str {
        self.problem.code()
    }

    /// An answer that says so, as `application/problem+json`: 503 or 500.
    ///
    /// # Errors
    ///
    /// When the runtime refuses it.
    pub fn answer(self) -> worker::Result<Answer> {
        Ok(write(self.problem.answer(&self.headers, &self.cause), false)?.into())
    }
}

impl fmt::Debug for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unanswered").field("code", &self.code()).field("cause", &self.cause).finish()
    }
}

/// Whether the runtime says this of an error.
fn is(error: &JsValue, what: &str) -> bool {
    error.is_object() && Reflect::get(error, &what.into()).is_ok_and(|value| value.is_truthy())
}
