//! What is known of a connection from the bytes that pass: shared by its guard and by whoever uses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// What is known of one connection from its bytes: how much is unanswered, and where its transaction stands.
///
/// For drivers. Make one for each connection, lead the connection's bytes through its [`guard`](Watch::guard), and keep it with the
/// client. Clones are the same watch.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Requests (up to a Sync, or a simple query) that were written since the login.
    written: AtomicU64,
    /// How many of them were answered to the end, by ReadyForQuery.
    answered: AtomicU64,
    /// The transaction status of the last ReadyForQuery; 0 before the first.
    status: AtomicU8,
    ended: AtomicBool,
    is_unmarked: AtomicBool,
    /// So many are answered when nobody waits for what was sent and forgotten.
    forgotten: AtomicU64,
    /// The guard, which is to look at `ended`.
    guard: AtomicWaker,
    /// Whoever waits for an answer that nobody reads.
    waiter: AtomicWaker,
}

impl Watch {
    /// A watch over a connection that is still to be opened.
    pub fn new() -> Watch {
        Watch::default()
    }

    /// One whose requests have no marks, for servers that are scripted to the byte.
    #[cfg(feature = "testing")]
    pub(crate) fn without_marks() -> Watch {
        let watch = Watch::default();
        watch.0.is_unmarked.store(true, Ordering::Relaxed);
        watch
    }

    /// Requests that were written and are not answered, among them those whose callers gave up.
    pub fn unanswered(&self) -> u64 {
        // answered first: what is answered in between only makes the difference smaller than it was
        let answered = self.answered();
        self.written().saturating_sub(answered)
    }

    /// Whether the server's last word was that no transaction is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.status.load(Ordering::Acquire) == b'I'
    }

    pub(crate) fn written(&self) -> u64 {
        self.0.written.load(Ordering::Acquire)
    }

    pub(crate) fn answered(&self) -> u64 {
        self.0.answered.load(Ordering::Acquire)
    }

    pub(super) fn is_unmarked(&self) -> bool {
        self.0.is_unmarked.load(Ordering::Relaxed)
    }

    /// Ends the connection: nothing more is read from it or written to it, and whatever is unanswered is lost.
    pub(crate) fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.guard.wake();
        self.0.waiter.wake();
    }

    /// Requests are about to be sent whose answers nobody reads; everything ahead of them is answered, or was forgotten too.
    pub(crate) fn forget(&self, requests: u64) {
        let before = self.0.forgotten.load(Ordering::Acquire).max(self.written());
        self.0.forgotten.store(before.saturating_add(requests), Ordering::Release);
    }

    /// Ready once everything that was written or forgotten is answered to its end and no transaction is open, or the connection has
    /// ended. One at a time may wait.
    pub(crate) fn poll_answered(&self, cx: &mut Context<'_>) -> Poll<()> {
        let expected = || self.0.forgotten.load(Ordering::Acquire).max(self.written());
        let is_over = || {
            let expected = expected();
            expected == 0 || self.has_ended() || self.answered() >= expected && self.is_idle()
        };
        if is_over() {
            return Poll::Ready(());
        }
        self.0.waiter.register(cx.waker());
        if is_over() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the server's last word on a connection with nothing under way was that a transaction is open.
    pub(crate) fn contradicts_idle(&self) -> bool {
        let answered = self.answered();
        let is_quiet = answered == self.written() && answered >= self.0.forgotten.load(Ordering::Acquire);
        is_quiet && answered > 0 && !self.is_idle()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// For the guard: wakes this task when the connection is to end.
    pub(super) fn register(&self, cx: &Context<'_>) {
        self.0.guard.register(cx.waker());
    }

    pub(super) fn count_written(&self) {
        self.0.written.fetch_add(1, Ordering::AcqRel);
    }

    /// The server ignores one of those that were counted.
    pub(super) fn uncount_written(&self) {
        self.0.written.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn count_answered(&self, status: u8) {
        self.0.status.store(status, Ordering::Release);
        self.0.answered.fetch_add(1, Ordering::AcqRel);
        self.0.waiter.wake();
    }

    pub(super) fn set_status(&self, status: u8) {
        self.0.status.store(status, Ordering::Release);
    }
}
