//! An answer's body: it counts among the bodies in memory until the client has taken it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::activity::Busy;
use super::bodies::{Bodies, UNCOUNTED};

/// What is handed to hyper at a time, which copies it. The rest stays here until that is written.
const SLICE: usize = 16 * 1024;

/// A body on its way out, with all that lasts until it is out.
pub(super) struct AnswerBody {
    body: Body,
    rest: Bytes,
    _room: Option<OwnedSemaphorePermit>,
    _request: Option<OwnedSemaphorePermit>,
    _busy: Busy,
}

impl AnswerBody {
    /// The answer; what `refused` gives if there is no room for its body. A body whose length is not known comes piece by
    /// piece, and does not count.
    pub(super) fn of(
        mut answer: Response,
        bodies: &Bodies,
        request: Option<OwnedSemaphorePermit>,
        busy: Busy,
        refused: impl FnOnce() -> Response,
    ) -> http::Response<AnswerBody> {
        let length = answer.body().size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let room = length.filter(|length| *length > UNCOUNTED).map(|length| bodies.take(length));
        if let Some(None) = room {
            answer = refused();
        }
        answer.map(|body| AnswerBody {
            body,
            rest: Bytes::new(),
            _room: room.flatten(),
            _request: request,
            _busy: busy,
        })
    }

    fn slice(&mut self) -> Frame<Bytes> {
        let length = self.rest.len().min(SLICE);
        Frame::data(self.rest.split_to(length))
    }
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.slice())));
        }
        let read = Pin::new(&mut self.body).poll_frame(cx);
        let Poll::Ready(Some(Ok(frame))) = read else { return read };
        match frame.into_data() {
            Ok(data) if data.len() > SLICE => {
                self.rest = data;
                Poll::Ready(Some(Ok(self.slice())))
            }
            Ok(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Err(other) => Poll::Ready(Some(Ok(other))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
