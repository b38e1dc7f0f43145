//! `{name}`: SQL with named parameters in, SQL with `$n` and the names in order out.
//!
//! A brace means a parameter only where PostgreSQL could read one.

#[cfg(test)]
mod tests;

use crate::cursor::{Cursor, is_space, is_word_start};
use crate::problem::Problem;
use crate::tokens::{Kind, Token};

/// Replaces every `{name}` by its `$n`.
///
/// ```
/// let named = pgspan_scan::named("SELECT {a} + {b}, '{c}'")?;
/// assert_eq!(named.text, "SELECT $1 + $2, '{c}'");
/// assert_eq!(named.names, ["a", "b"]);
/// # Ok::<(), pgspan_scan::Problem>(())
/// ```
///
/// # Errors
///
/// A brace, a dollar or a quote that can't be meant as it is written. The [`Problem`] says what to write instead.
pub fn named(sql: &str) -> Result<Named, Problem> {
    let mut scanner = Scanner { cursor: Cursor::new(sql), named: Named::default(), last: Last::Other };
    while let Some(next) = scanner.cursor.peek() {
        scanner.step(next)?;
    }
    Ok(scanner.named)
}

/// A statement as PostgreSQL takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// The SQL, with `$1`, `$2`, … for parameters.
    pub text: String,
    /// The parameters' names: the first is `$1`. A name is in it twice at most: for its value, and for whether that is NULL.
    pub names: Vec<String>,
    /// Which of them stand directly before `IS NULL` or `IS NOT NULL`, so that only this is asked of their value. Such a one has a `$n` of
    /// its own, since nothing tells PostgreSQL its type there.
    pub null_tests: Vec<usize>,
    /// Where each `$n` of the text begins, in bytes and in order; [`inspect`](crate::inspect) asks for it.
    pub placed: Vec<usize>,
}

/// What stands directly before the cursor: `$1` may touch no word, or PostgreSQL would read `limit$1`.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Word,
    Parameter,
    Other,
}

struct Scanner<'a> {
    cursor: Cursor<'a>,
    named: Named,
    last: Last,
}

impl Scanner<'_> {
    /// Reads white space, a brace with what belongs to it, or any other token.
    fn step(&mut self, next: char) -> Result<(), Problem> {
        let start = self.cursor;
        if is_space(next) {
            self.named.text.push_str(self.cursor.take_while(is_space));
            self.last = Last::Other;
        } else if matches!(next, '{' | '}') {
            self.brace(next)?;
        } else if let Some(token) = Token::next(&mut self.cursor) {
            self.check(&token).map_err(|message| Problem::new(&start, message))?;
            self.named.text.push_str(token.text);
            self.last = match token.kind {
                Kind::Word | Kind::Number => Last::Word,
                _ => Last::Other,
            };
        }
        Ok(())
    }

    /// Why a token can't stand here.
    fn check(&self, token: &Token<'_>) -> Result<(), String> {
        let like_a_word = token.text.starts_with(|c: char| is_word_start(c) || c.is_ascii_digit());
        if self.last == Last::Parameter && like_a_word {
            return Err("a parameter can't be part of a word: put a space after the `}`".to_owned());
        }
        if token.is("$") && self.cursor.peek() == Some('{') {
            return Err("a parameter has no dollar: write `{id}`, not `${id}`".to_owned());
        }
        let (delimiter, ..) = token.parts();
        let closing = match token.kind {
            Kind::Parameter => {
                return Err(format!(
                    "`{}`: parameters are named: write `{{id}}` for a variable and the number comes by itself",
                    token.text
                ));
            }
            _ if token.is_closed() => return Ok(()),
            Kind::Text => "this string is never closed: close it with `'`",
            Kind::QuotedName => "this quoted identifier is never closed: close it with `\"`",
            Kind::BlockComment => "this comment is never closed: close it with `*/`",
            _ => return Err(format!("this dollar quote is never closed: close it with `{delimiter}`")),
        };
        Err(closing.to_owned())
    }

    /// `{name}`, `{{` or `}}`.
    fn brace(&mut self, brace: char) -> Result<(), Problem> {
        let start = self.cursor;
        self.cursor.bump();
        if self.cursor.peek() == Some(brace) {
            self.cursor.bump();
            self.named.text.push(brace);
            self.last = Last::Other;
            return Ok(());
        }
        if brace == '}' {
            return Err(Problem::new(&start, "`}` closes nothing: write `}}` for a brace"));
        }
        let inside = self.cursor.take_while(|c| c != '{' && c != '}');
        if self.cursor.peek() != Some('}') {
            return Err(Problem::new(
                &start,
                "`{` is never closed: close it with `}`, or write `{{` for a brace",
            ));
        }
        self.cursor.bump();
        let name = parameter(inside.trim()).map_err(|message| Problem::new(&start, message))?;
        if self.last == Last::Word {
            return Err(Problem::new(
                &start,
                format!(
                    "a parameter can't be part of a word: put a space before `{{{name}}}`; a parameter is a value and \
                 can't stand for a name, such as a table's"
                ),
            ));
        }
        let number = self.number(name, is_null_test(self.cursor));
        self.named.placed.push(self.named.text.len());
        self.named.text.push_str(&format!("${number}"));
        self.last = Last::Parameter;
        Ok(())
    }

    /// The number of a parameter, which is new at its first appearance.
    fn number(&mut self, name: &str, is_null_test: bool) -> usize {
        let Named { names, null_tests, .. } = &mut self.named;
        let mut known = names.iter().enumerate();
        let known = known.find(|(index, known)| *known == name && null_tests.contains(index) == is_null_test);
        let index = known.map(|(index, _)| index).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        if is_null_test && !null_tests.contains(&index) {
            null_tests.push(index);
        }
        index + 1
    }
}

/// Whether `IS NULL` or `IS NOT NULL` comes next.
fn is_null_test(mut cursor: Cursor<'_>) -> bool {
    let mut next_is = |expected: &str| {
        loop {
            cursor.take_while(is_space);
            let before = cursor;
            match Token::next(&mut cursor) {
                Some(token) if matches!(token.kind, Kind::LineComment | Kind::BlockComment) => {}
                Some(token) if token.text.eq_ignore_ascii_case(expected) => return true,
                _ => {
                    cursor = before;
                    return false;
                }
            }
        }
    };
    if !next_is("is") {
        return false;
    }
    next_is("not");
    next_is("null")
}

/// The name between two braces, or what is wrong with it.
fn parameter(inside: &str) -> Result<&str, String> {
    if is_identifier(inside) {
        return Ok(inside);
    }
    if inside.is_empty() {
        return Err("`{}` has no name: name the parameter, as in `{id}`".to_owned());
    }
    if inside.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!("`{{{inside}}}`: parameters have names, not positions: write `{{id}}`"));
    }
    if let Some(raw) = inside.strip_prefix("r#").filter(|raw| is_identifier(raw)) {
        return Err(format!("`{{{inside}}}`: write `{{{raw}}}`, without `r#`"));
    }
    if let Some((name, _)) = inside.split_once(':')
        && (name.is_empty() || is_identifier(name) || name.chars().all(|c| c.is_ascii_digit()))
    {
        return Err(
            "a parameter takes no format: write `{id}`, and a cast behind the brace, as in `{id}::text`"
                .to_owned(),
        );
    }
    let shown: String = inside.chars().take(SHOWN).collect();
    let more = if shown.len() < inside.len() { "…" } else { "" };
    Err(format!(
        "`{{{shown}{more}}}` is not the name of a variable: name the value, as in `{{id}}` with `id = user.id` after \
         the SQL; write `{{{{` for a brace, and text in quotes"
    ))
}

/// Whether this can be an identifier of Rust; the compiler has the last word.
fn is_identifier(name: &str) -> bool {
    name != "_"
        && name.starts_with(|c: char| c == '_' || c.is_alphabetic())
        && name.chars().all(|c| c == '_' || c.is_alphanumeric())
}

/// How many characters of a wrong name an error shows: enough to find it by.
const SHOWN: usize = 40;
