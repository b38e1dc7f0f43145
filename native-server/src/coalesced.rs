//! Write coalescing: the statements of many callers go out in one write.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Drives a connection. Whenever it is woken, every other task that is ready runs first.
///
/// What those tasks send then goes out in one write, and the answers that have come are read at once. Under load that saves
/// most of the system calls. On an idle runtime it costs one turn of the scheduler.
pub(crate) async fn coalesced<F: Future>(connection: F) -> F::Output {
    let mut connection = pin!(connection);
    let mut has_yielded = true;
    poll_fn(|cx| {
        has_yielded = !has_yielded;
        if !has_yielded {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        connection.as_mut().poll(cx)
    })
    .await
}
