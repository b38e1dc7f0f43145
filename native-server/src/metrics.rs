//! Metrics for Prometheus: what is answered, how fast, and what the pool does meanwhile.
//!
//! | | |
//! | --- | --- |
//! | `pgspan_http_requests_total{method,route,status}` | requests answered; `route` is the router's, never what the caller wrote |
//! | `pgspan_http_requests_in_flight` | requests that are not answered yet |
//! | `pgspan_http_request_duration_seconds{route}` | how long that took, a histogram |
//! | `pgspan_http_connections`, `pgspan_http_connections_max` | connections of clients, and how many there may be |
//! | `pgspan_log_lines_dropped_total`, `pgspan_panics_total` | log lines that nobody took in time; panics (feature `program`) |
//! | `process_…` | the process, by Prometheus's names, on Linux |
//! | `pgspan_pool_wait_seconds` | how long callers waited for a connection of the pool, a histogram |
//! | `pgspan_database_shared_connections`, `…_max` | the shared connections there are, and how many there may be |
//! | `pgspan_pool_…` | the members of [`PoolStatistics`](crate::PoolStatistics) |
//! | `pgspan_database_…` | the members of [`Statistics`](pgspan::Statistics); `pgspan_database_sqlstates_total{class}` is the number of PostgreSQL's errors of a class |
//!
//! A label never has a value of the caller's, so that their number stays small.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::extract::MatchedPath;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use pgspan::Database;
pub use prometheus_client;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::Driver;
use process::Process;

mod process;

/// The metrics of one server. Cheap to clone; hand one to [`Options::metrics`](crate::serve::Options::metrics).
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Mutex<Registry>,
    requests: Family<Answered, Counter>,
    in_flight: Gauge,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    connections: Gauge,
    max_connections: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: Label,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: Label,
}

/// A route as a label; no route is `-`. It shares the router's text, so that counting a request allocates nothing.
#[derive(Debug, Clone)]
struct Label(Option<MatchedPath>);

/// From half a millisecond, what a statement takes on a near server, to well above a request's deadline, so that those that end
/// at it are told from those that never do.
const BUCKETS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 60.0];

impl Metrics {
    /// The metrics of what is answered from this database over this driver.
    pub fn new(db: &Database, driver: &Driver) -> Metrics {
        Metrics::named("pgspan", db, driver)
    }

    /// The same, whose names begin with another prefix than `pgspan`.
    pub fn named(prefix: &str, db: &Database, driver: &Driver) -> Metrics {
        let mut all = Registry::default();
        all.register_collector(Box::new(Process));
        let registry = all.sub_registry_with_prefix(prefix);
        let (requests, in_flight) = (Family::default(), Gauge::default());
        let (connections, max_connections) = (Gauge::default(), Gauge::default());
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_requests_in_flight", "Requests that are not answered yet", in_flight.clone());
        let text = "Seconds from the end of a request's headers to its answer";
        registry.register("http_request_duration_seconds", text, durations.clone());
        registry.register("http_connections", "Connections of clients", connections.clone());
        registry.register(
            "http_connections_max",
            "Connections of clients there may be",
            max_connections.clone(),
        );
        registry.register_collector(Box::new(Source { db: db.clone(), driver: driver.clone() }));
        Metrics(Arc::new(Inner {
            registry: Mutex::new(all),
            requests,
            in_flight,
            durations,
            connections,
            max_connections,
        }))
    }

    /// Adds metrics of your own to the registry, whose names are yours:
    ///
    /// ```
    /// # fn example(metrics: &pgspan_server::metrics::Metrics) {
    /// use pgspan_server::metrics::prometheus_client::metrics::counter::Counter;
    ///
    /// let orders: Counter = Counter::default();
    /// metrics.register(|registry| registry.register("shop_orders", "Orders taken", orders.clone()));
    /// orders.inc();
    /// # }
    /// ```
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry());
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A router that serves them at `/metrics`, for a listener of its own.
    pub fn router(&self) -> Router {
        let metrics = self.clone();
        Router::new().route("/metrics", get(async move || metrics.show()))
    }

    /// As many connections of clients there may be.
    pub(crate) fn set_max_connections(&self, max: usize) {
        self.0.max_connections.set(i64::try_from(max).unwrap_or(i64::MAX));
    }

    /// One more connection of a client, until what this gives is dropped.
    pub(crate) fn connected(&self) -> Connected {
        self.0.connections.inc();
        Connected(self.0.connections.clone())
    }

    pub(crate) fn begin(&self, method: &Method) -> Measured {
        self.0.in_flight.inc();
        Measured { metrics: self.clone(), method: known(method), started: Instant::now() }
    }

    fn show(&self) -> Response {
        let mut text = String::new();
        match encode(&mut text, &self.registry()) {
            Ok(()) => ([(CONTENT_TYPE, FORMAT)], text).into_response(),
            Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One request on its way.
pub(crate) struct Measured {
    metrics: Metrics,
    method: &'static str,
    started: Instant,
}

impl Measured {
    pub(crate) fn end(self, route: Option<MatchedPath>, status: StatusCode) {
        let Inner { requests, durations, .. } = &*self.metrics.0;
        let (route, status) = (Route { route: Label(route) }, status.as_u16());
        durations.get_or_create(&route).observe(self.started.elapsed().as_secs_f64());
        requests.get_or_create(&Answered { method: self.method, route: route.route, status }).inc();
    }
}

/// Answered, or never to be.
impl Drop for Measured {
    fn drop(&mut self) {
        self.metrics.0.in_flight.dec();
    }
}

impl Label {
    fn as_str(&self) -> &str {
        self.0.as_ref().map_or("-", MatchedPath::as_str)
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Label) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Label {}

impl Hash for Label {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Label {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_str().encode(encoder)
    }
}

/// A caller may invent methods.
pub(crate) fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// What is read at the moment it is asked for.
#[derive(Debug)]
struct Source {
    db: Database,
    driver: Driver,
}

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (pool, database) = (self.driver.statistics(), self.db.statistics());
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("pool_connections_max", "Connections there may be", pool.max),
            ("pool_connections", "Connections there are", pool.size),
            ("pool_connections_idle", "Connections nobody uses", pool.idle),
            ("pool_connections_in_use", "Connections someone uses or checks", pool.in_use),
            ("pool_waiting", "Callers that wait for a connection", pool.waiting),
            ("database_shared_connections", "Shared connections there are", self.db.shared_connections()),
            (
                "database_shared_connections_max",
                "Shared connections there may be",
                self.db.settings().shared_connections,
            ),
        ] {
            let gauge = ConstGauge::new(number(value));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        for (name, help, value) in [
            ("pool_waits", "Callers that had to wait for a connection", pool.waits),
            ("pool_timeouts", "Callers that got none before their deadline", pool.timeouts),
            ("pool_refused", "Callers refused because the queue was full", pool.refused),
            ("pool_opened", "Connections opened for the pool", pool.opened),
            ("pool_dialled", "Connections opened beside the pool", pool.dialled),
            ("pool_failed", "Attempts to connect that failed or were given up", pool.failed),
            ("pool_lost", "Connections that the server or the network ended", pool.lost),
            ("pool_discarded", "Connections ended as no other session may have them", pool.discarded),
            ("database_round_trips", "Times anyone waited for PostgreSQL's answer", database.round_trips),
            ("database_retries", "Times something was done again as it had met another", database.retries),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let (sum, waits) = self.driver.wait_times();
        let (help, kind) =
            ("Seconds that callers waited for a connection of the pool", MetricType::Histogram);
        let count = waits.iter().map(|(_, count)| count).sum();
        let mut histogram = encoder.encode_descriptor("pool_wait_seconds", help, None, kind)?;
        histogram.encode_histogram::<NoLabelSet>(sum, count, &waits, None)?;
        let help = "Errors of PostgreSQL, by the class of their SQLSTATE";
        let mut family = encoder.encode_descriptor("database_sqlstates", help, None, MetricType::Counter)?;
        for (class, count) in database.sqlstates {
            ConstCounter::new(count).encode(family.encode_family(&[("class", class)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_nobody_knows_makes_no_label_of_its_own() {
        assert_eq!(known(&Method::from_bytes(b"CANARY").unwrap()), "other");
    }
}
