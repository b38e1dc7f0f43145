//! PostgreSQL's `numeric`, exact.

use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;

use bytes::{BufMut, BytesMut};

use crate::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// A `numeric` as PostgreSQL writes it: `12.50`, `-0.001`, `NaN`, `Infinity`. Nothing is rounded, whatever the number of digits.
///
/// It can't be calculated with. For that there is `pgspan::Decimal`, with the feature `rust_decimal`; or parse
/// [`as_str`](Numeric::as_str) into the type of any other crate. Two are equal if they are written alike: `1.0` is not `1.00`.
///
/// ```
/// let price: pgspan::Numeric = "12.50".parse()?;
/// assert_eq!(price.as_str(), "12.50");
/// assert!("twelve".parse::<pgspan::Numeric>().is_err());
/// # Ok::<(), pgspan::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Numeric(String);

impl Numeric {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<i64> for Numeric {
    fn from(number: i64) -> Self {
        Numeric(number.to_string())
    }
}

/// Digits with a point among or behind them and a sign in front, or `NaN`, `Infinity`, `-Infinity`.
impl FromStr for Numeric {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_prefix('+').unwrap_or(text);
        match SPECIAL.iter().any(|(special, _)| *special == text)
            || encode(text, &mut BytesMut::new()).is_some()
        {
            true => Ok(Numeric(text.to_owned())),
            false => Err(crate::Error::new(
                crate::Kind::Parameter,
                "no numeric: write digits with a point, NaN, Infinity or -Infinity",
            )),
        }
    }
}

impl ToSql for Numeric {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match SPECIAL.iter().find(|(text, _)| *text == self.0) {
            Some((_, sign)) => out.put_u64(u64::from(*sign) << 16),
            None => encode(&self.0, out).ok_or("no numeric")?,
        }
        Ok(IsNull::No)
    }

    accepts!(NUMERIC);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Numeric {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Numeric(decode(raw).ok_or("no numeric")?))
    }

    accepts!(NUMERIC);
}

// The binary form (PostgreSQL's source, numeric_send): four numbers of 16 bits, and digits to the base of 10,000. The first digit counts
// 10000^weight; what lies between the last one and the point, or the scale, is zero.

const NEGATIVE: u16 = 0x4000;
const SPECIAL: [(&str, u16); 3] = [("NaN", 0xC000), ("Infinity", 0xD000), ("-Infinity", 0xF000)];

/// The decimal digits of one digit to the base of 10,000.
const GROUP: usize = 4;

/// The largest scale there is (PostgreSQL's source, NUMERIC_DSCALE_MAX).
const SCALE_MAX: usize = 0x3fff;

pub(crate) fn decode(raw: &[u8]) -> Option<String> {
    let (numbers, rest) = raw.as_chunks::<2>();
    let [count, weight, sign, scale, digits @ ..] = numbers else { return None };
    let sign = u16::from_be_bytes(*sign);
    if let Some((text, _)) = SPECIAL.iter().find(|(_, special)| *special == sign) {
        return Some((*text).to_owned());
    }
    let is_whole = rest.is_empty() && usize::from(u16::from_be_bytes(*count)) == digits.len();
    let scale = usize::from(u16::from_be_bytes(*scale));
    let weight = i32::from(i16::from_be_bytes(*weight));
    if !is_whole || scale > SCALE_MAX || !matches!(sign, 0 | NEGATIVE) {
        return None;
    }
    let digit = |place: i32| {
        let index = usize::try_from(place).ok();
        index.and_then(|index| digits.get(index)).map_or(0, |digit| u16::from_be_bytes(*digit))
    };
    let groups =
        |range: std::ops::Range<i32>| range.map(|place| format!("{:04}", digit(place))).collect::<String>();
    let whole = groups(0..weight + 1);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let places = i32::try_from(scale.div_ceil(GROUP)).ok()?;
    let fraction = groups(weight + 1..weight + 1 + places);
    let sign = if sign == NEGATIVE { "-" } else { "" };
    match fraction.get(..scale)? {
        "" => Some(format!("{sign}{whole}")),
        fraction => Some(format!("{sign}{whole}.{fraction}")),
    }
}

pub(crate) fn encode(text: &str, out: &mut BytesMut) -> Option<()> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (0, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty())
        || !is_number(whole)
        || !is_number(fraction)
        || fraction.len() > SCALE_MAX
    {
        return None;
    }
    let whole_groups = whole.len().div_ceil(GROUP);
    let padding = whole_groups * GROUP - whole.len();
    let zeros = [b'0'; GROUP];
    let bytes: Vec<u8> =
        zeros.iter().take(padding).copied().chain(whole.bytes()).chain(fraction.bytes()).collect();
    let groups: Vec<u16> = bytes
        .chunks(GROUP)
        .map(|group| {
            (0..GROUP).fold(0, |number, place| {
                number * 10 + u16::from(group.get(place).map_or(0, |digit| digit - b'0'))
            })
        })
        .collect();
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let used = groups.get(leading..)?;
    let trailing = used.iter().rev().take_while(|group| **group == 0).count();
    let used = used.get(..used.len() - trailing)?;
    let weight = match used.is_empty() {
        true => 0,
        false => i16::try_from(i32::try_from(whole_groups).ok()? - i32::try_from(leading).ok()? - 1).ok()?,
    };
    out.put_u16(u16::try_from(used.len()).ok()?);
    out.put_i16(weight);
    out.put_u16(if used.is_empty() { 0 } else { sign });
    out.put_u16(u16::try_from(fraction.len()).ok()?);
    used.iter().for_each(|group| out.put_u16(*group));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(text: &str) -> String {
        let number: Numeric = text.parse().unwrap();
        let mut out = BytesMut::new();
        number.to_sql(&Type::NUMERIC, &mut out).unwrap();
        Numeric::from_sql(&Type::NUMERIC, &out).unwrap().0
    }

    #[test]
    fn a_number_comes_back_as_it_was_written() {
        for text in [
            "0",
            "1",
            "-1",
            "12.50",
            "0.1",
            "-0.001",
            "10000",
            "100000000",
            "9999.9999",
            "0.00000001",
            "1.00000000",
            "0.000",
            "123456789012345678901234567890.123456789012345678901234567890",
            "NaN",
            "Infinity",
            "-Infinity",
        ] {
            assert_eq!(there_and_back(text), text);
        }
        assert_eq!(there_and_back("+007.10"), "7.10");
        assert_eq!(there_and_back(".5"), "0.5");
        assert_eq!(there_and_back("-0.00"), "0.00");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", ".", "-", "1e5", "1,5", "٣", "--1", "1.2.3", " 1", "nan"] {
            assert!(text.parse::<Numeric>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn no_bytes_are_a_panic() {
        let mut out = BytesMut::new();
        encode("-123456789.123456789", &mut out).unwrap();
        for length in 0..out.len() {
            assert_eq!(decode(out.get(..length).unwrap()), None);
        }
        for weight in [i16::MIN, i16::MAX] {
            let mut raw = [0, 1, 0, 0, 0, 0, 0, 5, 0, 1];
            raw.get_mut(2..4).unwrap().copy_from_slice(&weight.to_be_bytes());
            decode(&raw);
        }
    }
}
