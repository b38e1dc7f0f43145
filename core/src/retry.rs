//! Trying a transaction again after PostgreSQL chose it to give way.

use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::scope::Scope;

/// Says whether to try again, and waits before. Made by
/// [`Database::retry`](crate::Database::retry).
///
/// ```no_run
/// # async fn work(db: &pgspan::Database) -> pgspan::Result<()> { Ok(()) }
/// # async fn example(db: pgspan::Database) -> pgspan::Result<()> {
/// let mut retry = db.retry();
/// loop {
///     match work(&db).await {
///         Err(error) if retry.again(&error).await => {}
///         done => break done,
///     }
/// }
/// # }
/// ```
pub struct Retry {
    scope: Scope,
    tries: u32,
}

/// Three tries in all. What still fails then fails because of load, and more tries would add to it.
const RETRIES: u32 = 2;
/// The first pause is 5 to 15 ms, the second 10 to 30 ms: about as long as a short transaction takes.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

impl Retry {
    pub(crate) fn new(scope: Scope) -> Retry {
        Retry { scope, tries: 0 }
    }

    /// Whether the work should be done again from its beginning: it failed with a serialization failure (40001) or a
    /// deadlock (40P01), was not tried three times yet, and there is time left. Waits a random moment, so that the two
    /// that met do not meet again.
    ///
    /// Never true after an unknown outcome, or for a statement outside of a transaction that commits by itself while it runs, such as
    /// CALL: a part of it may be stored.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future uses up one try.
    pub async fn again(&mut self, error: &Error) -> bool {
        if !error.gave_way() || self.tries >= RETRIES {
            return false;
        }
        self.tries += 1;
        let longest = FIRST_PAUSE * 2_u32.pow(self.tries - 1);
        let pause = longest.mul_f64(0.5 + self.scope.random_fraction());
        if self.scope.check_deadline().is_err() {
            return false;
        }
        self.scope.sleep_within(pause).await;
        let again = self.scope.check_deadline().is_ok();
        if again {
            self.scope.count_retry();
        }
        again
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry").field("tries", &self.tries).finish_non_exhaustive()
    }
}
