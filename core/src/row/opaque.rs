//! Columns of types that PostgreSQL does not build in: enums, citext, an extension's types, and arrays of them.
//!
//! Nothing is looked up (see [`guard`](crate::guard)), so all that is known of such a type is its OID and its size. Many have a binary
//! form that is their text: every enum, citext, and others made from text. Such a value is read as text. What is no text, as the bytes
//! show, is an error that names the column.

use std::error::Error as StdError;
use std::sync::LazyLock;

use postgres_protocol::types::array_from_sql;
use tokio_postgres::Column;
use tokio_postgres::types::{FromSql, Kind, Oid, Type};

use crate::error::{Error, Result};

/// A column's type, as far as it is known.
pub(super) struct Opaque<'c> {
    column: &'c Column,
}

/// The bytes of a value, whatever its type.
pub(super) struct Raw<'a>(pub(super) Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Raw(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Raw(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// An array whose elements are read as text.
static TEXTS: LazyLock<Type> = LazyLock::new(|| {
    Type::new("unknown[]".to_owned(), 0, Kind::Array(Type::UNKNOWN), "pg_catalog".to_owned())
});

/// An enum's size; other types of four bytes do not have their text in them.
const ENUM: i16 = 4;
const VARIABLE: i16 = -1;

impl<'c> Opaque<'c> {
    /// Of a column that the guard masked.
    pub(super) fn of(column: &'c Column) -> Option<Opaque<'c>> {
        (*column.type_() == Type::UNKNOWN).then_some(Opaque { column })
    }

    /// The type to read a value as, if it can be read at all.
    pub(super) fn readable_as<'a, T: FromSql<'a>>(&self, raw: &[u8]) -> Result<&'static Type> {
        static TEXT: Type = Type::UNKNOWN;
        if T::accepts(&TEXT) && self.may_be_text() && is_text(raw) {
            return Ok(&TEXT);
        }
        if T::accepts(&TEXTS) && self.size() == VARIABLE && is_array_of_texts(raw) {
            return Ok(&TEXTS);
        }
        Err(self.unreadable(std::any::type_name::<T>()))
    }

    fn may_be_text(&self) -> bool {
        matches!(self.size(), ENUM | VARIABLE)
    }

    fn size(&self) -> i16 {
        self.column.column_id().unwrap_or_default()
    }

    fn unreadable(&self, wanted: &str) -> Error {
        let name = self.column.name();
        let oid: Oid = self.column.table_oid().unwrap_or_default();
        Error::row(format!(
            "column {name:?} is of a type that PostgreSQL does not build in (OID {oid}) and whose binary form is not the text \
             that {wanted} needs: cast it, to text for one, to text[] for an array of enums, or by to_jsonb(…) for a composite"
        ))
    }
}

/// Whether bytes are text. A length, a count or a version at the start of another binary form is a control character or no UTF-8.
fn is_text(raw: &[u8]) -> bool {
    let is_control = |byte: &u8| *byte < 0x20 && !matches!(*byte, b'\t' | b'\n' | b'\r') || *byte == 0x7f;
    !raw.iter().any(is_control) && std::str::from_utf8(raw).is_ok()
}

/// Whether bytes are an array of a type that is not built in, whose elements are text.
fn is_array_of_texts(raw: &[u8]) -> bool {
    use fallible_iterator::FallibleIterator;
    let Ok(array) = array_from_sql(raw) else { return false };
    if Type::from_oid(array.element_type()).is_some() {
        return false;
    }
    let is_text = |value: Option<&[u8]>| Ok(value.is_none_or(is_text));
    array.dimensions().count().is_ok() && array.values().all(is_text).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_forms_of_other_types_are_no_text() {
        for raw in [
            b"\x01top.science".as_slice(),               // ltree: a version in front
            b"\0\0\0\x01\0\0\0\x01a\0\0\0\x01b",         // hstore: a count
            b"\0\x03\0\0\x3f\x80\0\0\x40\0\0\0",         // vector: dimensions
            b"\0\0\0\x02\0\0\0\x17\0\0\0\x04\0\0\0\x07", // composite: a count
            b"\x02\0\0\0\x04\0\0\0\x01",                 // range: flags
            b"\x01\x01\0\0\0",                           // a geometry: the order of its bytes
            b"\xff\xfe",
        ] {
            assert!(!is_text(raw), "{raw:?}");
        }
        for text in ["", "happy", "Grüße, 日本\tund\nmehr", "  "] {
            assert!(is_text(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn an_array_of_texts_is_told_from_what_only_looks_like_one() {
        let array = |oid: u32, values: &[&[u8]]| {
            let mut raw = Vec::new();
            for number in [1, 0, oid, u32::try_from(values.len()).unwrap(), 1] {
                raw.extend(number.to_be_bytes());
            }
            for value in values {
                raw.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
                raw.extend(*value);
            }
            raw
        };
        assert!(is_array_of_texts(&array(16_500, &[b"sad", b"ok"])));
        assert!(!is_array_of_texts(&array(16_500, &[b"sad", b"\x01ltree"])));
        assert!(!is_array_of_texts(&array(25, &[b"text has an array type that is built in"])));
        let whole = array(16_500, &[b"sad", b"ok"]);
        for length in 0..whole.len() {
            is_array_of_texts(whole.get(..length).unwrap()); // and never a panic
        }
        assert!(!is_array_of_texts(b"\0\0\0\x01\0\0\0\x01a\0\0\0\x01b"));
    }
}
