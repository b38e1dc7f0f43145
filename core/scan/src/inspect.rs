//! What a statement does to its session, as far as its words show it.
//!
//! What a function or a procedure does inside can't be seen, and neither can the text that `EXECUTE` runs. A false alarm costs a
//! connection; a miss costs the promise that nobody sees another's session. So in doubt it is an alarm.

mod alarm;
mod body;
#[cfg(test)]
mod tests;

use crate::time_limit::TimeLimit;
use crate::tokens::{Token, Tokens};
use alarm::Alarm;

/// What the words of a statement say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    /// What kind of statement it is, where that makes a difference.
    pub command: Command,
    /// What it leaves behind.
    pub effect: Effect,
    /// The `statement_timeout` that it sets: whether for the transaction alone, and which.
    pub statement_timeout: Option<(bool, TimeLimit)>,
    /// A `$n` that was written by hand.
    pub by_hand: Option<u32>,
    /// A parameter stands in a string, a quoted identifier or a comment, where PostgreSQL does not see it.
    pub hides_parameter: bool,
}

/// What kind of statement it is, where that makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// It begins or ends a transaction: BEGIN, START, COMMIT, END, ROLLBACK or ABORT.
    TransactionControl,
    /// SAVEPOINT or RELEASE.
    Savepoint,
    /// PREPARE TRANSACTION.
    PrepareTransaction,
    /// COPY.
    Copy,
    /// CALL or DO: outside of a transaction it may commit by itself.
    Procedure,
    /// DISCARD or DEALLOCATE: what was prepared may be gone.
    Forget,
    /// Any other.
    Other,
}

/// What a statement leaves behind in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing but data.
    None,
    /// A setting of the transaction: outside of one it has no effect.
    OnlyInTransaction,
    /// A setting, a prepared statement, a temporary table, a subscription, a lock: a later user of the connection could notice.
    SessionState,
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

/// Reads the words of a statement. `placed` are the bytes where the `$n`s begin that were not written by hand, in order.
pub fn inspect(text: &str, placed: &[usize]) -> Inspection {
    let mut inspection = Inspection::PLAIN;
    let mut tokens = Tokens::new(text).skip_while(|(_, token)| matches!(token, Token::Symbol(';' | '(')));
    let Some((start, first)) = tokens.next() else {
        inspection.hides_parameter = !placed.is_empty();
        return inspection;
    };
    (inspection.command, inspection.effect) = by_first_word(first, text);
    if first.is_one_of(&["SET", "RESET", "DISCARD"]) {
        inspection.statement_timeout = limit_set(text, start);
    }
    let has_own_parameters = first.is_one_of(&["PREPARE", "CREATE"]);
    let mut alarm = Alarm::new(first.is("DECLARE"));
    let mut body = body::Body::of(first);
    let mut seen = 0;
    for (offset, token) in std::iter::once((start, first)).chain(tokens) {
        if let Token::Parameter(number) = token {
            if placed.get(seen) == Some(&offset) {
                seen += 1;
            } else if !has_own_parameters {
                inspection.by_hand = inspection.by_hand.or(Some(number));
            }
        }
        if alarm.sees(token) || body.as_mut().is_some_and(|body| body.sees(token)) {
            inspection.effect = Effect::SessionState;
        }
    }
    inspection.hides_parameter = seen < placed.len();
    inspection
}

/// What the first words say.
fn by_first_word(first: Token<'_>, text: &str) -> (Command, Effect) {
    let second = || {
        let tokens = Tokens::new(text).skip_while(|(_, token)| matches!(token, Token::Symbol(';' | '(')));
        tokens.map(|(_, token)| token).nth(1).unwrap_or(Token::Symbol(' '))
    };
    let Token::Word(word) = first else { return (Command::Other, Effect::None) };
    // nearly all statements begin with one of these
    if ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].iter().any(|known| word.eq_ignore_ascii_case(known)) {
        return (Command::Other, Effect::None);
    }
    if first.is_one_of(&["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT"]) {
        (Command::TransactionControl, Effect::None)
    } else if first.is_one_of(&["SAVEPOINT", "RELEASE"]) {
        (Command::Savepoint, Effect::None)
    } else if first.is("PREPARE") && second().is("TRANSACTION") {
        (Command::PrepareTransaction, Effect::None)
    } else if first.is("COPY") {
        (Command::Copy, Effect::None)
    } else if first.is_one_of(&["CALL", "DO"]) {
        (Command::Procedure, Effect::None)
    } else if first.is_one_of(&["DISCARD", "DEALLOCATE"]) {
        (Command::Forget, Effect::SessionState)
    } else if first.is_one_of(&["PREPARE", "LISTEN", "UNLISTEN", "LOAD", "RESET"]) {
        (Command::Other, Effect::SessionState)
    } else if first.is("SET") {
        match second().is_one_of(&["LOCAL", "TRANSACTION", "CONSTRAINTS"]) {
            true => (Command::Other, Effect::OnlyInTransaction),
            false => (Command::Other, Effect::SessionState),
        }
    } else {
        (Command::Other, Effect::None)
    }
}

/// `SET [SESSION | LOCAL] statement_timeout {TO | =} value`, `RESET statement_timeout`, `RESET ALL`, `DISCARD ALL`.
fn limit_set(text: &str, start: usize) -> Option<(bool, TimeLimit)> {
    let mut tokens = Tokens::new(text.get(start..)?).map(|(_, token)| token);
    let first = tokens.next()?;
    let mut name = tokens.next()?;
    if !first.is("SET") {
        let resets = name.is("ALL") || first.is("RESET") && is_statement_timeout(name);
        return resets.then_some((false, TimeLimit::Default));
    }
    let is_local = name.is("LOCAL");
    if is_local || name.is("SESSION") {
        name = tokens.next()?;
    }
    let assigns = tokens.next().is_some_and(|token| token.is("TO") || token == Token::Symbol('='));
    if !is_statement_timeout(name) || !assigns {
        return None;
    }
    Some((is_local, TimeLimit::read(tokens.next()?)?))
}

fn is_statement_timeout(token: Token<'_>) -> bool {
    token.name().is_some_and(|name| name.eq_ignore_ascii_case("statement_timeout"))
}
