//! Statements of many callers in one write.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Drives a connection, and lets all else that is ready go first whenever it is woken. What those tasks ask of it then goes
/// out in one write, and the answers that have come are read at once: under load that saves most of the system calls. On an
/// idle runtime it costs one turn of the scheduler.
pub(crate) async fn politely<F: Future>(connection: F) -> F::Output {
    let mut connection = pin!(connection);
    let mut has_waited = true;
    poll_fn(|cx| {
        has_waited = !has_waited;
        if !has_waited {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        connection.as_mut().poll(cx)
    })
    .await
}
