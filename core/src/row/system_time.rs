//! `SystemTime` where the standard library counts it from 1970 on: in WebAssembly.
//!
//! There it can't be earlier, and `postgres-types` subtracts from it without a look, which panics. A panic ends the whole isolate. So
//! the value is looked at first.

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::types::{array_from_sql, timestamp_from_sql};
use tokio_postgres::Row;
use tokio_postgres::types::{Kind, Type};

use super::opaque::Raw;
use crate::error::{Error, Result};

/// Microseconds from 1970 to 2000, from where PostgreSQL counts.
const FROM_1970: i64 = 946_684_800_000_000;

/// Refuses a moment before 1970 (`-infinity` is one) if it is to be read as `wanted`, the name of a type, and that is a `SystemTime`,
/// or has some in it.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "the tests of what it does run elsewhere"))]
pub(super) fn check(row: &Row, position: usize, wanted: &str) -> Result<()> {
    // the type need not be 'static, so that its TypeId can't be asked for
    if !wanted.ends_with("time::SystemTime") && !wanted.contains("time::SystemTime>") {
        return Ok(());
    }
    let (Some(column), Ok(Raw(Some(raw)))) = (row.columns().get(position), row.try_get(position)) else {
        return Ok(());
    };
    match is_too_early(column.type_(), raw) {
        true => Err(Error::row(format!(
            "column {:?} is before 1970, which SystemTime can't be in a Worker: read it with jiff, chrono or time",
            column.name()
        ))),
        false => Ok(()),
    }
}

fn is_too_early(ty: &Type, raw: &[u8]) -> bool {
    match ty.kind() {
        Kind::Array(_) => array_from_sql(raw).is_ok_and(|array| {
            let moment = array.values().any(|moment| Ok(moment.is_some_and(is_before_1970)));
            moment.unwrap_or_default()
        }),
        _ => is_before_1970(raw),
    }
}

fn is_before_1970(raw: &[u8]) -> bool {
    timestamp_from_sql(raw).is_ok_and(|micros| micros < -FROM_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_before_1970_is_found_alone_and_in_an_array() {
        for (micros, expected) in
            [(i64::MIN, true), (-FROM_1970 - 1, true), (-FROM_1970, false), (0, false), (i64::MAX, false)]
        {
            let raw = micros.to_be_bytes().to_vec();
            assert_eq!(is_too_early(&Type::TIMESTAMPTZ, &raw), expected, "{micros}");
            // one dimension, NULLs allowed, two elements from 1 on: NULL, and the moment
            let head = [1, 1, 1184, 2, 1, -1_i32, 8].map(i32::to_be_bytes).concat();
            assert_eq!(is_too_early(&Type::TIMESTAMPTZ_ARRAY, &[head, raw].concat()), expected, "{micros}");
        }
        assert!(!is_too_early(&Type::TIMESTAMPTZ, b"short"));
    }
}
