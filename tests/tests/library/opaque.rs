//! Columns of types that PostgreSQL does not build in: read without a look-up, or an error at once that names the column.
//!
//! Siblings that were looked for: enum, citext, domain, arrays of them, NULLs; composite, range, ltree, hstore, cube as what is no text;
//! one row and thousands; on a session, on a shared connection, in a batch, as a stream, in a transaction, by `RETURNING`, prepared.

use anyhow::{Context, Result};
use pgspan::{Database, Enum, FromRow, Kind, sql};

use crate::support::{Bed, Via};

ways! {
    both: types_whose_binary_form_is_text_are_read_in_any_number_of_rows,
        what_is_no_text_is_an_error_at_once_that_names_the_column,
        nothing_is_looked_up_and_nothing_is_left_prepared;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum Mood {
    Sad,
    Happy,
}

#[derive(Debug, PartialEq, FromRow)]
struct Person {
    id: i64,
    mood: Option<Mood>,
    email: String,
    zip: String,
    moods: Vec<Option<Mood>>,
    tags: Vec<String>,
}

async fn bed(via: Via) -> Result<Bed> {
    let bed = Bed::new(via).await?;
    bed.run(
        "CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION hstore; CREATE EXTENSION cube;
         CREATE TYPE mood AS ENUM ('sad', 'happy');
         CREATE DOMAIN zip AS text CHECK (length(value) = 5);
         CREATE TYPE pair AS (a int, b text);
         CREATE TYPE floats AS RANGE (subtype = float8);
         CREATE TABLE people(id bigserial, mood mood, email citext, zip zip, moods mood[], tags citext[]);
         INSERT INTO people(mood, email, zip, moods, tags)
         SELECT (CASE n % 3 WHEN 0 THEN 'sad' WHEN 1 THEN 'happy' END)::mood, 'A' || n, '12345',
                '{happy,NULL}', '{a,b}' FROM generate_series(1, 5000) n",
    )
    .await?;
    Ok(bed)
}

fn person(id: i64) -> Person {
    let mood = match id % 3 {
        0 => Some(Mood::Sad),
        1 => Some(Mood::Happy),
        _ => None,
    };
    let (moods, tags) = (vec![Some(Mood::Happy), None], vec!["a".to_owned(), "b".to_owned()]);
    Person { id, mood, email: format!("A{id}"), zip: "12345".to_owned(), moods, tags }
}

async fn types_whose_binary_form_is_text_are_read_in_any_number_of_rows(via: Via) -> Result<()> {
    let bed = bed(via).await?;
    let db = bed.db().await?;
    for rows in [1_i64, 5000] {
        let all = sql!("SELECT * FROM people ORDER BY id LIMIT {rows}");
        let expected: Vec<Person> = (1..=rows).map(person).collect();
        assert!(db.fetch_all::<Person>(&all).await? == expected);
        let mut session = db.session().await?;
        assert!(session.fetch_all::<Person>(&all).await? == expected);
        let mut results = session.batch([sql!("SELECT mood FROM people LIMIT 1"), all.clone()]).await?;
        assert!(results.fetch_all::<Person>(1)? == expected);
        let mut tx = session.transaction();
        let mut stream = tx.fetch_stream::<Person>(&all).await?;
        for expected in &expected {
            assert_eq!(stream.next().await?.as_ref(), Some(expected));
        }
        assert!(stream.next().await?.is_none());
        drop(stream);
        let labels: Vec<(String,)> =
            tx.fetch_all(sql!("SELECT DISTINCT mood FROM people WHERE mood > 'sad'")).await?;
        assert_eq!(labels, [("happy".to_owned(),)]);
        tx.commit().await?;
    }
    let returned: (Mood, String) =
        db.fetch_one(sql!("UPDATE people SET mood = 'sad' WHERE id = 1 RETURNING mood, email")).await?;
    assert_eq!(returned, (Mood::Sad, "A1".to_owned()));
    Ok(())
}

async fn what_is_no_text_is_an_error_at_once_that_names_the_column(via: Via) -> Result<()> {
    let bed = bed(via).await?;
    let db = bed.db().await?;
    for value in [
        "ROW(1, 'a')::pair",
        "'top.science'::ltree",
        "'a=>b'::hstore",
        "'(1, 2)'::cube",
        "'[1, 2)'::floats",
        "ARRAY['a.b'::ltree]",
    ] {
        for rows in [1_i64, 3000] {
            let text = format!("SELECT {value} AS odd FROM generate_series(1, ");
            let query = || pgspan::Sql::new(text.as_str()).bind(&rows).push(")");
            let is_told = |error: pgspan::Error| {
                assert_eq!(error.kind(), Kind::Row, "{value}: {error}");
                assert!(
                    error.to_string().contains("\"odd\"") && error.to_string().contains("cast it"),
                    "{error}"
                );
            };
            is_told(db.fetch_all::<String>(query()).await.err().context("read")?);
            let mut session = db.session().await?;
            is_told(session.fetch_all::<(Mood,)>(query()).await.err().context("read")?);
            is_told(session.fetch_all::<(Vec<String>,)>(query()).await.err().context("read")?);
            let mut stream = session.fetch_stream::<Option<String>>(query()).await?;
            is_told(stream.next().await.err().context("read")?);
        }
    }
    // what is not read is no error, and with its cast it is read
    assert_eq!(db.execute(sql!("SELECT 'a.b'::ltree")).await?, 1);
    assert_eq!(db.fetch_one::<String>(sql!("SELECT 'a.b'::ltree::text")).await?, "a.b");
    Ok(())
}

async fn nothing_is_looked_up_and_nothing_is_left_prepared(via: Via) -> Result<()> {
    let bed = bed(via).await?;
    // the database's own view of what it is asked, where it can be had
    async fn all_ways(db: &Database) -> Result<u32> {
        let counted = db.with_deadline(std::time::Duration::from_secs(60));
        counted.fetch_all::<Person>(sql!("SELECT * FROM people")).await?;
        let mut session = counted.session().await?;
        session.fetch_all::<Person>(sql!("SELECT * FROM people")).await?;
        let mut rows = session.fetch_stream::<Person>(sql!("SELECT * FROM people LIMIT 3")).await?;
        while rows.next().await?.is_some() {}
        drop(rows);
        session.batch([sql!("SELECT mood FROM people"), sql!("SELECT email FROM people")]).atomic().await?;
        Ok(counted.round_trips().0)
    }
    let db = bed.db().await?;
    assert_eq!(all_ways(&db).await?, 4);
    let mut session = db.session().await?;
    let prepared: i64 = session.fetch_one(sql!("SELECT count(*) FROM pg_prepared_statements")).await?;
    assert_eq!(prepared, 0);
    if via == Via::Nothing {
        let (db, proxy) = bed.behind_proxy(|_| {}).await?;
        drop((db.session().await?, db.execute(sql!("SELECT 1")).await?)); // both connections are open
        let before = proxy.round_trips();
        all_ways(&db).await?;
        assert_eq!(proxy.round_trips() - before, 4);
    }
    Ok(())
}
