//! A connection that single statements share: how busy it is, and whether it can be trusted.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio_postgres::Client;

use crate::driver::{Executor, Link};
use crate::guard::Watch;
use crate::prepared::Prepared;
use crate::scope::{Elapsed, Scope};

/// So many statements may wait on one connection; further ones are refused. It is far above what a healthy server leaves waiting.
const MOST: usize = 2_048;

/// The check's own deadline: a healthy server answers an empty statement in a few milliseconds.
const CHECK_DEADLINE: Duration = Duration::from_secs(1);

/// How many statements more must wait on one's own connection for another executor's to be used. That costs both threads a
/// wake-up, so a burst should not do it; 64 small statements are answered within a millisecond.
const ELSEWHERE: usize = 64;

/// A connection on which nothing was answered for so many milliseconds has a slow statement: others go elsewhere. A busy machine
/// alone makes it ten.
const SLOW: u64 = 50;

pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) watch: Watch,
    pub(super) prepared: Prepared,
    executor: usize,
    /// Statements whose callers wait.
    in_flight: AtomicUsize,
    /// Gets no new statement: a deadline passed on it, or its server is leaving.
    avoided: AtomicBool,
    /// By the port's clock; never, if it says nothing.
    expires: Option<Duration>,
    check_after: Option<Duration>,
    /// When it was last idle, or a statement on it ended, in milliseconds by the port's clock.
    used: AtomicU64,
}

impl Connection {
    pub(super) fn new(link: Link, scope: &Scope) -> Connection {
        let now = scope.now();
        Connection {
            client: link.client,
            watch: link.watch,
            prepared: Prepared::default(),
            executor: scope.executor().number,
            in_flight: AtomicUsize::new(0),
            avoided: AtomicBool::new(false),
            expires: link.lifetime.map(|lifetime| now.saturating_add(lifetime)),
            check_after: link.check_after,
            used: AtomicU64::new(millis(now)),
        }
    }

    /// Whether it may get new statements.
    pub(super) fn is_good(&self, now: Duration) -> bool {
        let expired = self.expires.is_some_and(|expires| now >= expires);
        !expired && !self.avoided.load(Ordering::Relaxed) && !self.client.is_closed()
    }

    /// Whether it was unused for so long that it must be checked first: what is between may have forgotten it. It is so while it is
    /// checked, too.
    pub(super) fn is_doubted(&self, now: Duration) -> bool {
        let unused = || millis(now).saturating_sub(self.used.load(Ordering::Relaxed));
        !self.is_awaited() && self.check_after.is_some_and(|after| unused() >= millis(after))
    }

    pub(super) fn is_of(&self, executor: Executor) -> bool {
        self.executor == executor.number
    }

    /// Whether no more statements may wait on it.
    pub(super) fn has_enough(&self) -> bool {
        self.unanswered() >= MOST
    }

    pub(super) fn is_busy(&self) -> bool {
        self.unanswered() > 0
    }

    /// Whether a caller waits for it. One that only owes answers to callers that gave up may be dead.
    pub(super) fn is_awaited(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Statements ahead of the next one. The server also works for callers that gave up, and the watch knows of those; it does not
    /// know yet of a statement that is about to be written.
    fn unanswered(&self) -> usize {
        let written = usize::try_from(self.watch.unanswered()).unwrap_or(usize::MAX);
        self.in_flight.load(Ordering::Relaxed).max(written)
    }

    /// What a statement of this executor costs on it, in statements that go before.
    pub(super) fn load(&self, executor: Executor, now: Duration) -> usize {
        let near = self.is_of(executor) && !self.is_slow(now);
        self.unanswered() + if near { 0 } else { ELSEWHERE }
    }

    fn is_slow(&self, now: Duration) -> bool {
        self.is_busy() && millis(now).saturating_sub(self.used.load(Ordering::Relaxed)) >= SLOW
    }

    /// Whether it still answers; an error of the server is no answer.
    pub(super) async fn check(&self, scope: &Scope, limit: Duration) -> Result<(), Elapsed> {
        let asked = self.client.execute_typed("", &[]);
        let answer = scope.within(limit.min(CHECK_DEADLINE), asked).await?;
        answer.map_err(|_| Elapsed::Limit)?;
        self.used.store(millis(scope.now()), Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn avoid(&self) {
        self.avoided.store(true, Ordering::Relaxed);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One that was avoided, or still owes an answer to callers that gave up, may be dead: its good-bye would wait for ever.
impl Drop for Connection {
    fn drop(&mut self) {
        if self.avoided.load(Ordering::Relaxed) || self.watch.unanswered() > 0 {
            self.watch.end();
        }
    }
}

/// Counts a statement while its caller waits.
pub(super) struct InFlight<'c> {
    connection: &'c Connection,
    scope: &'c Scope,
}

impl<'c> InFlight<'c> {
    pub(super) fn count(connection: &'c Connection, scope: &'c Scope) -> InFlight<'c> {
        if connection.in_flight.fetch_add(1, Ordering::Relaxed) == 0 {
            connection.used.store(millis(scope.now()), Ordering::Relaxed);
        }
        InFlight { connection, scope }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        // before it may count as idle: nobody may see it unused since long ago
        self.connection.used.store(millis(self.scope.now()), Ordering::Relaxed);
        self.connection.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
