//! Draining: from the moment the server is told to stop it is not ready, so that a load balancer sends no more requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a server was told to stop. A clone tells the same.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
