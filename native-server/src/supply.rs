//! The supply of connections: whoever waits longest gets the next one, whether it comes back or was just opened.
//!
//! Nobody opens a connection for himself. Tasks beside the callers do, as many as there are callers without a connection and as the
//! pool has room for. A server that lets in fewer connections than the pool may have is therefore a smaller pool: an attempt
//! that fails is an error of those who wait only where there is no connection at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use deadpool::unmanaged::{Object, Pool, PoolError};
use pgspan::{Error, Result};
use tokio::pin;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::opener::{Opener, Pooled};
use crate::pool::PoolSettings;
use crate::queue::Waiter;

/// Logins at a time: what eight cores work on at once. Each starts a process on the server.
const MAX_LOGINS: usize = 8;

/// How soon a caller looks again whether a connection is being opened for him: the task that did may have ended with its runtime.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(crate) struct Supply {
    pub(crate) pool: Pool<Pooled>,
    pub(crate) opener: Opener,
    pub(crate) settings: PoolSettings,
    /// Callers that have no connection yet.
    pub(crate) waiting: Arc<AtomicUsize>,
    /// Connections that are being opened for them.
    opening: AtomicUsize,
    /// The last attempt that failed.
    failed: watch::Sender<Option<Arc<Error>>>,
    sweeping: AtomicBool,
}

impl Supply {
    pub(crate) fn new(opener: Opener, settings: PoolSettings) -> Supply {
        Supply {
            pool: Pool::new(settings.size),
            opener,
            settings,
            waiting: Arc::default(),
            opening: AtomicUsize::new(0),
            failed: watch::Sender::new(None),
            sweeping: AtomicBool::new(false),
        }
    }

    /// A connection that can be used. While it is checked `checking` is true.
    pub(crate) async fn take(self: &Arc<Self>, checking: &AtomicBool) -> Result<Object<Pooled>> {
        let mut waiter = None;
        loop {
            let object = match self.pool.try_get() {
                Ok(object) => object,
                Err(PoolError::Closed) => return Err(closed()),
                Err(_) => {
                    if waiter.is_none() {
                        waiter = Some(self.enter()?);
                    }
                    self.next().await?
                }
            };
            checking.store(true, Ordering::Relaxed);
            let checked = self.opener.check(&object).await;
            checking.store(false, Ordering::Relaxed);
            match checked {
                Ok(()) => return Ok(object),
                Err(reason) => {
                    tracing::debug!(reason, "a pooled connection is closed");
                    drop(Object::take(object));
                }
            }
        }
    }

    /// A place among those who wait: one for each connection that may still be opened, and those of the queue.
    fn enter(&self) -> Result<Waiter> {
        let PoolSettings { size, max_waiters, .. } = self.settings;
        let room = size.saturating_sub(self.pool.status().size);
        let Some(waiter) = Waiter::enter(&self.waiting, max_waiters.saturating_add(room)) else {
            self.opener.counters.refused.add();
            let text = match room {
                0 => format!("all {size} connections are in use, and {max_waiters} callers wait already"),
                _ => format!("{} callers wait for a connection already", max_waiters + room),
            };
            return Err(Error::unavailable(text));
        };
        if room == 0 {
            self.opener.counters.waits.add();
        }
        Ok(waiter)
    }

    /// Whatever comes first: a connection that comes back, or one that was opened.
    async fn next(self: &Arc<Self>) -> Result<Object<Pooled>> {
        let mut failed = self.failed.subscribe();
        let next = self.pool.get();
        pin!(next); // it keeps its turn
        loop {
            self.grow();
            tokio::select! {
                biased;
                object = &mut next => return object.map_err(|_| closed()),
                _ = failed.changed() => {
                    let why = failed.borrow_and_update().as_ref().map(|error| error.again());
                    if let (0, Some(why)) = (self.pool.status().size, why) {
                        return Err(why);
                    }
                }
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Lets connections be opened for those who have none, as far as there is room.
    pub(crate) fn grow(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        loop {
            let (status, opening) = (self.pool.status(), self.opening.load(Ordering::Acquire));
            let is_enough = self.waiting.load(Ordering::Acquire) <= opening + status.available;
            if is_enough || opening >= MAX_LOGINS || status.size + opening >= self.settings.size {
                return;
            }
            let more = opening + 1;
            if self.opening.compare_exchange(opening, more, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                runtime.spawn(open(Opening(self.clone())));
            }
        }
    }

    /// Closes what nobody uses any more and keeps the rest warm, until the pool is closed.
    pub(crate) fn sweep(self: &Arc<Self>) {
        if self.sweeping.load(Ordering::Acquire) || self.sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        let PoolSettings { lifetime, idle_timeout, .. } = self.settings;
        let pause =
            (lifetime.min(idle_timeout) / 4).clamp(Duration::from_millis(100), Duration::from_secs(30));
        let supply = Arc::downgrade(self);
        let sweeper = Sweeper(supply.clone());
        tokio::spawn(async move {
            let _sweeper = sweeper;
            loop {
                match supply.upgrade() {
                    Some(supply) if !supply.pool.is_closed() => {
                        supply.close_idle();
                        supply.warm().await;
                    }
                    _ => return,
                }
                sleep(pause).await;
            }
        });
    }

    /// Closes connections that are lost, too old, or unused for too long beyond those that are to be warm.
    fn close_idle(&self) {
        let mut surplus = self.pool.status().size.saturating_sub(self.settings.min_idle);
        let mut kept = Vec::new();
        while let Ok(object) = self.pool.try_get() {
            let over = self.opener.is_over(&object);
            if over || surplus > 0 && self.opener.is_unused(&object) {
                surplus -= 1.min(surplus);
                drop(Object::take(object));
            } else {
                kept.push(object);
            }
        }
        while kept.pop().is_some() {} // so that the one used last is taken next, as before
    }

    /// Opens connections until there are as many as are to be warm.
    async fn warm(&self) {
        while self.pool.status().size < self.settings.min_idle {
            let opened = self.opener.open(|| true).await; // the log says why not, and the next round tries again
            let Ok(Some(opened)) = opened else { return };
            if self.pool.try_add(opened).is_err() {
                return; // others opened theirs meanwhile, or the pool was closed
            }
        }
    }
}

async fn open(opening: Opening) {
    let supply = &opening.0;
    match supply.opener.open(|| supply.waiting.load(Ordering::Acquire) > 0).await {
        Ok(Some(opened)) => drop(supply.pool.try_add(opened)), // it ends where the pool was closed
        Ok(None) => {}
        Err(error) => drop(supply.failed.send_replace(Some(Arc::new(error)))),
    }
    let supply = supply.clone();
    drop(opening);
    supply.grow();
}

/// A connection that is being opened.
struct Opening(Arc<Supply>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.opening.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The task that sweeps. When it ends with its runtime, another's caller starts it again.
struct Sweeper(std::sync::Weak<Supply>);

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(supply) = self.0.upgrade() {
            supply.sweeping.store(false, Ordering::Release);
        }
    }
}

pub(crate) fn closed() -> Error {
    Error::unavailable("the pool is closed")
}
