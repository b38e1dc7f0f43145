//! What is laid around every route of the router: its name is noted for logs and metrics, and a server that is leaving is
//! not ready. One layer for both, since each costs every request.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use axum::routing::Route;
use futures_util::future::{Either, Ready, ok};
use tower_layer::layer_fn;
use tower_service::Service;

use super::leaving::Leaving;
use super::problem;

/// The route that a request took, known once it was found: it is put into the request's extensions, and kept.
#[derive(Clone, Default)]
pub(crate) struct Noted(Arc<OnceLock<MatchedPath>>);

impl Noted {
    pub(crate) fn path(&self) -> Option<&MatchedPath> {
        self.0.get()
    }

    /// `-` where there was none. The route and not the path, which is the caller's.
    pub(crate) fn as_str(&self) -> &str {
        self.path().map_or("-", MatchedPath::as_str)
    }
}

/// Lets the route of every request be noted, and the route `readiness` answer 503 from the moment the server is leaving; the
/// router itself does not know of it.
pub(super) fn around(router: Router, leaving: &Leaving, readiness: &'static str) -> Router {
    let leaving = leaving.clone();
    router.layer(layer_fn(move |route| Around { route, leaving: leaving.clone(), readiness }))
}

#[derive(Clone)]
struct Around {
    route: Route,
    leaving: Leaving,
    readiness: &'static str,
}

impl Service<Request> for Around {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, <Route as Service<Request>>::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.route, cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let extensions = request.extensions();
        if let Some(path) = extensions.get::<MatchedPath>() {
            if self.leaving.has_begun() && path.as_str() == self.readiness {
                return Either::Left(ok(problem::leaving(request.headers())));
            }
            if let Some(noted) = extensions.get::<Noted>() {
                noted.0.get_or_init(|| path.clone());
            }
        }
        Either::Right(self.route.call(request))
    }
}
