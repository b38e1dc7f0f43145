//! Prepared statements, where they are allowed: the server then reads and plans a statement once for each connection.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use crate::sql::Sql;

/// What is prepared on one connection. For drivers, which keep one with every connection they give out
/// ([`Driver::prepared`](crate::Driver::prepared)); it is used where [`Settings::prepare`](crate::Settings::prepare) says so.
///
/// Only statements written with [`sql!`](crate::sql) are prepared: the program's own text bounds their number.
#[derive(Default)]
pub struct Prepared(Mutex<HashMap<&'static str, Slot>>);

enum Slot {
    Ready(Statement),
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
    pub(crate) fn way(&self, sql: &Sql<'_>) -> Way<'_> {
        let Some(text) = sql.fixed_text() else { return Way::Typed };
        // whose type the server is to find out: an enum, say, which is sent as text
        if sql.params().iter().any(|param| *param.ty() == Type::UNKNOWN) {
            return Way::Typed;
        }
        let mut slots = self.lock();
        match slots.get(text) {
            None => {
                slots.insert(text, Slot::Typed);
                Way::First(Claim { prepared: self, text })
            }
            Some(Slot::Ready(statement)) if is_for(statement, sql) => Way::Prepared(statement.clone()),
            Some(_) => Way::Typed,
        }
    }

    /// The next time it is prepared anew: the server forgot it, or its result changed.
    pub(crate) fn forget(&self, sql: &Sql<'_>) {
        if let Some(text) = sql.fixed_text() {
            self.lock().remove(text);
        }
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // whole between any two of its calls
    }
}

/// The same text may come with other types from a generic function.
fn is_for(statement: &Statement, sql: &Sql<'_>) -> bool {
    statement.params().iter().eq(sql.params().iter().map(|param| param.ty()))
}

/// The right to prepare a statement. Dropped unused it leaves the statement unprepared here for good: the server may have
/// prepared it under a name that nobody knows.
pub(crate) struct Claim<'p> {
    prepared: &'p Prepared,
    text: &'static str,
}

impl Claim<'_> {
    /// It was not prepared, and may be tried again: the failure may be that of the transaction around it.
    pub(crate) fn give_up(self) {
        self.prepared.lock().remove(self.text);
    }

    /// What came of it.
    pub(crate) fn enter(self, statement: Result<Statement, tokio_postgres::Error>) {
        let Ok(statement) = statement else { return self.give_up() };
        let mut types = statement.columns().iter().map(|column| column.type_());
        if types.all(|ty| Type::from_oid(ty.oid()).is_some()) {
            self.prepared.lock().insert(self.text, Slot::Ready(statement));
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("statements", &self.lock().len()).finish()
    }
}
