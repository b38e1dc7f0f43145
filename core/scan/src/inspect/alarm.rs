//! Looks for what changes the session anywhere in a statement.

use crate::tokens::Token;

/// What was seen of a statement so far.
pub(super) struct Alarm<'a> {
    declares: bool,
    /// The two tokens before, the last one first.
    before: [Token<'a>; 2],
    set_config: Option<SetConfig>,
}

/// The arguments of a call of `set_config`: only with a third one of `true` is the setting the transaction's.
struct SetConfig {
    depth: usize,
    commas: usize,
    /// Tokens of the third argument, and whether they are the word.
    third: usize,
    is_true: bool,
}

/// Functions that change the session, and no word of SQL.
const FUNCTIONS: [&str; 15] = [
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_shared",
    "pg_advisory_unlock_all",
    "setseed",
    "dblink_connect",
    "dblink_connect_u",
    "dblink_disconnect",
    "dblink_open",
    "pg_replication_origin_session_setup",
    "pg_replication_origin_session_reset",
    "pg_replication_origin_xact_setup",
];

impl<'a> Alarm<'a> {
    pub(super) fn new(declares: bool) -> Alarm<'a> {
        Alarm { declares, before: [Token::Symbol(' '); 2], set_config: None }
    }

    /// Whether a token says that the session is changed.
    pub(super) fn sees(&mut self, token: Token<'a>) -> bool {
        let [last, last_but_one] = self.before;
        let alarm = match token {
            Token::Word(word) if word.len() == 4 || word.len() == 9 => {
                self.is_temporary(token) || token.is("HOLD") && last.is("WITH") && self.declares
            }
            Token::Symbol('(') => self.is_call(last, last_but_one),
            _ => false,
        };
        let names_temporary_schema = token.name().is_some_and(is_temporary_schema);
        let ends_set_config = self.set_config.as_mut().and_then(|call| call.sees(token));
        if ends_set_config.is_some() {
            self.set_config = None;
        }
        self.before = [token, last];
        alarm || names_temporary_schema || ends_set_config == Some(false)
    }

    /// CREATE TEMP …, or SELECT … INTO TEMP …; but a table may have this name.
    fn is_temporary(&self, token: Token<'_>) -> bool {
        let [last, last_but_one] = self.before;
        let follows = last.is_one_of(&["CREATE", "REPLACE", "LOCAL", "GLOBAL"])
            || last.is("INTO") && !last_but_one.is_one_of(&["INSERT", "MERGE"]);
        follows && token.is_one_of(&["TEMP", "TEMPORARY"])
    }

    /// Whether a parenthesis opens the arguments of one of the functions; of `set_config` the arguments decide.
    fn is_call(&mut self, name: Token<'_>, before: Token<'_>) -> bool {
        let Some(name) = name.name() else { return false };
        // not of a table, whose columns follow
        if before.is_one_of(&["INTO", "TABLE"]) {
            return false;
        }
        if name.eq_ignore_ascii_case("set_config") {
            if self.set_config.is_some() {
                return true; // one in the arguments of another
            }
            self.set_config = Some(SetConfig { depth: 0, commas: 0, third: 0, is_true: false });
        }
        FUNCTIONS.iter().any(|function| name.eq_ignore_ascii_case(function))
    }
}

impl SetConfig {
    /// Whether the setting is the transaction's, once the last argument has been read.
    fn sees(&mut self, token: Token<'_>) -> Option<bool> {
        match token {
            Token::Symbol('(') => self.depth += 1,
            Token::Symbol(')') => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    return Some(self.third == 1 && self.is_true);
                }
            }
            Token::Symbol(',') if self.depth == 1 => {
                self.commas += 1;
                return None;
            }
            _ => {}
        }
        if self.commas == 2 {
            self.third += 1;
            self.is_true = token.is("TRUE");
        }
        None
    }
}

fn is_temporary_schema(name: &str) -> bool {
    let Some((start, rest)) = name.split_at_checked(7) else { return false };
    start.eq_ignore_ascii_case("pg_temp") && (rest.is_empty() || rest.starts_with('_'))
}
