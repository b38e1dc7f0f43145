//! The body of a DO block, which runs when the statement does.

use super::alarm::Alarm;
use crate::tokens::{Token, Tokens};

/// A DO statement: its language, and its body when that comes.
pub(super) struct Body {
    names_language: bool,
}

impl Body {
    /// If the first word is DO.
    pub(super) fn of(first: Token<'_>) -> Option<Body> {
        first.is("DO").then_some(Body { names_language: false })
    }

    /// Whether a token of the statement says that the session may be changed.
    pub(super) fn sees(&mut self, token: Token<'_>) -> bool {
        let is_language = std::mem::replace(&mut self.names_language, token.is("LANGUAGE"));
        match token {
            Token::String(body) if !is_language => changes_session(body),
            // of another language nothing is known
            _ if is_language => !token.name().is_some_and(|name| name.eq_ignore_ascii_case("plpgsql")),
            _ => false,
        }
    }
}

/// Whether PL/pgSQL statements change the session, or run a text that can't be seen.
fn changes_session(body: &str) -> bool {
    let mut alarm = Alarm::new(false);
    let mut before = Token::Symbol(';');
    let mut sets = false;
    for (_, token) in Tokens::new(body) {
        if std::mem::take(&mut sets) && !token.is_one_of(&["LOCAL", "TRANSACTION", "CONSTRAINTS"]) {
            return true;
        }
        let begins = matches!(before, Token::Symbol(';' | '>'))
            || before.is_one_of(&["BEGIN", "THEN", "ELSE", "LOOP"]);
        sets = begins && token.is("SET");
        let is_alarming = begins
            && token.is_one_of(&["RESET", "DISCARD", "LISTEN", "UNLISTEN", "PREPARE", "DEALLOCATE", "LOAD"])
            || token.is("EXECUTE") && !before.is_one_of(&["GRANT", "REVOKE"]);
        if is_alarming || alarm.sees(token) {
            return true;
        }
        before = token;
    }
    sets
}
