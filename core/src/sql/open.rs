//! Strings are sent open: as text whose type the server finds out, as it does with a literal in quotes.
//!
//! So a string can be compared with a column of any type, and by the column's rules: a citext without regard to case, a `char(n)` by its
//! index, a uuid, a date or a number by its value. The book has the table that decided it ("How strings are sent").

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::types::array_from_sql;
use tokio_postgres::types::{IsNull, ToSql, Type};

type Fault = Box<dyn StdError + Sync + Send>;

/// Whether the server finds out the type.
pub(super) fn is_open(ty: &Type) -> bool {
    matches!(*ty, Type::TEXT | Type::TEXT_ARRAY | Type::UNKNOWN)
}

/// The type that a parameter is sent as. What is of the type `unknown` goes as text.
pub(super) fn sent_as(ty: &Type) -> &Type {
    static OPEN: Type = Type::UNKNOWN;
    if is_open(ty) { &OPEN } else { ty }
}

/// Writes a value in the form that it is sent in.
pub(super) fn write(value: &(dyn ToSql + Sync), ty: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
    if *ty != Type::TEXT_ARRAY {
        return value.to_sql_checked(ty, out);
    }
    let mut binary = BytesMut::new();
    let is_null = value.to_sql_checked(ty, &mut binary)?;
    if matches!(is_null, IsNull::No) {
        array_literal(&binary, out)?;
    }
    Ok(is_null)
}

/// Writes an array of texts as its literal (PostgreSQL documentation, 8.15.2 "Array Value Input"). Each element is quoted, so that none
/// is taken for NULL or for a brace.
fn array_literal(binary: &[u8], out: &mut BytesMut) -> Result<(), Fault> {
    let mut elements = array_from_sql(binary)?.values();
    let mut separator = b'{';
    while let Some(element) = elements.next()? {
        out.put_u8(separator);
        separator = b',';
        let Some(text) = element else {
            out.put_slice(b"NULL");
            continue;
        };
        out.put_u8(b'"');
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.put_u8(b'\\');
            }
            out.put_u8(*byte);
        }
        out.put_u8(b'"');
    }
    out.put_slice(if separator == b'{' { b"{}" } else { b"}" });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(value: &(dyn ToSql + Sync)) -> String {
        let mut out = BytesMut::new();
        assert!(matches!(write(value, &Type::TEXT_ARRAY, &mut out), Ok(IsNull::No)));
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn an_array_is_written_as_its_literal() {
        assert_eq!(literal(&Vec::<String>::new()), "{}");
        assert_eq!(literal(&["a", ""].as_slice()), r#"{"a",""}"#);
        assert_eq!(literal(&vec![Some("NULL"), None]), r#"{"NULL",NULL}"#);
        assert_eq!(literal(&[r#"a"b\c,{d}"#, "é\n"].as_slice()), "{\"a\\\"b\\\\c,{d}\",\"é\n\"}");
    }

    #[test]
    fn no_array_is_null() {
        let mut out = BytesMut::new();
        assert!(matches!(write(&None::<Vec<&str>>, &Type::TEXT_ARRAY, &mut out), Ok(IsNull::Yes)));
        assert!(out.is_empty());
    }
}
