//! A request that writes runs to its end, whether or not its client waits for it. One that only reads ends with its client.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;

use super::answer_body::AnswerBody;

type Answer = Pin<Box<dyn Future<Output = http::Response<AnswerBody>> + Send>>;

/// Answers in the task of its connection, which costs no task for each request. When the client hangs up hyper drops this;
/// a write goes on in a task of its own then.
pub(super) struct Answering {
    /// `None` once it is done.
    answer: Option<Answer>,
    only_reads: bool,
}

impl Answering {
    /// `only_reads`: its method is safe (RFC 9110, 9.2.1).
    pub(super) fn new(answer: Answer, only_reads: bool) -> Answering {
        Answering { answer: Some(answer), only_reads }
    }
}

impl Future for Answering {
    type Output = Result<http::Response<AnswerBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(answer) = &mut self.answer else { return Poll::Pending };
        let answer = ready!(answer.as_mut().poll(cx));
        self.answer = None;
        Poll::Ready(Ok(answer))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let (Some(answer), false) = (self.answer.take(), self.only_reads) else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(answer);
        }
    }
}
