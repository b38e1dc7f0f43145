//! What leaves something behind wherever it stands in a statement.

use std::borrow::Cow;

use crate::tokens::{Kind, Name, Token, Tokens};

/// Sees the tokens of a statement one after the other.
pub(super) struct Traces<'a> {
    /// The last token, and the one before it.
    before: [Option<Token<'a>>; 2],
    /// Whether functions are only named, so that a name before a parenthesis is no call.
    names_functions_only: bool,
}

impl<'a> Traces<'a> {
    pub(super) fn new(names_functions_only: bool) -> Self {
        Self { before: [None; 2], names_functions_only }
    }

    /// Whether this token changes the session, with the one before it and `rest`, the ones behind it.
    ///
    /// It looks ahead by a few tokens, and further only from `set_config(` to the next one: so the time stays linear as long
    /// as nobody asks again after a yes.
    pub(super) fn see(&mut self, token: Token<'a>, rest: Tokens<'a>) -> bool {
        let [before, earlier] = self.before;
        self.before = [Some(token), before];
        let name_before = before.and_then(|before| before.name());
        let follows = |words| before.is_some_and(|before| before.is_one_of(words));
        match token.kind {
            Kind::Symbol if token.text == "(" && !self.names_functions_only => {
                // of a table's name no call: its columns follow
                let is_table = earlier.is_some_and(|earlier| earlier.is_one_of(&["INTO", "TABLE"]));
                !is_table && name_before.is_some_and(|name| calls(name, rest))
            }
            Kind::Symbol if token.text == "." => name_before.is_some_and(is_temporary_schema),
            Kind::Word if token.is("CREATE") => creates_temporary(rest),
            Kind::Word if token.is("INTO") => into_temporary(follows(&["INSERT", "MERGE"]), rest),
            Kind::Word if token.is("WITH") => with_hold(rest),
            Kind::Word if token.is("UPDATE") => updates_settings(rest),
            // The escapes of the name before it can be any letters.
            Kind::Word if token.is("UESCAPE") => before.is_some_and(|before| before.kind == Kind::QuotedName),
            Kind::Word | Kind::QuotedName if follows(&["INTO", "SCHEMA"]) => {
                token.name().is_some_and(is_temporary_schema)
            }
            _ => false,
        }
    }
}

/// Functions that change the session whatever they are given; what ends it again is among them, since it may end what
/// another statement began.
const SESSION_FUNCTIONS: &[&str] = &[
    "setseed",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_shared",
    "pg_advisory_unlock_all",
    "pg_replication_origin_session_setup",
    "pg_replication_origin_session_reset",
    "pg_backup_start",
    "pg_start_backup",
    // slots can be temporary, for the session
    "pg_create_logical_replication_slot",
    "pg_create_physical_replication_slot",
    "pg_copy_logical_replication_slot",
    "pg_copy_physical_replication_slot",
    // of extensions: dblink, pg_trgm, isn, set_user
    "dblink_connect",
    "dblink_connect_u",
    "dblink_disconnect",
    "dblink_open",
    "set_limit",
    "isn_weak",
    "set_user",
    "reset_user",
    "set_session_auth",
];

/// Whether a call of this function, with the arguments next, changes the session.
fn calls(function: Name<'_>, arguments: Tokens<'_>) -> bool {
    SESSION_FUNCTIONS.iter().any(|name| function.may_be(name))
        || function.may_be("set_config") && !(is_third_true(arguments) && is_harmless_setting(arguments))
}

/// Whether the setting is known, and is not the search path with the temporary schema in it: what is created then lasts as long as the
/// session. The value may be anything where it is no plain string.
fn is_harmless_setting(mut arguments: Tokens<'_>) -> bool {
    let Some(setting) = argument(&mut arguments) else { return false };
    !setting.eq_ignore_ascii_case("search_path")
        || argument(&mut arguments).is_some_and(|path| !names_temporary_schema(&path))
}

/// The next argument, if it is a plain string.
fn argument<'a>(arguments: &mut Tokens<'a>) -> Option<Cow<'a, str>> {
    let text = arguments.next()?.string()?;
    arguments.eat(&[","]).then_some(text)
}

/// Whether a list of schemas may have the temporary one in it.
pub(super) fn names_temporary_schema(path: &str) -> bool {
    path.to_ascii_lowercase().contains("pg_temp")
}

/// Whether the third and last argument is the word `true`, so that `set_config` acts like SET LOCAL.
fn is_third_true(arguments: Tokens<'_>) -> bool {
    let (mut depth, mut commas, mut is_true) = (0_usize, 0, false);
    let mut before: Option<Token<'_>> = None;
    for token in arguments {
        if depth == 0 && token.is(")") {
            return commas == 2 && is_true;
        }
        let begins = before.is_some_and(|before| depth == 0 && before.is(","));
        if token.is_one_of(&["(", "["]) {
            // A call within the call is not looked through: it would be, again and again.
            if before.and_then(|before| before.name()).is_some_and(|name| name.may_be("set_config")) {
                return false;
            }
            depth += 1;
        } else if token.is_one_of(&[")", "]"]) {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && token.is(",") {
            commas += 1;
        }
        is_true = begins && token.is("true");
        before = Some(token);
    }
    false
}

/// `pg_temp`, and the name it stands for, as `pg_temp_3`.
pub(super) fn is_temporary_schema(name: Name<'_>) -> bool {
    let text = match name {
        Name::Folded(text) | Name::Exact(text) => text,
        Name::Escaped => return true,
    };
    let number = text.split_at_checked("pg_temp_".len());
    name.may_be("pg_temp")
        || number.is_some_and(|(start, number)| {
            start.eq_ignore_ascii_case("pg_temp_") && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// `CREATE` before `[OR REPLACE] [LOCAL | GLOBAL] TEMP`. It is a reserved word, so nothing else is called so.
fn creates_temporary(mut rest: Tokens<'_>) -> bool {
    rest.eat_or_replace();
    rest.eat(&["LOCAL", "GLOBAL"]);
    rest.eat(&["TEMP", "TEMPORARY"])
}

/// `INTO` before `[LOCAL | GLOBAL] TEMP`, unless a table is called so: `INSERT INTO temp VALUES (1)`.
fn into_temporary(writes: bool, mut rest: Tokens<'_>) -> bool {
    rest.eat(&["LOCAL", "GLOBAL"]);
    rest.eat(&["TEMP", "TEMPORARY"])
        && !(writes
            && rest.eat(&["(", ".", "AS", "DEFAULT", "OVERRIDING", "SELECT", "USING", "VALUES", "WITH"]))
}

/// `WITH` before `HOLD FOR`, of a cursor; `WITH hold AS (…)` is a query's.
fn with_hold(mut rest: Tokens<'_>) -> bool {
    rest.eat(&["HOLD"]) && rest.eat(&["FOR"])
}

/// `UPDATE` before `[ONLY] [pg_catalog.]pg_settings`: a rule makes `set_config` of it.
fn updates_settings(rest: Tokens<'_>) -> bool {
    let mut qualified = true;
    for token in rest.take(8) {
        match token.name() {
            Some(name) if name.may_be("pg_settings") => return true,
            _ if token.is_one_of(&["ONLY", "(", "."]) => qualified = true,
            Some(_) if qualified => qualified = false,
            _ => return false,
        }
    }
    false
}
