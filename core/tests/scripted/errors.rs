//! What errors show.
//!
//! The siblings that were looked for: each type a value is read as, with each type a column can have, in JSON, arrays, enums and text;
//! what can't be written as a parameter; the server's texts at each step of a transaction; every refusal of a login that says
//! something of its own; every place in a batch, in every way to send one; a mistake in a statement's text, fixed or made at run time,
//! and one that a function raises.

use std::error::Error as _;

use pgspan::testing::Reply;
use pgspan::types::Type;
use pgspan::{Error, ErrorDetail, Json, Kind, Settings, Sql};

use crate::bed::Bed;

fn shown(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(" {cause} {cause:?} {cause:#?}");
        source = cause.source();
    }
    text
}

#[test]
fn no_error_shows_what_the_server_said_of_values() {
    let secret =
        |reply: Reply| reply.message("s3cr3t-CANARY").detail("Key (name)=(s3cr3t-CANARY) already exists.");
    for reply in [secret(Reply::error("23505")), secret(Reply::fatal("57P01")), secret(Reply::error("22P02"))]
    {
        for at in ["BEGIN", "INSERT", "COMMIT"] {
            let reply = reply.clone();
            let mut bed = Bed::new(move |statement| match statement.text() {
                text if text == at => reply.clone(),
                _ => Reply::ok(),
            });
            let db = bed.db.clone();
            let errors = bed.run(async {
                let mut errors = Vec::new();
                let mut session = db.session().await.unwrap();
                let mut tx = session.transaction();
                errors.extend(tx.execute("INSERT").await.err());
                errors.extend(tx.commit().await.err());
                errors.extend(db.session().await.unwrap().execute("INSERT").await.err());
                errors.extend(db.execute("INSERT").await.err());
                let mut session = db.session().await.unwrap();
                errors.extend(session.batch(["INSERT"]).atomic().await.err());
                errors.extend(session.fetch_stream::<i64>("INSERT").await.err());
                errors
            });
            assert!(!errors.is_empty());
            for error in errors {
                assert!(!shown(&error).contains("CANARY"), "{error}");
                assert!(!format!("{:?}", error.server()).contains("CANARY"));
                if let Some(server) = error.server() {
                    assert_eq!(server.message(), "s3cr3t-CANARY", "for who asks for it");
                }
            }
        }
    }
}

#[test]
fn an_error_says_what_was_violated_where() {
    let mut bed = Bed::new(|_| Reply::error("23502").table("users").column("name"));
    let db = bed.db.clone();
    let error = bed.run(db.execute("INSERT")).unwrap_err();
    assert_eq!((error.table(), error.column(), error.constraint()), (Some("users"), Some("name"), None));
    assert_eq!(error.class_name(), Some("integrity constraint violation"));
    assert_eq!(error.to_string(), "the statement failed: not null violation (23502) on column users.name");
    assert!(error.is_not_null_violation());
}

#[test]
fn an_unexpected_message_shows_no_value_either() {
    let mut bed = Bed::new(|_| Reply::raw(&b"C\0\0\0\x12s3cr3t-CANARY\0"[..]));
    let db = bed.db.clone();
    let error = bed.run(db.execute(Sql::new("SELECT 1"))).unwrap_err();
    assert!(!shown(&error).contains("CANARY"), "{}", shown(&error));
}

/// What the types of this test look like on the wire.
fn odd_rows() -> Vec<Reply> {
    let rows = |ty: Type, raw: &[u8]| Reply::columns(&[("value", ty)]).raw_row(&[Some(raw)]);
    let mut array = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 114, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 18];
    array.extend(br#"{"age": "s3CANARY"}"#.iter().take(18));
    [
        rows(Type::JSON, br#"{"age": "CANARY"}"#),
        rows(Type::JSON, br#"{"age": 1, "CANARY": 2}"#),
        rows(Type::JSON, b"CANARY"),
        rows(Type::JSONB, b"\x01{\"age\": \"CANARY\"}"),
        rows(Type::JSONB, b"CANARY"),
        rows(Type::JSON_ARRAY, &array),
        rows(Type::TEXT, b"CANARY\xff"),
        rows(Type::TEXT, b"CANARY"),
        rows(Type::UNKNOWN, b"CANARY"),
        rows(Type::INT8, b"CANARY"),
        rows(Type::UUID, b"CANARY"),
        rows(Type::TIMESTAMPTZ, b"CANARY"),
        rows(Type::INET, b"CANARY"),
        rows(Type::INT4_ARRAY, b"CANARY"),
        rows(Type::BOOL, b"CANARY"),
    ]
    .into()
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    #[allow(dead_code, reason = "it is read by serde alone")]
    age: i32,
}

#[derive(Debug, pgspan::Enum)]
#[pgspan(rename_all = "lowercase")]
enum Mood {
    Sad,
}

/// serde_json's errors quote what they found, and a host's error chain is printed whole.
#[test]
fn no_error_of_a_row_quotes_its_value_at_any_depth() {
    let mut told = 0;
    for reply in odd_rows() {
        let mut bed = Bed::new(move |_| reply.clone());
        let db = bed.db.clone();
        let errors = bed.run(async {
            [
                db.fetch_one::<Json<Person>>("SELECT 1").await.err(),
                db.fetch_one::<Option<Json<Person>>>("SELECT 1").await.err(),
                db.fetch_one::<Vec<Json<Person>>>("SELECT 1").await.err(),
                db.fetch_one::<serde_json::Value>("SELECT 1").await.err(),
                db.fetch_one::<(Mood,)>("SELECT 1").await.err(),
                db.fetch_one::<(Vec<Mood>,)>("SELECT 1").await.err(),
                db.fetch_one::<i64>("SELECT 1").await.err(),
                db.fetch_one::<bool>("SELECT 1").await.err(),
                db.fetch_one::<Vec<i32>>("SELECT 1").await.err(),
                db.fetch_one::<String>("SELECT 1").await.err(),
                db.fetch_one::<std::time::SystemTime>("SELECT 1").await.err(),
                db.fetch_one::<std::net::IpAddr>("SELECT 1").await.err(),
            ]
        });
        for error in errors.into_iter().flatten() {
            assert!(!shown(&error).contains("CANARY"), "{}", shown(&error));
            assert!(error.to_string().contains("value"), "it names the column: {error}");
            told += 1;
        }
    }
    assert!(told > 150, "{told}");
}

#[test]
fn no_error_of_a_parameter_quotes_its_value_at_any_depth() {
    #[derive(Debug)]
    struct Refuses;
    impl serde::Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("CANARY"))
        }
    }
    let mut bed = Bed::new(|_| Reply::ok());
    let db = bed.db.clone();
    let (document, list) = (Json(Refuses), vec![Json(Refuses)]);
    let error = bed.run(db.execute(Sql::new("SELECT ").bind(&document))).unwrap_err();
    assert!(!shown(&error).contains("CANARY"), "{}", shown(&error));
    let error = bed.run(db.execute(Sql::new("SELECT ").bind(&list))).unwrap_err();
    assert!(!shown(&error).contains("CANARY"), "{}", shown(&error));
    let nul = "CANARY\0".to_owned();
    let error = bed.run(db.execute(Sql::new(format!("SELECT '{nul}'")))).unwrap_err();
    assert!(!shown(&error).contains("CANARY"), "{}", shown(&error));
    assert!(bed.driver.statements().is_empty());
}

#[test]
fn a_login_that_is_refused_says_what_the_server_said() {
    for (code, sentence, retryable) in [
        ("28P01", "password authentication failed for user \"bob\"", false),
        (
            "28000",
            "no pg_hba.conf entry for host \"::1\", user \"bob\", database \"d\", no encryption",
            false,
        ),
        ("3D000", "database \"d\" does not exist", false),
        ("42501", "permission denied for database \"d\"", false),
        ("22023", "invalid value for parameter \"TimeZone\": \"nowhere\"", false),
        ("0A000", "unsupported frontend protocol 9.0", false),
        ("53300", "sorry, too many clients already", true),
        ("57P03", "the database system is starting up", true),
        ("XX000", "the pooler is out of servers", true),
    ] {
        for raised in [Reply::fatal(code), Reply::error(code)] {
            let mut bed = Bed::new(|_| Reply::ok());
            let refusal = raised.message(sentence).detail("CANARY");
            bed.driver.on_connect(move |_| refusal.clone());
            let db = bed.db.clone();
            let errors = bed.run(async {
                [db.execute("SELECT 1").await.unwrap_err(), db.session().await.map(drop).unwrap_err()]
            });
            for error in errors {
                assert_eq!(error.kind(), Kind::Unavailable, "{error}");
                assert!(error.to_string().contains(sentence), "{error}");
                assert!(!shown(&error).contains("CANARY"), "{}", shown(&error));
                assert_eq!(error.is_retryable(), retryable, "{error}");
                assert_eq!(error.sqlstate().map(|code| code.code()), Some(code));
            }
        }
    }
}

#[test]
fn a_refused_start_up_option_is_named_with_its_setting() {
    for (message, named) in [
        ("unrecognized configuration parameter \"lock_timeout\"", "lock_timeout (LOCK_TIMEOUT_MS)"),
        (
            "invalid value for parameter \"statement_timeout\": \"-1\"",
            "statement_timeout (STATEMENT_TIMEOUT_MS)",
        ),
        (
            "unrecognized configuration parameter \"idle_in_transaction_session_timeout\"",
            "idle_in_transaction_session_timeout (IDLE_IN_TRANSACTION_TIMEOUT_MS)",
        ),
        ("unrecognized configuration parameter \"app.x\"", "app.x (in the URL's options)"),
        ("unsupported startup parameter: options", "DATABASE_POOLER=transaction"),
        ("unsupported startup parameter in options: lock_timeout", "DATABASE_POOLER=transaction"),
    ] {
        let mut bed = Bed::new(|_| Reply::ok());
        bed.driver.on_connect(move |_| Reply::fatal("08P01").message(message));
        let db = bed.db.clone();
        let error = bed.run(db.execute("SELECT 1")).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
        assert!(!error.is_retryable(), "{error}");
    }
}

/// In an aborted transaction every statement fails with 25P02: that is no cause.
#[test]
fn the_first_cause_of_a_batch_is_told_with_its_place() {
    let script = |statement: &pgspan::testing::Statement<'_>| match statement.text() {
        "SELECT 1/0" => Reply::error("22012"),
        "SELECT fails" => Reply::error("23505"),
        _ => Reply::affected(1),
    };
    for (texts, code, at) in [
        (["SELECT 1", "SELECT 1/0", "SELECT 2"], "22012", 1),
        (["SELECT 1/0", "SELECT 1", "SELECT 2"], "22012", 0),
        (["SELECT 1", "SELECT 2", "SELECT 1/0"], "22012", 2),
        (["SELECT fails", "SELECT 1/0", "SELECT 2"], "23505", 0),
    ] {
        let mut bed = Bed::new(script);
        let db = bed.db.clone();
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let alone = session.batch(texts).await.map(drop).unwrap_err();
            let atomic = session.batch(texts).atomic().await.map(drop).unwrap_err();
            let mut tx = session.transaction();
            let first = tx.batch(texts).await.map(drop).unwrap_err();
            drop(tx);
            let mut tx = session.transaction();
            tx.execute("SELECT 1").await.unwrap();
            let inside = tx.batch(texts).await.map(drop).unwrap_err();
            drop(tx);
            let mut tx = session.transaction();
            let mut savepoint = tx.savepoint("a");
            let nested = savepoint.batch(texts).await.map(drop).unwrap_err();
            for error in [alone, atomic, first, inside, nested] {
                assert_eq!(error.sqlstate().map(|code| code.code()), Some(code), "{texts:?}: {error}");
                assert_eq!(error.statement_index(), Some(at), "{texts:?}: {error}");
            }
        });
    }
}

/// It quotes names, not values, and is what one needs to see; unless a function raised it, with any text it likes.
#[test]
fn a_mistake_in_the_text_of_a_statement_is_told_with_the_servers_sentence_and_its_place() {
    let reply = Reply::error("42883").message("function f(unknown) does not exist");
    let mut bed = Bed::new(move |statement| match statement.text() {
        "SELECT  f('CANARY'), 2" => reply.clone().position(9).routine("ParseFuncOrColumn"),
        "SELECT raises()" => reply.clone().message("CANARY").routine("exec_stmt_raise"),
        _ => Reply::error("22P02").message("invalid input syntax for type integer: \"CANARY\"").position(8),
    });
    let db = bed.db.clone();
    bed.run(async {
        let fixed = db.execute("SELECT  f('CANARY'), 2").await.unwrap_err();
        assert_eq!(
            fixed.to_string(),
            "the statement failed: undefined function (42883): function f(unknown) does not exist, at `f('CANARY'), 2`"
        );
        let made = db.execute(Sql::new("SELECT  f('CANARY'), 2".to_owned())).await.unwrap_err();
        assert!(made.to_string().contains("function f(unknown) does not exist, at `f("), "{made}");
        assert!(!shown(&made).contains("CANARY"), "{}", shown(&made));
        for text in ["SELECT raises()", "SELECT 'CANARY'::int"] {
            let error = db.execute(Sql::new(text.to_owned())).await.unwrap_err();
            assert!(!shown(&error).contains("CANARY"), "{}", shown(&error));
        }
    });
}

#[test]
fn everything_is_told_where_that_was_asked_for() {
    let mut settings = Settings::default();
    settings.error_detail = ErrorDetail::Full;
    let mut bed = Bed::with(settings, |_| {
        Reply::error("23505").message("duplicate key").detail("Key (name)=(Bob) already exists.")
    });
    let db = bed.db.clone();
    let error = bed.run(db.execute("INSERT")).unwrap_err();
    assert!(error.to_string().contains("duplicate key"), "{error}");
    assert!(error.to_string().contains("detail: Key (name)=(Bob) already exists."), "{error}");
}

/// PostgreSQL says so of arguments, too, with the same codes.
#[test]
fn the_servers_sentence_is_not_shown_where_it_quotes_what_is_not_in_the_text() {
    for (code, message, position) in [
        ("42601", "syntax error in tsquery: \"CANARY & &\"", None),
        ("42601", "syntax error in tsquery: \"a\" CANARY \"a\"", None),
        ("42704", "unrecognized configuration parameter \"a\" CANARY \"a\"", None),
        ("42501", "permission denied for sequence CANARY", None),
        ("42P01", "relation \"CANARY\" does not exist", None),
        ("42704", "unrecognized configuration parameter \"CANARY\"", None),
        ("42883", "operator does not exist: CANARY", None),
        ("42601", "syntax error at or near \"'CANARY'\"", Some(12)),
    ] {
        let mut reply = Reply::error(code).message(message).routine("anything");
        if let Some(position) = position {
            reply = reply.position(position);
        }
        let mut bed = Bed::new(move |_| reply.clone());
        let db = bed.db.clone();
        let value = "CANARY";
        bed.run(async {
            for sql in [
                Sql::new("SELECT to_tsquery(").bind(&value).push(")"),
                Sql::new("SELECT 'a' 'CANARY'".to_owned()),
            ] {
                let error = db.execute(sql).await.unwrap_err();
                assert!(!shown(&error).contains("CANARY"), "{}", shown(&error));
                assert!(error.to_string().contains(code));
            }
        });
    }
}
