//! What a statement does to its session, as far as its words show it.
//!
//! What a function or a procedure does inside can't be seen, and neither can the text that `EXECUTE` runs. A false alarm costs a
//! connection; a miss costs the promise that nobody sees another's session. So in doubt it is an alarm.

mod block;
mod command;
mod effect;
mod parameters;
#[cfg(test)]
mod tests;
mod traces;

pub use command::Command;
pub use effect::Effect;

use crate::cursor::Cursor;
use crate::time_limit::TimeLimit;
use crate::tokens::{Kind, Token, Tokens};
use parameters::Parameters;
use traces::Traces;

/// What the words of a statement say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// What kind of statement it is, where that makes a difference.
    pub command: Command,
    /// What it leaves behind.
    pub effect: Effect,
    /// The `statement_timeout` that it sets: whether for the transaction alone, and which.
    pub statement_timeout: Option<(bool, TimeLimit)>,
    /// The first `$n` that was written by hand; in CREATE FUNCTION, CREATE PROCEDURE and PREPARE, whose bodies have their own, none.
    pub by_hand: Option<u32>,
    /// A parameter stands where PostgreSQL does not see it: in quotes or a comment, or directly behind a word.
    pub hides_parameter: bool,
}

impl Inspection {
    /// What most statements are.
    pub const PLAIN: Inspection = Inspection {
        command: Command::Other,
        effect: Effect::None,
        statement_timeout: None,
        by_hand: None,
        hides_parameter: false,
    };
}

/// Reads a statement: one, since PostgreSQL refuses several in the extended protocol.
///
/// `placed` are the bytes where the `$n`s begin that were not written by hand, in order.
///
/// ```
/// use pgspan_scan::{Effect, inspect};
///
/// assert_eq!(inspect("SELECT set_config('app.tenant', $1, false)", &[33]).effect, Effect::SessionState);
/// assert_eq!(inspect("SELECT 'set_config()'", &[]).effect, Effect::None);
/// ```
pub fn inspect(text: &str, placed: &[usize]) -> Inspection {
    let mut rest = Tokens::new(text);
    let first = first_word(&mut rest);
    let command = Command::of(first, rest);

    let mut effect = effect::of_first_word(first, rest);
    if block::is_block(first) && block::changes_session(rest) {
        effect = Effect::SessionState;
    }
    let mut traces = Traces::new(effect::names_functions_only(first, rest));
    let mut parameters = Parameters::new(placed, first, rest);
    let mut cursor = Cursor::new(text);
    while let Some(token) = Token::next(&mut cursor) {
        parameters.pass(&token);
        if effect != Effect::SessionState && !token.is_comment() && traces.see(token, Tokens(cursor)) {
            effect = Effect::SessionState;
        }
    }
    Inspection {
        command,
        effect,
        statement_timeout: TimeLimit::set_by(first, rest),
        by_hand: parameters.by_hand,
        hides_parameter: parameters.are_hidden(),
    }
}

/// Where each `$n` begins, in bytes and in order.
pub fn parameters(text: &str) -> Vec<usize> {
    let parameters = Tokens::new(text).filter(|token| token.kind == Kind::Parameter);
    parameters.map(|token| token.at).collect()
}

/// The word that says what the statement is: before it may be empty statements and parentheses.
fn first_word<'a>(tokens: &mut Tokens<'a>) -> &'a str {
    while tokens.eat(&[";", "("]) {}
    match tokens.next() {
        Some(token) if token.kind == Kind::Word => token.text,
        _ => "",
    }
}
