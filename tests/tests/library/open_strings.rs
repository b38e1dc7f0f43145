//! How strings are declared: as `text`, or left open as quoted literals are. The statements of common applications, both ways, against a
//! real server. The book's table ("How strings are sent") is the sum of this one.
//!
//! The statements were taken from what a shop, a blog, a chat, a ledger, a calendar, an audit log, a tracker of issues, a directory of
//! users, a queue of jobs and an inventory write.

use anyhow::{Context, Result};
use pgspan::macros::{Inspection, bind};
use pgspan::{Session, Sql, sql};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::support::{Bed, Via};

const SCHEMA: &str = r#"
    CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION hstore;
    CREATE TYPE status AS ENUM ('new', 'paid', 'sent');
    CREATE DOMAIN zip AS text CHECK (length(value) = 5);
    CREATE TABLE users (id int8 PRIMARY KEY, name text, nick varchar(40), email citext UNIQUE, country char(2), code char(6),
        key uuid, zip zip, born date, joined timestamptz, balance numeric, status status, roles text[], states status[], data jsonb,
        raw json, address inet, span interval, path ltree, extra hstore, age int4, big int8, active bool, ratio float8, during tstzrange,
        mac macaddr, opens time, words tsvector, emails citext[], blob bytea);
    INSERT INTO users VALUES (1, 'Ada', 'ada', 'Ada@Example.org', 'GB', 'abc', '00000000-0000-0000-0000-000000000001', '12345',
        '1815-12-10', '2024-02-29 12:00+00', 12.50, 'paid', '{admin,staff}', '{new,paid}', '{"a": {"b": "c"}, "n": 1}', '{"a": 1}',
        '10.1.2.3', '1 day', 'top.science', 'k=>v', 36, 5000000000, true, 0.5, '[2024-01-01,2025-01-01)', '08:00:2b:01:02:03', '09:30',
        'cat sat', '{Ada@Example.org}', '\x616263');
    CREATE INDEX users_code ON users (code);
"#;

/// A value as it is sent.
#[derive(Debug, Clone, Copy)]
enum Text {
    One(&'static str),
    Null,
    Many(&'static [&'static str]),
}
use Text::{Many, Null, One};

/// What comes of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Right,
    /// Another answer than it should be, and no error.
    Wrong,
    /// An error of this SQLSTATE.
    Fails(&'static str),
}
use Outcome::{Fails, Right, Wrong};

struct Statement {
    text: &'static str,
    values: &'static [Text],
    answer: &'static str,
    /// With strings declared `text`, and lists of them `text[]`.
    declared: Outcome,
    /// With their types left open, which is what the library does.
    open: Outcome,
}

#[rustfmt::skip]
const STATEMENTS: &[(&str, &[Text], &str, Outcome, Outcome)] = &[
    // find by a column
    ("SELECT id::text FROM users WHERE name = $1", &[One("Ada")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE nick = $1", &[One("ada")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE email = $1", &[One("ada@example.ORG")], "1", Wrong, Right),
    ("SELECT id::text FROM users WHERE country = $1", &[One("GB")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE code = $1", &[One("abc   ")], "1", Wrong, Right),
    ("SELECT id::text FROM users WHERE zip = $1", &[One("12345")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE key = $1", &[One("00000000-0000-0000-0000-000000000001")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE born = $1", &[One("1815-12-10")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE joined > $1", &[One("2024-01-01T00:00:00Z")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE balance = $1", &[One("12.5")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE status = $1", &[One("paid")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE address = $1", &[One("10.1.2.3")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE address << $1", &[One("10.0.0.0/8")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE mac = $1", &[One("08:00:2b:01:02:03")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE opens < $1", &[One("10:00")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE id = $1", &[One("1")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE path <@ $1", &[One("top")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE name <> $1", &[One("Bob")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE (name, nick) = ($1, $2)", &[One("Ada"), One("ada")], "1", Right, Right),
    // lists
    ("SELECT id::text FROM users WHERE name IN ($1, $2)", &[One("Ada"), One("Bob")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE email IN ($1, $2)", &[One("ADA@example.org"), One("b")], "1", Wrong, Right),
    ("SELECT id::text FROM users WHERE status IN ($1, $2)", &[One("paid"), One("new")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE name = ANY($1)", &[Many(&["Ada", "Bob"])], "1", Right, Right),
    ("SELECT id::text FROM users WHERE email = ANY($1)", &[Many(&["ADA@example.org"])], "1", Wrong, Right),
    ("SELECT id::text FROM users WHERE status = ANY($1)", &[Many(&["paid", "new"])], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE key = ANY($1)", &[Many(&["00000000-0000-0000-0000-000000000001"])], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE code = ANY($1)", &[Many(&["abc   "])], "1", Wrong, Right),
    ("SELECT id::text FROM users WHERE name <> ALL($1)", &[Many(&["Bob"])], "1", Right, Right),
    ("SELECT id::text FROM users WHERE $1 = ANY(roles)", &[One("admin")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE $1 = ANY(states)", &[One("paid")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE $1 = ANY(emails)", &[One("ADA@example.org")], "1", Wrong, Right),
    ("SELECT id::text FROM users WHERE roles @> $1", &[Many(&["admin"])], "1", Right, Right),
    ("SELECT id::text FROM users WHERE states && $1", &[Many(&["paid"])], "1", Fails("42883"), Right),
    ("SELECT array_length(array_append(roles, $1), 1)::text FROM users", &[One("x")], "3", Right, Right),
    ("SELECT array_length(array_remove(roles, $1), 1)::text FROM users", &[One("admin")], "1", Right, Right),
    ("SELECT array_length(roles || $1, 1)::text FROM users", &[Many(&["x"])], "3", Right, Right),
    ("SELECT array_length(roles || $1, 1)::text FROM users", &[One("x")], "3", Right, Fails("22P02")),
    ("SELECT array_position(roles, $1)::text FROM users", &[One("staff")], "2", Right, Right),
    ("SELECT cardinality($1)::text", &[Many(&["x"])], "1", Right, Fails("42804")),
    ("SELECT array_to_string($1, ',')", &[Many(&["x", "y"])], "x,y", Right, Fails("42804")),
    // search
    ("SELECT id::text FROM users WHERE name LIKE $1", &[One("A%")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE name ILIKE '%' || $1 || '%'", &[One("d")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE email LIKE $1", &[One("ADA%")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE name ~* $1", &[One("^a")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE starts_with(name, $1)", &[One("A")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE lower(name) = lower($1)", &[One("ADA")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE words @@ plainto_tsquery('english', $1)", &[One("cats")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE words @@ websearch_to_tsquery($1)", &[One("cat")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE to_tsvector(name) @@ to_tsquery($1)", &[One("ada")], "1", Right, Right),
    ("SELECT position($1 in name)::text FROM users", &[One("d")], "2", Right, Right),
    ("SELECT id::text FROM users WHERE name = ANY(string_to_array($1, ','))", &[One("Ada,Bob")], "1", Right, Right),
    // optional filters
    ("SELECT id::text FROM users WHERE ($1 IS NULL OR name = $1)", &[One("Ada")], "1", Right, Fails("42P08")),
    ("SELECT id::text FROM users WHERE ($1 IS NULL OR name = $1)", &[Null], "1", Right, Fails("42P08")),
    ("SELECT id::text FROM users WHERE ($1 IS NULL OR status = $1)", &[One("paid")], "1", Fails("42883"), Fails("42P08")),
    ("SELECT id::text FROM users WHERE (name = $1 OR $1 IS NULL)", &[Null], "1", Right, Right),
    ("SELECT id::text FROM users WHERE (status = $1 OR $1 IS NULL)", &[Null], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE (email = $1 OR $1 IS NULL)", &[One("ADA@example.org")], "1", Wrong, Right),
    ("SELECT id::text FROM users WHERE name = coalesce($1, name)", &[Null], "1", Right, Right),
    ("SELECT id::text FROM users WHERE status = coalesce($1, status)", &[One("paid")], "1", Fails("42804"), Right),
    ("SELECT id::text FROM users WHERE $1 = '' OR name = $1", &[One("Ada")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE CASE WHEN $1 = 'all' THEN true ELSE name = $1 END", &[One("all")], "1", Right, Right),
    // pages and order
    ("SELECT id::text FROM users WHERE (name, id) > ($1, 0) ORDER BY name, id LIMIT 10", &[One("A")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE (joined, id) > ($1, 0) ORDER BY joined, id", &[One("2000-01-01")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users ORDER BY CASE $1 WHEN 'name' THEN name ELSE nick END", &[One("name")], "1", Right, Right),
    // inserts
    ("INSERT INTO users (id, name, email) VALUES (2, $1, $2) RETURNING email::text", &[One("Bob"), One("b@x")], "b@x", Right, Right),
    ("INSERT INTO users (id, country, code) VALUES (2, $1, $2) RETURNING code::text", &[One("DE"), One("x")], "x", Right, Right),
    ("INSERT INTO users (id, key) VALUES (2, $1) RETURNING key::text", &[One("00000000-0000-0000-0000-000000000002")], "00000000-0000-0000-0000-000000000002", Fails("42804"), Right),
    ("INSERT INTO users (id, born, joined) VALUES (2, $1, $2) RETURNING born::text", &[One("2000-01-01"), One("2000-01-01T00:00Z")], "2000-01-01", Fails("42804"), Right),
    ("INSERT INTO users (id, balance) VALUES (2, $1) RETURNING balance::text", &[One("19.99")], "19.99", Fails("42804"), Right),
    ("INSERT INTO users (id, status) VALUES (2, $1) RETURNING status::text", &[One("new")], "new", Fails("42804"), Right),
    ("INSERT INTO users (id, data, raw) VALUES (2, $1, $2) RETURNING data::text", &[One("[1]"), One("{}")], "[1]", Fails("42804"), Right),
    ("INSERT INTO users (id, roles) VALUES (2, $1) RETURNING roles::text", &[Many(&["a", "b"])], "{a,b}", Right, Right),
    ("INSERT INTO users (id, states) VALUES (2, $1) RETURNING states::text", &[Many(&["paid"])], "{paid}", Fails("42804"), Right),
    ("INSERT INTO users (id, emails) VALUES (2, $1) RETURNING emails::text", &[Many(&["a"])], "{a}", Right, Right),
    ("INSERT INTO users (id, path, extra) VALUES (2, $1, $2) RETURNING path::text", &[One("a.b"), One("a=>1")], "a.b", Fails("42804"), Right),
    ("INSERT INTO users (id, name) VALUES (2, $1), (3, $2) RETURNING name", &[One("x"), One("y")], "x", Right, Right),
    ("INSERT INTO users (id, status) VALUES (2, $1), (3, $2) RETURNING status::text", &[One("new"), One("paid")], "new", Fails("42804"), Right),
    ("INSERT INTO users (id, name) SELECT 2, $1 WHERE NOT EXISTS (SELECT FROM users WHERE name = $1) RETURNING name", &[One("x")], "x", Right, Right),
    ("INSERT INTO users (id, email) SELECT 2, $1 RETURNING email::text", &[One("x")], "x", Right, Right),
    ("INSERT INTO users (id, name, nick) VALUES (2, $1, $1) RETURNING nick::text", &[One("x")], "x", Right, Fails("42P08")),
    ("INSERT INTO users (id, name, email) VALUES (2, $1, lower($1)) RETURNING email::text", &[One("X")], "x", Right, Right),
    ("INSERT INTO users (id, email) VALUES (2, $1) ON CONFLICT (email) DO UPDATE SET name = $2 RETURNING name", &[One("ada@example.org"), One("A.")], "A.", Right, Right),
    ("INSERT INTO users (id, email, name) VALUES (2, $1, $2) ON CONFLICT (email) DO UPDATE SET name = excluded.name RETURNING name", &[One("ADA@example.org"), One("A.")], "A.", Right, Right),
    ("INSERT INTO users (id, name) SELECT 2, * FROM unnest($1) RETURNING name", &[Many(&["x"])], "x", Right, Fails("42725")),
    ("INSERT INTO users (id, email) SELECT 2, * FROM unnest($1) RETURNING email::text", &[Many(&["x"])], "x", Right, Fails("42725")),
    ("INSERT INTO users (id, status) SELECT 2, * FROM unnest($1) RETURNING status::text", &[Many(&["paid"])], "paid", Fails("42804"), Fails("42725")),
    ("INSERT INTO users (id, name) SELECT 2, x FROM jsonb_array_elements_text($1) x RETURNING name", &[One("[\"x\"]")], "x", Fails("42883"), Right),
    ("INSERT INTO users (id, name, age) SELECT 2, name, age FROM jsonb_to_recordset($1) AS x(name text, age int4) RETURNING name", &[One("[{\"name\":\"x\"}]")], "x", Fails("42883"), Right),
    // updates and deletes
    ("UPDATE users SET name = $1 WHERE id = 1 RETURNING name", &[One("x")], "x", Right, Right),
    ("UPDATE users SET email = $1 RETURNING email::text", &[One("x")], "x", Right, Right),
    ("UPDATE users SET status = $1 WHERE status = $2 RETURNING status::text", &[One("sent"), One("paid")], "sent", Fails("42883"), Right),
    ("UPDATE users SET name = coalesce($1, name), balance = coalesce($2, balance) RETURNING balance::text", &[Null, One("7")], "7", Fails("42804"), Right),
    ("UPDATE users SET status = CASE WHEN id = 1 THEN $1 ELSE $2 END RETURNING status::text", &[One("new"), One("paid")], "new", Fails("42804"), Fails("42804")),
    ("UPDATE users SET name = nullif($1, '') RETURNING name", &[One("x")], "x", Right, Right),
    ("UPDATE users SET name = name || $1 RETURNING name", &[One("!")], "Ada!", Right, Right),
    ("UPDATE users SET name = v.name FROM (VALUES (1, $1), (2, $2)) v(id, name) WHERE users.id = v.id RETURNING users.name", &[One("x"), One("y")], "x", Right, Right),
    ("UPDATE users SET status = v.status FROM (VALUES (1, $1), (2, $2)) v(id, status) WHERE users.id = v.id RETURNING users.status::text", &[One("new"), One("paid")], "new", Fails("42804"), Fails("42804")),
    ("DELETE FROM users WHERE email = $1 RETURNING name", &[One("ADA@EXAMPLE.ORG")], "Ada", Wrong, Right),
    // money, time
    ("SELECT (balance + $1)::text FROM users", &[One("0.25")], "12.75", Fails("42883"), Right),
    ("SELECT (balance * $1::numeric)::text FROM users", &[One("2")], "25.00", Right, Right),
    ("SELECT ($1::numeric + 1)::text", &[One("2")], "3", Right, Right),
    ("SELECT id::text FROM users WHERE balance BETWEEN $1 AND $2", &[One("1"), One("100")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE joined > now() - $1", &[One("1000 years")], "1", Fails("42883"), Fails("42883")),
    ("SELECT id::text FROM users WHERE joined > now() - $1::interval", &[One("1000 years")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE joined + $1 > '2024-01-01'", &[One("1 day")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE joined BETWEEN $1 AND $2", &[One("2024-01-01"), One("2025-01-01")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE during @> $1", &[One("2024-05-01")], "1", Fails("42883"), Fails("22P02")),
    ("SELECT id::text FROM users WHERE during && tstzrange($1, $2)", &[One("2024-01-01"), One("2024-02-01")], "1", Fails("42883"), Right),
    ("SELECT date_trunc($1, born)::date::text FROM users", &[One("year")], "1815-01-01", Right, Right),
    ("SELECT extract(year from born)::text FROM users WHERE to_char(born, $1) = '1815'", &[One("YYYY")], "1815", Right, Right),
    ("SELECT (joined AT TIME ZONE $1)::text FROM users", &[One("UTC")], "2024-02-29 12:00:00", Right, Right),
    ("SELECT date_trunc($1, joined)::date::text FROM users GROUP BY date_trunc($1, joined)", &[One("year")], "2024-01-01", Right, Right),
    ("UPDATE users SET span = $1 RETURNING span::text", &[One("3 days")], "3 days", Fails("42804"), Right),
    // json
    ("SELECT data ->> $1 FROM users", &[One("n")], "1", Right, Right),
    ("SELECT data -> $1 ->> 'b' FROM users", &[One("a")], "c", Right, Right),
    ("SELECT data #>> $1 FROM users", &[Many(&["a", "b"])], "c", Right, Right),
    ("SELECT id::text FROM users WHERE data @> $1", &[One("{\"n\": 1}")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE data ? $1", &[One("n")], "1", Right, Right),
    ("SELECT id::text FROM users WHERE data ?| $1", &[Many(&["n"])], "1", Right, Right),
    ("SELECT id::text FROM users WHERE data @@ $1", &[One("$.n == 1")], "1", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE data ->> 'n' = $1", &[One("1")], "1", Right, Right),
    ("SELECT jsonb_set(data, $1, $2) ->> 'n' FROM users", &[Many(&["n"]), One("5")], "5", Fails("42883"), Right),
    ("SELECT jsonb_set(data, '{n}', to_jsonb($1)) ->> 'n' FROM users", &[One("x")], "x", Right, Fails("42804")),
    ("SELECT (data || $1) ->> 'z' FROM users", &[One("{\"z\": 1}")], "1", Fails("42883"), Right),
    ("SELECT (data - $1)::text FROM users", &[One("a")], "{\"n\": 1}", Right, Right),
    ("SELECT jsonb_build_object('a', $1) ->> 'a'", &[One("x")], "x", Right, Fails("42P18")),
    ("SELECT jsonb_build_object($1, 1) ->> 'a'", &[One("a")], "1", Right, Fails("42P18")),
    ("SELECT json_build_array($1) ->> 0", &[One("x")], "x", Right, Fails("42P18")),
    ("SELECT jsonb_path_exists(data, $1)::text FROM users", &[One("$.n")], "true", Fails("42883"), Right),
    ("SELECT ($1::jsonb ->> 'a')", &[One("{\"a\": \"b\"}")], "b", Right, Right),
    // text
    ("SELECT $1", &[One("x")], "x", Right, Right),
    ("SELECT $1::text", &[One("x")], "x", Right, Right),
    ("SELECT coalesce($1, 'none')", &[Null], "none", Right, Right),
    ("SELECT coalesce($1, $2)", &[Null, One("x")], "x", Right, Right),
    ("SELECT concat($1, '!')", &[One("x")], "x!", Right, Fails("42P18")),
    ("SELECT concat_ws(', ', name, $1) FROM users", &[One("x")], "Ada, x", Right, Fails("42P18")),
    ("SELECT format('%s!', $1)", &[One("x")], "x!", Right, Fails("42P18")),
    ("SELECT upper($1)", &[One("x")], "X", Right, Right),
    ("SELECT length($1)::text", &[One("xyz")], "3", Right, Right),
    ("SELECT $1 || '!'", &[One("x")], "x!", Right, Right),
    ("SELECT $1 || id FROM users", &[One("x")], "x1", Right, Right),
    ("SELECT $1 || $2", &[One("x"), One("y")], "xy", Right, Right),
    ("SELECT trim($1)", &[One(" x ")], "x", Right, Right),
    ("SELECT replace(name, $1, $2) FROM users", &[One("A"), One("I")], "Ida", Right, Right),
    ("SELECT substring($1 from 2)", &[One("xyz")], "yz", Right, Right),
    ("SELECT left($1, 1)", &[One("xyz")], "x", Right, Right),
    ("SELECT greatest($1, 'a')", &[One("x")], "x", Right, Right),
    ("SELECT md5($1)", &[One("x")], "9dd4e461268c8034f5c8564e155c67a6", Right, Right),
    ("SELECT encode(sha256($1::bytea), 'hex')", &[One("")], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", Right, Right),
    ("SELECT quote_ident($1)", &[One("a b")], "\"a b\"", Right, Right),
    ("SELECT ($1 = $2)::text", &[One("a"), One("a")], "true", Right, Right),
    ("SELECT ($1 < $2)::text", &[One("a"), One("b")], "true", Right, Right),
    ("SELECT min(x) FROM (SELECT $1 AS x UNION ALL SELECT name FROM users) t", &[One("A")], "A", Right, Right),
    ("SELECT x FROM (SELECT $1 AS x) t WHERE x = 'a'", &[One("a")], "a", Right, Right),
    ("SELECT string_agg(name, $1) FROM users", &[One(", ")], "Ada", Right, Right),
    ("WITH v AS (SELECT $1 AS name) SELECT users.name FROM users JOIN v USING (name)", &[One("Ada")], "Ada", Right, Right),
    ("WITH v AS (SELECT $1 AS email) SELECT users.name FROM users JOIN v USING (email)", &[One("ADA@example.org")], "Ada", Wrong, Wrong),
    // numbers as text, and others
    ("SELECT $1::int::text", &[One("5")], "5", Right, Right),
    ("SELECT (age + $1)::text FROM users", &[One("1")], "37", Fails("42883"), Right),
    ("SELECT $1::bool::text", &[One("true")], "true", Right, Right),
    ("SELECT id::text FROM users WHERE active = $1", &[One("true")], "1", Fails("42883"), Right),
    ("SELECT set_config('app.tenant', $1, true)", &[One("7")], "7", Right, Right),
    ("SELECT pg_notify('a', $1)::text", &[One("x")], "", Right, Right),
    ("SELECT $1::status::text", &[One("paid")], "paid", Right, Right),
    ("SELECT ($1::text[])[1]", &[Many(&["paid"])], "paid", Right, Right),
    ("SELECT ($1::status[])[1]::text", &[Many(&["paid"])], "paid", Right, Right),
    ("SELECT x FROM unnest($1::text[]) x", &[Many(&["paid"])], "paid", Right, Right),
    ("SELECT x FROM unnest($1) x", &[Many(&["paid"])], "paid", Right, Fails("42725")),
    ("SELECT id::text FROM users JOIN unnest($1::citext[]) x ON x = email", &[Many(&["ADA@example.org"])], "1", Right, Right),
    ("SELECT id::text FROM users JOIN unnest($1) x ON x = email", &[Many(&["ADA@example.org"])], "1", Wrong, Fails("42725")),
    ("SELECT hashtext($1)::text", &[One("x")], "1074944137", Right, Right),
    ("SELECT pg_try_advisory_xact_lock(hashtext($1))::text", &[One("x")], "true", Right, Right),
    ("SELECT encode($1, 'hex')", &[One("x")], "78", Fails("42883"), Right),
    ("SELECT id::text FROM users WHERE blob = $1", &[One("abc")], "1", Fails("42883"), Right),
];

fn statements() -> impl Iterator<Item = Statement> {
    STATEMENTS.iter().map(|(text, values, answer, declared, open)| Statement {
        text,
        values,
        answer,
        declared: *declared,
        open: *open,
    })
}

impl Statement {
    fn outcome(&self, answer: Result<Option<Option<String>>, Option<String>>) -> String {
        match answer {
            Ok(Some(Some(answer))) if answer == self.answer => "right".to_owned(),
            Ok(Some(None)) if self.answer.is_empty() => "right".to_owned(),
            Ok(other) => format!("wrong: {other:?}"),
            Err(code) => format!("fails: {}", code.unwrap_or_default()),
        }
    }

    #[track_caller]
    fn is(&self, outcome: String, expected: Outcome, how: &str) {
        let is_so = match expected {
            Right => outcome == "right",
            Wrong => outcome.starts_with("wrong"),
            Fails(code) => outcome == format!("fails: {code}"),
        };
        assert!(is_so, "{how}: {outcome}, not {expected:?}: {} {:?}", self.text, self.values);
    }

    async fn declared(&self, client: &Client) -> Result<String> {
        let values: Vec<(Box<dyn ToSql + Sync>, Type)> = self
            .values
            .iter()
            .map(|value| -> (Box<dyn ToSql + Sync>, Type) {
                match *value {
                    One(text) => (Box::new(text), Type::TEXT),
                    Null => (Box::new(None::<&str>), Type::TEXT),
                    Many(texts) => (Box::new(texts), Type::TEXT_ARRAY),
                }
            })
            .collect();
        let values: Vec<(&(dyn ToSql + Sync), Type)> =
            values.iter().map(|(value, ty)| (&**value, ty.clone())).collect();
        client.batch_execute("BEGIN").await?;
        let answer = client.query_typed(self.text, &values).await;
        client.batch_execute("ROLLBACK").await?;
        Ok(self.outcome(match answer {
            Ok(rows) => Ok(rows.first().map(|row| row.get(0))),
            Err(error) => Err(error.code().map(|code| code.code().to_owned())),
        }))
    }

    fn sql(&self) -> Sql<'static> {
        let values = self.values.iter().map(|value| match value {
            One(text) => bind(text),
            Null => bind(&None::<&str>),
            Many(texts) => bind(texts),
        });
        Sql::from_macro(self.text, Inspection::PLAIN, values.collect())
    }

    async fn open(&self, session: &mut Session) -> Result<String> {
        let mut tx = session.transaction();
        let answer = tx.fetch_all::<Option<String>>(self.sql()).await;
        tx.rollback().await?;
        Ok(self.outcome(told(answer)))
    }

    async fn open_in_one_flight(&self, session: &mut Session) -> Result<String> {
        // what fails at the end stores nothing
        let answer = session.batch([self.sql(), sql!("SELECT 1 / 0")]).atomic().await;
        let index = answer.as_ref().err().and_then(pgspan::Error::statement_index);
        Ok(match (index, answer.err()) {
            (Some(1), _) => "it runs".to_owned(),
            (_, error) => {
                let code = error.as_ref().and_then(|error| error.sqlstate()).map(|code| code.code());
                format!("fails: {}", code.unwrap_or_default())
            }
        })
    }
}

fn told(answer: pgspan::Result<Vec<Option<String>>>) -> Result<Option<Option<String>>, Option<String>> {
    match answer {
        Ok(rows) => Ok(rows.into_iter().next()),
        Err(error) => Err(error.sqlstate().map(|code| code.code().to_owned())),
    }
}

#[tokio::test]
async fn the_table_is_what_the_server_does_in_every_way_to_send_a_statement() -> Result<()> {
    let bed = Bed::new(Via::Nothing).await?;
    bed.run(SCHEMA).await?;
    let mut session = bed.db().await?.session().await?;
    let mut preparing = bed.db_with(|settings| settings.prepare = true).await?.session().await?;
    for statement in statements() {
        statement.is(statement.declared(&bed.other).await?, statement.declared, "declared");
        statement.is(statement.open(&mut session).await?, statement.open, "open");
        for _ in 0..2 {
            statement.is(statement.open(&mut preparing).await?, statement.open, "prepared");
        }
        let flown = statement.open_in_one_flight(&mut session).await?;
        match statement.open {
            Fails(_) => statement.is(flown, statement.open, "in one flight"),
            Right | Wrong => assert_eq!(flown, "it runs", "{}", statement.text),
        }
    }
    Ok(())
}

/// The numbers of the book's table.
#[test]
fn the_sums_are_those_of_the_book() {
    let count = |of: fn(&Statement) -> Outcome| {
        let outcomes: Vec<Outcome> = statements().map(|statement| of(&statement)).collect();
        let fails = |outcome: &&Outcome| matches!(outcome, Fails(_));
        let (right, wrong) = [Right, Wrong].map(|is| outcomes.iter().filter(|o| **o == is).count()).into();
        (right, wrong, outcomes.iter().filter(fails).count())
    };
    assert_eq!(count(|statement| statement.declared), (112, 10, 52));
    assert_eq!(count(|statement| statement.open), (150, 1, 23));
}

/// What can't be told is an error that says what to write.
#[tokio::test]
async fn where_no_type_can_be_told_the_error_says_what_to_write() -> Result<()> {
    let bed = Bed::new(Via::Nothing).await?;
    let mut session = bed.db().await?.session().await?;
    bed.run("CREATE TABLE t (a text, b varchar(9))").await?;
    let (x, list) = ("x", ["x"]);
    for (statement, cure) in [
        (sql!("SELECT concat({x}, '!')"), "`{name}::text`"),
        (sql!("SELECT jsonb_build_object('a', {x})"), "`{name}::text`"),
        (sql!("SELECT to_jsonb({x})"), "`{name}::text`"),
        (sql!("INSERT INTO t VALUES ({x}, {x})"), "two names"),
        (sql!("SELECT unnest({list})"), "`{names}::text[]`"),
        (sql!("SELECT cardinality({list})"), "`{names}::text[]`"),
        (Sql::new("SELECT 1 WHERE ").bind(&x).push(" IS NULL"), "`{name}::text`"),
    ] {
        let error = session.execute(&statement).await.err().context("it has a type")?;
        assert!(error.to_string().contains(cure), "{}: {error}", statement.text());
    }
    // and these are what it says
    session.execute(sql!("SELECT concat({x}::text, '!'), jsonb_build_object('a', {x}::text)")).await?;
    session.execute(sql!("INSERT INTO t VALUES ({x}::text, {x}::text)")).await?;
    session.execute(sql!("SELECT unnest({list}::text[]), cardinality({list}::text[])")).await?;
    // of a statement without strings it is not said
    let error = session.execute(sql!("SELECT NULL + '1'")).await.err();
    assert!(error.is_none_or(|error| !error.to_string().contains("`{name}")));
    Ok(())
}

/// Siblings: a value and NULL; `IS NOT NULL`; an enum, a number, a list; before and behind the comparison.
#[tokio::test]
async fn an_optional_filter_needs_no_cast() -> Result<()> {
    let bed = Bed::new(Via::Nothing).await?;
    bed.run(SCHEMA).await?;
    for prepare in [false, true] {
        let mut session = bed.db_with(|settings| settings.prepare = prepare).await?.session().await?;
        for (text, found) in [(Some("ADA@example.org"), 1), (Some("nobody"), 0), (None, 1)] {
            let by_email = sql!("SELECT id FROM users WHERE ({text} IS NULL OR email = {text})");
            assert_eq!(session.fetch_all::<i64>(by_email).await?.len(), found, "{text:?}");
        }
        for (status, found) in [(Some("paid"), 1), (Some("new"), 0), (None, 1)] {
            let by_status =
                sql!("SELECT id FROM users WHERE {status} is  null /* all */ OR status = {status}");
            assert_eq!(session.fetch_all::<i64>(by_status).await?.len(), found, "{status:?}");
            let by_status =
                sql!("SELECT id FROM users WHERE NOT ({status} IS NOT NULL AND status <> {status})");
            assert_eq!(session.fetch_all::<i64>(by_status).await?.len(), found, "{status:?}");
        }
        for (age, names, found) in
            [(Some(36), Some(["Ada"]), 1), (Some(1), None, 0), (None, Some(["Bob"]), 0)]
        {
            let by_both = sql!(
                "SELECT id FROM users WHERE ({age} IS NULL OR age = {age}) AND ({names} IS NULL OR name = ANY({names}))"
            );
            assert_eq!(session.fetch_all::<i64>(by_both).await?.len(), found, "{age:?}");
        }
    }
    Ok(())
}

/// Declared as text, the planner compares as text and reads the whole table.
#[tokio::test]
async fn a_string_uses_the_index_of_its_column() -> Result<()> {
    let bed = Bed::new(Via::Nothing).await?;
    bed.run(SCHEMA).await?;
    bed.run(
        "INSERT INTO users (id, email, code, key) SELECT n, 'u' || n, n, gen_random_uuid() FROM generate_series(10, 5000) n;
         CREATE INDEX users_key ON users (key); ANALYZE users",
    )
    .await?;
    let mut session = bed.db().await?.session().await?;
    let (email, code, key) = ("U77", "77", "00000000-0000-0000-0000-000000000001");
    let lists = ([email], [code], [key]);
    let (emails, codes, keys) = (&lists.0, &lists.1, &lists.2);
    for (statement, index) in [
        (sql!("EXPLAIN SELECT FROM users WHERE email = {email}"), "users_email_key"),
        (sql!("EXPLAIN SELECT FROM users WHERE code = {code}"), "users_code"),
        (sql!("EXPLAIN SELECT FROM users WHERE key = {key}"), "users_key"),
        (sql!("EXPLAIN SELECT FROM users WHERE email = ANY({emails})"), "users_email_key"),
        (sql!("EXPLAIN SELECT FROM users WHERE code = ANY({codes})"), "users_code"),
        (sql!("EXPLAIN SELECT FROM users WHERE key = ANY({keys})"), "users_key"),
    ] {
        let plan = session.fetch_all::<String>(&statement).await?.join(" ");
        assert!(plan.contains(index), "{}: {plan}", statement.text());
    }
    // a value that was read from a column finds itself
    let code: String = session.fetch_one(sql!("SELECT code FROM users WHERE code = {code}")).await?;
    assert_eq!(code, "77    ");
    let again: String = session.fetch_one(sql!("SELECT code FROM users WHERE code = {code}")).await?;
    assert_eq!(again, code);
    Ok(())
}
