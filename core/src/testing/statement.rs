//! What a script is asked.

use bytes::Bytes;

use crate::types::{FromSqlOwned, Oid, Type};

/// A statement that arrived at the scripted server.
#[derive(Debug)]
pub struct Statement<'s> {
    pub(super) text: &'s str,
    pub(super) connection: usize,
    pub(super) types: &'s [Oid],
    pub(super) values: &'s [Option<Bytes>],
}

impl Statement<'_> {
    /// Its text, with `$1`, `$2`, …
    pub fn text(&self) -> &str {
        self.text
    }

    /// The number of its connection, counted from 0 in the order they were opened.
    pub fn connection(&self) -> usize {
        self.connection
    }

    /// The value of a parameter, counted from 1 as in the text; `None` if it is NULL, not there, or not a `T`.
    pub fn param<T: FromSqlOwned>(&self, number: usize) -> Option<T> {
        let position = number.checked_sub(1)?;
        let ty = Type::from_oid(*self.types.get(position)?)?;
        let value = self.values.get(position)?.as_ref()?;
        if !T::accepts(&ty) {
            return None;
        }
        T::from_sql(&ty, value).ok()
    }
}
