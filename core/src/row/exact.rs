//! Values that `postgres-types` would read as another value: looked at before they are read.
//!
//! An address with its network's length loses it as `IpAddr`; 24:00 is 00:00 for `chrono` and `time`; infinity is the year 294,277 for
//! `SystemTime`; a `timestamp` without a time zone is no moment. In WebAssembly the standard library counts `SystemTime` from 1970 on, and
//! to subtract from that panics, which ends the whole isolate.

use std::any::type_name;
use std::error::Error as StdError;

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::types::{
    array_from_sql, date_from_sql, inet_from_sql, time_from_sql, timestamp_from_sql,
};
use tokio_postgres::types::{FromSql, Kind, Type};

use crate::types::Unheld;

/// For the derive of a transparent struct, whose own name says nothing of its field.
#[doc(hidden)]
pub fn from_sql_exact<'a, T: FromSql<'a>>(
    ty: &Type,
    raw: &'a [u8],
) -> Result<T, Box<dyn StdError + Sync + Send>> {
    match fault_of(ty, raw, type_name::<T>()) {
        Some(fault) => Err(Box::new(Unheld(fault))),
        None => T::from_sql(ty, raw),
    }
}

const SYSTEM_TIME: &str = "std::time::SystemTime";
const IP_ADDR: &str = "core::net::ip_addr::IpAddr";
/// `Timestamp` and `Date` of `postgres-types`, which have a place for infinity.
const WITH_INFINITY: &str = "postgres_types::special::";

/// Where the types are defined that are concerned. Others may know what to do with any value.
const PATHS: [&str; 5] = [SYSTEM_TIME, IP_ADDR, "chrono::", "jiff::", "time::"];

/// Whether the name of a type has this type in it, or one below this path. A type need not be `'static`, so that its `TypeId` can't be
/// asked for.
fn names(wanted: &str, path: &str) -> bool {
    let is_of_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    wanted.split(|c| !is_of_path(c)).any(|part| part.starts_with(path))
}

/// Why a value would not be itself as `wanted`, the name of a type.
pub(super) fn fault_of(ty: &Type, raw: &[u8], wanted: &str) -> Option<&'static str> {
    let element = match ty.kind() {
        Kind::Array(element) => element,
        _ => ty,
    };
    let is_concerned =
        matches!(*element, Type::INET | Type::DATE | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ);
    if !is_concerned || !PATHS.iter().any(|path| names(wanted, path)) {
        return None;
    }
    let fault = |value: &[u8]| fault(element, value, wanted);
    match ty.kind() {
        Kind::Array(_) => {
            let mut values = array_from_sql(raw).ok()?.values();
            std::iter::from_fn(|| values.next().ok().flatten()).flatten().find_map(fault)
        }
        _ => fault(raw),
    }
}

fn fault(ty: &Type, raw: &[u8], wanted: &str) -> Option<&'static str> {
    let is_system_time = names(wanted, SYSTEM_TIME);
    let infinite = (!names(wanted, WITH_INFINITY)).then_some(INFINITE);
    match *ty {
        Type::TIMESTAMP if is_system_time => Some(
            "has no time zone and SystemTime is a moment: read it with jiff, chrono or time, or cast it with AT TIME ZONE 'UTC'",
        ),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => match timestamp_from_sql(raw).ok()? {
            i64::MIN | i64::MAX => infinite,
            micros if is_system_time && cfg!(target_arch = "wasm32") && is_before_1970(micros) => Some(
                "is before 1970, which SystemTime can't be in a Worker: read it with jiff, chrono or time",
            ),
            _ => None,
        },
        Type::DATE => infinite.filter(|_| matches!(date_from_sql(raw), Ok(i32::MIN | i32::MAX))),
        Type::TIME => (time_from_sql(raw).ok()? >= DAY)
            .then_some("is 24:00, which no type of Rust's can be: cast it to text"),
        Type::INET => {
            let inet = inet_from_sql(raw).ok()?;
            let whole = if inet.addr().is_ipv4() { 32 } else { 128 };
            (inet.netmask() != whole)
                .then_some("has the length of its network, which IpAddr has no place for: cast it to text, or take host(…)")
        }
        _ => None,
    }
}

const INFINITE: &str = "is infinite, which no time of Rust's can be: cast it to text, or ask isfinite(…)";

/// A day's microseconds.
const DAY: i64 = 86_400_000_000;

/// Of microseconds from 2000 on.
fn is_before_1970(micros: i64) -> bool {
    const FROM_1970: i64 = 946_684_800_000_000;
    micros < -FROM_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_by_its_path_wherever_it_stands() {
        for (wanted, path, expected) in [
            ("std::time::SystemTime", SYSTEM_TIME, true),
            ("core::option::Option<alloc::vec::Vec<std::time::SystemTime>>", SYSTEM_TIME, true),
            ("time::offset_date_time::OffsetDateTime", "time::", true),
            ("shop::time::Opening", "time::", false),
            ("postgres_types::special::Timestamp<x>", "time::", false),
            ("[std::time::SystemTime; 2]", SYSTEM_TIME, true),
            ("alloc::boxed::Box<[std::time::SystemTime]>", SYSTEM_TIME, true),
            ("(chrono::naive::date::NaiveDate, bool)", "chrono::", true),
        ] {
            assert_eq!(names(wanted, path), expected, "{wanted}");
        }
    }

    #[test]
    fn a_moment_before_1970_is_none_in_webassembly() {
        assert!(is_before_1970(-946_684_800_000_001) && is_before_1970(i64::MIN + 1));
        assert!(!is_before_1970(-946_684_800_000_000) && !is_before_1970(0));
    }

    #[test]
    fn what_can_not_be_held_is_found_alone_and_in_an_array() {
        let moment = i64::MAX.to_be_bytes();
        assert_eq!(fault_of(&Type::TIMESTAMPTZ, &moment, SYSTEM_TIME), Some(INFINITE));
        // one dimension, NULLs allowed, two elements from 1 on: NULL, and the moment
        let head = [1, 1, 1184, 2, 1, -1_i32, 8].map(i32::to_be_bytes).concat();
        let array = [head, moment.to_vec()].concat();
        assert_eq!(fault_of(&Type::TIMESTAMPTZ_ARRAY, &array, SYSTEM_TIME), Some(INFINITE));
        let holds_it =
            "postgres_types::special::Timestamp<chrono::datetime::DateTime<chrono::offset::utc::Utc>>";
        assert_eq!(fault_of(&Type::TIMESTAMPTZ, &moment, holds_it), None);
        assert_eq!(fault_of(&Type::TIMESTAMPTZ, b"short", SYSTEM_TIME), None);
        assert_eq!(fault_of(&Type::TIMESTAMPTZ, &0_i64.to_be_bytes(), SYSTEM_TIME), None);
    }
}
