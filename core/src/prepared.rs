//! Prepared statements, where they are allowed: the server then reads and plans a statement once for each connection.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::Statement;
use tokio_postgres::types::Type;

/// What is prepared on one connection. For drivers, which keep one with every connection they give out
/// ([`Driver::prepared`](crate::Driver::prepared)); it is used where [`Settings::prepare`](crate::Settings::prepare) says so.
///
/// Only statements that are part of the program are prepared ([`sql!`](crate::sql) and string literals): its text bounds their
/// number.
#[derive(Default)]
pub struct Prepared(Mutex<HashMap<&'static str, Slot>>);

enum Slot {
    /// With the types that it was prepared with. The server may have found out others for those that were left open.
    Ready(Statement, Box<[Type]>),
    /// Being prepared by someone, or not to be prepared here.
    Typed,
}

/// How a statement is to be sent.
pub(crate) enum Way<'p> {
    /// Unnamed, with its types.
    Typed,
    /// Unnamed, and prepared for the next time in the same flight.
    First(Claim<'p>),
    Prepared(Statement),
}

impl Prepared {
    /// `types` are those of the parameters.
    pub(crate) fn way<'t>(&self, text: &'static str, types: impl Iterator<Item = &'t Type>) -> Way<'_> {
        let mut slots = self.lock();
        match slots.get(text) {
            None => {
                slots.insert(text, Slot::Typed);
                Way::First(Claim { prepared: self, text, types: types.cloned().collect() })
            }
            // the same text may come with other types from a generic function
            Some(Slot::Ready(statement, with)) if with.iter().eq(types) => Way::Prepared(statement.clone()),
            Some(_) => Way::Typed,
        }
    }

    /// The next time it is prepared anew: the server forgot it, or its result changed.
    pub(crate) fn forget(&self, text: &'static str) {
        self.lock().remove(text);
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // whole between any two of its calls
    }
}

/// The right to prepare a statement. Dropped unused it leaves the statement unprepared here for good: the server may have
/// prepared it under a name that nobody knows.
pub(crate) struct Claim<'p> {
    prepared: &'p Prepared,
    text: &'static str,
    types: Box<[Type]>,
}

impl Claim<'_> {
    /// It was not prepared, and may be tried again: the failure may be that of the transaction around it.
    pub(crate) fn give_up(self) {
        self.prepared.lock().remove(self.text);
    }

    /// What came of it.
    pub(crate) fn enter(self, statement: Result<Statement, tokio_postgres::Error>) {
        match statement {
            Ok(statement) => {
                self.prepared.lock().insert(self.text, Slot::Ready(statement, self.types));
            }
            Err(_) => self.give_up(),
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("statements", &self.lock().len()).finish()
    }
}
