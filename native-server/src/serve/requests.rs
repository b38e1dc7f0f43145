//! What a connection does with a request: it is let in, the router answers it, and what it holds is free again at its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use futures_util::FutureExt;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::activity::{Activity, Busy};
use super::answer_body::AnswerBody;
use super::answering::Answering;
use super::bodies::{Bodies, End, Held};
use super::draining::Draining;
use super::on_panic::OnPanic;
use super::problem::{self, Refusal};
use super::record::Record;
use super::request_body::RequestBody;
use crate::metrics::Metrics;

/// What all connections have in common.
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) metrics: Option<Metrics>,
    pub(super) draining: Draining,
    /// Answered however many requests there are.
    pub(super) liveness: &'static str,
    pub(super) body_timeout: Duration,
    pub(super) body_deadline: Duration,
    pub(super) on_panic: Option<OnPanic>,
    pub(super) bodies: Bodies,
    pub(super) slots: Arc<Semaphore>,
    pub(super) running: TaskTracker,
}

/// Answers the requests of one connection.
#[derive(Clone)]
pub(super) struct Requests {
    pub(super) shared: Arc<Shared>,
    pub(super) activity: Arc<Activity>,
    pub(super) peer: Option<SocketAddr>,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = http::Response<AnswerBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let shared = self.shared.clone();
        let http2 = request.version() == Version::HTTP_2;
        let (only_reads, is_connect) = (request.method().is_safe(), request.method() == Method::CONNECT);
        // both last until the client has the answer, or for as long as the work does
        let busy = Busy::begin(&self.activity, http2);
        let slot = shared.slots.clone().try_acquire_owned().ok();
        let is_let_in = slot.is_some() || request.uri().path() == shared.liveness;
        let id = problem::request_id(request.headers());
        let held = (!request.body().is_end_stream()).then(|| Arc::new(Held::new(shared.bodies.clone())));
        let mut request = match &held {
            Some(held) => {
                let (patience, deadline) = (shared.body_timeout, shared.body_deadline);
                RequestBody::of(request, held.clone(), patience, deadline).map(Body::new)
            }
            None => request.map(|_| Body::empty()),
        };
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let activity = self.activity.clone();
        let record = Record::begin(shared.metrics.as_ref(), &mut request);
        let running = shared.running.token();
        let answer = async move {
            let answer = match is_let_in {
                true => shared.answer(request, id.as_ref()).await,
                false => problem::refused(Refusal::Requests, id.as_ref()),
            };
            let answer = match held.and_then(|held| held.end()) {
                None => answer,
                Some(End::Full) => problem::refused(Refusal::Bodies, id.as_ref()),
                Some(End::Late) => problem::late(id.as_ref()),
            };
            let refused = || problem::refused(Refusal::Bodies, id.as_ref());
            let mut answer = AnswerBody::of(answer, &shared.bodies, slot, busy, refused);
            if !http2 && is_upgrade(&answer, is_connect) {
                activity.upgrade();
            } else if !http2 && shared.draining.has_begun() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            record.end(answer.status(), answer.headers());
            drop(running);
            answer
        };
        Answering::new(Box::pin(answer), only_reads)
    }
}

/// Whether another protocol has the connection from here on.
fn is_upgrade<B>(answer: &http::Response<B>, is_connect: bool) -> bool {
    answer.status() == StatusCode::SWITCHING_PROTOCOLS || is_connect && answer.status().is_success()
}

impl Shared {
    /// The router's answer; 500 if it panics.
    async fn answer(&self, request: Request<Body>, id: Option<&HeaderValue>) -> Response {
        let answer = async { self.router.clone().call(request).await };
        match AssertUnwindSafe(answer).catch_unwind().await {
            Ok(Ok(answer)) => answer,
            Err(_) => problem::panicked(id, self.on_panic.as_ref()),
        }
    }
}
