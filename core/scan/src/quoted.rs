//! Passes what PostgreSQL doesn't look into: strings, quoted identifiers, dollar quotes, comments.
//!
//! Every function begins behind the opening delimiter, and says whether the closing one came. If it never comes, the
//! rest of the text is passed.

use crate::cursor::{Cursor, is_space, is_word, is_word_start};

/// `…'` or `…"`. A doubled quote is part of the text.
pub(crate) fn plain(cursor: &mut Cursor<'_>, quote: &str) -> bool {
    while cursor.pass(quote) {
        if !cursor.eat(quote) {
            return true;
        }
    }
    false
}

/// The rest of `E'…'`, where a backslash takes the next character with it.
///
/// Its continuation on a later line (chapter 4.1.2.1) follows the same rule, though no `E` precedes it.
pub(crate) fn escaped(cursor: &mut Cursor<'_>) -> bool {
    loop {
        cursor.take_while(|c| c != '\\' && c != '\'');
        match cursor.peek() {
            None => return false,
            Some('\\') => {
                cursor.bump();
                cursor.bump();
            }
            Some(_) => {
                cursor.bump();
                if !cursor.eat("'") && !continued(cursor) {
                    return true;
                }
            }
        }
    }
}

/// Passes white space with a line break in it and the quote behind it; stays where it is if there is none.
fn continued(cursor: &mut Cursor<'_>) -> bool {
    let mut ahead = *cursor;
    let mut breaks = false;
    loop {
        breaks |= ahead.take_while(is_space).contains(['\n', '\r']);
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

/// Passes the `$$` or `$tag$` that opens a dollar quote; returns nothing and stays if it is none.
pub(crate) fn dollar_tag<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    let mut ahead = *cursor;
    ahead.bump();
    let tag = ahead.take_while(|c| is_word(c) && c != '$');
    if !(tag.is_empty() || tag.starts_with(is_word_start)) || !ahead.eat("$") {
        return None;
    }
    let delimiter = cursor.up_to(&ahead);
    *cursor = ahead;
    Some(delimiter)
}

/// The rest of `-- …`, up to the line break.
pub(crate) fn line_comment(cursor: &mut Cursor<'_>) {
    cursor.take_while(|c| c != '\n' && c != '\r');
}

/// The rest of `/* … */`, with comments inside.
pub(crate) fn block_comment(cursor: &mut Cursor<'_>) -> bool {
    let mut depth = 1_usize;
    while depth > 0 {
        cursor.take_while(|c| c != '/' && c != '*');
        if cursor.eat("/*") {
            depth += 1;
        } else if cursor.eat("*/") {
            depth -= 1;
        } else if cursor.peek().is_none() {
            return false;
        } else {
            cursor.bump();
        }
    }
    true
}
