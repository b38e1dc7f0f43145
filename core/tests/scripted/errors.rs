//! What errors show.

use std::error::Error as _;

use pgspan::testing::Reply;
use pgspan::{Error, Sql};

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
