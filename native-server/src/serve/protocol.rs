//! What is spoken on a connection: HTTP/1.1, and HTTP/2 without TLS where it is asked for.

use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use super::options::Options;
use super::requests::Requests;

/// Requests of one client at a time. 100, the least that RFC 9113 (5.1.2) recommends.
const MAX_STREAMS: u32 = 100;
/// A client that is silent for so long is asked whether it is there, and has as long again to say so.
const PING: Duration = Duration::from_secs(20);

pub(super) struct Protocol {
    one: http1::Builder,
    both: Option<auto::Builder<TokioExecutor>>,
    header_timeout: Duration,
}

impl Protocol {
    pub(super) fn new(options: &Options) -> Protocol {
        let mut one = http1::Builder::new();
        one.timer(TokioTimer::new())
            .writev(false) // an answer is small: copying it costs less than writing it in pieces
            .header_read_timeout(options.header_timeout)
            .max_header_size(options.max_header_size)
            .max_headers(options.max_headers);
        let both = options.http2.then(|| {
            let mut both = auto::Builder::new(TokioExecutor::new());
            both.http1()
                .timer(TokioTimer::new())
                .header_read_timeout(options.header_timeout)
                .max_buf_size(options.max_header_size)
                .max_headers(options.max_headers);
            both.http2()
                .timer(TokioTimer::new())
                .max_header_list_size(u32::try_from(options.max_header_size).unwrap_or(u32::MAX))
                .max_concurrent_streams(MAX_STREAMS)
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING);
            both
        });
        Protocol { one, both, header_timeout: options.header_timeout }
    }

    /// Serves a connection to its end.
    pub(super) async fn attend<S>(&self, stream: S, requests: Requests, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        let Some(both) = &self.both else {
            ended(watcher.watch(self.one.serve_connection(stream, requests)).await);
            return;
        };
        let begun = Arc::new(AtomicBool::new(false));
        let requests = Requests { begun: Some(begun.clone()), ..requests };
        let connection = pin!(watcher.watch(both.serve_connection(stream, requests).into_owned()));
        // which protocol it is, is read without a deadline
        let silent = async {
            sleep(self.header_timeout).await;
            if begun.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            result = connection => ended(result),
            () = silent => {}
        }
    }
}

fn ended(result: Result<(), impl Display>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended");
    }
}
