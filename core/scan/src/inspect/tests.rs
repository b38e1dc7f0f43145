//! Siblings that were looked for: each kind of temporary object, at the start and inside; each word of SET; names that only begin like
//! one; calls qualified, quoted, in another case, as a column, as a string; bodies of DO; what a parameter may stand in.

mod siblings;
mod strange;

use std::time::Duration;

use super::*;

fn seen(text: &str) -> Inspection {
    inspect(text, &[])
}

#[test]
fn what_changes_the_session_is_seen() {
    for text in [
        "SET timezone = 'UTC'",
        "set session x = 1",
        "SET transaction_timeout = '1s'",
        "SET transaction_read_only = on",
        "SET local_preload_libraries = 'x'",
        "SET constraints_x.y = 1",
        "SET ROLE alice",
        "SET SESSION AUTHORIZATION alice",
        "SET TIME ZONE 'UTC'",
        "SET NAMES 'utf8'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET \"transaction_timeout\" = 1",
        "/* a */ SET/**/x TO 1",
        ";;SET x TO 1",
        "RESET ALL",
        "DISCARD TEMP",
        "LISTEN a",
        "UNLISTEN *",
        "LOAD 'auto_explain'",
        "PREPARE a AS SELECT $1",
        "DEALLOCATE a",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "declare c binary cursor with\n-- x\nhold for select 1",
        "CREATE TEMP TABLE a()",
        "CREATE TEMPORARY SEQUENCE a",
        "create or replace temporary view a as select 1",
        "CREATE LOCAL TEMPORARY TABLE a()",
        "CREATE GLOBAL TEMP TABLE a()",
        "CREATE TEMP RECURSIVE VIEW a (n) AS SELECT 1",
        "CREATE TABLE pg_temp.a()",
        "CREATE TABLE \"pg_temp\".a()",
        "CREATE FUNCTION PG_TEMP.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "INSERT INTO pg_temp_3.a VALUES (1)",
        "ALTER TABLE a SET SCHEMA pg_temp",
        "EXPLAIN ANALYZE CREATE TEMP TABLE a AS SELECT 1",
        "SELECT id, name INTO TEMP users FROM users",
        "SELECT 1 INTO TEMPORARY TABLE a",
        "select 1 into local temp a",
        "WITH a AS (SELECT 1) SELECT * INTO TEMP b FROM a",
        "(SELECT 1 INTO TEMP a)",
        "SELECT set_config('a.b', 'c', false)",
        "SELECT pg_catalog.set_config('a.b', 'c', $1)",
        "SELECT \"set_config\" ('a.b', 'c', not true)",
        "SELECT SET_CONFIG('a.b', concat('c', 'd'), 'true')",
        "SELECT set_config('a.b', 'c', true), set_config('a.b', 'c', false)",
        "SELECT set_config('a.b', set_config('c.d', 'e', true), false)",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock_shared(1, 2)",
        "SELECT pg_catalog.pg_advisory_unlock_all()",
        "SELECT setseed(0.5)",
        "SELECT dblink_connect('a', 'dbname=b')",
        "DO $$ BEGIN SET x.y = 1; END $$",
        "DO $body$ BEGIN IF true THEN SET x.y = 1; END IF; END $body$",
        "DO 'BEGIN PERFORM set_config(''a.b'', ''c'', false); END'",
        "DO $$ BEGIN CREATE TEMP TABLE a(); END $$",
        "DO $$ BEGIN PERFORM pg_advisory_lock(1); END $$",
        "DO $$ BEGIN EXECUTE 'SET x.y = 1'; END $$",
        "DO $$ BEGIN LISTEN a; END $$",
        "DO LANGUAGE plpython3u $$ plpy.execute('SET x.y = 1') $$",
        "DO $$ x $$ LANGUAGE plperl",
    ] {
        assert_eq!(seen(text).effect, Effect::SessionState, "{text}");
    }
}

#[test]
fn what_only_looks_like_it_is_not_taken_for_it() {
    for text in [
        "SELECT 1",
        "CREATE TABLE a()",
        "create or replace view a as select 1",
        "DECLARE c CURSOR FOR SELECT 1",
        "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1",
        "SELECT * FROM a WITH hold",
        "INSERT INTO temp VALUES (1)",
        "MERGE INTO temp USING a ON true WHEN MATCHED THEN DELETE",
        "SELECT temp, temporary FROM weather",
        "SELECT 'CREATE TEMP TABLE a()', $$SET x = 1$$",
        "SELECT \"INTO TEMP\" /* INTO TEMP a */ -- INTO TEMP a",
        "UPDATE a SET local = 1, b = 2",
        "SELECT set_config('a.b', 'c', true)",
        "SELECT set_config('app.tenant', $1, TRUE), count(*) FROM a",
        "SELECT set_config, pg_advisory_lock FROM a",
        "SELECT 'set_config(1, 2, false)'",
        "SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(2)",
        "SELECT my_set_config('a', 'b', false)",
        "INSERT INTO setseed (a) VALUES (1)",
        "SELECT 'pg_temp.a'",
        "SELECT pg_temperature FROM a",
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET x = 1; END $$",
        "DO $$ BEGIN RAISE EXCEPTION 'SET x' USING ERRCODE = '08006'; END $$",
        "DO $$ BEGIN UPDATE a SET b = 1; INSERT INTO c VALUES (1); END $$",
        "DO $$ BEGIN SET LOCAL x.y = 1; GRANT EXECUTE ON FUNCTION f TO alice; END $$ LANGUAGE plpgsql",
        "WITH a AS (SELECT 1) SELECT 1",
        "INSERT INTO commit VALUES (1)",
        "VALUES (1)",
        "",
        "()",
        "/* unclosed",
        "--",
        "endless()",
        "'",
        "$$",
    ] {
        assert_eq!(seen(text).effect, Effect::None, "{text}");
    }
}

#[test]
fn settings_of_the_transaction_are_told_from_those_of_the_session() {
    for text in [
        "SET LOCAL timezone = 'UTC'",
        "set local role alice",
        "SET CONSTRAINTS ALL DEFERRED",
        "SET TRANSACTION READ ONLY",
        "SET TRANSACTION SNAPSHOT 'x'",
        "\tSET\nTRANSACTION ISOLATION LEVEL SERIALIZABLE",
    ] {
        assert_eq!(seen(text).effect, Effect::OnlyInTransaction, "{text}");
    }
}

#[test]
fn the_first_word_says_what_kind_of_statement_it_is() {
    for (text, command) in [
        ("BEGIN", Command::TransactionControl),
        ("begin;", Command::TransactionControl),
        (" start transaction", Command::TransactionControl),
        ("COMMIT PREPARED 'x'", Command::TransactionControl),
        ("end", Command::TransactionControl),
        ("ROLLBACK TO a", Command::TransactionControl),
        ("abort", Command::TransactionControl),
        ("-- a\nCOMMIT", Command::TransactionControl),
        ("/* a /* b */ */ COMMIT", Command::TransactionControl),
        (";;COMMIT", Command::TransactionControl),
        ("\t/**/begin", Command::TransactionControl),
        ("SAVEPOINT a", Command::Savepoint),
        ("RELEASE a", Command::Savepoint),
        ("PREPARE TRANSACTION 'x'", Command::PrepareTransaction),
        ("PREPARE transactions AS SELECT 1", Command::Other),
        ("COPY users FROM STDIN", Command::CopyIn),
        ("call p()", Command::SelfCommitting),
        ("DO $$ BEGIN END $$", Command::SelfCommitting),
        ("DISCARD ALL", Command::Forget),
        ("DEALLOCATE ALL", Command::Forget),
        ("commits()", Command::Other),
        ("\"COMMIT\"", Command::Other),
        ("SELECT 1", Command::Other),
    ] {
        assert_eq!(seen(text).command, command, "{text}");
    }
}

#[test]
fn a_limit_that_a_statement_sets_is_read() {
    let of = |seconds| TimeLimit::Of(Duration::from_secs(seconds));
    for (text, limit) in [
        ("SET LOCAL statement_timeout = '30s'", Some((true, of(30)))),
        ("set local statement_timeout to 30000", Some((true, of(30)))),
        ("SET statement_timeout TO DEFAULT", Some((false, TimeLimit::Default))),
        ("SET SESSION \"statement_timeout\" = 0", Some((false, TimeLimit::Unlimited))),
        ("RESET statement_timeout", Some((false, TimeLimit::Default))),
        ("RESET ALL", Some((false, TimeLimit::Default))),
        ("DISCARD ALL", Some((false, TimeLimit::Default))),
        ("DISCARD PLANS", None),
        ("SET lock_timeout = 1", None),
        ("SET statement_timeout_x = 1", None),
        ("SET LOCAL statement_timeout = 'soon'", None),
        ("SET", None),
        ("SELECT 1", None),
    ] {
        assert_eq!(seen(text).statement_timeout, limit, "{text}");
    }
}

#[test]
fn parameters_written_by_hand_are_told_from_those_that_were_placed() {
    assert_eq!(seen("DELETE FROM a WHERE b = $1").by_hand, Some(1));
    assert_eq!(seen("SELECT '$1', $$ $1 $$, \"$1\" -- $1").by_hand, None);
    assert_eq!(seen("PREPARE a AS SELECT $1").by_hand, None);
    assert_eq!(seen("CREATE FUNCTION f(int) RETURNS int BEGIN ATOMIC SELECT $1; END").by_hand, None);
    let text = "SELECT $1 + $2";
    assert_eq!(inspect(text, &[7, 12]), Inspection::PLAIN);
    assert_eq!(inspect("SELECT $1 + $1", &[12]).by_hand, Some(1));
    let hidden = inspect("SELECT '$1'", &[8]);
    assert!(hidden.hides_parameter && hidden.by_hand.is_none());
    assert!(inspect("-- $1", &[3]).hides_parameter);
}
