//! Servers that answer nonsense, in pieces, or half of it.

use std::time::Duration;

use pgspan::testing::Reply;
use pgspan::types::Type;
use pgspan::{Database, Driver, FromRow, Kind, Sql};

use crate::bed::Bed;

#[test]
fn a_message_of_an_impossible_length_is_an_error() {
    for length in [0_i32, 3, i32::MAX, -1, i32::MIN] {
        for tag in [b'D', b'Z', b'T', b'C', b'N', b'A', b'S', b'?'] {
            let mut bytes = vec![tag];
            bytes.extend(length.to_be_bytes());
            bytes.extend([0; 16]);
            let mut bed = Bed::new(move |_| Reply::raw(bytes.clone()));
            let db = bed.db.clone();
            bed.run(async {
                let mut session = db.session().await.unwrap();
                let error = session.execute(Sql::new("SELECT 1").reads_only()).await.unwrap_err();
                // what may come at any time is awaited, in a buffer that grows with what comes, until the deadline
                let is_awaited = length == i32::MAX && [b'N', b'A', b'S'].contains(&tag);
                let kind = if is_awaited { Kind::Timeout } else { Kind::Unavailable };
                assert_eq!(error.kind(), kind, "{length} {}", char::from(tag));
            });
            bed.the_next_session_works();
            assert!(bed.connection(0).ended);
        }
    }
}

#[test]
fn so_it_is_at_start_up() {
    for length in [0_i32, 3, i32::MAX, -1] {
        let mut bytes = vec![b'R'];
        bytes.extend(length.to_be_bytes());
        let mut bed = Bed::new(|_| Reply::ok());
        bed.driver.on_connect(move |_| Reply::raw(bytes.clone()));
        let db = bed.db.clone();
        assert_eq!(bed.run(db.session()).unwrap_err().kind(), Kind::Unavailable);
        bed.driver.on_connect(|_| Reply::ok());
        bed.the_next_session_works();
    }
}

#[test]
fn a_message_that_says_it_is_long_does_not_take_that_much_memory() {
    // 64 of them at once would be 128 GB
    let mut bytes = vec![b'D'];
    bytes.extend(i32::MAX.to_be_bytes());
    let mut bed = Bed::new(move |_| Reply::raw(bytes.clone()));
    let db = bed.db.clone();
    let mut sessions = Vec::new();
    for _ in 0..64 {
        let db = db.clone();
        sessions.push(Box::pin(async move {
            let mut session = db.session().await?;
            session.execute(Sql::new("SELECT 1").reads_only()).await
        }));
    }
    let answers = bed.run(futures_util::future::join_all(sessions));
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().kind() == Kind::Timeout));
}

#[test]
fn nonsense_is_an_error_and_ends_the_connection() {
    let messages: [&[u8]; 12] = [
        b"Z\0\0\0\x05I",                          // ready, without an answer
        b"Z\0\0\0\x04",                           // ready, without a status
        b"D\0\0\0\x06\0\0",                       // a row of no description
        b"T\0\0\0\x06\xff\xff",                   // 65,535 columns, none of them there
        b"C\0\0\0\x04",                           // done, without a tag
        b"C\0\0\0\x05\0",                         // done, with an empty tag
        b"E\0\0\0\x05\0",                         // an error without a field
        b"E\0\0\0\x08Cx\0",                       // an error that does not end
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",  // not a message
        b"1\0\0\0\x04\x31\0\0\0\x04Z\0\0\0\x05I", // parsed twice
        b"A\0\0\0\x04",                           // an empty notification
        b"R\0\0\0\x08\0\0\0\x63",                 // an authentication that does not exist
    ];
    for message in messages {
        let mut bed = Bed::new(move |_| Reply::raw(message));
        let db = bed.db.clone();
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let error = session.fetch_all::<i64>("UPDATE t SET a = 1 RETURNING a").await.unwrap_err();
            assert_eq!(error.kind(), Kind::OutcomeUnknown, "{message:?}: {error}");
        });
        bed.the_next_session_works();
        assert!(bed.connection(0).ended);
    }
}

#[test]
fn an_answer_no_one_asked_for_does_not_become_the_next_ones() {
    let mut twice = Vec::new();
    for _ in 0..2 {
        twice.extend(b"1\0\0\0\x042\0\0\0\x04t\0\0\0\x06\0\0n\0\0\0\x04C\0\0\0\x0fINSERT 0 9\0Z\0\0\0\x05I");
    }
    let mut bed = Bed::new(move |statement| match statement.text() {
        "INSERT" => Reply::raw(twice.clone()),
        _ => Reply::affected(1),
    });
    let db = bed.db.clone();
    let mut session = bed.run(db.session()).unwrap();
    assert_eq!(bed.run(session.execute("INSERT")).unwrap(), 9);
    bed.settle();
    assert_ne!(bed.run(session.execute("UPDATE")).ok(), Some(9), "the answer to another statement");
    drop(session);
    bed.the_next_session_works();
}

#[derive(FromRow, Debug)]
#[allow(dead_code, reason = "only read from rows")]
struct User {
    id: i64,
    name: String,
}

fn users(reply: Reply) -> (Bed, Database) {
    let bed = Bed::new(move |_| reply.clone());
    let db = bed.db.clone();
    (bed, db)
}

#[test]
fn a_row_with_too_few_or_too_many_values_is_an_error() {
    for values in [&[][..], &[Some(&b"\0\0\0\0\0\0\0\x01"[..])], &[None, None, None]] {
        let reply = Reply::columns(&[("id", Type::INT8), ("name", Type::TEXT)]).raw_row(values);
        let (mut bed, db) = users(reply);
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let error = session.fetch_all::<User>(Sql::new("SELECT").reads_only()).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        });
        bed.the_next_session_works();
    }
}

#[test]
fn a_value_that_is_null_or_not_of_its_type_is_an_error_that_names_the_column() {
    let good: &[u8] = b"\0\0\0\0\0\0\0\x01";
    for (id, name, column) in [
        (None, Some(&b"Bob"[..]), "id"),
        (Some(good), None, "name"),
        (Some(&b"17"[..]), Some(&b"Bob"[..]), "id"),
        (Some(&b""[..]), Some(&b"Bob"[..]), "id"),
        (Some(&b"\0\0\0\0\0\0\0\0\0"[..]), Some(&b"Bob"[..]), "id"),
        (Some(good), Some(&b"\xff\xfe"[..]), "name"),
    ] {
        let reply = Reply::columns(&[("id", Type::INT8), ("name", Type::TEXT)]).raw_row(&[id, name]);
        let (mut bed, db) = users(reply);
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let error = session.fetch_all::<User>("SELECT").await.unwrap_err();
            assert_eq!(error.kind(), Kind::Row);
            assert!(error.to_string().contains(&format!("{column:?}")), "{error}");
            let tuple = session.fetch_all::<(i64, String)>("SELECT").await.unwrap_err();
            assert!(tuple.to_string().contains(&format!("{column:?}")), "{tuple}");
        });
        bed.the_next_session_works();
        assert_eq!(bed.driver.connections().len(), 1, "a row that does not fit costs no connection");
    }
}

#[test]
fn text_where_int8_is_due_is_an_error_that_names_the_column_and_both_types() {
    let reply = Reply::columns(&[("id", Type::TEXT), ("name", Type::TEXT)]).row(&[&"1", &"Bob"]);
    let (mut bed, db) = users(reply);
    let error = bed.run(db.fetch_one::<User>("SELECT")).unwrap_err();
    assert_eq!(error.to_string(), "column \"id\" is text, not i64");
}

/// What an exchange may give: the right answer, or an error that does not claim too much.
async fn exchange(db: Database) -> Result<(), pgspan::Error> {
    let mut session = db.session().await?;
    let mut tx = session.transaction();
    assert_eq!(tx.execute("INSERT INTO t VALUES (1)").await?, 1);
    let rows: Vec<(i64, Option<String>)> = tx.fetch_all("SELECT n, s").await?;
    assert_eq!(rows, [(1, Some("one".to_owned())), (2, None)]);
    tx.commit().await?;
    let mut stream =
        session.fetch_stream::<(i64, Option<String>)>(Sql::new("SELECT n, s").reads_only()).await?;
    assert_eq!(stream.next().await?, Some((1, Some("one".to_owned()))));
    assert_eq!(stream.next().await?, Some((2, None)));
    assert_eq!(stream.next().await?, None);
    let mut results = session.batch(["INSERT INTO t VALUES (1)", "SELECT n, s"]).atomic().await?;
    assert_eq!(results.affected(0)?, 1);
    assert_eq!(results.fetch_all::<(i64, Option<String>)>(1)?.len(), 2);
    let error = session.execute("SELECT fails").await.unwrap_err();
    match error.kind() {
        Kind::Server => assert_eq!(error.sqlstate().unwrap().code(), "22012"),
        Kind::OutcomeUnknown | Kind::Unavailable => return Err(error),
        kind => panic!("{kind:?}"),
    }
    let mut tx = session.transaction();
    let mut copy = tx.copy_in("COPY t FROM STDIN").await?;
    copy.send("1\n").await?;
    assert_eq!(copy.finish().await?, 1);
    let mut copy = tx.copy_out("COPY t TO STDOUT").await?;
    assert_eq!(copy.next().await?.unwrap(), "1\n");
    assert_eq!(copy.next().await?, None);
    tx.commit().await
}

fn exchanging() -> Bed {
    Bed::new(|statement| match statement.text() {
        "INSERT INTO t VALUES (1)" => Reply::affected(1),
        "SELECT n, s" => Reply::columns(&[("n", Type::INT8), ("s", Type::TEXT)])
            .row(&[&1_i64, &"one"])
            .row(&[&2_i64, &None::<&str>]),
        "SELECT fails" => Reply::error("22012"),
        "COPY t TO STDOUT" => Reply::copy_out(["1\n"]),
        _ => Reply::ok(),
    })
}

#[test]
fn an_exchange_that_is_cut_at_any_byte_gives_an_error_or_the_right_answer() {
    let mut cuts = 0;
    for cut in 0.. {
        let mut bed = exchanging();
        bed.driver.cut_connections_after(cut);
        assert!(cut < 5_000, "it never succeeds");
        let done = bed.run(exchange(bed.db.clone()));
        let Err(error) = done else { break };
        assert!(
            matches!(
                error.kind(),
                Kind::Unavailable | Kind::OutcomeUnknown | Kind::RolledBack | Kind::Unusable
            ),
            "cut at {cut}: {error}"
        );
        assert!(bed.driver.now() < Duration::from_secs(5), "cut at {cut}: waited for a deadline");
        bed.driver.cut_connections_after(None);
        bed.the_next_session_works();
        cuts = cut;
    }
    assert!(cuts > 700, "only {cuts}");
}

#[test]
fn an_exchange_that_stops_at_any_byte_ends_at_a_deadline() {
    // every third byte: each stop waits for a deadline or two
    for cut in (0..900).step_by(3) {
        let mut bed = exchanging();
        bed.driver.stop_connections_after(cut);
        if let Err(error) = bed.run(exchange(bed.db.clone())) {
            assert!(
                matches!(
                    error.kind(),
                    Kind::Unavailable | Kind::OutcomeUnknown | Kind::Timeout | Kind::RolledBack
                ),
                "stopped at {cut}: {error}"
            );
        }
        assert!(bed.driver.now() < Duration::from_secs(12), "stopped at {cut}: {:?}", bed.driver.now());
        bed.driver.stop_connections_after(None);
        bed.the_next_session_works();
    }
}

#[test]
fn an_exchange_in_packets_of_any_size_is_the_same() {
    for packet in [1, 2, 3, 4, 5, 7, 16, 61] {
        let mut bed = exchanging();
        bed.driver.packets_of(packet);
        bed.run(exchange(bed.db.clone())).unwrap();
        bed.the_next_session_works();
        assert_eq!(bed.driver.connections().len(), 1);
    }
}
