//! The server's limits.

use std::time::Duration;

use pgspan::{Error, Result};

use super::draining::Draining;
use super::on_panic::OnPanic;
use crate::metrics::Metrics;
use crate::numbers::Numbers;
use crate::workers::Workers;

/// The server's limits. Each has a default and a reason.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// From the first byte of a request to the end of its headers. 10 s: it ends clients that send a byte now and then.
    pub header_timeout: Duration,
    /// How long a connection may be idle before its first request and between two. 75 s: load balancers keep theirs for 60 s,
    /// and one that sends a request while this side closes loses it. It costs little, since the connection that is idle for
    /// the longest time is closed when there would be too many.
    pub keep_alive: Duration,
    /// How long a request's body may make no progress; then the answer is 408. 10 s: a network that is slower fails.
    pub body_timeout: Duration,
    /// How long a request's whole body may take to arrive; then the answer is 408. 60 s: a client that sends a byte now and then holds
    /// its request no longer, and 10 MB arrive on a slow line.
    pub body_deadline: Duration,
    /// How long an answer may lie unread, on TCP: then the connection ends (`TCP_USER_TIMEOUT`, tcp(7), on Linux), so that
    /// clients that ask and never read hold none for ever. It ends one whose client vanished, too. 20 s: no client that
    /// reads at all needs so long for a few kilobytes. A unix socket's client is a proxy of this machine, and trusted.
    pub write_timeout: Duration,
    /// The request line and its headers, in bytes; beyond it the answer is a bare 431. 64 KiB: well above what routers
    /// should accept, so that their own limit, with an answer of their own, comes first.
    pub max_header_size: usize,
    /// Headers of a request; beyond it the answer is a bare 431. 128, for the same reason.
    pub max_headers: usize,
    /// Open connections. For one more the connection that is idle for the longest time is closed; where none is idle, it waits.
    /// 1,024: with some 30 KiB each it bounds the memory.
    pub max_connections: usize,
    /// Requests that are being answered, whether or not their clients still wait; further ones are refused at once with 503.
    /// 1,024: one for each connection, so that only requests whose clients have left, and HTTP/2, reach it. Each costs some
    /// 10 KiB.
    pub max_requests: usize,
    /// Bytes of all request bodies that were read and of all answers that are not sent yet; a request for which there is no
    /// room is refused at once with 503. The first 16 KiB of each do not count. 64 MiB: 250 of the largest bodies that the
    /// application takes.
    pub max_bodies: usize,
    /// Threads that serve the connections. None: the runtime that [`serve`](super::serve) is called on does.
    pub workers: Option<Workers>,
    /// Where requests are counted, if anywhere.
    pub metrics: Option<Metrics>,
    /// The route that says whether the server is ready: 503 from the moment it is told to end. `/readyz`, as the
    /// application has it.
    pub readiness: &'static str,
    /// Whether HTTP/2 without TLS (h2c, with prior knowledge) is spoken beside HTTP/1.1. No: a load balancer that wants it is
    /// configured for it, and for others it is one more thing to attack. A client that has sent no request within
    /// [`header_timeout`](Options::header_timeout) is cut off there too; one that has may stay, as long as it answers pings.
    pub http2: bool,
    /// How old a connection gets that speaks HTTP/2, less up to 5 %. 30 min: then its client is asked to open another one (GOAWAY), and
    /// what it asked for is answered. So clients find servers that are new.
    pub http2_age: Duration,
    /// What is answered to a request whose handler panics. `None`: 500, as problem+json.
    pub on_panic: Option<OnPanic>,
    /// The route that says that the process lives. It is answered however many requests there are. `/livez`, as the application
    /// has it.
    pub liveness: &'static str,
    /// Says that this server drains. Give a clone to what else must know.
    pub draining: Draining,
    /// How long the server goes on as before while it says that it is not ready, so that a load balancer has seen it when
    /// the next connection is refused. 1 s: balancers that are told at once need less; for one that asks every few
    /// seconds set it to that.
    pub grace: Duration,
    /// How long an idle connection then stays open, so that a request that is on its way is answered, with `Connection: close`.
    /// 3 s: longer than the pause between two requests of a client that is busy.
    pub idle_grace: Duration,
    /// How long requests may take to finish after the grace. 20 s: longer than a request's deadline, and with the grace shorter than
    /// the 30 s after which orchestrators kill.
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body_timeout: Duration::from_secs(10),
            body_deadline: Duration::from_secs(60),
            write_timeout: Duration::from_secs(20),
            max_header_size: 64 * 1024,
            max_headers: 128,
            max_connections: 1024,
            max_requests: 1024,
            max_bodies: 64 * 1024 * 1024,
            workers: None,
            metrics: None,
            readiness: "/readyz",
            liveness: "/livez",
            draining: Draining::default(),
            http2: false,
            http2_age: Duration::from_secs(1800),
            on_panic: None,
            grace: Duration::from_secs(1),
            idle_grace: Duration::from_secs(3),
            drain: Duration::from_secs(20),
        }
    }
}

impl Options {
    /// Reads what can be set by name, say from the environment: `HEADER_TIMEOUT_MS`, `KEEP_ALIVE_MS`, `BODY_TIMEOUT_MS`,
    /// `BODY_DEADLINE_MS`, `HTTP2_AGE_MS`, `WRITE_TIMEOUT_MS`, `MAX_CONNECTIONS`, `MAX_REQUESTS`, `MAX_BODIES_KIB`, `DRAIN_GRACE_MS`, `DRAIN_IDLE_MS`,
    /// `DRAIN_TIMEOUT_MS`. What is not set has its default.
    ///
    /// # Errors
    ///
    /// Every fault there is, each [`Kind::Config`](pgspan::Kind::Config) and naming its setting.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Options, Vec<Error>> {
        const HOUR: u64 = 3_600_000;
        let default = Options::default();
        let mut numbers = Numbers { lookup, faults: Vec::new() };
        let options = Options {
            header_timeout: numbers.millis("HEADER_TIMEOUT_MS", default.header_timeout, 1..=HOUR),
            write_timeout: numbers.millis("WRITE_TIMEOUT_MS", default.write_timeout, 1..=HOUR),
            keep_alive: numbers.millis("KEEP_ALIVE_MS", default.keep_alive, 1..=HOUR),
            body_deadline: numbers.millis("BODY_DEADLINE_MS", default.body_deadline, 1..=HOUR),
            http2_age: numbers.millis("HTTP2_AGE_MS", default.http2_age, 1..=HOUR),
            body_timeout: numbers.millis("BODY_TIMEOUT_MS", default.body_timeout, 1..=HOUR),
            max_requests: numbers.size("MAX_REQUESTS", default.max_requests, 1..=1_000_000),
            max_bodies: numbers.size("MAX_BODIES_KIB", default.max_bodies / 1024, 1..=1_000_000_000) * 1024,
            max_connections: numbers.size("MAX_CONNECTIONS", default.max_connections, 1..=1_000_000),
            grace: numbers.millis("DRAIN_GRACE_MS", default.grace, 0..=HOUR),
            idle_grace: numbers.millis("DRAIN_IDLE_MS", default.idle_grace, 0..=HOUR),
            drain: numbers.millis("DRAIN_TIMEOUT_MS", default.drain, 1..=HOUR),
            ..default
        };
        numbers.check(options)
    }
}
