//! An HTTP/1.1 server for an axum router: limits, a task for each request, and an orderly end.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::HeaderValue;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::logs;
use crate::metrics::{Measured, Metrics};
use leaving::Leaving;

mod leaving;
mod options;
mod problem;

pub use options::Options;
pub(crate) use problem::REQUEST_ID;

/// Serves `router` until `shutdown` is done, then lets what is under way finish.
///
/// A request runs in a task of its own: a client that hangs up does not cut a write in half, and a panic answers 500
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
/// Dropping the future stops accepting; connections go on until the runtime ends.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NotDrained> {
    let leaving = Leaving::default();
    let router = leaving.guard(router, options.readiness);
    let requests = Requests {
        router: logs::with_path(router).with_state(()),
        metrics: options.metrics,
        running: TaskTracker::new(),
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_header_size(options.max_header_size)
        .max_headers(options.max_headers);
    let slots = Arc::new(Semaphore::new(options.max_connections));
    let connections = GracefulShutdown::new();
    let mut stop = pin!(async {
        shutdown.await;
        leaving.begin();
        tracing::info!("stopping: not ready any more");
        sleep(options.grace).await;
    });
    loop {
        let (stream, slot) = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let connection = http.serve_connection(TokioIo::new(stream), requests.clone());
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(slot);
        });
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

/// The next connection, once there may be one more.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let slot = slots.clone().acquire_owned().await.ok(); // never closed
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true); // an answer is small and complete
                return (stream, slot);
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                // out of descriptors or memory, which time may heal
                tracing::error!(%error, "no connection can be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers requests, each in a task of its own.
#[derive(Clone)]
struct Requests {
    router: Router,
    metrics: Option<Metrics>,
    running: TaskTracker,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: hyper::Request<Incoming>) -> Answering {
        let request: Request = request.map(Body::new);
        let line = logs::Line::begin(&request);
        let measured = self.metrics.clone().map(|metrics| Measured::begin(metrics, &request));
        let id = problem::request_id(request.headers());
        let answer = tower_service::Service::call(&mut self.router.clone(), request);
        let task = self.running.spawn(async move {
            let Ok(mut response) = answer.await;
            if let Some(measured) = measured {
                response = measured.end(response).await;
            }
            line.end(&response);
            response
        });
        Answering { task, id }
    }
}

/// Waits for a request's task. Dropping it leaves the task alone.
struct Answering {
    task: JoinHandle<Response>,
    id: Option<HeaderValue>,
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = ready!(Pin::new(&mut self.task).poll(cx));
        Poll::Ready(Ok(answered.unwrap_or_else(|_| problem::panicked(self.id.take()))))
    }
}
