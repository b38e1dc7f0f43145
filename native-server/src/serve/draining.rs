//! Draining: from the moment the server is told to stop it is not ready, so that a load balancer sends no more requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whether a server was told to stop. A clone tells the same.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    begun: AtomicBool,
    waiting: Notify,
}

impl Draining {
    pub(super) fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
        self.0.waiting.notify_waiters();
    }

    /// Whether it was.
    pub fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Done when it was.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn begun(&self) {
        let notified = self.0.waiting.notified(); // before it is looked, so that nothing is missed
        if !self.has_begun() {
            notified.await;
        }
    }
}
