//! The body of a request, and what becomes of the rest that a router did not read.
//!
//! Where an answer is sent before the body has come, the runtime can't read the rest any more and the connection breaks, with
//! the client's next request on it. So the rest is taken first, and thrown away as it comes.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use futures_util::future::select;
use futures_util::{Stream, StreamExt};
use wasm_bindgen_futures::JsFuture;
use worker::js_sys::Uint8Array;
use worker::send::SendWrapper;
use worker::web_sys;

use crate::time::sleep;

/// A body that says it is no longer than this is taken from the runtime in one piece; a longer one in those it comes in, so that
/// a router's own limit ends it before it fills the memory. 256 KiB: what pgspan's application takes.
const WHOLE_MOST: u64 = 256 * 1024;
/// How much of a body that nobody wants is taken. 1 MiB; a longer one ends its connection, after the answer.
const REST_MOST: u64 = 1024 * 1024;
/// How long that may take. 1 s: the answer waits for it.
const REST_TIME: Duration = Duration::from_secs(1);

/// A request's body. Its clones read it one after the other: the router what it wants, then [`drain`](Upload::drain) the rest.
#[derive(Clone)]
pub(crate) struct Upload(SendWrapper<Rc<RefCell<Reading>>>);

struct Reading {
    request: web_sys::Request,
    /// The client sends it only when it is told to go on, which an answer does not.
    is_withheld: bool,
    /// As declared.
    length: Option<u64>,
    state: State,
}

enum State {
    Unread,
    Whole(JsFuture),
    Pieces(worker::Body),
    Read,
}

impl Upload {
    pub(crate) fn new(request: &web_sys::Request, headers: &HeaderMap) -> Upload {
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let state = match length {
            Some(0) => State::Read,
            None if request.body().is_none() => State::Read,
            _ => State::Unread,
        };
        let request = Clone::clone(request); // not JavaScript's, which copies the body
        Upload(SendWrapper::new(Rc::new(RefCell::new(Reading {
            request,
            is_withheld: headers.contains_key(EXPECT),
            length,
            state,
        }))))
    }

    pub(crate) fn body(&self) -> Body {
        match self.0.borrow().state {
            State::Read => Body::empty(),
            _ => Body::from_stream(self.clone()),
        }
    }

    /// Takes the rest, keeping nothing of it, if it is not too much and comes soon.
    pub(crate) async fn drain(&self) {
        if !self.0.borrow_mut().begin_to_drain() {
            return;
        }
        let rest = async {
            let (mut rest, mut taken) = (self.clone(), 0);
            while let Some(Ok(piece)) = rest.next().await {
                taken += piece.len() as u64;
                if taken > REST_MOST {
                    return;
                }
            }
        };
        select(Box::pin(rest), Box::pin(sleep(REST_TIME))).await;
    }
}

impl Stream for Upload {
    type Item = Result<Bytes, &'static str>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll(cx)
    }
}

impl Reading {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, &'static str>>> {
        const BROKE_OFF: &str = "the request's body broke off";
        if let State::Unread = self.state {
            self.state = match self.length {
                Some(..=WHOLE_MOST) => {
                    self.request.array_buffer().map_or(State::Read, |all| State::Whole(all.into()))
                }
                _ => self.pieces(),
            };
        }
        let piece = match &mut self.state {
            State::Unread | State::Read => None,
            State::Whole(all) => {
                let all = ready!(Pin::new(all).poll(cx));
                self.state = State::Read;
                return Poll::Ready(Some(
                    all.map(|all| Uint8Array::new(&all).to_vec().into()).map_err(|_| BROKE_OFF),
                ));
            }
            State::Pieces(body) => ready!(body.poll_next_unpin(cx)),
        };
        if !matches!(piece, Some(Ok(_))) {
            self.state = State::Read;
        }
        Poll::Ready(piece.map(|piece| piece.map_err(|_| BROKE_OFF)))
    }

    /// Whether there is a rest that may be taken.
    fn begin_to_drain(&mut self) -> bool {
        if self.length.is_some_and(|length| length > REST_MOST) {
            return false;
        }
        if let State::Unread = self.state {
            if self.is_withheld {
                return false;
            }
            self.state = self.pieces();
        }
        !matches!(self.state, State::Read)
    }

    /// The body as it comes; nothing where the request has none, or somebody reads it already.
    fn pieces(&self) -> State {
        match self.request.body() {
            Some(body) if !body.locked() => State::Pieces(worker::Body::new(body)),
            _ => State::Read,
        }
    }
}
