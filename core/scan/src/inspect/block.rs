//! DO: a block of PL/pgSQL in a string, which runs at once.

use super::effect::{Effect, of_first_word};
use super::traces::Traces;
use crate::tokens::{Kind, Token, Tokens};

pub(super) fn is_block(first: &str) -> bool {
    first.eq_ignore_ascii_case("DO")
}

/// Whether the block behind DO changes the session. What can't be read may: another language, dynamic SQL, a block in it.
pub(super) fn changes_session(mut rest: Tokens<'_>) -> bool {
    let mut body: Option<Token<'_>> = None;
    while let Some(token) = rest.next() {
        if token.is("LANGUAGE") {
            if !rest.next().is_some_and(is_plpgsql) {
                return true;
            }
        } else if token.is_text() && body.is_none() {
            body = Some(token);
        } else if !token.is(";") {
            return true;
        }
    }
    let Some(body) = body else { return false };
    body.string().is_none_or(|body| body_changes_session(&body))
}

fn is_plpgsql(language: Token<'_>) -> bool {
    match language.name() {
        Some(name) => name.may_be("plpgsql"),
        None => language.string().is_some_and(|name| name == "plpgsql"),
    }
}

fn body_changes_session(body: &str) -> bool {
    let mut traces = Traces::new(false);
    let mut tokens = Tokens::new(body);
    let mut before: Option<Token<'_>> = None;
    while let Some(token) = tokens.next() {
        let begins = before.is_none_or(|before| before.is_one_of(STATEMENT_BEGINS_BEHIND));
        if begins && token.kind == Kind::Word {
            if token.is_one_of(&["DO", "EXECUTE"])
                || of_first_word(token.text, tokens) == Effect::SessionState
            {
                return true;
            }
        } else if token.is("EXECUTE")
            && before.is_some_and(|before| before.is_one_of(&["FOR", "IN", "QUERY"]))
        {
            return true;
        }
        if traces.see(token, tokens) {
            return true;
        }
        before = Some(token);
    }
    false
}

/// A statement of PL/pgSQL begins behind these and at the start; `>` is the last of a `<<label>>`.
const STATEMENT_BEGINS_BEHIND: &[&str] = &[";", "BEGIN", "THEN", "ELSE", "LOOP", ">"];

#[cfg(test)]
mod tests {
    //! Looked for as siblings: every place where a statement of PL/pgSQL begins; every notation of the body; bodies that
    //! can't be read.

    use crate::{Effect, inspect};

    const CHANGING: &[&str] = &[
        "BEGIN SET timezone = 'UTC'; END",
        "BEGIN PERFORM 1; SET timezone = 'UTC'; END",
        "BEGIN IF true THEN SET ROLE a; END IF; END",
        "BEGIN IF true THEN NULL; ELSE SET ROLE a; END IF; END",
        "BEGIN LOOP SET a.b = 1; EXIT; END LOOP; END",
        "<<a>> BEGIN <<b>> BEGIN NULL; END; SET a.b = 1; END",
        "BEGIN /* a */ SET -- b\n a.b = 1; END",
        "BEGIN EXCEPTION WHEN others THEN RESET ALL; END",
        "DECLARE a int; BEGIN LISTEN a; END",
        "BEGIN UNLISTEN a; END",
        "BEGIN DISCARD PLANS; END",
        "BEGIN PREPARE a AS SELECT 1; END",
        "BEGIN DEALLOCATE a; END",
        "BEGIN LOAD 'a'; END",
        "BEGIN CREATE TEMP TABLE a(); END",
        "BEGIN CREATE TABLE pg_temp.a(); END",
        "BEGIN SELECT 1 INTO TEMP a; END",
        "BEGIN DECLARE a CURSOR WITH HOLD FOR SELECT 1; END",
        "BEGIN EXECUTE 'SET a.b = 1'; END",
        "DECLARE a record; BEGIN FOR a IN EXECUTE 'SELECT 1' LOOP END LOOP; END",
        "DECLARE a refcursor; BEGIN OPEN a FOR EXECUTE 'SELECT 1'; END",
        "BEGIN PERFORM set_config('a.b', 'c', false); END",
        "BEGIN PERFORM pg_advisory_lock(1); END",
        "BEGIN UPDATE pg_settings SET setting = 1; END",
        "BEGIN DO 'BEGIN END'; END",
    ];

    const HARMLESS: &[&str] = &[
        "BEGIN END",
        "BEGIN RAISE NOTICE 'SET a.b = 1; %', 1; END",
        "BEGIN INSERT INTO a VALUES (1); UPDATE a SET b = 1; DELETE FROM a; END",
        "BEGIN UPDATE a AS b SET c = 1; END",
        "BEGIN INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET b = 2; END",
        "BEGIN INSERT INTO a VALUES (1) ON CONFLICT DO NOTHING; END",
        "BEGIN SET LOCAL a.b = 1; SET TRANSACTION READ ONLY; SET CONSTRAINTS ALL DEFERRED; END",
        "BEGIN PERFORM set_config('a.b', 'c', true); PERFORM pg_advisory_xact_lock(1); END",
        "BEGIN GRANT EXECUTE ON FUNCTION a() TO b; REVOKE EXECUTE ON FUNCTION a() FROM b; END",
        "BEGIN CREATE TRIGGER a BEFORE INSERT ON b FOR EACH ROW EXECUTE FUNCTION c(); END",
        "BEGIN ALTER TABLE a ALTER b SET DEFAULT 1; END",
        "BEGIN ALTER ROLE a SET b.c = 1; END",
        "BEGIN CREATE FUNCTION f() RETURNS void LANGUAGE sql SET a.b = 1 AS $f$SET a.b = 1$f$; END",
        "DECLARE a int; BEGIN SELECT 1 INTO a; END",
        "BEGIN -- SET a.b = 1;\n /* ; SET a.b = 1; */ END",
        "DECLARE a int; BEGIN a := 1; COMMIT; ROLLBACK; END",
    ];

    /// The block as a statement, in every notation of its body.
    fn statements(body: &str) -> [String; 6] {
        let quoted = body.replace('\'', "''");
        [
            format!("DO $${body}$$"),
            format!("do $q$ {body} $q$ LANGUAGE plpgsql;"),
            format!("/* a */ DO LANGUAGE \"plpgsql\" $${body}$$"),
            format!("DO LANGUAGE 'plpgsql' $${body}$$"),
            format!("DO '{quoted}'"),
            format!("(DO $é${body}$é$ language PLPGSQL -- a"),
        ]
    }

    #[test]
    fn a_block_that_changes_the_session_is_told() {
        for text in CHANGING.iter().flat_map(|body| statements(body)) {
            assert_eq!(inspect(&text, &[]).effect, Effect::SessionState, "{text}");
        }
    }

    #[test]
    fn a_block_that_changes_data_alone_is_none_of_them() {
        for text in HARMLESS.iter().flat_map(|body| statements(body)) {
            assert_eq!(inspect(&text, &[]).effect, Effect::None, "{text}");
        }
        assert_eq!(inspect("DO E'BEGIN END'", &[]).effect, Effect::None);
    }

    #[test]
    fn a_block_that_can_not_be_read_is_on_the_safe_side() {
        for text in [
            "DO LANGUAGE plpython3u $$ pass $$",
            "DO $$ 1 $$ LANGUAGE 'plv8'",
            "DO LANGUAGE",
            r"DO E'BEGIN S\x45T a.b = 1; END'",
            "DO E'BEGIN '\n'SET a.b = 1; END'",
            r"DO U&'BEGIN S\0045T a.b = 1; END'",
            "DO U&'BEGIN S!0045T a.b = 1; END' UESCAPE '!'",
            "DO 'BEGIN S'\n'ET a.b = 1; END'",
            "DO N'BEGIN END'",
        ] {
            assert_eq!(inspect(text, &[]).effect, Effect::SessionState, "{text}");
        }
    }
}
