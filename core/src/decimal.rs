//! `rust_decimal`'s type as a `numeric`.

use std::error::Error as StdError;
use std::fmt;

use bytes::BytesMut;

use crate::numeric::{decode, encode};
use crate::types::{FromSql, IsNull, ToSql, Type, Unheld, accepts, to_sql_checked};

/// A `numeric` to calculate with: `rust_decimal::Decimal`, which implements PostgreSQL's traits on native hosts only. This one is the same in a
/// Worker.
///
/// Nothing is rounded: a number with more digits than it can hold is an error, for which there is [`Numeric`](crate::Numeric).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(pub rust_decimal::Decimal);

impl From<rust_decimal::Decimal> for Decimal {
    fn from(decimal: rust_decimal::Decimal) -> Self {
        Decimal(decimal)
    }
}

impl From<Decimal> for rust_decimal::Decimal {
    fn from(Decimal(decimal): Decimal) -> Self {
        decimal
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ToSql for Decimal {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        encode(&self.0.to_string(), out).ok_or("no numeric")?;
        Ok(IsNull::No)
    }

    accepts!(NUMERIC);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Decimal {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let text = decode(raw).ok_or("no numeric")?;
        let text = match text.contains('.') {
            true => trimmed(&text),
            false => &text,
        };
        let decimal = rust_decimal::Decimal::from_str_exact(text).map_err(|_| {
            Unheld("has more digits than Decimal can hold, or is not finite: read it as pgspan::Numeric, or round it")
        })?;
        Ok(Decimal(decimal))
    }

    accepts!(NUMERIC);
}

/// Without the zeros at the end that it has no place for.
fn trimmed(text: &str) -> &str {
    const DIGITS: usize = 28;
    let is_long = |text: &str| text.bytes().filter(u8::is_ascii_digit).count() > DIGITS;
    let mut text = text;
    while let Some(shorter) = text.strip_suffix('0').filter(|_| is_long(text)) {
        text = shorter;
    }
    text.strip_suffix('.').unwrap_or(text)
}
