//! A place in a text, which only moves forward and only by whole characters.

use crate::problem::Problem;

/// A place in a text.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, rest: text }
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(crate) fn starts_with(&self, start: &str) -> bool {
        self.rest.starts_with(start)
    }

    /// Passes one character; at the end it stays there.
    pub(crate) fn bump(&mut self) {
        let mut rest = self.rest.chars();
        rest.next();
        self.rest = rest.as_str();
    }

    /// Passes `start` if it is what comes next.
    pub(crate) fn eat(&mut self, start: &str) -> bool {
        match self.rest.strip_prefix(start) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Passes all characters that are wanted, and returns them.
    pub(crate) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let start = *self;
        self.rest = self.rest.trim_start_matches(wanted);
        start.up_to(self)
    }

    /// Passes everything up to and with `end`; false if it never comes.
    pub(crate) fn pass(&mut self, end: &str) -> bool {
        match self.rest.split_once(end) {
            Some((_, rest)) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The text from here to a later place.
    pub(crate) fn up_to(&self, later: &Self) -> &'a str {
        self.rest.get(..self.rest.len().saturating_sub(later.rest.len())).unwrap_or_default()
    }

    /// How many bytes are before this place.
    pub(crate) fn offset(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// Moves to the end.
    pub(crate) fn finish(&mut self) {
        self.rest = "";
    }

    /// What is wrong at this place.
    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        let before = self.text.get(..self.offset()).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        Problem {
            message: message.into(),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }
}

/// Whether a key word or identifier may begin with this character.
///
/// PostgreSQL takes every byte above 127 for a letter.
pub(crate) fn is_word_start(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic() || !c.is_ascii()
}

/// Whether a key word or identifier may go on with this character.
pub(crate) fn is_word(c: char) -> bool {
    is_word_start(c) || c.is_ascii_digit() || c == '$'
}
