//! A place in a text, which only moves forward and only by whole characters.

/// A place in a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// All that lies behind this place.
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn starts_with(&self, start: &str) -> bool {
        self.rest().starts_with(start)
    }

    /// Passes one character; at the end it stays there.
    pub(crate) fn bump(&mut self) {
        self.advance(self.peek().map_or(0, char::len_utf8));
    }

    /// Passes `start` if it is what comes next.
    pub(crate) fn eat(&mut self, start: &str) -> bool {
        let next = self.starts_with(start);
        if next {
            self.advance(start.len());
        }
        next
    }

    /// Passes all characters that are wanted, and returns them. It looks at bytes, so either all characters beyond ASCII are
    /// wanted or none.
    pub(crate) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let start = *self;
        let rest = self.rest().as_bytes();
        let unwanted = rest.iter().position(|&byte| !wanted(char::from(byte)));
        self.advance(unwanted.unwrap_or(rest.len()));
        start.up_to(self)
    }

    /// Passes everything up to and with `end`; if it never comes, passes everything and returns false.
    pub(crate) fn pass(&mut self, end: &str) -> bool {
        let rest = self.rest();
        let found = rest.find(end);
        self.advance(found.map_or(rest.len(), |before| before + end.len()));
        found.is_some()
    }

    fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        #[cfg(test)]
        PASSED.with(|passed| passed.set(passed.get() + bytes));
    }

    /// The text before this place.
    pub(crate) fn before(&self) -> &'a str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The text from here to a later place.
    pub(crate) fn up_to(&self, later: &Self) -> &'a str {
        self.text.get(self.at..later.at).unwrap_or_default()
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

/// Whether PostgreSQL takes this character for white space; a no-break space, for example, is a letter.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

#[cfg(test)]
thread_local! {
    /// How many bytes the cursors of this thread have passed: what reading a text costs.
    pub(crate) static PASSED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
