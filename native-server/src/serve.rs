//! An HTTP server for an axum router: limits, requests that run to their end, and an orderly end of its own.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::workers::Workers;
use draining::Draining;
use listener::Stream;
use protocol::Protocol;
use requests::Requests;

mod answering;
mod draining;
mod listener;
mod options;
mod problem;
mod protocol;
mod record;
mod requests;
mod route;

pub use listener::{Address, Listener, NotAnAddress};
pub use options::Options;
#[cfg(feature = "otlp")]
pub(crate) use problem::REQUEST_ID;

/// Serves `router` until `shutdown` is done, then lets what is under way finish.
///
/// It believes no header about who the client is (`X-Forwarded-For`, `Forwarded`) and expects no PROXY protocol: nothing
/// here depends on the client's address.
///
/// A request runs to its end though its client hangs up, so that no write is cut in half, and a panic answers 500
/// (problem+json) and ends nothing else, where panics unwind. When `shutdown` is done the path of [`Options::readiness`]
/// answers 503; [`Options::grace`] later no connection is accepted any more, idle ones are closed, and running requests
/// have [`Options::drain`] to finish.
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
    let draining = Draining::default();
    let requests = Requests {
        router: route::around(router, &draining, options.readiness).with_state(()),
        metrics: options.metrics.clone(),
        begun: None,
        running: TaskTracker::new(),
    };
    let (listener, protocol) = (listener.into(), Arc::new(Protocol::new(&options)));
    let slots = Arc::new(Semaphore::new(options.max_connections));
    let connections = GracefulShutdown::new();
    let mut stop = pin!(async {
        shutdown.await;
        draining.begin();
        tracing::info!("stopping: not ready any more");
        sleep(options.grace).await;
    });
    loop {
        let (stream, slot) = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept(&slots, options.write_timeout) => accepted,
        };
        let (worker, token) = options.workers.as_ref().map(Workers::least_busy).unwrap_or_default();
        let stream = match worker {
            Some(worker) => stream.driven_by(worker),
            None => Ok(stream),
        };
        let Ok(stream) = stream.inspect_err(|error| tracing::error!(%error, "a connection can't be served"))
        else {
            continue;
        };
        let (protocol, requests, watcher) = (protocol.clone(), requests.clone(), connections.watcher());
        let attend = async move {
            match stream {
                Stream::Tcp(stream) => protocol.attend(stream, requests, watcher).await,
                Stream::Unix(stream) => protocol.attend(stream, requests, watcher).await,
            }
            drop((slot, token));
        };
        match worker {
            Some(worker) => worker.spawn(attend),
            None => tokio::spawn(attend),
        };
    }
    drop(listener);
    tracing::info!("stopping: requests under way may finish");
    let Requests { router, running, .. } = requests;
    drop(router);
    running.close();
    let drained = async {
        connections.shutdown().await;
        running.wait().await;
    };
    match timeout(options.drain, drained).await {
        Ok(()) => Ok(()),
        Err(_) => Err(NotDrained { requests: running.len() }),
    }
}

/// Requests or connections were still open when the time to finish was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotDrained {
    /// How many requests were running.
    pub requests: usize,
}

impl fmt::Display for NotDrained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the time to finish is over, and {} requests were running", self.requests)
    }
}

impl Error for NotDrained {}
