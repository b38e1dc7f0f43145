//! Which of the process's executors the calling thread is: see [`Driver::executor`](pgspan::Driver::executor).

use std::cell::Cell;

use pgspan::driver::Executor;

thread_local! {
    /// The only one, unless the server runs on `Workers`.
    pub(crate) static EXECUTOR: Cell<Executor> = const { Cell::new(Executor::ONLY) };
}
