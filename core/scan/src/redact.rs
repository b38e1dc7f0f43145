//! A statement's text without its values, for logs.

use crate::cursor::Cursor;
use crate::tokens::{Kind, Token};

/// The text with `?` for each character of its strings, numbers and comments.
///
/// Delimiters, key words, identifiers and parameters stay, and so does the place of every character: PostgreSQL's
/// `position` of an error fits both texts. Text that is in quotes for identifiers counts as an identifier.
///
/// ```
/// assert_eq!(pgspan_scan::redact("SELECT 12, 'it''s' FROM t1 -- x"), "SELECT ??, '?????' FROM t1 --??");
/// ```
pub fn redact(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let hide = |redacted: &mut String, text: &str| redacted.extend(text.chars().map(|_| '?'));
    let mut cursor = Cursor::new(text);
    let mut number_ends = None;
    loop {
        let start = cursor;
        let Some(token) = Token::next(&mut cursor) else {
            redacted.push_str(start.rest());
            return redacted;
        };
        let whole = start.up_to(&cursor);
        redacted.push_str(whole.strip_suffix(token.text).unwrap_or_default());
        match token.kind {
            Kind::Text | Kind::DollarText | Kind::LineComment | Kind::BlockComment => {
                let (open, inside, close) = token.parts();
                redacted.push_str(open);
                hide(&mut redacted, inside);
                redacted.push_str(close);
            }
            Kind::Number => hide(&mut redacted, token.text),
            // the rest of `0xff` or `1_000`
            Kind::Word if number_ends == Some(token.at) => hide(&mut redacted, token.text),
            Kind::Word | Kind::QuotedName | Kind::Parameter | Kind::Symbol => redacted.push_str(token.text),
        }
        number_ends = (token.kind == Kind::Number).then_some(token.end());
    }
}

#[cfg(test)]
mod tests {
    //! Looked for as siblings: every notation of a string, of a number and of a comment; what is never closed; what looks
    //! like one of them and is an identifier or a parameter.

    use super::*;
    use crate::generated::{TRICKY, generated};

    #[test]
    fn strings_numbers_and_comments_are_hidden_and_all_else_stays() {
        for (text, expected) in [
            ("SELECT 'secret', $1, t1.c2", "SELECT '??????', $1, t1.c2"),
            ("SELECT ''", "SELECT ''"),
            ("SELECT 'it''s' 'x'", "SELECT '?????' '?'"),
            (r"SELECT E'it\'s', e'\\', 'a'", r"SELECT E'?????', e'??', '?'"),
            ("SELECT E'a'\n  'b\\'c'", "SELECT E'??????????'"),
            ("SELECT B'01', x'ff', N'a', U&'\\0041'", "SELECT B'??', x'??', N'?', U&'?????'"),
            ("SELECT $$a b$$, $q$a$$b$q$", "SELECT $$???$$, $q$????$q$"),
            (r#"SELECT "a""1", U&"b\0041""#, r#"SELECT "a""1", U&"b\0041""#),
            ("SELECT 12, -1.5e-3, .5, 1.", "SELECT ??, -??????, .?, ??"),
            ("SELECT 1_000, 0xDEAD_beef, 0b1, 12ab34", "SELECT ?????, ???????????, ???, ??????"),
            ("SELECT a[1], b1[2:3], $12", "SELECT a[?], b1[?:?], $12"),
            ("/* a /* 1 */ 'b' */ SELECT -- c 'd\n1", "/*???????????????*/ SELECT --?????\n?"),
            ("SELECT 'größe 😀', größe", "SELECT '???????', größe"),
            ("SELECT 'secret", "SELECT '??????"),
            ("SELECT E'secret\\'", "SELECT E'????????"),
            ("SELECT $$secret$", "SELECT $$???????"),
            ("SELECT /* secret", "SELECT /*???????"),
            ("SELECT \"a", "SELECT \"a"),
            (" \n ", " \n "),
            ("", ""),
        ] {
            assert_eq!(redact(text), expected, "{text}");
        }
    }

    #[test]
    fn every_character_keeps_its_place_and_is_itself_or_a_question_mark() {
        for text in generated(TRICKY) {
            let redacted = redact(&text);
            assert_eq!(redacted.chars().count(), text.chars().count(), "{text:?}");
            let same = text.chars().zip(redacted.chars()).all(|(a, b)| a == b || b == '?');
            assert!(same, "{text:?} became {redacted:?}");
            let is_hidden = text.contains('"') || !redacted.contains('7');
            assert!(is_hidden, "{text:?} became {redacted:?}");
        }
    }
}
