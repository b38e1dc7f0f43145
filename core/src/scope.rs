//! What everything below a database needs of it: the driver, the settings, the counters, and one caller's deadline.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;

use crate::driver::{Executor, Link};
use crate::error::{Error, Kind, Result};
use crate::port::{BoxFuture, Lease, Port};
use crate::settings::Settings;
use crate::statistics::{Counters, Statistics};

/// A database as one caller, say one HTTP request, sees it.
#[derive(Clone)]
pub(crate) struct Scope {
    host: Arc<Host>,
    caller: Arc<Caller>,
}

/// What all callers have in common.
struct Host {
    port: Box<dyn Port>,
    settings: Settings,
    counters: Counters,
    /// Asked with every statement.
    is_closed: AtomicBool,
    closed: watch::Sender<bool>,
}

/// What one caller may still wait, and what it has waited.
#[derive(Default)]
struct Caller {
    /// The moment everything ends, on the driver's clock.
    deadline: Option<Duration>,
    round_trips: AtomicU32,
    waited_micros: AtomicU64,
    /// The caller whose clone of the database it got: everything counts for that one too.
    outer: Option<Arc<Caller>>,
}

/// A limit passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elapsed {
    /// The one that was set for what was waited for: it speaks about the connection or the server.
    Limit,
    /// The caller's deadline: it speaks about nobody else.
    Deadline,
}

impl Scope {
    pub(crate) fn new(port: Box<dyn Port>, settings: Settings) -> Scope {
        let host = Host {
            port,
            settings,
            counters: Counters::default(),
            is_closed: AtomicBool::new(false),
            closed: watch::Sender::new(false),
        };
        Scope { host: Arc::new(host), caller: Arc::default() }
    }

    /// The same for a caller of its own, whose time ends after `limit`, and with that of the caller around it.
    pub(crate) fn with_deadline(&self, limit: Duration) -> Scope {
        let deadline = self.now().saturating_add(limit);
        let deadline = self.caller.deadline.map_or(deadline, |outer| deadline.min(outer));
        let caller =
            Caller { deadline: Some(deadline), outer: Some(self.caller.clone()), ..Caller::default() };
        Scope { host: self.host.clone(), caller: Arc::new(caller) }
    }

    /// The same for what outlives the caller.
    pub(crate) fn without_deadline(&self) -> Scope {
        Scope { host: self.host.clone(), caller: Arc::default() }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.host.settings
    }

    pub(crate) fn has_deadline(&self) -> bool {
        self.caller.deadline.is_some()
    }

    /// How often the caller waited for an answer, and for how long.
    pub(crate) fn waited(&self) -> (u32, Duration) {
        let Caller { round_trips, waited_micros, .. } = &*self.caller;
        let waited = Duration::from_micros(waited_micros.load(Ordering::Relaxed));
        (round_trips.load(Ordering::Relaxed), waited)
    }

    /// An error if nothing more should be sent.
    pub(crate) fn check_deadline(&self) -> Result<()> {
        match self.caller.deadline.is_some_and(|deadline| deadline <= self.now()) {
            true => Err(Error::new(Kind::Timeout, "the deadline passed before the statement was sent")),
            false => Ok(()),
        }
    }
}

/// Waiting.
impl Scope {
    /// Waits for `future`, at most `limit` and never past the caller's deadline. The future is polled first, so that what it
    /// sends is sent even when nothing is left to wait for the answer, and a future that is ready costs no timer.
    pub(crate) async fn within<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut timer = None;
        let over = poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            let (sleep, elapsed) = timer.get_or_insert_with(|| {
                let (limit, elapsed) = self.least(limit);
                (self.host.port.sleep(limit), elapsed)
            });
            sleep.as_mut().poll(cx).map(|()| Err(*elapsed))
        });
        over.await
    }

    /// Counts a round trip; gives what came of it, and how long it was waited for.
    pub(crate) async fn flight<F: Future>(&self, answers: F) -> (F::Output, Duration) {
        self.host.counters.round_trip();
        let started = self.now();
        self.each_caller(|caller| {
            caller.round_trips.fetch_add(1, Ordering::Relaxed);
        });
        let output = answers.await;
        let waited = self.now().saturating_sub(started);
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.each_caller(|caller| {
            caller.waited_micros.fetch_add(micros, Ordering::Relaxed);
        });
        (output, waited)
    }

    fn each_caller(&self, count: impl Fn(&Caller)) {
        let mut caller = Some(&self.caller);
        while let Some(counted) = caller {
            count(counted);
            caller = counted.outer.as_ref();
        }
    }

    /// A timer that ends after `limit` and with the caller's deadline.
    pub(crate) fn sleep_within(&self, limit: Duration) -> BoxFuture<()> {
        self.host.port.sleep(self.least(limit).0)
    }

    /// What is left of `limit` under the caller's deadline, and which of the two it is.
    fn least(&self, limit: Duration) -> (Duration, Elapsed) {
        match self.caller.deadline.map(|deadline| deadline.saturating_sub(self.now())) {
            Some(left) if left < limit => (left, Elapsed::Deadline),
            _ => (limit, Elapsed::Limit),
        }
    }
}

/// The driver's side.
impl Scope {
    pub(crate) fn acquire(&self) -> BoxFuture<Result<Box<dyn Lease>>> {
        self.host.port.acquire()
    }

    pub(crate) async fn dial(&self) -> Result<Link> {
        self.host.port.dial().await.inspect_err(|error| self.count(error))
    }

    pub(crate) fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        self.host.port.sleep(duration)
    }

    pub(crate) fn now(&self) -> Duration {
        self.host.port.now()
    }

    pub(crate) fn executor(&self) -> Executor {
        self.host.port.executor()
    }
}

/// Closing.
impl Scope {
    pub(crate) fn close(&self) {
        self.host.is_closed.store(true, Ordering::Relaxed);
        self.host.closed.send_replace(true);
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        match self.host.is_closed.load(Ordering::Relaxed) {
            true => Err(Error::unavailable("the database is closed")),
            false => Ok(()),
        }
    }

    /// Ends when the database is closed.
    pub(crate) async fn closed(&self) {
        let mut closed = self.host.closed.subscribe();
        let _ = closed.wait_for(|closed| *closed).await; // the sender lives as long as this scope
    }
}

/// Counting.
impl Scope {
    /// Enters an error into the statistics, if it is PostgreSQL's. For each once, where it becomes ours.
    pub(crate) fn count(&self, error: &Error) {
        self.host.counters.error(error);
    }

    pub(crate) fn count_retry(&self) {
        self.host.counters.retry();
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.host.counters.read()
    }

    /// A number from 0 to 1 that differs from call to call and process to process, for jitter alone.
    pub(crate) fn random_fraction(&self) -> f64 {
        let address = std::ptr::from_ref(self) as usize as u64;
        let nanos = u64::try_from(self.now().as_nanos() & u128::from(u64::MAX)).unwrap_or_default();
        // splitmix64, to spread the few bits that differ
        let mut bits = (nanos ^ address.rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = u32::try_from((bits ^ (bits >> 31)) >> 32).unwrap_or_default();
        f64::from(bits) / f64::from(u32::MAX)
    }
}
