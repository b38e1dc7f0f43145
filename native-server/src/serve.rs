//! An HTTP server for an axum router: limits, requests that run to their end, and an orderly end of its own.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::system::said;
use crate::workers::Workers;
use activity::Wish;
use bodies::Bodies;
use connection::Protocol;
use connections::{Connections, Slot};
use listener::{Accepted, Stream};
use requests::{Requests, Shared};

mod activity;
mod answer_body;
mod answering;
mod bodies;
mod connection;
mod connections;
mod draining;
mod listener;
mod on_panic;
mod options;
mod problem;
mod record;
mod request_body;
mod requests;
mod route;

pub use draining::Draining;
pub use listener::{Address, Listener, NotAnAddress};
pub use on_panic::OnPanic;
pub use options::Options;
#[cfg(feature = "otlp")]
pub(crate) use problem::REQUEST_ID;

/// Serves `router` until `shutdown` is done, then lets what is under way finish.
///
/// It believes no header about who the client is (`X-Forwarded-For`, `Forwarded`) and expects no PROXY protocol: nothing
/// here depends on the client's address.
///
/// A request that writes runs to its end though its client hangs up, so that nothing is cut in half. One that only reads (GET,
/// HEAD and the other safe methods of RFC 9110, 9.2.1) ends with its client. A panic answers 500 (problem+json) and ends nothing
/// else, where panics unwind.
///
/// When `shutdown` is done the path of [`Options::readiness`] answers 503, and every answer says `Connection: close`.
/// [`Options::grace`] later no connection is accepted any more, and running requests have [`Options::drain`] to finish; an idle
/// connection stays open for [`Options::idle_grace`] of that.
///
/// # Errors
///
/// [`NotDrained`] if some did not.
///
/// # Cancel safety
///
/// Dropping the future stops accepting; connections go on until the runtime ends, or with the last clone of
/// [`Options::workers`].
pub async fn serve(
    listener: impl Into<Listener>,
    router: Router,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NotDrained> {
    let Options { draining, write_timeout, workers, .. } = &options;
    let (mut listener, protocol): (Listener, _) = (listener.into(), Arc::new(Protocol::new(&options)));
    let shared = Arc::new(Shared {
        router: route::around(router, draining, options.readiness).with_state(()),
        metrics: options.metrics.clone(),
        draining: draining.clone(),
        liveness: options.liveness,
        body_timeout: options.body_timeout,
        body_deadline: options.body_deadline,
        on_panic: options.on_panic.clone(),
        bodies: Bodies::new(options.max_bodies),
        slots: Arc::new(Semaphore::new(options.max_requests)),
        running: TaskTracker::new(),
    });
    let (connections, tasks) =
        (Connections::new(options.max_connections, options.metrics.clone()), TaskTracker::new());
    let begin = |Accepted { stream, peer }: Accepted, slot: Slot| {
        let (worker, token) = workers.as_ref().map(Workers::least_busy).unwrap_or_default();
        let stream = match worker {
            Some(worker) => stream.driven_by(worker),
            None => Ok(stream),
        };
        let Ok(stream) =
            stream.inspect_err(|error| tracing::error!(error = said(error), "a connection can't be served"))
        else {
            return;
        };
        let requests = Requests { shared: shared.clone(), activity: slot.activity.clone(), peer };
        let protocol = protocol.clone();
        // an upgraded connection has all of this until its handler lets go of it
        let held = (slot, token, tasks.token());
        let task = async move {
            match stream {
                Stream::Tcp(stream) => protocol.serve(stream, requests, held).await,
                Stream::Unix(stream) => protocol.serve(stream, requests, held).await,
                Stream::Other(stream) => protocol.serve(stream, requests, held).await,
            }
        };
        match worker {
            Some(worker) => worker.spawn(task),
            None => tokio::spawn(task),
        };
    };
    let mut stop = pin!(async {
        shutdown.await;
        draining.begin();
        tracing::info!("stopping: not ready any more");
        sleep(options.grace).await;
    });
    let mut accepted = None;
    loop {
        tokio::select! {
            () = &mut stop => break,
            stream = listener.accept(*write_timeout), if accepted.is_none() => accepted = Some(stream),
            slot = connections.slot(), if accepted.is_some() => {
                if let Some(accepted) = accepted.take() {
                    begin(accepted, slot);
                }
            }
        }
    }
    // those that have connected already are not turned away
    while let Some(accepted) = accepted.take().or_else(|| listener.accept_now(*write_timeout)) {
        let Some(slot) = connections.slot_now() else { break };
        begin(accepted, slot);
    }
    drop(listener);
    tracing::info!("stopping: requests under way may finish");
    connections.tell_all(Wish::Finish);
    tasks.close();
    shared.running.close();
    let drained = async {
        if timeout(options.idle_grace.min(options.drain / 2), tasks.wait()).await.is_err() {
            connections.tell_all(Wish::Close);
            tasks.wait().await;
        }
        shared.running.wait().await;
    };
    match timeout(options.drain, drained).await {
        Ok(()) => Ok(()),
        Err(_) => Err(NotDrained { requests: shared.running.len(), connections: connections.count() }),
    }
}

/// Requests were running or connections open when the time to finish was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotDrained {
    /// How many requests were running.
    pub requests: usize,
    /// How many connections were open: those of these requests, those whose clients had not read their answers, and those that speak
    /// another protocol.
    pub connections: usize,
}

impl fmt::Display for NotDrained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = self.connections.saturating_sub(self.requests);
        write!(f, "the time to finish is over, and {} requests were running", self.requests)?;
        match others {
            0 => Ok(()),
            _ => write!(f, ", and {others} clients had not read their answers or not ended their WebSockets"),
        }
    }
}

impl Error for NotDrained {}
