//! The tokens of a statement, as PostgreSQL reads them.
//!
//! The rules are those of chapter 4.1, "Lexical Structure", with `standard_conforming_strings` on.

use std::borrow::Cow;

use crate::cursor::{Cursor, is_space, is_word};
use crate::quoted;

/// A piece of a statement between white space.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    /// All of it, the delimiters too.
    pub(crate) text: &'a str,
    /// Where it begins, in bytes.
    pub(crate) at: usize,
    /// The length of the opening delimiter with its prefix.
    open: usize,
    /// The length of the closing delimiter, 0 if it never comes.
    close: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A key word or an identifier without quotes.
    Word,
    /// `"…"` and `U&"…"`.
    QuotedName,
    /// `'…'`, `E'…'` and `U&'…'`. The letter of `B'…'`, `X'…'` and `N'…'` is a word before it.
    Text,
    /// `$$…$$` and `$tag$…$tag$`.
    DollarText,
    /// What is left of `1_000` or `0xff` behind the first digits is a word.
    Number,
    /// `$1`
    Parameter,
    LineComment,
    BlockComment,
    /// One character of an operator or punctuation, or one that PostgreSQL can't read.
    Symbol,
}

impl<'a> Token<'a> {
    /// Reads the next token, past white space.
    pub(crate) fn next(cursor: &mut Cursor<'a>) -> Option<Self> {
        cursor.take_while(is_space);
        let start = *cursor;
        let (kind, open, close) = match start.rest().as_bytes() {
            [] => return None,
            [b'\'', ..] => enclosed(cursor, Kind::Text, "'"),
            [b'"', ..] => enclosed(cursor, Kind::QuotedName, "\""),
            [b'u' | b'U', b'&', b'\'', ..] => enclosed(cursor, Kind::Text, "'"),
            [b'u' | b'U', b'&', b'"', ..] => enclosed(cursor, Kind::QuotedName, "\""),
            [b'e' | b'E', b'\'', ..] => {
                cursor.pass("'");
                (Kind::Text, 2, quoted::escaped(cursor).into())
            }
            [b'-', b'-', ..] => {
                quoted::line_comment(cursor);
                (Kind::LineComment, 2, 0)
            }
            [b'/', b'*', ..] => {
                cursor.pass("/*");
                (Kind::BlockComment, 2, if quoted::block_comment(cursor) { 2 } else { 0 })
            }
            [b'$', b'0'..=b'9', ..] => {
                cursor.bump();
                cursor.take_while(|c| c.is_ascii_digit());
                (Kind::Parameter, 0, 0)
            }
            [b'$', ..] => match quoted::dollar_tag(cursor) {
                Some(tag) => (Kind::DollarText, tag.len(), if cursor.pass(tag) { tag.len() } else { 0 }),
                None => symbol(cursor),
            },
            [b'0'..=b'9', ..] => {
                number(cursor);
                (Kind::Number, 0, 0)
            }
            _ if !cursor.take_while(is_word).is_empty() => (Kind::Word, 0, 0),
            _ => symbol(cursor),
        };
        Some(Self { kind, text: start.up_to(cursor), at: start.at(), open, close })
    }

    pub(crate) fn end(&self) -> usize {
        self.at + self.text.len()
    }

    pub(crate) fn is_comment(&self) -> bool {
        matches!(self.kind, Kind::LineComment | Kind::BlockComment)
    }

    /// Whether it is a string of any notation.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.kind, Kind::Text | Kind::DollarText)
    }

    /// Whether it has the closing delimiter that its opening one asks for.
    pub(crate) fn is_closed(&self) -> bool {
        self.open == 0 || self.close > 0 || self.kind == Kind::LineComment
    }

    /// The opening delimiter, what is between the two, and the closing delimiter.
    pub(crate) fn parts(&self) -> (&'a str, &'a str, &'a str) {
        let (open, rest) = self.text.split_at_checked(self.open).unwrap_or_default();
        let inside = rest.len().saturating_sub(self.close);
        let (inside, close) = rest.split_at_checked(inside).unwrap_or_default();
        (open, inside, close)
    }

    /// Whether it is this key word, or this punctuation.
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Symbol) && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is one of these key words or punctuation marks.
    pub(crate) fn is_one_of(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    /// The identifier it is, if it can be one.
    pub(crate) fn name(&self) -> Option<Name<'a>> {
        let (open, inside, _) = self.parts();
        match self.kind {
            Kind::Word => Some(Name::Folded(self.text)),
            Kind::QuotedName if open.len() > 1 && inside.contains('\\') => Some(Name::Escaped),
            Kind::QuotedName => Some(Name::Exact(inside)),
            _ => None,
        }
    }

    /// What a string says, if that can be told without decoding escapes.
    pub(crate) fn string(&self) -> Option<Cow<'a, str>> {
        let (open, inside, _) = self.parts();
        match self.kind {
            Kind::DollarText => Some(Cow::Borrowed(inside)),
            Kind::Text if !inside.contains(['\'', '\\']) => Some(Cow::Borrowed(inside)),
            Kind::Text if open == "'" => Some(Cow::Owned(inside.replace("''", "'"))),
            _ => None,
        }
    }
}

/// An identifier.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Name<'a> {
    /// Written without quotes: capitals mean nothing.
    Folded(&'a str),
    /// Written in quotes.
    Exact(&'a str),
    /// Written with escapes, as in `U&"d\0061ta"`. These are not decoded: it could be any name.
    Escaped,
}

impl Name<'_> {
    /// Whether PostgreSQL could read it as this name, which is in lower case and without quotes in it.
    pub(crate) fn may_be(self, name: &str) -> bool {
        match self {
            Self::Folded(text) => text.eq_ignore_ascii_case(name),
            Self::Exact(text) => text == name,
            Self::Escaped => true,
        }
    }
}

/// The tokens of a text that mean something: all but the comments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokens<'a>(pub(crate) Cursor<'a>);

impl<'a> Tokens<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self(Cursor::new(text))
    }

    /// The next token, which stays the next.
    pub(crate) fn peek(&self) -> Option<Token<'a>> {
        { *self }.next()
    }

    /// Whether the next token is this key word or punctuation mark.
    pub(crate) fn at(&self, word: &str) -> bool {
        self.peek().is_some_and(|token| token.is(word))
    }

    /// Passes the next token if it is one of these key words or punctuation marks.
    pub(crate) fn eat(&mut self, words: &[&str]) -> bool {
        let mut ahead = *self;
        let next = ahead.next().is_some_and(|token| token.is_one_of(words));
        if next {
            *self = ahead;
        }
        next
    }

    /// Passes `OR REPLACE`, if that is next.
    pub(crate) fn eat_or_replace(&mut self) {
        if self.eat(&["OR"]) {
            self.eat(&["REPLACE"]);
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let token = Token::next(&mut self.0)?;
            if !token.is_comment() {
                return Some(token);
            }
        }
    }
}

fn enclosed(cursor: &mut Cursor<'_>, kind: Kind, quote: &str) -> (Kind, usize, usize) {
    let start = *cursor;
    cursor.pass(quote);
    let open = start.up_to(cursor).len();
    (kind, open, quoted::plain(cursor, quote).into())
}

fn symbol(cursor: &mut Cursor<'_>) -> (Kind, usize, usize) {
    cursor.bump();
    (Kind::Symbol, 0, 0)
}

/// `1`, `1.5`, `1.`, `1e-3`; of `1..2` only the `1`.
fn number(cursor: &mut Cursor<'_>) {
    let digits = |cursor: &mut Cursor<'_>| !cursor.take_while(|c| c.is_ascii_digit()).is_empty();
    digits(cursor);
    if cursor.starts_with(".") && !cursor.starts_with("..") {
        cursor.bump();
        digits(cursor);
    }
    let mut exponent = *cursor;
    if exponent.eat("e") || exponent.eat("E") {
        let _sign = exponent.eat("+") || exponent.eat("-");
        if digits(&mut exponent) {
            *cursor = exponent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sql: &str) -> Vec<(Kind, &str)> {
        let mut cursor = Cursor::new(sql);
        std::iter::from_fn(|| Token::next(&mut cursor)).map(|token| (token.kind, token.text)).collect()
    }

    #[test]
    fn a_word_has_underscores_digits_dollars_and_letters_of_any_script() {
        for word in ["a", "_a1$b$", "größe", "表", "a\u{a0}b", "\u{a0}BEGIN"] {
            assert_eq!(kinds(&format!(" {word}\t")), [(Kind::Word, word)]);
        }
    }

    #[test]
    fn a_quote_keeps_its_prefix_and_its_doubled_quotes() {
        for (kind, text) in [
            (Kind::Text, "'it''s'"),
            (Kind::Text, r"e'it\'s'"),
            (Kind::Text, "E'a'\n -- b\n 'c\\'d'"),
            (Kind::Text, r"U&'\'"),
            (Kind::QuotedName, r#""a""b""#),
            (Kind::QuotedName, r#"u&"a\0041""#),
            (Kind::DollarText, "$$it's$$"),
            (Kind::DollarText, "$q$ $$ $p$ $q$"),
            (Kind::BlockComment, "/* a /* b */ ' */"),
            (Kind::LineComment, "-- a ' /*"),
        ] {
            assert_eq!(kinds(&format!("{text}\n;")), [(kind, text), (Kind::Symbol, ";")]);
        }
    }

    #[test]
    fn a_number_has_a_fraction_and_an_exponent_but_no_letters() {
        for number in ["1", "1.5", "1.", "1e5", "1.5E-3", "1.e+2"] {
            assert_eq!(kinds(number), [(Kind::Number, number)]);
        }
        assert_eq!(kinds("1into"), [(Kind::Number, "1"), (Kind::Word, "into")]);
        assert_eq!(kinds("1e"), [(Kind::Number, "1"), (Kind::Word, "e")]);
        let range = [(Kind::Number, "1"), (Kind::Symbol, "."), (Kind::Symbol, "."), (Kind::Number, "9")];
        assert_eq!(kinds("1..9"), range);
        assert_eq!(kinds("1$2"), [(Kind::Number, "1"), (Kind::Parameter, "$2")]);
    }

    #[test]
    fn what_is_never_closed_goes_to_the_end() {
        for text in ["'a''", "E'a\\'", "\"a", "U&\"a", "$$a", "$q$a$$", "/* /* */", "E'", "E'\\"] {
            let mut cursor = Cursor::new(text);
            let token = Token::next(&mut cursor).unwrap();
            assert_eq!((token.text, token.is_closed(), token.parts().2), (text, false, ""));
        }
    }
}
