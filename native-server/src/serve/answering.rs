//! A request that runs to its end, whether or not its client waits for it.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::response::Response;
use http::HeaderValue;
use tokio::runtime::Handle;

use super::problem;

/// Answers in the task of its connection, which costs no task for each request. When the client hangs up hyper drops this;
/// what is not done then is done in a task of its own.
pub(super) struct Answering {
    /// `None` once it is done.
    pub(super) answer: Option<Pin<Box<dyn Future<Output = Response> + Send>>>,
    /// The caller's request id, for the answer to a panic.
    pub(super) id: Option<HeaderValue>,
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(answer) = &mut self.answer else { return Poll::Pending };
        let answered = match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
            Ok(poll) => Ok(ready!(poll)),
            Err(panic) => Err(panic),
        };
        self.answer = None;
        Poll::Ready(Ok(answered.unwrap_or_else(|_| problem::panicked(self.id.take()))))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let (Some(answer), Ok(runtime)) = (self.answer.take(), Handle::try_current()) else { return };
        runtime.spawn(answer);
    }
}
