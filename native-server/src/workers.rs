//! A thread for each core, each with a runtime of its own: what comes on a connection is done by one thread to its end.
//!
//! No task moves from thread to thread, and no answer of PostgreSQL wakes another thread than the one that waits for it.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pgspan::driver::Executor;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::executor::EXECUTOR;

/// Threads that serve connections, the one that accepts them among them.
///
/// Without it a server runs on the runtime it is called on, which is as right, and what a program has that is more than
/// this server. Connections to the database that they opened end with the last clone: keep one until the database is closed.
#[derive(Debug, Clone)]
pub struct Workers(Arc<[Worker]>);

#[derive(Debug)]
struct Worker {
    /// `None`: that of the thread that accepts.
    runtime: Option<Handle>,
    /// Counts its connections.
    token: Arc<()>,
    /// Ends the thread when it is dropped.
    _alive: watch::Sender<()>,
}

impl Workers {
    /// Makes the calling thread the first of `threads`, and starts the others. What it gives is the runtime for this thread,
    /// to call [`serve`](crate::serve::serve) on.
    ///
    /// # Errors
    ///
    /// As the system says, if it can't start so many threads.
    pub fn start(threads: usize) -> io::Result<(Workers, Runtime)> {
        let of = threads.max(1);
        let runtime = || Builder::new_current_thread().enable_all().build();
        EXECUTOR.set(Executor { number: 0, of });
        let workers = (0..of).map(|number| {
            let (alive, mut ended) = watch::channel(());
            let token = Arc::default();
            if number == 0 {
                return Ok(Worker { runtime: None, token, _alive: alive });
            }
            let runtime = runtime()?;
            let handle = runtime.handle().clone();
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                EXECUTOR.set(Executor { number, of });
                runtime.spawn(tick());
                let _ = runtime.block_on(ended.changed());
            })?;
            Ok(Worker { runtime: Some(handle), token, _alive: alive })
        });
        let workers = Workers(workers.collect::<io::Result<_>>()?);
        let runtime = runtime()?;
        runtime.spawn(tick());
        Ok((workers, runtime))
    }

    /// The one with the fewest connections, to which the token is to be kept while there is the new one.
    pub(crate) fn least_busy(&self) -> (Option<&Handle>, Arc<()>) {
        let least = self.0.iter().min_by_key(|worker| Arc::strong_count(&worker.token));
        least.map_or_else(Default::default, |worker| (worker.runtime.as_ref(), worker.token.clone()))
    }
}

/// Below the deadlines that requests and statements have by default.
const TICK: Duration = Duration::from_secs(1);

/// Sees to it that a timer is due soon. tokio wakes its own thread, by a system call, for each new timer that would be the first
/// to end; without this it did so for every third request.
async fn tick() {
    loop {
        sleep(TICK).await;
    }
}
