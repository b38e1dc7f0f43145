//! Reads the text of `sql!`: SQL with named parameters in, SQL with `$n` and the names in order out.
//!
//! A brace means a parameter only where PostgreSQL could read one. Nothing here knows of proc-macros, so that all of it can be
//! tested with plain text.

#[cfg(test)]
mod tests;

use crate::cursor::{self, Cursor};
use crate::problem::Problem;
use crate::quoted;

/// Replaces every `{name}` by its `$n`.
///
/// # Errors
///
/// What PostgreSQL could not read, or what is no parameter, with what to write instead.
pub fn named(sql: &str) -> Result<Named, Problem> {
    let mut scanner = Scanner { cursor: Cursor::new(sql), scanned: Named::default(), last: Last::Other };
    while let Some(next) = scanner.cursor.peek() {
        scanner.step(next)?;
    }
    Ok(scanner.scanned)
}

/// A statement as PostgreSQL takes it.
#[derive(Debug, Default, PartialEq)]
pub struct Named {
    /// The SQL, with `$1`, `$2`, … for parameters.
    pub text: String,
    /// The parameters' names: the first is `$1`. No name is twice in it.
    pub names: Vec<String>,
    /// Where each `$n` begins in the text, in bytes.
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
    scanned: Named,
    last: Last,
}

impl Scanner<'_> {
    /// Reads one token, or one character of no interest.
    fn step(&mut self, next: char) -> Result<(), Problem> {
        let start = self.cursor;
        let mut last = Last::Other;
        match next {
            '{' | '}' => return self.brace(next),
            '\'' => quoted::string(&mut self.cursor)?,
            '"' => quoted::identifier(&mut self.cursor)?,
            '$' => quoted::dollar(&mut self.cursor)?,
            _ if self.cursor.starts_with("--") => quoted::line_comment(&mut self.cursor),
            _ if self.cursor.starts_with("/*") => quoted::block_comment(&mut self.cursor)?,
            _ if cursor::is_word_start(next) || next.is_ascii_digit() => {
                last = Last::Word;
                if self.last == Last::Parameter {
                    return Err(
                        start.problem("a parameter can't be part of a word: put a space after the `}`")
                    );
                }
                let continues = if next.is_ascii_digit() { char::is_alphanumeric } else { cursor::is_word };
                let word = self.cursor.take_while(continues);
                if word.eq_ignore_ascii_case("e") && self.cursor.peek() == Some('\'') {
                    last = Last::Other;
                    quoted::escape_string(&mut self.cursor)?;
                }
            }
            _ => self.cursor.bump(),
        }
        self.scanned.text.push_str(start.up_to(&self.cursor));
        self.last = last;
        Ok(())
    }

    /// `{name}`, `{{` or `}}`.
    fn brace(&mut self, brace: char) -> Result<(), Problem> {
        let start = self.cursor;
        self.cursor.bump();
        if self.cursor.peek() == Some(brace) {
            self.cursor.bump();
            self.scanned.text.push(brace);
            self.last = Last::Other;
            return Ok(());
        }
        if brace == '}' {
            return Err(start.problem("`}` closes nothing: write `}}` for a brace"));
        }
        let inside = self.cursor.take_while(|c| c != '{' && c != '}');
        if self.cursor.peek() != Some('}') {
            return Err(start.problem("`{` is never closed: close it with `}`, or write `{{` for a brace"));
        }
        self.cursor.bump();
        let name = parameter(inside.trim()).map_err(|message| start.problem(message))?;
        if self.last == Last::Word {
            return Err(start.problem(format!(
                "a parameter can't be part of a word: put a space before `{{{name}}}`; a parameter is a value and \
                 can't stand for a name, such as a table's"
            )));
        }
        let number = self.number(name);
        self.scanned.placed.push(self.scanned.text.len());
        self.scanned.text.push_str(&format!("${number}"));
        self.last = Last::Parameter;
        Ok(())
    }

    /// The number of a parameter, which is new at its first appearance.
    fn number(&mut self, name: &str) -> usize {
        let names = &mut self.scanned.names;
        let index = names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        index + 1
    }
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
