//! Hides the values in a statement's text.

use crate::tokens::{Token, Tokens};

/// The same text with a `?` for each character of its strings, numbers and comments, so that positions stay the same.
///
/// For logs of statements whose text was made at run time and may hold what somebody typed.
pub fn redact(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut tokens = Tokens::new(text);
    loop {
        let before = tokens.offset();
        tokens.pass_blank();
        let start = tokens.offset();
        redacted.extend(piece(text, before, start).chars().map(|c| if c.is_whitespace() { c } else { '?' }));
        let Some((_, token)) = tokens.next() else { return redacted };
        let token_text = piece(text, start, tokens.offset());
        match token {
            Token::String(_) | Token::Number(_) => redacted.extend(token_text.chars().map(|_| '?')),
            _ => redacted.push_str(token_text),
        }
    }
}

fn piece(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_and_positions_stay() {
        for (text, redacted) in [
            (
                "SELECT \"a\" FROM t WHERE b = 'CANARY' AND c > 42 -- CANARY",
                "SELECT \"a\" FROM t WHERE b = ???????? AND c > ?? ?? ??????",
            ),
            ("SELECT $1, $$CANARY$$, E'CAN\\'ARY'", "SELECT $1, ??????????, ???????????"),
            ("SELECT 'grün' /* never closed", "SELECT ?????? ?? ????? ??????"),
            ("SELECT 'never closed", "SELECT ?????????????"),
            ("", ""),
        ] {
            assert_eq!(redact(text), redacted);
            assert_eq!(redact(text).chars().count(), text.chars().count(), "{text}");
        }
    }
}
