//! Siblings that were looked for: capitals, comments and line breaks between the words; qualified and quoted names; names with
//! escapes; the same words as a column, a table, an alias, in a string, in a comment; other ways to say the same (`UPDATE
//! pg_settings` for SET, a parameter whose name begins with `local.`).

use crate::{Effect, inspect};

#[track_caller]
fn each(texts: &[&str], effect: Effect) {
    for text in texts {
        let apart = match text.contains("--") {
            true => text.to_string(),
            false => text.replace(' ', " /* a */\n-- b\n\t"),
        };
        for text in [*text, &text.to_lowercase(), &apart, &format!(";({text};")] {
            assert_eq!(inspect(text, &[]).effect, effect, "{text}");
        }
    }
}

#[test]
fn a_setting_that_outlives_the_transaction_changes_the_session() {
    each(
        &[
            "SET timezone = 'UTC'",
            "SET TIMEZONE TO 'UTC'",
            "SET SESSION x.y = 1",
            "SET ROLE a",
            "SET SESSION ROLE a",
            "SET SESSION AUTHORIZATION a",
            "SET TIME ZONE 'UTC'",
            "SET NAMES 'utf8'",
            "SET SCHEMA 'a'",
            "SET SEED TO 0.5",
            "SET XML OPTION DOCUMENT",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET transaction_timeout = '1s'",
            "SET transaction_isolation = 'serializable'",
            "SET local_x.y = 1",
            "SET local.tenant = '7'",
            "SET transaction.x = 1",
            "SET constraints.x TO 1",
            "SET session.x = 1",
            "SET",
            "RESET x",
            "RESET ALL",
            "RESET ROLE",
            "RESET SESSION AUTHORIZATION",
            "UPDATE pg_settings SET setting = 'UTC' WHERE name = 'timezone'",
            "UPDATE ONLY pg_catalog.pg_settings SET setting = 1",
            "WITH a AS (UPDATE pg_settings SET setting = 1 RETURNING 1) SELECT 1",
        ],
        Effect::SessionState,
    );
}

#[test]
fn a_setting_of_the_transaction_does_nothing_outside_one() {
    each(
        &[
            "SET LOCAL app.tenant = '7'",
            "SET LOCAL ROLE a",
            "SET LOCAL TIME ZONE 'UTC'",
            "SET LOCAL statement_timeout = 5",
            "SET LOCAL SESSION AUTHORIZATION a",
            "SET TRANSACTION READ ONLY",
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET TRANSACTION SNAPSHOT 'a'",
            "SET SESSION TRANSACTION READ ONLY",
            "SET CONSTRAINTS ALL DEFERRED",
        ],
        Effect::OnlyInTransaction,
    );
}

#[test]
fn what_a_session_owns_changes_it() {
    each(
        &[
            "DISCARD ALL",
            "DISCARD TEMP",
            "LISTEN a",
            "UNLISTEN *",
            "PREPARE a AS SELECT 1",
            "PREPARE transaction AS SELECT 1",
            "DEALLOCATE a",
            "DEALLOCATE PREPARE ALL",
            "LOAD 'auto_explain'",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "DECLARE c BINARY INSENSITIVE SCROLL CURSOR WITH HOLD FOR SELECT 1",
        ],
        Effect::SessionState,
    );
}

#[test]
fn a_temporary_object_changes_the_session() {
    each(
        &[
            "CREATE TEMP TABLE a()",
            "CREATE TEMPORARY TABLE a()",
            "CREATE LOCAL TEMP TABLE a()",
            "CREATE GLOBAL TEMPORARY TABLE a()",
            "CREATE TEMP TABLE IF NOT EXISTS a AS SELECT 1",
            "CREATE TEMP SEQUENCE a",
            "CREATE TEMP VIEW a AS SELECT 1",
            "CREATE OR REPLACE TEMPORARY VIEW a AS SELECT 1",
            "CREATE OR REPLACE LOCAL TEMP RECURSIVE VIEW a (b) AS SELECT 1",
            "EXPLAIN ANALYZE CREATE TEMP TABLE a AS SELECT 1",
            "EXPLAIN (ANALYZE, BUFFERS) CREATE TEMP TABLE a AS SELECT 1",
            "SELECT 1 INTO TEMP a",
            "SELECT 1 INTO TEMPORARY TABLE a",
            "SELECT * INTO LOCAL TEMP users FROM b",
            "SELECT * INTO GLOBAL TEMPORARY TABLE a FROM b",
            "WITH a AS (SELECT 1) SELECT * INTO TEMP b FROM a",
            "(SELECT 1 INTO TEMP a)",
            "SELECT 1INTO TEMP a",
            "SELECT 1 AS insert INTO TEMP a",
            "EXPLAIN ANALYZE SELECT 1 INTO TEMP a",
            "CREATE TABLE pg_temp.a()",
            "CREATE TABLE PG_TEMP . a()",
            "CREATE TABLE \"pg_temp\".a()",
            "CREATE TABLE pg_temp_3.a()",
            "CREATE FUNCTION pg_temp.f() RETURNS int RETURN 1",
            "CREATE TYPE pg_temp.a AS (b int)",
            "SELECT 1 INTO pg_temp.a",
            "INSERT INTO pg_temp.a VALUES (1)",
            "SELECT * FROM pg_temp.a",
            "COPY pg_temp.a FROM STDIN",
            "IMPORT FOREIGN SCHEMA a FROM SERVER b INTO pg_temp",
        ],
        Effect::SessionState,
    );
}

#[test]
fn a_call_that_changes_the_session_is_told() {
    each(
        &[
            "SELECT set_config('a.b', 'c', false)",
            "SELECT set_config('a.b', 'c', $1)",
            "SELECT set_config('a.b', 'c', 'true')",
            "SELECT set_config('a.b', 'true', true = false)",
            "SELECT set_config('a.b', 'c', NOT true)",
            "SELECT set_config('a.b', 'c', true AND false)",
            "SELECT set_config('a.b', 'c', (true))",
            "SELECT set_config('a.b', true)",
            "SELECT set_config(is_local => true, setting_name => 'a.b', new_value => 'c')",
            "SELECT set_config('a.b', f(1, 2, true), false)",
            "SELECT set_config('a.b', ARRAY[1, 2, true]::text, false)",
            "SELECT set_config('a.b', set_config('a.c', 'd', false), true)",
            "SELECT set_config('a.b', pg_advisory_lock(1)::text, true)",
            "SELECT set_config('a.b', 'c', true), set_config('a.b', 'c', false)",
            "SELECT set_config('a.b', 'c', true",
            "SELECT set_config (",
            "SELECT pg_catalog.set_config('a.b', 'c', false)",
            "SELECT pg_catalog . \"set_config\" ('a.b', 'c', false)",
            "SELECT * FROM set_config('a.b', 'c', false)",
            "INSERT INTO a SELECT set_config('a.b', 'c', false)",
            "WITH a AS MATERIALIZED (SELECT set_config('a.b', 'c', false)) SELECT 1",
            "VALUES (set_config('a.b', 'c', false))",
            "CALL p(set_config('a.b', 'c', false))",
            "COPY (SELECT set_config('a.b', 'c', false)) TO STDOUT",
            "CREATE TABLE a AS SELECT set_config('a.b', 'c', false)",
            "ALTER TABLE a ADD b text DEFAULT set_config('a.b', 'c', false)",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_advisory_lock_shared(1, 2)",
            "SELECT pg_try_advisory_lock(1)",
            "SELECT pg_try_advisory_lock_shared(1)",
            "SELECT pg_advisory_unlock(1)",
            "SELECT pg_advisory_unlock_shared(1)",
            "SELECT pg_advisory_unlock_all()",
            "SELECT setseed(0.5)",
            "SELECT dblink_connect('a', 'b')",
            "SELECT ext.dblink_connect_u('a', 'b')",
            "SELECT pg_replication_origin_session_setup('a')",
            "SELECT pg_create_logical_replication_slot('a', 'b', true)",
            "SELECT pg_backup_start('a')",
            "SELECT set_limit(0.5)",
        ],
        Effect::SessionState,
    );
}

#[test]
fn a_name_written_with_escapes_can_be_any() {
    for text in [
        r#"SELECT U&"set\005fconfig"('a.b', 'c', false)"#,
        r#"SELECT U&"set!005fconfig" UESCAPE '!' ('a.b', 'c', true)"#,
        r#"SELECT * FROM u&"pg\005ftemp".a"#,
        r#"SELECT U&"set_config"('a.b', 'c', false)"#,
    ] {
        assert_eq!(inspect(text, &[]).effect, Effect::SessionState, "{text}");
    }
    for text in [
        r#"SELECT U&"d\0061ta" FROM a"#,
        r#"SELECT U&"data"(1), U&"set_config"('a.b', 'c', true)"#,
        r"SELECT U&'\0061' UESCAPE '\'",
    ] {
        assert_eq!(inspect(text, &[]).effect, Effect::None, "{text}");
    }
}

#[test]
fn capitals_in_quotes_are_another_name() {
    for text in [r#"SELECT "SET_CONFIG"('a', 'b', false)"#, r#"SELECT * FROM "PG_TEMP".a"#] {
        assert_eq!(inspect(text, &[]).effect, Effect::None, "{text}");
    }
}

#[test]
fn what_only_looks_like_it_changes_nothing() {
    each(
        &[
            "",
            "()",
            "/* unclosed",
            "--",
            "SELECT 1",
            "INSERT INTO users (name) VALUES ($1) RETURNING id",
            "UPDATE users SET name = 'a' WHERE id = 1",
            "DELETE FROM users",
            "WITH a AS (SELECT 1) SELECT 1",
            "SELECT 'SET x = 1', $$LISTEN a$$, \"RESET\" FROM a",
            "SELECT 1 -- INTO TEMP a",
            "SELECT 1 /* set_config( */",
            "\"SET\" x = 1",
            "SETTING x = 1",
            "SET_CONFIG",
            "SELECT set_config('a.b', 'c', true)",
            "SELECT pg_catalog.set_config('a,b', f(1, 2) || ARRAY[3, 4]::text, true), 2",
            "SELECT set_config, pg_advisory_lock FROM a",
            "SELECT 'set_config(''a'')', \"set_config\" FROM a",
            "SELECT set_configs(1), my_set_config(1), set_config$(1), set_configé(1)",
            "SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(1)",
            "SELECT pg_replication_origin_xact_setup('0/0', now())",
            "SELECT current_setting('a.b')",
            "CREATE TABLE a()",
            "CREATE TABLE temp()",
            "CREATE UNLOGGED TABLE a (temp int)",
            "CREATE OR REPLACE VIEW a AS SELECT 1",
            "CREATE TABLE temp_a AS SELECT 1",
            "CREATE TABLE \"temp\" AS SELECT 1",
            "SELECT 1 INTO a",
            "SELECT 1 INTO TABLE a",
            "SELECT 1 INTO UNLOGGED a",
            "SELECT 1 INTO \"temp\"",
            "INSERT INTO temp VALUES (1)",
            "INSERT INTO temp (a) SELECT 1",
            "INSERT INTO temp.a VALUES (1)",
            "INSERT INTO temp DEFAULT VALUES",
            "INSERT INTO temporary AS a SELECT 1",
            "MERGE INTO temp USING a ON true WHEN MATCHED THEN DELETE",
            "GRANT TEMP ON DATABASE a TO b",
            "GRANT CREATE, TEMPORARY ON DATABASE a TO b",
            "SELECT pg_temp FROM a",
            "SELECT * FROM pg_temperature.a, pg_temp_a.b",
            "CREATE FUNCTION f() RETURNS int SET search_path = public, pg_temp RETURN 1",
            "SELECT current_schema() = 'pg_temp.a'",
            "DECLARE c CURSOR FOR SELECT 1",
            "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1",
            "DECLARE c CURSOR FOR WITH hold AS (SELECT 1) SELECT 1 FOR UPDATE",
            "DECLARE c CURSOR FOR SELECT 'WITH HOLD FOR'",
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$SET x = 1; SELECT set_config('a', 'b', false)$$",
            "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC SELECT set_config('a', 'b', false); END",
            "CREATE FUNCTION setseed(int) RETURNS int RETURN 1",
            "ALTER FUNCTION setseed(int) SET x = 1",
            "DROP FUNCTION set_config(text, text, bool)",
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_advisory_lock(bigint) TO a",
            "REVOKE EXECUTE ON FUNCTION set_config(text, text, bool) FROM a",
            "COMMENT ON FUNCTION setseed(int) IS 'a'",
            "ALTER ROLE a SET x = 1",
            "SELECT * FROM pg_settings FOR UPDATE",
            "UPDATE a SET b = pg_settings FROM c",
            "UPDATE pg_settings_a SET b = 1",
            "SELECT 1 FROM a FOR UPDATE OF a",
            "INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET b = 1",
            "CALL p()",
            "NOTIFY a, 'b'",
            "SHOW x",
        ],
        Effect::None,
    );
}
