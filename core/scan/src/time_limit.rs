//! `statement_timeout` as PostgreSQL reads it.

use std::time::Duration;

use crate::tokens::Token;

/// How long a statement may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLimit {
    /// As the session began.
    Default,
    /// For ever.
    Unlimited,
    /// So long.
    Of(Duration),
}

impl TimeLimit {
    /// The value behind `SET statement_timeout =`; `None` if it can't be read.
    pub(crate) fn read(value: Token<'_>) -> Option<TimeLimit> {
        let text = match value {
            Token::Word(_) if value.is("DEFAULT") => return Some(TimeLimit::Default),
            Token::Number(text) | Token::String(text) => text.trim(),
            _ => return None,
        };
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(end)?;
        let seconds = match unit.trim() {
            "us" => 1e-6,
            "" | "ms" => 1e-3,
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        // PostgreSQL counts whole milliseconds, rounded
        let millis = (number.parse::<f64>().ok()? * seconds * 1e3).round();
        match millis {
            0.0 => Some(TimeLimit::Unlimited),
            millis => Duration::try_from_secs_f64(millis / 1e3).ok().map(TimeLimit::Of),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_postgresql_reads_it() {
        let of = |millis| Some(TimeLimit::Of(Duration::from_millis(millis)));
        for (value, limit) in [
            (Token::Number("30000"), of(30_000)),
            (Token::String("30s"), of(30_000)),
            (Token::String(" 1.5 s "), of(1500)),
            (Token::String("5min"), of(300_000)),
            (Token::String("2 h"), of(7_200_000)),
            (Token::String("1d"), of(86_400_000)),
            (Token::String("2500us"), of(3)),
            (Token::String("250"), of(250)),
            (Token::Number("0"), Some(TimeLimit::Unlimited)),
            (Token::Word("default"), Some(TimeLimit::Default)),
            (Token::String("soon"), None),
            (Token::String("-1"), None),
            (Token::String(""), None),
            (Token::Parameter(1), None),
        ] {
            assert_eq!(TimeLimit::read(value), limit, "{value:?}");
        }
    }
}
