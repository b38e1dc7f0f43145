//! Not ready first: what a load balancer hears before the server stops accepting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the server was told to end.
#[derive(Clone, Default)]
pub(super) struct Leaving(Arc<AtomicBool>);

impl Leaving {
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
