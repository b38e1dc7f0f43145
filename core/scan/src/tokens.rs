//! The tokens of a statement, past white space and comments. Whatever is never closed ends with the text.

use crate::cursor::{Cursor, is_word, is_word_start};
use crate::quoted;

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A key word or an identifier.
    Word(&'a str),
    /// An identifier in quotes; what is between them.
    Quoted(&'a str),
    /// A string of any kind; what is between its quotes.
    String(&'a str),
    Number(&'a str),
    /// `$1`
    Parameter(u32),
    Symbol(char),
}

impl<'a> Token<'a> {
    /// Whether it is this key word.
    pub(crate) fn is(self, word: &str) -> bool {
        matches!(self, Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    pub(crate) fn is_one_of(self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    /// The name it is, if it is one, key word or not.
    pub(crate) fn name(self) -> Option<&'a str> {
        match self {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            _ => None,
        }
    }
}

/// The tokens of a text, each with the byte where it begins.
pub(crate) struct Tokens<'a>(Cursor<'a>);

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a str) -> Tokens<'a> {
        Tokens(Cursor::new(text))
    }

    /// Where the last token ended.
    pub(crate) fn offset(&self) -> usize {
        self.0.offset()
    }

    /// Passes white space and comments.
    pub(crate) fn pass_blank(&mut self) {
        let cursor = &mut self.0;
        loop {
            cursor.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c'));
            if cursor.starts_with("--") {
                quoted::line_comment(cursor);
            } else if cursor.starts_with("/*") {
                if quoted::block_comment(cursor).is_err() {
                    cursor.finish();
                }
            } else {
                return;
            }
        }
    }

    fn token(&mut self) -> Option<Token<'a>> {
        let (start, cursor) = (self.0, &mut self.0);
        let next = cursor.peek()?;
        let inside = |cursor: &mut Cursor<'a>, closed: bool, open: usize| {
            if !closed {
                cursor.finish();
            }
            let all = start.up_to(cursor);
            let end = if closed { all.len().saturating_sub(1) } else { all.len() };
            all.get(open..end).unwrap_or_default()
        };
        Some(match next {
            '\'' => {
                let closed = closed_string(cursor);
                Token::String(inside(cursor, closed, 1))
            }
            '"' => {
                let closed = quoted::identifier(cursor).is_ok();
                Token::Quoted(inside(cursor, closed, 1))
            }
            '$' => dollar(cursor),
            _ if next.is_ascii_digit() => {
                Token::Number(cursor.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_')))
            }
            _ if is_word_start(next) => {
                let word = cursor.take_while(is_word);
                match cursor.peek() {
                    Some('\'') if word.eq_ignore_ascii_case("e") => {
                        let closed = quoted::escape_string(cursor).is_ok();
                        Token::String(inside(cursor, closed, 2))
                    }
                    Some('\'') if word.len() == 1 && "bBxXnN".contains(word) => {
                        let closed = closed_string(cursor);
                        Token::String(inside(cursor, closed, 2))
                    }
                    _ => Token::Word(word),
                }
            }
            symbol => {
                cursor.bump();
                Token::Symbol(symbol)
            }
        })
    }
}

/// `'…'` with its doubled quotes.
fn closed_string(cursor: &mut Cursor<'_>) -> bool {
    loop {
        if quoted::string(cursor).is_err() {
            return false;
        }
        if !cursor.starts_with("'") {
            return true;
        }
    }
}

/// `$1`, `$$…$$`, or a lone dollar.
fn dollar<'a>(cursor: &mut Cursor<'a>) -> Token<'a> {
    let start = *cursor;
    let mut ahead = *cursor;
    ahead.bump();
    let digits = ahead.take_while(|c| c.is_ascii_digit());
    if !digits.is_empty() {
        *cursor = ahead;
        return Token::Parameter(digits.parse().unwrap_or(u32::MAX));
    }
    let tag = ahead.take_while(|c| is_word(c) && c != '$');
    if !ahead.eat("$") {
        cursor.bump();
        return Token::Symbol('$');
    }
    let delimiter = start.up_to(&ahead).len();
    debug_assert_eq!(delimiter, tag.len() + 2);
    let end = start.up_to(&ahead);
    *cursor = ahead;
    let closed = cursor.pass(end);
    if !closed {
        cursor.finish();
    }
    let body = ahead.up_to(cursor);
    let kept = if closed { body.len().saturating_sub(delimiter) } else { body.len() };
    Token::String(body.get(..kept).unwrap_or_default())
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (usize, Token<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.pass_blank();
        let start = self.offset();
        Some((start, self.token()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_from_what_is_inside_them() {
        let found: Vec<Token<'_>> =
            Tokens::new("SELECT /* /* a */ */ 'it''s', \"a\"\"b\" -- x\n, $1, $q$it's $1$q$, E'a\\'b', 1.5e3, größe$")
                .map(|(_, token)| token)
                .collect();
        let comma = Token::Symbol(',');
        assert_eq!(
            found,
            [
                Token::Word("SELECT"),
                Token::String("it''s"),
                comma,
                Token::Quoted("a"),
                Token::Quoted("b"),
                comma,
                Token::Parameter(1),
                comma,
                Token::String("it's $1"),
                comma,
                Token::String("a\\'b"),
                comma,
                Token::Number("1.5e3"),
                comma,
                Token::Word("größe$"),
            ]
        );
    }

    #[test]
    fn no_text_is_too_strange() {
        let pieces = ["'", "\"", "$", "$$", "$a$", "/*", "*/", "--", "\n", "E'", "\\", "1", "a", "é", " ", ";", "U&\"", "$1"];
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                text.push_str(pieces[usize::try_from(random % 18).unwrap()]);
            }
            let mut end = 0;
            for (start, _) in Tokens::new(&text) {
                assert!(start >= end && start < text.len(), "{text:?}");
                end = start + 1;
            }
        }
    }
}
