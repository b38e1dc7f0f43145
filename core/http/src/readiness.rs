//! Whether the application is ready: a connection can be had, and the schema is there. Asked seldom, so that probes do not
//! become load.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::lock::Mutex as Turns;
use pgspan::{Database, Sql};

use crate::problem::Problem;

/// How long an answer is kept: below every probe's interval, and within the two seconds in which a host heals.
const KEPT: Duration = Duration::from_secs(1);

/// How long all connections may be in use before that is no burst any more, and this instance not ready.
const BUSY: Duration = Duration::from_secs(10);

/// How long a connection is waited for meanwhile, and for another who looks: below a probe's own deadline, which often is one
/// second.
const BRIEFLY: Duration = Duration::from_millis(500);

/// What was found last, for all who ask.
pub(crate) struct Readiness {
    is_ready: Box<IsReady>,
    last: Mutex<Last>,
}

type IsReady = dyn Fn() -> Sql<'static> + Send + Sync;

#[derive(Default)]
struct Last {
    answer: Option<(Duration, Result<(), Problem>)>,
    /// When a connection was had last; before the first, when one was asked for first.
    had: Option<Duration>,
    /// One looks and the others wait for what it finds.
    turns: Arc<Turns<()>>,
}

impl Readiness {
    /// Asked by this statement, whose answer is `true` or `false`.
    pub(crate) fn new(is_ready: impl Fn() -> Sql<'static> + Send + Sync + 'static) -> Readiness {
        Readiness { is_ready: Box::new(is_ready), last: Mutex::default() }
    }

    pub(crate) async fn ask(&self, db: &Database) -> Result<(), Problem> {
        if let Some(known) = self.known(db.now()) {
            return known;
        }
        // Where connections end with their request nobody waits for another's: in a Worker one request can't wake another.
        let turns = self.lock().turns.clone();
        let turn = match db.settings().shared_connections {
            0 => None,
            _ => Some(db.with_deadline(BRIEFLY).until_deadline(turns.lock()).await),
        };
        if turn.as_ref().is_some_and(|turn| turn.is_err()) {
            self.lock().turns = Arc::default(); // a Durable Object may drop a request without a word, and it held the turn
        }
        if let Some(known) = self.known(db.now()) {
            return known;
        }
        let answer = self.look(db).await;
        self.lock().answer = Some((db.now(), answer.clone()));
        answer
    }

    fn known(&self, now: Duration) -> Option<Result<(), Problem>> {
        let last = self.lock();
        last.answer
            .as_ref()
            .filter(|(found, _)| now.saturating_sub(*found) < KEPT)
            .map(|(_, known)| known.clone())
    }

    async fn look(&self, db: &Database) -> Result<(), Problem> {
        let had = *self.lock().had.get_or_insert_with(|| db.now());
        let lately = db.now().saturating_sub(had) < BUSY;
        let patience = if lately { BRIEFLY } else { Duration::MAX };
        let found = match db.with_deadline(patience).until_deadline(db.session()).await.flatten() {
            Ok(mut session) => {
                self.lock().had = Some(db.now());
                session.fetch_one((self.is_ready)()).await
            }
            // are all in use, or is the database away? The shared connections know. A login that was refused is no burst.
            Err(error) if lately && error.sqlstate().is_none() && db.settings().shared_connections > 0 => {
                let asked = db.fetch_one((self.is_ready)());
                db.with_deadline(BRIEFLY).until_deadline(asked).await.flatten().map_err(|_| error)
            }
            Err(error) => Err(error),
        };
        match found {
            Ok(true) => Ok(()),
            Ok(false) => Err(Problem::not_ready("the schema is missing: apply the migrations")),
            Err(error) => Err(Problem::not_ready(error)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner) // whole between any two statements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_a_second() {
        let readiness = Readiness::new(|| Sql::new("SELECT true"));
        let at = Duration::from_millis;
        assert!(readiness.known(at(0)).is_none());
        readiness.lock().answer = Some((at(10), Err(Problem::not_ready("x"))));
        assert!(readiness.known(at(1009)).is_some_and(|ready| ready.is_err()));
        assert!(readiness.known(at(1010)).is_none());
    }
}
