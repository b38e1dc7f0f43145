//! A layer around every route of the router: it notes the route's name for logs and metrics, and answers the readiness route
//! once the server drains. It is one layer for both, since each layer costs every request.

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

use super::draining::Draining;
use super::problem;

/// The route that a request took, known once it was found: it is put into the request's extensions, and kept.
#[derive(Clone, Default)]
pub(super) struct Noted(Arc<OnceLock<MatchedPath>>);

impl Noted {
    pub(super) fn path(&self) -> Option<&MatchedPath> {
        self.0.get()
    }

    /// `-` where there was none. The route and not the path, which is the caller's.
    pub(super) fn as_str(&self) -> &str {
        self.path().map_or("-", MatchedPath::as_str)
    }
}

/// Notes the route of every request. The route `readiness` answers 503 from the moment the server drains; the router itself
/// does not know of it.
pub(super) fn around(router: Router, draining: &Draining, readiness: &'static str) -> Router {
    let draining = draining.clone();
    router.layer(layer_fn(move |route| Around { route, draining: draining.clone(), readiness }))
}

#[derive(Clone)]
struct Around {
    route: Route,
    draining: Draining,
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
            if self.draining.has_begun() && path.as_str() == self.readiness {
                return Either::Left(ok(problem::draining(request.headers())));
            }
            if let Some(noted) = extensions.get::<Noted>() {
                noted.0.get_or_init(|| path.clone());
            }
        }
        Either::Right(self.route.call(request))
    }
}
