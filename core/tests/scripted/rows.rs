//! Rows, read as structs, tuples and values, and by hand.
//!
//! Siblings that were looked for: each way a row can misfit; no row, one and more; an error behind some rows; a COPY that is refused.

use pgspan::testing::Reply;
use pgspan::types::Type;
use pgspan::{Database, FromRow, Kind, Row};

use crate::bed::Bed;

#[derive(FromRow, Debug, PartialEq)]
struct User {
    id: i64,
    name: Option<String>,
}

fn giving(reply: Reply) -> (Bed, Database) {
    let bed = Bed::new(move |_| reply.clone());
    let db = bed.db.clone();
    (bed, db)
}

fn row_error<T: FromRow + std::fmt::Debug>(reply: Reply) -> String {
    let (mut bed, db) = giving(reply);
    let error = bed.run(db.fetch_one::<T>("SELECT")).unwrap_err();
    assert_eq!(error.kind(), Kind::Row, "{error}");
    error.to_string()
}

#[test]
fn a_struct_is_read_by_name_in_any_order() {
    for (columns, values) in [
        ([("id", Type::INT8), ("name", Type::TEXT)], [&1_i64 as &(dyn pgspan::types::ToSql + Sync), &"Bob"]),
        ([("name", Type::TEXT), ("id", Type::INT8)], [&"Bob", &1_i64]),
    ] {
        let (mut bed, db) = giving(Reply::columns(&columns).row(&values));
        let user: User = bed.run(db.fetch_one("SELECT")).unwrap();
        assert_eq!(user, User { id: 1, name: Some("Bob".to_owned()) });
    }
}

#[test]
fn a_tuple_is_read_by_position_a_value_from_the_one_column() {
    let (mut bed, db) = giving(Reply::columns(&[("a", Type::INT4), ("a", Type::BOOL)]).row(&[&1_i32, &true]));
    assert_eq!(bed.run(db.fetch_one::<(i32, bool)>("SELECT")).unwrap(), (1, true));
    let (mut bed, db) = giving(Reply::value("?column?", 5_i64));
    assert_eq!(bed.run(db.fetch_one::<i64>("SELECT")).unwrap(), 5);
    assert_eq!(bed.run(db.fetch_one::<Option<i64>>("SELECT")).unwrap(), Some(5));
    assert!(row_error::<(i64, i64)>(Reply::value("a", 1_i64)).contains("1 columns"));
    assert!(
        row_error::<i64>(Reply::columns(&[("a", Type::INT8), ("b", Type::INT8)]).row(&[&1_i64, &1_i64]))
            .contains("2 columns")
    );
}

#[test]
fn a_column_that_is_missing_doubled_null_or_of_another_type_is_named() {
    let (id, name) = (("id", Type::INT8), ("name", Type::TEXT));
    let missing = row_error::<User>(Reply::columns(std::slice::from_ref(&id)).row(&[&1_i64]));
    assert_eq!(missing, "there is no column \"name\"");
    let doubled = [id.clone(), name.clone(), id.clone()];
    let doubled = row_error::<User>(Reply::columns(&doubled).row(&[&1_i64, &"Bob", &2_i64]));
    assert!(doubled.contains("two columns \"id\""), "{doubled}");
    let null = row_error::<User>(Reply::columns(&[id, name.clone()]).row(&[&None::<i64>, &"Bob"]));
    assert!(null.contains("\"id\"") && null.contains("Option<i64>"), "{null}");
    let other = row_error::<User>(Reply::columns(&[("id", Type::INT4), name]).row(&[&1_i32, &"Bob"]));
    assert_eq!(other, "column \"id\" is int4, not i64");
}

#[test]
fn a_null_is_an_option() {
    let (mut bed, db) =
        giving(Reply::columns(&[("id", Type::INT8), ("name", Type::TEXT)]).row(&[&1_i64, &None::<&str>]));
    assert_eq!(bed.run(db.fetch_one::<User>("SELECT")).unwrap().name, None);
}

#[test]
fn raw_access_never_panics() {
    let (mut bed, db) = giving(
        Reply::columns(&[("a", Type::INT8), ("a", Type::INT8), ("b", Type::TEXT)])
            .row(&[&1_i64, &2_i64, &"x"]),
    );
    let row: Row = bed.run(db.fetch_one("SELECT")).unwrap();
    assert_eq!(row.get::<i64>(1).unwrap(), 2);
    assert_eq!(row.get::<&str>("b").unwrap(), "x");
    assert!(row.get::<i64>("a").unwrap_err().to_string().contains("two columns"));
    assert!(row.get::<i64>("c").unwrap_err().to_string().contains("\"c\""));
    assert!(row.get::<i64>(3).unwrap_err().to_string().contains("column 3"));
    assert!(row.get::<i64>("b").unwrap_err().to_string().contains("\"b\" is text"));
}

#[test]
fn no_row_and_more_than_one_are_told_apart() {
    let none = || Reply::columns(&[("n", Type::INT8)]);
    let (mut bed, db) = giving(none());
    assert_eq!(bed.run(db.fetch_one::<i64>("SELECT")).unwrap_err().kind(), Kind::NoRows);
    assert_eq!(bed.run(db.fetch_optional::<i64>("SELECT")).unwrap(), None);
    let (mut bed, db) = giving(none().row(&[&1_i64]).row(&[&2_i64]));
    assert_eq!(bed.run(db.fetch_one::<i64>("SELECT")).unwrap_err().kind(), Kind::TooManyRows);
    assert_eq!(bed.run(db.fetch_optional::<i64>("SELECT")).unwrap_err().kind(), Kind::TooManyRows);
    assert_eq!(bed.run(db.fetch_all::<i64>("SELECT")).unwrap(), [1, 2]);
}

#[test]
fn an_error_behind_some_rows_is_the_statements() {
    let (mut bed, db) =
        giving(Reply::columns(&[("n", Type::INT8)]).row(&[&1_i64]).then(Reply::error("57014")));
    bed.run(async {
        let mut session = db.session().await.unwrap();
        assert!(session.fetch_all::<i64>("SELECT").await.unwrap_err().is_timeout());
        let mut rows = session.fetch_stream::<i64>("SELECT").await.unwrap();
        assert_eq!(rows.next().await.unwrap(), Some(1));
        assert!(rows.next().await.unwrap_err().is_timeout());
        assert_eq!(rows.next().await.unwrap(), None);
    });
    bed.the_next_session_works();
    assert_eq!(bed.driver.connections().len(), 1);
}

#[test]
fn a_copy_that_the_server_refuses_fails_the_transaction_and_leaves_the_session_usable() {
    let mut bed = Bed::new(|statement| match statement.text() {
        "COPY a FROM STDIN" => Reply::copy_in().then(Reply::error("23505")),
        _ => Reply::ok(),
    });
    let db = bed.db.clone();
    bed.run(async {
        let mut session = db.session().await.unwrap();
        let mut tx = session.transaction();
        let mut copy = tx.copy_in("COPY a FROM STDIN").await.unwrap();
        copy.send("1\n").await.unwrap();
        assert!(copy.finish().await.unwrap_err().is_unique_violation());
        assert_eq!(tx.commit().await.unwrap_err().kind(), Kind::RolledBack);
    });
    bed.settle();
    bed.the_next_session_works();
    assert_eq!(bed.connection(0).copied, b"1\n");
    assert_eq!(bed.driver.connections().len(), 1);
}

/// Found by this test: tokio-postgres gives such a COPY up with one Sync too many, and the connection, recycled already,
/// ended over its answer.
#[test]
fn a_copy_that_the_server_refuses_at_once_costs_its_connection() {
    for out in [false, true] {
        let mut bed = Bed::new(|statement| match statement.text() {
            text if text.starts_with("COPY") => Reply::error("42501"),
            _ => Reply::ok(),
        });
        let db = bed.db.clone();
        bed.run(async {
            let mut session = db.session().await.unwrap();
            let mut tx = session.transaction();
            tx.execute("SELECT 1").await.unwrap();
            let error = match out {
                true => tx.copy_out("COPY a TO STDOUT").await.map(drop).unwrap_err(),
                false => tx.copy_in("COPY a FROM STDIN").await.map(drop).unwrap_err(),
            };
            assert_eq!(error.sqlstate().unwrap().code(), "42501");
            assert_eq!(tx.commit().await.unwrap_err().kind(), Kind::RolledBack);
        });
        bed.settle();
        assert_eq!(bed.connection(0).idle, out);
        bed.the_next_session_works();
    }
}
