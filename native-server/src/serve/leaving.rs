//! Not ready first: what a load balancer hears before the server stops accepting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};

use super::problem;

/// Whether the server was told to end.
#[derive(Clone, Default)]
pub(super) struct Leaving(Arc<AtomicBool>);

impl Leaving {
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Lets this route answer 503 from then on; the router itself does not know of it.
    pub(super) fn guard(&self, router: Router, route: &'static str) -> Router {
        let leaving = self.clone();
        router.layer(from_fn(move |request: Request, next: Next| {
            let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
            let refused = leaving.0.load(Ordering::Relaxed) && path == Some(route);
            async move {
                match refused {
                    true => problem::leaving(request.headers()),
                    false => next.run(request).await,
                }
            }
        }))
    }
}
