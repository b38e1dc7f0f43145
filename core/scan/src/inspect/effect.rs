//! What a statement leaves behind, as far as its first words say it.

use super::traces::{is_temporary_schema, names_temporary_schema};
use crate::tokens::{Token, Tokens};

/// What a statement leaves behind in its session.
///
/// What `lastval()` and `currval()` answer is not counted: every INSERT into a table with a sequence changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing but data.
    None,
    /// Nothing, and it does nothing at all outside a transaction, where PostgreSQL only warns: SET LOCAL, SET TRANSACTION
    /// and SET CONSTRAINTS.
    OnlyInTransaction,
    /// A setting, a prepared statement, a temporary table, a lock, …: whoever uses the connection next could notice.
    SessionState,
}

pub(super) fn of_first_word(first: &str, rest: Tokens<'_>) -> Effect {
    let is = |word: &&str| first.eq_ignore_ascii_case(word);
    if is(&"SET") {
        return set(rest);
    }
    let always = ["RESET", "DISCARD", "LISTEN", "UNLISTEN", "PREPARE", "DEALLOCATE", "LOAD"];
    if always.iter().any(is) { Effect::SessionState } else { Effect::None }
}

fn set(mut rest: Tokens<'_>) -> Effect {
    // SET SESSION TRANSACTION is SET TRANSACTION, whatever it sounds like.
    rest.eat(&["SESSION"]);
    let local = rest.eat(&["LOCAL", "TRANSACTION", "CONSTRAINTS"]);
    // They are no reserved words: `SET local.tenant = 7` sets a parameter.
    let is_parameter = rest.eat(&[".", "=", "TO"]);
    if local && !is_parameter && !looks_into_temporary(rest) {
        Effect::OnlyInTransaction
    } else {
        Effect::SessionState
    }
}

/// Whether the setting is the search path, with the temporary schema in it: what is created then lasts as long as the session.
fn looks_into_temporary(mut setting: Tokens<'_>) -> bool {
    let is_path = setting.next().is_some_and(|setting| {
        setting.is("SCHEMA") || setting.name().is_some_and(|name| name.may_be("search_path"))
    });
    is_path && setting.take_while(|token| !token.is(";")).any(may_be_temporary)
}

fn may_be_temporary(schema: Token<'_>) -> bool {
    match schema.name() {
        Some(name) => is_temporary_schema(name),
        None => schema.is_text() && schema.string().is_none_or(|path| names_temporary_schema(&path)),
    }
}

/// Whether a statement names functions without calling them: in GRANT EXECUTE ON FUNCTION, CREATE FUNCTION and the like. A
/// body is not run by it either.
pub(super) fn names_functions_only(first: &str, mut rest: Tokens<'_>) -> bool {
    let is = |word: &&str| first.eq_ignore_ascii_case(word);
    if ["CREATE", "ALTER"].iter().any(is) {
        rest.eat_or_replace();
        return rest.eat(&["FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE"]);
    }
    ["COMMENT", "DROP", "GRANT", "REVOKE"].iter().any(is)
}
