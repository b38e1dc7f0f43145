//! A mutex in a program of one thread.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The port asks for `Sync`, so there is a mutex where a cell would do. It is never contended and never poisoned: a Worker has
/// one thread, and a panic ends it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
