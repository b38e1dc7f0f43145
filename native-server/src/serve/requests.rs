//! What a connection does with a request: the router answers it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use super::answering::Answering;
use super::problem;
use super::record::Record;
use crate::metrics::Metrics;

/// Answers requests.
#[derive(Clone)]
pub(super) struct Requests {
    pub(super) router: Router,
    pub(super) metrics: Option<Metrics>,
    /// Set by the first request of a connection.
    pub(super) begun: Option<Arc<AtomicBool>>,
    pub(super) running: TaskTracker,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: hyper::Request<Incoming>) -> Answering {
        let mut request: Request = request.map(Body::new);
        if let Some(begun) = &self.begun {
            begun.store(true, Ordering::Relaxed);
        }
        let record = Record::begin(self.metrics.as_ref(), &mut request);
        let id = problem::request_id(request.headers());
        let answer = tower_service::Service::call(&mut self.router.clone(), request);
        let answer = async move {
            let Ok(response) = answer.await;
            record.end(&response);
            response
        };
        Answering { answer: Some(Box::pin(self.running.track_future(answer))), id }
    }
}
