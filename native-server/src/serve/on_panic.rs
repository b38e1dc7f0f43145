//! What is answered to a request whose handler panics.

use std::fmt;
use std::sync::Arc;

use axum::response::Response;

/// An answer of your own to a request whose handler panics. It is called with the request's id, if the caller gave a decent one.
#[derive(Clone)]
pub struct OnPanic(Arc<Answer>);

type Answer = dyn Fn(Option<&str>) -> Response + Send + Sync;

impl OnPanic {
    /// This answer. It must not panic.
    pub fn new(answer: impl Fn(Option<&str>) -> Response + Send + Sync + 'static) -> OnPanic {
        OnPanic(Arc::new(answer))
    }

    pub(super) fn answer(&self, request_id: Option<&str>) -> Response {
        (self.0)(request_id)
    }
}

impl fmt::Debug for OnPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnPanic")
    }
}
