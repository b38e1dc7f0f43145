//! What a database did so far, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ServerError};
use crate::sqlstate::{SqlState, class_name};

/// What all clones of a [`Database`](crate::Database) did together since it was connected to.
///
/// For metrics; every number only grows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// How often anyone waited for PostgreSQL's answer. Connecting does not count.
    pub round_trips: u64,
    /// How often something was done again after a serialization failure or a deadlock: by [`Retry`](crate::Retry), or
    /// by an atomic [`Batch`](crate::Batch).
    pub retries: u64,
    /// PostgreSQL's errors by the class of their SQLSTATE, its first two characters, such as `23`; `other` for a class
    /// that PostgreSQL's documentation does not know. Refused logins count too.
    pub sqlstates: Vec<(String, u64)>,
}

/// Where they are counted.
#[derive(Default)]
pub(crate) struct Counters {
    round_trips: AtomicU64,
    retries: AtomicU64,
    /// Only an error takes the lock. Short: PostgreSQL has some forty classes.
    sqlstates: Mutex<Vec<(String, u64)>>,
}

impl Counters {
    pub(crate) fn round_trip(&self) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an error if it is PostgreSQL's.
    pub(crate) fn error(&self, error: &Error) {
        let Some(class) = error.server().map(ServerError::code).map(class) else { return };
        let mut sqlstates = self.sqlstates.lock().unwrap_or_else(PoisonError::into_inner);
        match sqlstates.iter_mut().find(|(known, _)| known == class) {
            Some((_, count)) => *count += 1,
            None => sqlstates.push((class.to_owned(), 1)),
        }
    }

    pub(crate) fn read(&self) -> Statistics {
        Statistics {
            round_trips: self.round_trips.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            sqlstates: self.sqlstates.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// A function may raise any code it likes, so that there would be no end to the classes.
fn class(code: &SqlState) -> &str {
    code.code().get(..2).filter(|_| class_name(code) != "unknown class").unwrap_or("other")
}
