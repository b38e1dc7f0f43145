//! Hides the types that PostgreSQL does not build in from tokio-postgres, which would look each one up: with statements of its own,
//! on the same connection, while the rows are unread.
//!
//! Such a column is told to be of type `unknown`. What it really is goes where tokio-postgres passes it on: its type's OID as the OID
//! of its table, its type's size as the number of its column.

use tokio_postgres::types::{Oid, Type};

/// A column's table, column number, type, size, modifier and format.
const FIELD: usize = 18;

/// Masks the columns of a RowDescription's body.
pub(super) fn columns(body: &mut [u8]) {
    let mut rest = body.get_mut(2..).unwrap_or_default();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let Some((field, others)) =
            rest.get_mut(end + 1..).and_then(|field| field.split_at_mut_checked(FIELD))
        else {
            return; // cut short: tokio-postgres says so
        };
        if let [t0, t1, t2, t3, c0, c1, y0, y1, y2, y3, s0, s1, ..] = field {
            let oid = [*y0, *y1, *y2, *y3];
            if !is_built_in(Oid::from_be_bytes(oid)) {
                [*t0, *t1, *t2, *t3] = oid;
                [*c0, *c1] = [*s0, *s1];
                [*y0, *y1, *y2, *y3] = Type::UNKNOWN.oid().to_be_bytes();
            }
        }
        rest = others;
    }
}

/// Masks the types of a ParameterDescription's body.
pub(super) fn parameters(body: &mut [u8]) {
    let (oids, _) = body.get_mut(2..).unwrap_or_default().as_chunks_mut::<4>();
    for oid in oids {
        if !is_built_in(Oid::from_be_bytes(*oid)) {
            *oid = Type::UNKNOWN.oid().to_be_bytes();
        }
    }
}

fn is_built_in(oid: Oid) -> bool {
    Type::from_oid(oid).is_some()
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;

    fn described(columns: &[(&str, Oid, i16)]) -> BytesMut {
        let mut body = BytesMut::new();
        body.put_u16(columns.len().try_into().unwrap());
        for (name, oid, size) in columns {
            body.put_slice(name.as_bytes());
            body.put_u8(0);
            body.put_u32(1234);
            body.put_i16(5);
            body.put_u32(*oid);
            body.put_i16(*size);
            body.put_i32(-1);
            body.put_i16(1);
        }
        body
    }

    #[test]
    fn only_columns_of_types_that_are_not_built_in_are_masked() {
        let mut body = described(&[("id", 20, 8), ("mood", 16_500, 4), ("", 25, -1), ("no type", 0, -1)]);
        columns(&mut body);
        let mut expected = described(&[("id", 20, 8)]);
        expected.put_slice(b"mood\0");
        expected.put_u32(16_500);
        expected.put_i16(4);
        expected.put_u32(705);
        expected.put_i16(4);
        expected.put_i32(-1);
        expected.put_i16(1);
        assert_eq!(body.get(2..expected.len()), expected.get(2..));
        assert!(
            body.ends_with(b"no type\0\0\0\0\0\xff\xff\0\0\x02\xc1\xff\xff\xff\xff\xff\xff\0\x01"),
            "{body:?}"
        );
    }

    #[test]
    fn a_description_that_is_cut_short_is_left_to_tokio_postgres() {
        let whole = described(&[("mood", 16_500, 4), ("mood", 16_500, 4)]);
        for length in 0..whole.len() {
            let mut cut = whole.get(..length).unwrap().to_vec();
            columns(&mut cut);
            parameters(&mut cut);
            assert_eq!(cut.len(), length);
        }
    }
}
