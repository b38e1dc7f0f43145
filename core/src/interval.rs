//! PostgreSQL's `interval`.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};

use crate::types::{FromSql, IsNull, ToSql, Type, Unheld, accepts, to_sql_checked};

/// A span of time as PostgreSQL keeps it: months, days and microseconds, each for itself, since a month has 28 to 31 days and a day
/// 23 to 25 hours.
///
/// ```
/// use pgspan::Interval;
/// use std::time::Duration;
///
/// let trial = Interval { months: 1, days: 0, microseconds: 0 };
/// let pause = Interval::try_from(Duration::from_secs(90))?;
/// assert_eq!((trial.to_string(), pause.to_string()), ("P1M".into(), "PT1M30S".into()));
/// # Ok::<(), pgspan::Error>(())
/// ```
///
/// The infinite ones, which PostgreSQL has since version 17, are an error when they are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Interval {
    /// Months; a year is twelve.
    pub months: i32,
    /// Days; a week is seven.
    pub days: i32,
    /// Microseconds, of any number of hours.
    pub microseconds: i64,
}

/// In ISO 8601's form, which PostgreSQL reads: `P1M-3DT1H30.5S`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SECOND: u64 = 1_000_000;
        let micros = self.microseconds.unsigned_abs();
        let sign = if self.microseconds < 0 { "-" } else { "" };
        f.write_str("P")?;
        for (number, of) in
            [(self.months, "M"), (self.days, "D")].into_iter().filter(|(number, _)| *number != 0)
        {
            write!(f, "{number}{of}")?;
        }
        if micros == 0 {
            return f.write_str(if *self == Interval::default() { "T0S" } else { "" });
        }
        f.write_str("T")?;
        let (hours, minutes) = (micros / (3600 * SECOND), micros / (60 * SECOND) % 60);
        for (number, of) in [(hours, "H"), (minutes, "M")].into_iter().filter(|(number, _)| *number != 0) {
            write!(f, "{sign}{number}{of}")?;
        }
        match (micros / SECOND % 60, micros % SECOND) {
            (0, 0) => Ok(()),
            (seconds, 0) => write!(f, "{sign}{seconds}S"),
            (seconds, rest) => write!(f, "{sign}{seconds}.{rest:06}S"),
        }
    }
}

/// What is not a whole microsecond, or does not fit, is an error.
impl TryFrom<Duration> for Interval {
    type Error = crate::Error;

    fn try_from(duration: Duration) -> Result<Self, Self::Error> {
        let is_whole = duration.subsec_nanos().is_multiple_of(1_000);
        match i64::try_from(duration.as_micros()) {
            Ok(microseconds) if is_whole => Ok(Interval { microseconds, ..Interval::default() }),
            _ => Err(crate::Error::new(
                crate::Kind::Parameter,
                "an interval counts microseconds: this duration has parts of one, or is longer than 292,271 years",
            )),
        }
    }
}

impl ToSql for Interval {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_i64(self.microseconds);
        out.put_i32(self.days);
        out.put_i32(self.months);
        Ok(IsNull::No)
    }

    accepts!(INTERVAL);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Interval {
    fn from_sql(_: &Type, mut raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        if raw.len() != 16 {
            return Err("no interval".into());
        }
        let (microseconds, days, months) = (raw.get_i64(), raw.get_i32(), raw.get_i32());
        match (microseconds, days, months) {
            (i64::MIN, i32::MIN, i32::MIN) | (i64::MAX, i32::MAX, i32::MAX) => {
                Err(Unheld("is infinite, which no Interval can be: cast it to text, or ask isfinite(…)")
                    .into())
            }
            _ => Ok(Interval { months, days, microseconds }),
        }
    }

    accepts!(INTERVAL);
}
