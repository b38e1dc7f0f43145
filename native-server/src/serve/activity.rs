//! What a connection does at the moment: it is idle, a request's head is arriving, or requests are being answered.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// One connection, as its own task and the server see it.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    /// Requests that are being answered, until the last byte of their answers was taken from them.
    requests: AtomicUsize,
    /// Milliseconds after `opened`: since when it is idle, or the first byte of a head was there.
    since: AtomicU64,
    /// A part of a request's head has come.
    head: AtomicBool,
    /// HTTP/2 has frames between requests, so that a byte does not begin a request.
    http2: AtomicBool,
    /// It speaks another protocol now (a WebSocket), and ends when its handler says so.
    upgraded: AtomicBool,
    wish: AtomicU8,
    waker: AtomicWaker,
}

/// What the server wants of a connection. A later one includes the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Wish {
    GoOn = 0,
    /// The server accepts no more: an HTTP/2 client is told so.
    Finish = 1,
    /// End as soon as nothing is being answered.
    Close = 2,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Idle(Instant),
    Head(Instant),
    Answering,
}

impl Activity {
    pub(super) fn new(wish: Wish) -> Activity {
        Activity {
            opened: Instant::now(),
            requests: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            head: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            wish: AtomicU8::new(wish as u8),
            waker: AtomicWaker::new(),
        }
    }

    pub(super) fn state(&self) -> State {
        if self.upgraded.load(Ordering::Acquire) {
            return State::Answering;
        }
        let since = self.opened + Duration::from_millis(self.since.load(Ordering::Acquire));
        match (self.requests.load(Ordering::Acquire), self.head.load(Ordering::Acquire)) {
            (0, false) => State::Idle(since),
            (0, true) => State::Head(since),
            _ => State::Answering,
        }
    }

    pub(super) fn wish(&self) -> Wish {
        match self.wish.load(Ordering::Acquire) {
            0 => Wish::GoOn,
            1 => Wish::Finish,
            _ => Wish::Close,
        }
    }

    /// Tells the connection's task.
    pub(super) fn tell(&self, wish: Wish) {
        self.wish.fetch_max(wish as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Lets this task be woken by [`tell`](Activity::tell).
    pub(super) fn register(&self, cx: &Context<'_>) {
        self.waker.register(cx.waker());
    }

    pub(super) fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Release);
    }

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    pub(super) fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn received(&self) {
        let begins = self.requests.load(Ordering::Relaxed) == 0 && !self.is_http2();
        if begins && !self.head.load(Ordering::Relaxed) {
            self.since.store(self.now(), Ordering::Release);
            self.head.store(true, Ordering::Release);
        }
    }
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    pub(super) fn begin(activity: &Arc<Activity>, http2: bool) -> Busy {
        activity.requests.fetch_add(1, Ordering::AcqRel);
        activity.head.store(false, Ordering::Release);
        activity.http2.store(http2, Ordering::Relaxed);
        Busy(activity.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.since.store(self.0.now(), Ordering::Release);
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
        if self.0.wish() > Wish::GoOn {
            self.0.waker.wake(); // it may end now
        }
    }
}

/// A stream that notes when a request's first byte comes. It holds what is the connection's, also while another protocol has it.
pub(super) struct Observed<S, H> {
    pub(super) stream: S,
    pub(super) activity: Arc<Activity>,
    pub(super) _held: H,
}

impl<S: AsyncRead + Unpin, H: Unpin> AsyncRead for Observed<S, H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin, H: Unpin> AsyncWrite for Observed<S, H> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
