//! `sql!` as PostgreSQL reads it.

use anyhow::Result;
use pgspan::{Sql, sql};

use crate::support::{Bed, Via};

ways! {
    both:
    braces_in_literals_comments_and_identifiers_are_left_alone,
    casts_are_kept_and_one_name_is_one_parameter,
    values_that_are_no_variables_are_named,
    doubled_braces_stand_for_one_outside_of_literals,
    a_value_that_is_also_tested_for_null_is_taken_once,
    operators_with_question_marks_and_colons_need_no_care,
    sql_made_at_run_time_holds_values_and_names_that_are_only_that,
    a_statement_can_be_kept_cloned_and_sent_again,
    what_the_macro_made_can_be_gone_on_with;
}

async fn braces_in_literals_comments_and_identifiers_are_left_alone(via: Via) -> Result<()> {
    let mut session = Bed::new(via).await?.db().await?.session().await?;
    let a = 1_i32;
    let texts: Vec<Option<String>> = session
        .fetch_one(sql!(
            r#"SELECT ARRAY[
                '{a}', 'it''s {a}', E'\'{a}', $q${a}$q$, $${a}$$, U&'\007B' || 'a}', -- {a}
                /* {a} /* nested {b} */ {c} */ {a}::text
            ]"#
        ))
        .await?;
    let texts: Vec<&str> = texts.iter().flatten().map(String::as_str).collect();
    assert_eq!(texts, ["{a}", "it's {a}", "'{a}", "{a}", "{a}", "{a}", "1"]);
    let row: pgspan::Row = session.fetch_one(sql!(r#"SELECT {a} AS "{a}""#)).await?;
    assert_eq!(row.get::<i32>("{a}")?, 1);
    Ok(())
}

async fn casts_are_kept_and_one_name_is_one_parameter(via: Via) -> Result<()> {
    let mut session = Bed::new(via).await?.db().await?.session().await?;
    let (a, tags) = (3_i32, "{x,y}");
    let twice = sql!("SELECT {a}::int8 + {a}::int4, {tags}::text[], '{1,2}'::int4[]");
    assert_eq!(twice.text(), "SELECT $1::int8 + $1::int4, $2::text[], '{1,2}'::int4[]");
    let (sum, tags, numbers): (i64, Vec<String>, Vec<i32>) = session.fetch_one(twice).await?;
    assert_eq!((sum, tags, numbers), (6, vec!["x".to_owned(), "y".to_owned()], vec![1, 2]));
    Ok(())
}

struct User {
    name: String,
    age: i32,
}

async fn a_value_that_is_also_tested_for_null_is_taken_once(via: Via) -> Result<()> {
    let mut session = Bed::new(via).await?.db().await?.session().await?;
    let mut taken = 0_i64;
    let mut next = || {
        taken += 1;
        Some(taken)
    };
    let same: bool =
        session.fetch_one(sql!("SELECT {n} IS NOT NULL AND {n} = 1 AND NOT {n} IS NULL", n = next())).await?;
    assert!(same && taken == 1);
    let name = Some(String::from("Ada"));
    let found: bool = session.fetch_one(sql!("SELECT {name} IS NULL OR {name} = 'Ada'", name = name)).await?;
    assert!(found);
    Ok(())
}

async fn what_the_macro_made_can_be_gone_on_with(via: Via) -> Result<()> {
    let mut session = Bed::new(via).await?.db().await?.session().await?;
    let (a, b, c) = (3_i64, 4_i64, 5_i64);
    let sum: i64 = session.fetch_one(sql!("SELECT {a} + {b}").push(" + ").bind(&c).push(" + 1")).await?;
    assert_eq!(sum, 13);
    let named: pgspan::Row = session.fetch_one(sql!("SELECT {a} AS ").push_identifier("$1")).await?;
    assert_eq!(named.get::<i64>("$1")?, 3);
    let plain: i64 = session.fetch_one(sql!("SELECT 1::int8").push(" + ").bind(&a)).await?;
    assert_eq!(plain, 4);
    // what is written by hand is that here, too
    for sql in [
        sql!("SELECT {a}").push(" + $1"),
        Sql::new("CREATE TABLE t AS SELECT $1 AS a, ").bind(&a).push(" AS b"),
        Sql::new("SELECT $1").push(" + ").bind(&a),
    ] {
        let error = session.execute(sql).await.unwrap_err();
        assert!(error.to_string().contains("written by hand"), "{error}");
    }
    Ok(())
}

async fn values_that_are_no_variables_are_named(via: Via) -> Result<()> {
    let mut session = Bed::new(via).await?.db().await?.session().await?;
    let user = User { name: "Bob".into(), age: 42 };
    let seen: (String, i32, i64) = session
        .fetch_one(sql!(
            "SELECT {name}, {age} + {more}, {len}",
            name = user.name,
            age = user.age,
            more = 1,
            len = 3_i64
        ))
        .await?;
    assert_eq!(seen, ("Bob".into(), 43, 3));
    let r#type = "keyword";
    assert_eq!(session.fetch_one::<String>(sql!("SELECT {type}")).await?, "keyword");
    Ok(())
}

async fn doubled_braces_stand_for_one_outside_of_literals(via: Via) -> Result<()> {
    let mut session = Bed::new(via).await?.db().await?.session().await?;
    assert_eq!(sql!("SELECT {{}}").text(), "SELECT {}");
    let error = session.execute(sql!("SELECT {{}}")).await.err();
    assert!(error.is_some_and(|error| error.sqlstate().is_some_and(|code| code.code() == "42601")));
    assert_eq!(session.fetch_one::<String>(sql!("SELECT '{{}}'")).await?, "{{}}");
    Ok(())
}

async fn operators_with_question_marks_and_colons_need_no_care(via: Via) -> Result<()> {
    let mut session = Bed::new(via).await?.db().await?.session().await?;
    let key = "a";
    let found: (bool, bool) = session
        .fetch_one(sql!(r#"SELECT '{"a": 1}'::jsonb ? {key}, '{"a": {"b": 2}}'::jsonb @> '{"a": {}}'"#))
        .await?;
    assert_eq!(found, (true, true));
    let slice: Vec<i32> = session.fetch_one(sql!("SELECT (ARRAY[1,2,3])[2:3]")).await?;
    assert_eq!(slice, [2, 3]);
    Ok(())
}

async fn sql_made_at_run_time_holds_values_and_names_that_are_only_that(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let (evil, limit) = ("x'); DROP TABLE students; --", 1_i64);
    session.execute(sql!("INSERT INTO students VALUES ({evil})")).await?;
    let query = Sql::new("SELECT ")
        .push_identifier("name")
        .push(" FROM ")
        .push_identifier("students")
        .push(" WHERE name = ")
        .bind(&evil)
        .push(" LIMIT ")
        .bind(&limit);
    assert_eq!(session.fetch_one::<String>(&query).await?, evil);
    let missing = Sql::new("SELECT * FROM ").push_identifier("students; DROP TABLE students");
    assert!(session.execute(&missing).await.is_err());
    assert_eq!(bed.students().await?, [evil]);
    Ok(())
}

async fn a_statement_can_be_kept_cloned_and_sent_again(via: Via) -> Result<()> {
    let mut session = Bed::new(via).await?.db().await?.session().await?;
    let n = 4_i64;
    let square = sql!("SELECT {n} * {n}");
    for _ in 0..2 {
        assert_eq!(session.fetch_one::<i64>(&square).await?, 16);
    }
    let mut results = session.batch(vec![square.clone(); 3]).await?;
    assert_eq!((results.fetch_one::<i64>(0)?, results.fetch_one::<i64>(2)?), (16, 16));
    Ok(())
}
