//! One connection: HTTP/1.1, and HTTP/2 without TLS where it is asked for, with the times it may take.

use std::error::Error;
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::{HttpService, Service};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::activity::{Activity, Observed, State, Wish};
use super::options::Options;
use super::requests::Requests;
use crate::random::fraction;

/// Requests of one client at a time. 100, the least that RFC 9113 (5.1.2) recommends.
const MAX_STREAMS: u32 = 100;
/// What one stream's body may be ahead of who reads it, and what all of a connection's may: what HTTP/2 begins with (RFC 9113,
/// 6.9.2), and four times that.
const STREAM_WINDOW: u32 = 65_535;
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;
/// A client that is silent for so long is asked whether it is there, and has as long again to say so.
const PING: Duration = Duration::from_secs(20);
/// What is read of a body, or written of an answer, before the other side takes it. hyper has 408 KiB.
const BUFFER: usize = 64 * 1024;

pub(super) struct Protocol {
    one: http1::Builder,
    both: Option<auto::Builder<TokioExecutor>>,
    header_timeout: Duration,
    keep_alive: Duration,
    http2_age: Duration,
}

impl Protocol {
    pub(super) fn new(options: &Options) -> Protocol {
        let buffer = options.max_header_size.max(BUFFER); // hyper refuses less than 8 KiB
        let mut one = http1::Builder::new();
        one.timer(TokioTimer::new())
            .writev(false) // an answer is small: copying it costs less than writing it in pieces
            .header_read_timeout(None) // it would begin with the last answer's end: see `drive`
            .max_buf_size(buffer)
            .max_header_size(options.max_header_size)
            .max_headers(options.max_headers);
        let both = options.http2.then(|| {
            let mut both = auto::Builder::new(TokioExecutor::new());
            both.http1()
                .timer(TokioTimer::new())
                .header_read_timeout(None)
                .max_buf_size(buffer)
                .max_headers(options.max_headers);
            both.http2()
                .timer(TokioTimer::new())
                .max_header_list_size(u32::try_from(options.max_header_size).unwrap_or(u32::MAX))
                .max_concurrent_streams(MAX_STREAMS)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buf_size(BUFFER)
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING);
            both
        });
        Protocol {
            one,
            both,
            header_timeout: options.header_timeout,
            keep_alive: options.keep_alive,
            http2_age: options.http2_age,
        }
    }

    /// Serves a connection to its end, or until another protocol has it. `held` is dropped with the stream.
    pub(super) async fn serve<S, H>(&self, stream: S, requests: Requests, held: H)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Unpin + Send + 'static,
    {
        let activity = requests.activity.clone();
        let stream = TokioIo::new(Observed { stream, activity: activity.clone(), _held: held });
        match &self.both {
            None => {
                self.drive(self.one.serve_connection(stream, requests).with_upgrades(), &activity).await;
            }
            Some(both) => {
                self.drive(both.serve_connection_with_upgrades(stream, requests), &activity).await;
            }
        }
    }

    /// Polls the connection, and ends it when its time is over or the server wants it to.
    ///
    /// The timer is set anew only when it is to end sooner: a request that comes as a whole costs no timer.
    async fn drive<C>(&self, connection: C, activity: &Arc<Activity>)
    where
        C: Graceful,
        C::Error: Display,
    {
        let mut connection = pin!(connection);
        let mut timer = pin!(sleep_until(Instant::now() + self.keep_alive));
        let mut ending = None;
        // not all at once, where all were opened at once
        let aged = activity.opened() + self.http2_age.mul_f64(1.0 - fraction() / 20.0);
        poll_fn(|cx| {
            activity.register(cx);
            loop {
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended");
                    }
                    return Poll::Ready(());
                }
                let state = activity.state();
                let until = match (state, ending) {
                    (State::Head(since), _) => since + self.header_timeout,
                    (State::Idle(_), Some(since)) => since + self.header_timeout,
                    (State::Idle(since), None) => since + self.keep_alive,
                    (State::Answering, _) => Instant::now() + self.header_timeout,
                };
                let until = match ending {
                    None if activity.is_http2() => until.min(aged),
                    _ => until,
                };
                if until < timer.deadline() {
                    timer.as_mut().reset(until);
                }
                let over = timer.as_mut().poll(cx).is_ready() && Instant::now() >= until;
                let is_idle = matches!(state, State::Idle(_));
                let wanted = match activity.wish() {
                    Wish::GoOn => over && (is_idle || activity.is_http2()),
                    Wish::Finish => over && is_idle || activity.is_http2(),
                    Wish::Close => is_idle || activity.is_http2(),
                };
                match (wanted, ending) {
                    (true, None) => {
                        ending = Some(Instant::now());
                        connection.as_mut().graceful_shutdown();
                    }
                    _ if over => return Poll::Ready(()), // its head, or its farewell, takes too long
                    _ if timer.is_elapsed() => timer.as_mut().reset(until), // something came meanwhile
                    _ => return Poll::Pending,
                }
            }
        })
        .await;
    }
}

/// A connection that can be asked to end when it has answered what it is answering.
trait Graceful: Future<Output = Result<(), Self::Error>> {
    type Error;

    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<I, S, B> Graceful for http1::UpgradeableConnection<I, S>
where
    I: Read + Write + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Error = hyper::Error;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, B> Graceful for auto::UpgradeableConnection<'_, I, S, TokioExecutor>
where
    I: Read + Write + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Error = Box<dyn Error + Send + Sync>;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
