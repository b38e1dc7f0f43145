//! Passes what PostgreSQL doesn't look into: strings, quoted identifiers, dollar quotes, comments.
//!
//! Every function is called with the cursor on the first character of what it passes.

use crate::cursor::{Cursor, is_word, is_word_start};
use crate::problem::Problem;

/// `'…'`. A doubled quote needs no care: it reads as the end of one string and the start of the next.
pub(crate) fn string(cursor: &mut Cursor<'_>) -> Result<(), Problem> {
    enclosed(cursor, "'", "this string is never closed: close it with `'`")
}

/// `"…"`; doubled quotes as in strings.
pub(crate) fn identifier(cursor: &mut Cursor<'_>) -> Result<(), Problem> {
    enclosed(cursor, "\"", "this quoted identifier is never closed: close it with `\"`")
}

fn enclosed(cursor: &mut Cursor<'_>, quote: &str, unclosed: &str) -> Result<(), Problem> {
    let start = *cursor;
    cursor.bump();
    if cursor.pass(quote) { Ok(()) } else { Err(start.problem(unclosed)) }
}

/// The `'…'` of `E'…'`, where a backslash takes the next character with it.
///
/// Its continuation on a later line (chapter 4.1.2.1) follows the same rule, though no `E` precedes it.
pub(crate) fn escape_string(cursor: &mut Cursor<'_>) -> Result<(), Problem> {
    let start = *cursor;
    cursor.bump();
    loop {
        match cursor.peek() {
            None => return Err(start.problem("this string is never closed: close it with `'`")),
            Some('\\') => {
                cursor.bump();
                cursor.bump();
            }
            Some('\'') => {
                cursor.bump();
                if !cursor.eat("'") && !continued(cursor) {
                    return Ok(());
                }
            }
            Some(_) => cursor.bump(),
        }
    }
}

/// Passes white space with a line break in it and the quote behind it; stays where it is if there is none.
fn continued(cursor: &mut Cursor<'_>) -> bool {
    let mut ahead = *cursor;
    let mut breaks = false;
    loop {
        breaks |= ahead.take_while(|c| " \t\n\r\x0b\x0c".contains(c)).contains(['\n', '\r']);
        if !ahead.starts_with("--") {
            break;
        }
        line_comment(&mut ahead);
    }
    let goes_on = breaks && ahead.eat("'");
    if goes_on {
        *cursor = ahead;
    }
    goes_on
}

/// `$$…$$` or `$tag$…$tag$`, or a lone dollar. A dollar inside a word never gets here.
pub(crate) fn dollar(cursor: &mut Cursor<'_>) -> Result<(), Problem> {
    let start = *cursor;
    cursor.bump();
    match cursor.peek() {
        Some(c) if c.is_ascii_digit() => {
            let number = cursor.take_while(|c| c.is_ascii_digit());
            return Err(start.problem(format!(
                "`${number}`: parameters are named: write `{{id}}` for a variable and the number comes by itself"
            )));
        }
        Some('{') => return Err(start.problem("a parameter has no dollar: write `{id}`, not `${id}`")),
        _ => {}
    }
    let mut quote = *cursor;
    let tag = quote.take_while(|c| is_word(c) && c != '$');
    if !(tag.is_empty() || tag.starts_with(is_word_start)) || !quote.eat("$") {
        return Ok(());
    }
    let delimiter = start.up_to(&quote);
    *cursor = quote;
    if cursor.pass(delimiter) {
        return Ok(());
    }
    Err(start.problem(format!("this dollar quote is never closed: close it with `{delimiter}`")))
}

/// `-- …`, up to the line break.
pub(crate) fn line_comment(cursor: &mut Cursor<'_>) {
    cursor.take_while(|c| c != '\n' && c != '\r');
}

/// `/* … */`, with comments inside.
pub(crate) fn block_comment(cursor: &mut Cursor<'_>) -> Result<(), Problem> {
    let start = *cursor;
    let mut depth = 0_usize;
    loop {
        if cursor.eat("/*") {
            depth += 1;
        } else if cursor.eat("*/") {
            depth -= 1;
            if depth == 0 {
                return Ok(());
            }
        } else if cursor.peek().is_none() {
            return Err(start.problem("this comment is never closed: close it with `*/`"));
        } else {
            cursor.bump();
        }
    }
}
