//! What is noted of a request: its line in the log, and its measurement.

use std::time::Instant;

use axum::extract::Request;
use http::{HeaderMap, Method, StatusCode};
use tracing::Level;

use super::problem::REQUEST_ID;
use super::route::Noted;
use crate::metrics::{Measured, Metrics};

/// One request, from the end of its headers to its answer.
pub(super) struct Record {
    route: Noted,
    measured: Option<Measured>,
    line: Line,
}

impl Record {
    /// Begins it, and lets the request bring its route to light.
    pub(super) fn begin(metrics: Option<&Metrics>, request: &mut Request) -> Record {
        let route = Noted::default();
        request.extensions_mut().insert(route.clone());
        let measured = metrics.map(|metrics| metrics.begin(request.method()));
        Record { route, measured, line: Line::begin(request.method()) }
    }

    pub(super) fn end(self, status: StatusCode, headers: &HeaderMap) {
        if let Some(measured) = self.measured {
            measured.end(self.route.path().cloned(), status);
        }
        self.line.end(&self.route, status, headers);
    }
}

/// The line of one request, at DEBUG. What goes wrong has a line of its own already, and the metrics count all else.
/// `info,pgspan_server::request=debug` asks for it.
struct Line(Option<(Method, Instant)>);

impl Line {
    fn begin(method: &Method) -> Line {
        let wanted = tracing::enabled!(target: REQUESTS, Level::DEBUG);
        Line(wanted.then(|| (method.clone(), Instant::now())))
    }

    /// Logs it. The route is shown and not the path, which is the caller's.
    fn end(self, route: &Noted, status: StatusCode, headers: &HeaderMap) {
        let Some((method, started)) = self.0 else { return };
        let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or("-");
        let status = status.as_u16();
        let ms = started.elapsed().as_micros() as f64 / 1000.0;
        tracing::debug!(target: REQUESTS, %method, route = route.as_str(), status, ms, request_id = id, "request");
    }
}

const REQUESTS: &str = "pgspan_server::request";
