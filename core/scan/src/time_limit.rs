//! `statement_timeout` as PostgreSQL reads it.

use std::time::Duration;

use crate::cursor::is_space;
use crate::tokens::{Kind, Name, Token, Tokens};

/// How long a statement may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLimit {
    /// As the session began.
    Default,
    /// For ever.
    Unlimited,
    /// So long, in whole milliseconds.
    Of(Duration),
}

impl TimeLimit {
    /// What `SET [SESSION | LOCAL] statement_timeout {TO | =} value`, `RESET statement_timeout`, `RESET ALL` and `DISCARD ALL`
    /// set it to, and whether for the transaction alone; `None` if that can't be read.
    pub(crate) fn set_by(first: &str, mut rest: Tokens<'_>) -> Option<(bool, TimeLimit)> {
        let is = |word| first.eq_ignore_ascii_case(word);
        if is("SET") {
            let is_local = rest.eat(&["LOCAL"]);
            if !is_local {
                rest.eat(&["SESSION"]);
            }
            let understood = rest.next().is_some_and(is_statement_timeout) && rest.eat(&["TO", "="]);
            let value = rest.next().filter(|_| understood)?;
            return ends(rest).then_some((is_local, limit(value)?));
        }
        let resets = (is("RESET") || is("DISCARD")) && rest.at("ALL")
            || is("RESET") && rest.peek().is_some_and(is_statement_timeout);
        rest.next();
        (resets && ends(rest)).then_some((false, TimeLimit::Default))
    }
}

/// A setting's name means the same in capitals, with quotes too.
fn is_statement_timeout(token: Token<'_>) -> bool {
    matches!(token.name(), Some(Name::Folded(name) | Name::Exact(name))
        if name.eq_ignore_ascii_case("statement_timeout"))
}

fn ends(mut rest: Tokens<'_>) -> bool {
    rest.all(|token| token.is(";"))
}

fn limit(value: Token<'_>) -> Option<TimeLimit> {
    if value.is("DEFAULT") {
        return Some(TimeLimit::Default);
    }
    let milliseconds = match value.kind {
        // In SQL a leading 0 means nothing.
        Kind::Number if value.text.bytes().all(|byte| byte.is_ascii_digit()) => decimal(value.text)?,
        Kind::Number => milliseconds(value.text)?,
        _ => milliseconds(&value.string()?)?,
    };
    let limit = Duration::try_from_secs_f64(milliseconds / 1000.0).ok()?;
    let is_possible = milliseconds <= f64::from(i32::MAX);
    is_possible.then_some(if limit.is_zero() { TimeLimit::Unlimited } else { TimeLimit::Of(limit) })
}

/// Reads a decimal number. The standard library's way is exact to the last bit, and costs a Worker ten kilobytes of tables.
fn decimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 10.0 + f64::from(digit.to_digit(10)?);
    }
    let places = i32::try_from(fraction.len()).ok()?;
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(places)?.clamp(-400, 400);
    let scale = 10_f64.powi(exponent.abs());
    Some(if exponent < 0 { value / scale } else { value * scale })
}

/// Reads a time as PostgreSQL's `parse_int` does, except that hexadecimal numbers are not understood.
fn milliseconds(text: &str) -> Option<f64> {
    let text = text.trim_start_matches(is_space);
    let text = text.strip_prefix('+').unwrap_or(text);
    let (number, unit) = text.split_at_checked(number_length(text))?;
    let whole = number.split(['.', 'e', 'E']).next().unwrap_or_default();
    let value = match whole.strip_prefix('0') {
        // A leading 0 makes it octal, and 8 ends it.
        Some(octal) if octal.contains(['8', '9']) => return None,
        Some(octal) if whole == number && !octal.is_empty() => f64::from(u32::from_str_radix(octal, 8).ok()?),
        _ => decimal(number)?,
    };
    let unit = unit.trim_matches(is_space);
    let unit = if unit.is_empty() { "ms" } else { unit };
    let (_, unit, smaller) = UNITS.iter().copied().find(|(name, ..)| *name == unit)?;
    // Fractions are rounded to the next smaller unit: 1.3d to whole hours.
    let rounded = smaller.map(|smaller| (value * unit / smaller).round_ties_even() * smaller);
    Some(rounded.unwrap_or(value * unit).round_ties_even())
}

/// The units in milliseconds, each with the next smaller one.
const UNITS: &[(&str, f64, Option<f64>)] = &[
    ("d", 86_400_000.0, Some(3_600_000.0)),
    ("h", 3_600_000.0, Some(60_000.0)),
    ("min", 60_000.0, Some(1000.0)),
    ("s", 1000.0, Some(1.0)),
    ("ms", 1.0, Some(0.001)),
    ("us", 0.001, None),
];

/// The length of `1`, `1.5`, `.5` or `1e3` at the start of a text.
fn number_length(text: &str) -> usize {
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let behind = |at: usize| text.get(at..).unwrap_or_default();
    let mut length = digits(text);
    if behind(length).starts_with('.') {
        length += 1 + digits(behind(length + 1));
    }
    if behind(length).starts_with(['e', 'E']) {
        let sign = usize::from(behind(length + 1).starts_with(['+', '-']));
        let exponent = digits(behind(length + 1 + sign));
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    //! The values were compared with what PostgreSQL 15 and 18 make of them (`SHOW` after `SET`).
    //! Looked for as siblings: every unit, rounding, octal numbers, quoted names, comments between the words, settings whose
    //! name only looks like it.

    use super::*;
    use crate::inspect;

    fn told(text: &str) -> Option<(bool, TimeLimit)> {
        inspect(text, &[]).statement_timeout
    }

    #[test]
    fn a_limit_is_told_with_its_scope() {
        let (five, session) = (TimeLimit::Of(Duration::from_secs(5)), false);
        for (text, is_local, limit) in [
            ("SET statement_timeout = 5000", session, five),
            ("set Statement_Timeout to '5s';", session, five),
            ("SET SESSION statement_timeout = 5000", session, five),
            ("SET LOCAL statement_timeout TO '5s'", true, five),
            ("/* a */ SET /* b */ LOCAL -- c\n statement_timeout='5s' -- d", true, five),
            ("SET \"statement_timeout\" = $$5s$$", session, five),
            ("SET statement_timeout = 0", session, TimeLimit::Unlimited),
            ("SET LOCAL statement_timeout = '0'", true, TimeLimit::Unlimited),
            ("SET statement_timeout TO DEFAULT", session, TimeLimit::Default),
            ("SET LOCAL statement_timeout = default", true, TimeLimit::Default),
            ("RESET statement_timeout", session, TimeLimit::Default),
            ("SET SESSION \"statement_timeout\" = 0", session, TimeLimit::Unlimited),
            ("RESET ALL", session, TimeLimit::Default),
            ("discard all;", session, TimeLimit::Default),
        ] {
            assert_eq!(told(text), Some((is_local, limit)), "{text}");
        }
    }

    #[test]
    fn a_value_is_read_as_postgresql_reads_it() {
        for (value, milliseconds) in VALUES {
            let limit = match milliseconds {
                0 => TimeLimit::Unlimited,
                some => TimeLimit::Of(Duration::from_millis(*some)),
            };
            let expected = Some((false, limit));
            assert_eq!(told(&format!("SET statement_timeout = {value}")), expected, "{value}");
        }
    }

    const VALUES: &[(&str, u64)] = &[
        ("1.5", 2),
        ("2.5", 2),
        ("1e3", 1000),
        ("010", 10),
        ("2147483647", 2_147_483_647),
        ("'010'", 8),
        ("'010.5'", 10),
        ("'1.5s'", 1500),
        ("' 1.5 s '", 1500),
        ("'+5s'", 5000),
        ("'.5s'", 500),
        ("'5.s'", 5000),
        ("'1e1s'", 10_000),
        ("'5ms'", 5),
        ("'500us'", 0),
        ("'501us'", 1),
        ("'1500us'", 2),
        ("'2500us'", 2),
        ("'2500.4us'", 3),
        ("'1.0004s'", 1000),
        ("'2min'", 120_000),
        ("'1.5h'", 5_400_000),
        ("'1d'", 86_400_000),
        ("'1.3d'", 111_600_000),
        ("'\t5\n'", 5),
    ];

    #[test]
    fn what_is_not_understood_is_not_told() {
        for text in [
            "SELECT 1",
            "SET statement_timeout",
            "SET statement_timeout =",
            "SET statement_timeout = -1",
            "SET statement_timeout = 2147483648",
            "SET statement_timeout = 0x10",
            "SET statement_timeout = '08'",
            "SET statement_timeout = '08.5'",
            "SET statement_timeout = 08.5",
            "SET statement_timeout = '5S'",
            "SET statement_timeout = '5 s s'",
            "SET statement_timeout = '5 weeks'",
            "SET statement_timeout = ''",
            "SET statement_timeout = 'soon'",
            "SET statement_timeout = $1",
            "SET statement_timeout_x = 1",
            "SET statement_timeout = 's'",
            "SET statement_timeout = '.'",
            "SET statement_timeout = 'inf'",
            "SET statement_timeout = '5s', '6s'",
            "SET statement_timeout = E'5\\x73'",
            "SET statement_timeout '5s'",
            "SET local.statement_timeout = 5",
            "SET my.statement_timeout = 5",
            "SET lock_timeout = 5",
            "SET transaction_timeout = 5",
            "RESET lock_timeout",
            "RESET",
            "DISCARD PLANS",
            "DISCARD statement_timeout",
            "ALTER ROLE a SET statement_timeout = 5",
            "SELECT 'SET statement_timeout = 5'",
        ] {
            assert_eq!(told(text), None, "{text}");
        }
    }
}
