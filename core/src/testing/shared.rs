//! What all connections of a scripted driver have in common.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::clock::Clock;
use super::log::Log;
use super::reply::Reply;
use super::statement::Statement;

pub(super) type Script = Box<dyn FnMut(&Statement<'_>) -> Reply + Send>;
pub(super) type Greeting = Box<dyn FnMut(usize) -> Reply + Send>;

pub(super) struct Shared {
    pub(super) script: Mutex<Script>,
    pub(super) greeting: Mutex<Greeting>,
    pub(super) network: Mutex<Network>,
    pub(super) log: Log,
    pub(super) clock: Arc<Clock>,
}

/// What befalls connections that are opened from now on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Network {
    pub(super) cut_after: Option<usize>,
    pub(super) stop_after: Option<usize>,
    pub(super) packet: Option<usize>,
}

/// As much as is written before it is read.
pub(super) const BUFFER: usize = 64 * 1024;

impl Shared {
    pub(super) fn ask(&self, statement: &Statement<'_>) -> Reply {
        lock(&self.script)(statement)
    }

    pub(super) fn greet(&self, number: usize) -> Reply {
        lock(&self.greeting)(number)
    }

    pub(super) fn network(&self) -> Network {
        *lock(&self.network)
    }
}

pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
