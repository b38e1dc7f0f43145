//! Values that `postgres-types` would read as another value, or that its types can't hold: looked at before they are read.
//!
//! An address with its network's length loses it as `IpAddr`; `Decimal` has no place for more than 28 digits; 24:00 is 00:00 for `chrono` and `time`; infinity is the year 294,277 for
//! `SystemTime`; a `timestamp` without a time zone is no moment. In WebAssembly the standard library counts `SystemTime` from 1970 on, and
//! to subtract from that panics, which ends the whole isolate.

use fallible_iterator::FallibleIterator as _;
use postgres_protocol::types::{
    array_from_sql, date_from_sql, inet_from_sql, time_from_sql, timestamp_from_sql,
};
use tokio_postgres::Row;
use tokio_postgres::types::{Kind, Type};

use super::opaque::Raw;
use crate::error::{Error, Result};
use crate::numeric::decode;

/// Refuses a value that would not be itself as `wanted`, the name of a type.
pub(super) fn check(row: &Row, position: usize, wanted: &str) -> Result<()> {
    let Some(column) = row.columns().get(position) else { return Ok(()) };
    let ty = match column.type_().kind() {
        Kind::Array(element) => element,
        _ => column.type_(),
    };
    let is_concerned = matches!(
        *ty,
        Type::INET | Type::DATE | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::NUMERIC
    );
    if !is_concerned || !PATHS.iter().any(|path| names(wanted, path)) {
        return Ok(());
    }
    let Ok(Raw(Some(raw))) = row.try_get(position) else { return Ok(()) };
    let name = column.name();
    match fault_of(column.type_(), ty, raw, wanted) {
        Some(fault) => Err(Error::row(format!("column {name:?} ({}) {fault}", column.type_()))),
        None => Ok(()),
    }
}

const SYSTEM_TIME: &str = "std::time::SystemTime";
const DECIMAL: &str = "pgspan::decimal::Decimal";
const IP_ADDR: &str = "core::net::ip_addr::IpAddr";

/// Where the types are defined that are concerned. Others may know what to do with any value.
const PATHS: [&str; 6] = [SYSTEM_TIME, IP_ADDR, "chrono::", "jiff::", "time::", DECIMAL];

/// Whether the name of a type has this type in it, or one below this path. A type need not be `'static`, so that its `TypeId` can't be
/// asked for.
fn names(wanted: &str, path: &str) -> bool {
    wanted.split(['<', '>', ',', ' ']).any(|part| part.starts_with(path))
}

fn fault_of(column: &Type, ty: &Type, raw: &[u8], wanted: &str) -> Option<&'static str> {
    let fault = |value: &[u8]| fault(ty, value, wanted);
    match column.kind() {
        Kind::Array(_) => {
            let mut values = array_from_sql(raw).ok()?.values();
            std::iter::from_fn(|| values.next().ok().flatten()).flatten().find_map(fault)
        }
        _ => fault(raw),
    }
}

fn fault(ty: &Type, raw: &[u8], wanted: &str) -> Option<&'static str> {
    let is_system_time = names(wanted, SYSTEM_TIME);
    match *ty {
        Type::TIMESTAMP if is_system_time => Some(
            "has no time zone and SystemTime is a moment: read it with jiff, chrono or time, or cast it with AT TIME ZONE 'UTC'",
        ),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => match timestamp_from_sql(raw).ok()? {
            i64::MIN | i64::MAX => Some(INFINITE),
            micros if is_system_time && cfg!(target_arch = "wasm32") && is_before_1970(micros) => Some(
                "is before 1970, which SystemTime can't be in a Worker: read it with jiff, chrono or time",
            ),
            _ => None,
        },
        Type::DATE => matches!(date_from_sql(raw).ok()?, i32::MIN | i32::MAX).then_some(INFINITE),
        Type::TIME => (time_from_sql(raw).ok()? >= DAY)
            .then_some("is 24:00, which no type of Rust's can be: cast it to text"),
        Type::INET => {
            let inet = inet_from_sql(raw).ok()?;
            let whole = if inet.addr().is_ipv4() { 32 } else { 128 };
            (inet.netmask() != whole)
                .then_some("has the length of its network, which IpAddr has no place for: cast it to text, or take host(…)")
        }
        Type::NUMERIC => does_not_fit_decimal(&decode(raw)?),
        _ => None,
    }
}

/// What `Decimal` has no place for: it holds an integer of 96 bits, with 28 places behind the point at most.
fn does_not_fit_decimal(text: &str) -> Option<&'static str> {
    const PLACES: usize = 28;
    const LARGEST: u128 = (1 << 96) - 1;
    if !text.ends_with(|c: char| c.is_ascii_digit()) {
        return Some("is no finite number, which Decimal has not: read it as pgspan::Numeric");
    }
    let (whole, fraction) =
        text.trim_start_matches('-').split_once('.').unwrap_or((text.trim_start_matches('-'), ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = [whole, fraction].concat();
    let fits = fraction.len() <= PLACES && digits.parse::<u128>().is_ok_and(|digits| digits <= LARGEST);
    (!fits).then_some("has more digits than Decimal can hold: read it as pgspan::Numeric, or round it")
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

    fn of(ty: &Type, raw: &[u8], wanted: &str) -> Option<&'static str> {
        fault_of(ty, ty, raw, wanted)
    }

    #[test]
    fn a_type_is_known_by_its_path_wherever_it_stands() {
        for (wanted, path, expected) in [
            ("std::time::SystemTime", SYSTEM_TIME, true),
            ("core::option::Option<alloc::vec::Vec<std::time::SystemTime>>", SYSTEM_TIME, true),
            ("time::offset_date_time::OffsetDateTime", "time::", true),
            ("shop::time::Opening", "time::", false),
            ("postgres_types::special::Timestamp<x>", "time::", false),
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
        assert_eq!(of(&Type::TIMESTAMPTZ, &moment, SYSTEM_TIME), Some(INFINITE));
        // one dimension, NULLs allowed, two elements from 1 on: NULL, and the moment
        let head = [1, 1, 1184, 2, 1, -1_i32, 8].map(i32::to_be_bytes).concat();
        let array = [head, moment.to_vec()].concat();
        assert_eq!(
            fault_of(&Type::TIMESTAMPTZ_ARRAY, &Type::TIMESTAMPTZ, &array, SYSTEM_TIME),
            Some(INFINITE)
        );
        assert_eq!(of(&Type::TIMESTAMPTZ, b"short", SYSTEM_TIME), None);
        assert_eq!(of(&Type::TIMESTAMPTZ, &0_i64.to_be_bytes(), SYSTEM_TIME), None);
    }
}
