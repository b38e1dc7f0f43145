//! A request's body: it counts among the bodies in memory, must go on arriving, and is read away where nobody wants it.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::bodies::{End, Held};

/// What each piece of a body costs whoever keeps the pieces, beside its bytes.
const PIECE: usize = 64;

/// How long what is left of a body is read after its request was answered, so that the answer is not lost in a reset: the
/// system sends one when a connection is closed under bytes that nobody read.
const LINGER: Duration = Duration::from_secs(2);

/// A body on its way in.
pub(super) struct RequestBody {
    /// `None` once nobody wants more of it.
    incoming: Option<Incoming>,
    held: Arc<Held>,
    patience: Duration,
    /// When all of it must be here.
    until: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// HTTP/2 resets a stream and nothing else.
    http1: bool,
    /// A client that asked whether it may send (`Expect: 100-continue`) is told so by the first read.
    begun: bool,
}

impl RequestBody {
    /// `patience` is how long it may make no progress, and `deadline` how long all of it may take.
    pub(super) fn of(
        request: Request<Incoming>,
        held: Arc<Held>,
        patience: Duration,
        deadline: Duration,
    ) -> Request<RequestBody> {
        let (http1, begun) = (request.version() < Version::HTTP_2, !request.headers().contains_key(EXPECT));
        let until = Instant::now() + deadline;
        request.map(|incoming| RequestBody {
            incoming: Some(incoming),
            held,
            patience,
            until,
            timer: None,
            http1,
            begun,
        })
    }

    fn late(&mut self, cx: &mut Context<'_>) -> bool {
        let until = self.until.min(Instant::now() + self.patience);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        timer.as_mut().poll(cx).is_ready()
    }

    /// Lets go of it; what is still to come is read away.
    fn finish(&mut self) {
        let Some(mut incoming) = self.incoming.take() else { return };
        if !self.http1 || !self.begun || incoming.is_end_stream() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(timeout(LINGER, async move {
            while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {}
        }));
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let read = Pin::new(incoming).poll_frame(cx);
        self.begun = true;
        let end = match &read {
            Poll::Ready(Some(Ok(frame))) => {
                self.timer = None;
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                if self.held.add(bytes + PIECE) {
                    return read.map_err(Into::into);
                }
                End::Full
            }
            Poll::Ready(_) => {
                self.incoming = None;
                return read.map_err(Into::into);
            }
            Poll::Pending if self.late(cx) => End::Late,
            Poll::Pending => return Poll::Pending,
        };
        self.held.give_up(end);
        self.finish();
        Poll::Ready(Some(Err(NotRead.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The server gave a body up.
#[derive(Debug)]
struct NotRead;

impl fmt::Display for NotRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body was given up")
    }
}

impl Error for NotRead {}
