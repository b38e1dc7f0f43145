//! What comes back: rows by name and by place, and every way they may not fit.

use anyhow::{Context, Result};
use pgspan::{Error, FromRow, Kind, Row, Session, Sql, sql};

use crate::support::{Bed, Via, code, insert, pid};

ways! {
    both:
    past_the_end_there_is_none,
    more_than_one_row_for_one_is_an_error,
    very_many_rows_for_one_are_not_waited_for,
    a_row_is_a_value_a_tuple_or_a_struct,
    what_does_not_fit_is_an_error_that_names_the_column,
    the_columns_are_checked_even_where_the_first_row_would_do,
    two_columns_of_one_name_are_an_error_for_a_struct_and_none_for_a_tuple,
    odd_column_names_and_no_columns_at_all_work,
    a_row_can_be_asked_by_name_and_by_place_and_never_panics,
    two_statements_in_one_are_a_syntax_error_and_the_session_is_usable,
    small_and_large_numbers_go_through_one_statement,
    rows_that_were_changed_are_counted,
    a_batch_gives_each_statements_rows_and_says_which_failed;
}

async fn session(via: Via) -> Result<(Bed, Session)> {
    let bed = Bed::new(via).await?;
    let session = bed.db().await?.session().await?;
    Ok((bed, session))
}

/// The error of reading this as `T`; it must name the column.
async fn misfit<T: FromRow + std::fmt::Debug>(
    session: &mut Session,
    sql: Sql<'_>,
    column: &str,
) -> Result<String> {
    let error: Error = session.fetch_one::<T>(sql).await.err().context("it fits")?;
    assert_eq!(error.kind(), Kind::Row, "{error}");
    let text = error.to_string();
    assert!(text.contains(column), "{column}: {text}");
    Ok(text)
}

#[derive(Debug, PartialEq, FromRow)]
struct Student {
    id: i64,
    name: Option<String>,
}

async fn past_the_end_there_is_none(via: Via) -> Result<()> {
    let (_bed, mut session) = session(via).await?;
    assert_eq!(session.fetch_optional::<i32>(sql!("SELECT 1 WHERE false")).await?, None);
    assert!(session.fetch_all::<i32>(sql!("SELECT 1 WHERE false")).await?.is_empty());
    let error = session.fetch_one::<i32>(sql!("SELECT 1 WHERE false")).await.err().context("one")?;
    assert_eq!(error.kind(), Kind::NoRows);
    let mut rows = session.fetch_stream::<i32>(sql!("SELECT 1")).await?;
    assert_eq!((rows.next().await?, rows.next().await?, rows.next().await?), (Some(1), None, None));
    drop(rows);
    pid(&mut session).await?;
    Ok(())
}

async fn more_than_one_row_for_one_is_an_error(via: Via) -> Result<()> {
    let (_bed, mut session) = session(via).await?;
    let two = sql!("SELECT generate_series(1, 2)");
    let one = session.fetch_one::<i32>(&two).await.err().context("one")?;
    let optional = session.fetch_optional::<i32>(&two).await.err().context("one")?;
    assert_eq!((one.kind(), optional.kind()), (Kind::TooManyRows, Kind::TooManyRows));
    assert_eq!(session.fetch_all::<i32>(&two).await?, [1, 2]);
    Ok(())
}

/// Which the server's limit ends after 5 s: the error would be another.
async fn very_many_rows_for_one_are_not_waited_for(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let db = bed.db().await?;
    let many = || sql!("SELECT generate_series(1, 2000000000)");
    let mut session = db.session().await?;
    let error = session.fetch_one::<i32>(many()).await.err().context("one")?;
    assert_eq!(error.kind(), Kind::TooManyRows, "{error}");
    drop(session); // cancelled
    let shared = db.fetch_optional::<i32>(many()).await.err().context("one")?;
    assert_eq!(shared.kind(), Kind::TooManyRows, "{shared}");

    // some are waited for by the next statement, and what was open can't be kept
    let some = || sql!("SELECT generate_series(1, 500000)");
    let mut session = db.session().await?;
    let before = pid(&mut session).await?;
    session.fetch_one::<i32>(some()).await.err().context("one")?;
    assert_eq!(pid(&mut session).await?, before);
    let mut tx = session.transaction();
    tx.execute(insert("a")).await?;
    tx.fetch_one::<i32>(some()).await.err().context("one")?;
    assert_eq!(tx.commit().await.err().context("stored")?.kind(), Kind::RolledBack);
    assert_eq!(pid(&mut session).await?, before);
    assert!(bed.students().await?.is_empty());
    Ok(())
}

async fn a_row_is_a_value_a_tuple_or_a_struct(via: Via) -> Result<()> {
    let (_bed, mut session) = session(via).await?;
    let (id, name) = (7_i64, Some("Bob"));
    assert_eq!(session.fetch_one::<i64>(sql!("SELECT {id}")).await?, 7);
    assert_eq!(session.fetch_one::<(i64,)>(sql!("SELECT {id}")).await?, (7,));
    let tuple: (i64, Option<String>) = session.fetch_one(sql!("SELECT {id}, {name}")).await?;
    assert_eq!(tuple, (7, Some("Bob".into())));
    // by name, whatever the order
    let student: Student = session.fetch_one(sql!("SELECT {name} AS name, {id} AS id")).await?;
    assert_eq!(student, Student { id: 7, name: Some("Bob".into()) });
    let none: Student = session.fetch_one(sql!("SELECT NULL::text AS name, {id} AS id")).await?;
    assert_eq!(none.name, None);
    Ok(())
}

async fn what_does_not_fit_is_an_error_that_names_the_column(via: Via) -> Result<()> {
    let (_bed, mut session) = session(via).await?;
    let s = &mut session;
    misfit::<Student>(s, sql!("SELECT 1::int8 AS id"), "\"name\"").await?;
    let null = misfit::<Student>(s, sql!("SELECT NULL::int8 AS id, 'a' AS name"), "\"id\"").await?;
    assert!(null.contains("NULL") && null.contains("Option<i64>"), "{null}");
    let wrong = misfit::<Student>(s, sql!("SELECT 1::int4 AS id, 'a' AS name"), "\"id\"").await?;
    assert!(wrong.contains("int4") && wrong.contains("i64"), "{wrong}");
    misfit::<(i64, String)>(s, sql!("SELECT 1::int8, NULL::text AS name"), "\"name\"").await?;
    misfit::<(i64, i64)>(s, sql!("SELECT 1::int8, 'a' AS name"), "\"name\"").await?;
    misfit::<(i64, i64)>(s, sql!("SELECT 1::int8"), "1 columns").await?;
    misfit::<i64>(s, sql!("SELECT 1::int8, 2::int8"), "2 columns").await?;
    misfit::<i64>(s, sql!("SELECT NULL::int8 AS n"), "\"n\"").await?;
    misfit::<String>(s, sql!("SELECT 1.5::numeric AS n"), "\"n\"").await?;
    pid(s).await?; // the session is none the worse
    Ok(())
}

async fn the_columns_are_checked_even_where_the_first_row_would_do(via: Via) -> Result<()> {
    let (_bed, mut session) = session(via).await?;
    let error = session
        .fetch_all::<i64>(sql!("SELECT CASE WHEN n < 3 THEN n END AS n FROM generate_series(1::int8, 3) n"))
        .await
        .err()
        .context("it fits")?;
    assert!(error.kind() == Kind::Row && error.to_string().contains("\"n\""), "{error}");
    Ok(())
}

async fn two_columns_of_one_name_are_an_error_for_a_struct_and_none_for_a_tuple(via: Via) -> Result<()> {
    let (_bed, mut session) = session(via).await?;
    let doubled = sql!("SELECT 1::int8 AS id, 'a' AS name, 'b' AS name");
    misfit::<Student>(&mut session, doubled.clone(), "\"name\"").await?;
    let tuple: (i64, String, String) = session.fetch_one(&doubled).await?;
    assert_eq!(tuple, (1, "a".into(), "b".into()));
    let row: Row = session.fetch_one(&doubled).await?;
    assert_eq!(row.get::<&str>(2_usize)?, "b");
    assert!(row.get::<&str>("name").is_err_and(|error| error.to_string().contains("\"name\"")));
    Ok(())
}

#[derive(Debug, PartialEq, FromRow)]
struct Odd {
    class: String,
    r#type: i32,
    #[pgspan(rename = "?column?")]
    unnamed: i32,
    #[pgspan(rename = "a-b")]
    dashed: bool,
}

async fn odd_column_names_and_no_columns_at_all_work(via: Via) -> Result<()> {
    let (bed, mut session) = session(via).await?;
    let odd: Odd = session.fetch_one(sql!("SELECT 'x' AS class, 1 AS type, 2, true AS \"a-b\"")).await?;
    assert_eq!(odd, Odd { class: "x".into(), r#type: 1, unnamed: 2, dashed: true });
    bed.run("CREATE TABLE empty(); INSERT INTO empty DEFAULT VALUES; INSERT INTO empty DEFAULT VALUES")
        .await?;
    assert_eq!(session.fetch_all::<()>(sql!("SELECT FROM empty")).await?.len(), 2);
    let row: Row = session.fetch_one(sql!("SELECT")).await?;
    assert!(row.is_empty());
    Ok(())
}

async fn a_row_can_be_asked_by_name_and_by_place_and_never_panics(via: Via) -> Result<()> {
    let (_bed, mut session) = session(via).await?;
    let row: Row = session.fetch_one(sql!("SELECT 1::int8 AS a, NULL::text AS b")).await?;
    assert_eq!((row.get::<i64>("a")?, row.get::<Option<String>>(1_usize)?, row.len()), (1, None, 2));
    for (column, error) in
        [("c", row.get::<i64>("c")), ("\"b\"", row.get::<i64>("b")), ("9", row.get::<i64>(9_usize))]
    {
        let error = error.err().context("there is none")?;
        assert!(error.kind() == Kind::Row && error.to_string().contains(column), "{error}");
    }
    let names: Vec<_> = row.columns().map(|(name, ty)| format!("{name} {ty}")).collect();
    assert_eq!(names, ["a int8", "b text"]);
    Ok(())
}

async fn two_statements_in_one_are_a_syntax_error_and_the_session_is_usable(via: Via) -> Result<()> {
    let (bed, mut session) = session(via).await?;
    let before = pid(&mut session).await?;
    let result = session.execute(sql!("CREATE TABLE one(); CREATE TABLE two()")).await;
    assert_eq!(code(&result), Some("42601"));
    assert_eq!(pid(&mut session).await?, before);
    assert!(bed.run("SELECT FROM one").await.is_err());
    Ok(())
}

async fn small_and_large_numbers_go_through_one_statement(via: Via) -> Result<()> {
    let (_bed, mut session) = session(via).await?;
    for n in [1, 100_000, i64::MAX, i64::MIN] {
        assert_eq!(session.fetch_one::<i64>(sql!("SELECT {n}")).await?, n);
    }
    Ok(())
}

async fn rows_that_were_changed_are_counted(via: Via) -> Result<()> {
    let (bed, mut session) = session(via).await?;
    bed.run("CREATE TABLE numbers(n int8)").await?;
    let insert = sql!("INSERT INTO numbers SELECT generate_series(1, 5)");
    assert_eq!(session.execute(insert).await?, 5);
    assert_eq!(session.execute(sql!("UPDATE numbers SET n = n + 1 WHERE n > 3")).await?, 2);
    assert_eq!(session.execute(sql!("SELECT FROM numbers")).await?, 5);
    assert_eq!(session.execute(sql!("DELETE FROM numbers WHERE n = 99")).await?, 0);
    assert_eq!(session.execute(sql!("")).await?, 0);
    let returned: Vec<i64> = session.fetch_all(sql!("DELETE FROM numbers RETURNING n")).await?;
    assert_eq!(returned.len(), 5);
    Ok(())
}

async fn a_batch_gives_each_statements_rows_and_says_which_failed(via: Via) -> Result<()> {
    let (bed, mut session) = session(via).await?;
    bed.run("CREATE TABLE numbers(n int8 PRIMARY KEY)").await?;
    let one = sql!("INSERT INTO numbers VALUES (1)");
    let all = sql!("SELECT n FROM numbers");
    let mut results = session.batch([&one, &all]).await?;
    assert_eq!((results.len(), results.affected(0)?, results.fetch_all::<i64>(1)?), (2, 1, vec![1]));
    assert_eq!(results.fetch_all::<i64>(1).err().map(|error| error.kind()), Some(Kind::Refused));
    assert_eq!(results.fetch_one::<i64>(2).err().map(|error| error.kind()), Some(Kind::Refused));

    // each for itself: what stands behind the failed one is carried out
    let error = session.batch([
        sql!("INSERT INTO numbers VALUES (2)"),
        one.clone(),
        sql!("INSERT INTO numbers VALUES (3)"),
    ]);
    let error = error.await.err().context("1 is there twice")?;
    assert_eq!((error.statement_index(), error.is_unique_violation()), (Some(1), true));
    assert_eq!(session.fetch_all::<i64>(&all).await?, [1, 2, 3]);

    // all or nothing
    let error = session
        .batch([sql!("INSERT INTO numbers VALUES (4)"), one, sql!("INSERT INTO numbers VALUES (5)")])
        .atomic();
    let error = error.await.err().context("1 is there twice")?;
    assert_eq!(error.statement_index(), Some(1));
    assert_eq!(session.fetch_all::<i64>(&all).await?, [1, 2, 3]);
    assert_eq!(session.batch(<[Sql<'_>; 0]>::default()).atomic().await?.len(), 0);
    Ok(())
}
