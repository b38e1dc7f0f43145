//! The derives over types made with CREATE TYPE.

use anyhow::{Context, Result};
use pgspan::{Composite, Enum, FromRow, Kind, sql};
use serde::{Deserialize, Serialize};

use crate::support::{Bed, Via};

ways! {
    both:
    an_enum_a_composite_and_their_arrays_come_back_as_they_were_sent,
    an_enum_is_read_without_a_cast_and_a_composite_is_an_error_that_says_how,
    a_label_the_enum_does_not_have_is_an_error_that_names_the_column,
    one_struct_is_a_row_and_a_document,
    a_field_is_read_from_where_its_attribute_says,
    a_transparent_struct_is_a_column_a_parameter_and_an_element;
}

#[derive(Debug, Clone, Copy, PartialEq, Enum)]
enum Mood {
    Happy,
    VeryHappy,
    #[pgspan(rename = "so-so")]
    Neutral,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Composite)]
struct Address {
    street: String,
    city: Option<String>,
}

#[derive(Debug, PartialEq, FromRow)]
struct Customer {
    id: i64,
    mood: Mood,
    address: Address,
    past: Vec<Mood>,
}

async fn bed(via: Via) -> Result<Bed> {
    let bed = Bed::new(via).await?;
    bed.run(
        "CREATE TYPE mood AS ENUM ('happy', 'very_happy', 'so-so');
         CREATE TYPE address AS (city text, street text);
         CREATE TABLE customers(id int8 GENERATED ALWAYS AS IDENTITY, mood mood, address address, past mood[])",
    )
    .await?;
    Ok(bed)
}

fn customer(id: i64, mood: Mood) -> Customer {
    let address = Address { street: "Main \"St\", (1)".into(), city: None };
    Customer { id, mood, address, past: vec![Mood::Neutral, Mood::VeryHappy] }
}

async fn an_enum_a_composite_and_their_arrays_come_back_as_they_were_sent(via: Via) -> Result<()> {
    let bed = bed(via).await?;
    let mut session = bed.db().await?.session().await?;
    for (id, mood) in [(1, Mood::Happy), (2, Mood::VeryHappy), (3, Mood::Neutral)] {
        let Customer { mood, address, past, .. } = customer(id, mood);
        session
            .execute(sql!(
                "INSERT INTO customers(mood, address, past)
                 VALUES ({mood}, jsonb_populate_record(NULL::address, {address}), {past})"
            ))
            .await?;
        let back: Customer = session
            .fetch_one(sql!(
                "SELECT id, mood::text, to_jsonb(address) AS address, past::text[] FROM customers WHERE id = {id}"
            ))
            .await?;
        assert_eq!(back, customer(id, mood));
    }
    let happy = Mood::Happy;
    let found: Vec<i64> =
        session.fetch_all(sql!("SELECT id FROM customers WHERE mood > {happy} ORDER BY id")).await?;
    assert_eq!(found, [2, 3]);
    let none: Option<Mood> = None;
    session.execute(sql!("UPDATE customers SET mood = {none}")).await?;
    let none: Vec<Option<Mood>> = session.fetch_all(sql!("SELECT mood::text FROM customers")).await?;
    assert_eq!(none, [None; 3]);
    Ok(())
}

async fn an_enum_is_read_without_a_cast_and_a_composite_is_an_error_that_says_how(via: Via) -> Result<()> {
    let bed = bed(via).await?;
    let mut session = bed.db().await?.session().await?;
    session.execute(sql!("INSERT INTO customers(mood, address) VALUES ('happy', ROW('a', 'b'))")).await?;
    let (_, mood): (i64, Mood) = session.fetch_one(sql!("SELECT id, mood FROM customers")).await?;
    assert_eq!(mood, Mood::Happy);
    let address = session
        .fetch_one::<(i64, Address)>(sql!("SELECT id, address FROM customers"))
        .await
        .err()
        .context("composite")?;
    assert_eq!(address.kind(), Kind::Row);
    assert!(
        address.to_string().contains("\"address\"") && address.to_string().contains("to_jsonb"),
        "{address}"
    );
    let id: i64 = session.fetch_one(sql!("SELECT id FROM customers")).await?;
    assert_eq!(id, 1);
    Ok(())
}

async fn a_label_the_enum_does_not_have_is_an_error_that_names_the_column(via: Via) -> Result<()> {
    let bed = bed(via).await?;
    bed.run("ALTER TYPE mood ADD VALUE 'angry'").await?;
    let mut session = bed.db().await?.session().await?;
    let padded = session
        .fetch_one::<(Mood,)>(sql!("SELECT 'happy'::char(9) AS mood"))
        .await
        .err()
        .context("padded")?;
    assert!(
        padded.to_string().contains("\"mood\" (char(n))") && padded.to_string().contains("cast to text"),
        "{padded}"
    );
    let error = session
        .fetch_one::<(Mood,)>(sql!("SELECT 'angry'::mood::text AS mood"))
        .await
        .err()
        .context("read")?;
    assert!(error.kind() == Kind::Row && error.to_string().contains("\"mood\""), "{error}");
    let happy = Mood::Happy;
    let error =
        session.execute(sql!("INSERT INTO customers(id) VALUES ({happy})")).await.err().context("stored")?;
    assert!(error.sqlstate().is_some(), "{error}");
    Ok(())
}

#[derive(Debug, PartialEq, Serialize, Deserialize, FromRow)]
#[serde(rename_all = "camelCase")]
#[pgspan(rename_all = "camelCase")]
struct Both {
    first_name: String,
    at: i64,
}

#[derive(Debug, PartialEq, FromRow)]
struct Count(i64);

#[derive(Debug, PartialEq, FromRow)]
struct Wrapped<T> {
    value: T,
}

async fn one_struct_is_a_row_and_a_document(via: Via) -> Result<()> {
    let bed = bed(via).await?;
    let mut session = bed.db().await?.session().await?;
    let both: Both = session.fetch_one(sql!("SELECT 'Bob' AS \"firstName\", 7::int8 AS at")).await?;
    assert_eq!(serde_json::to_string(&both)?, r#"{"firstName":"Bob","at":7}"#);
    assert_eq!(session.fetch_one::<Count>(sql!("SELECT count(*) FROM customers")).await?, Count(0));
    let wrapped: Wrapped<Option<String>> = session.fetch_one(sql!("SELECT 'x' AS value")).await?;
    assert_eq!(wrapped.value.as_deref(), Some("x"));
    Ok(())
}

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Profile {
    tags: Vec<String>,
}

#[derive(Debug, PartialEq, FromRow)]
struct Page {
    number: i32,
    #[pgspan(default)]
    title: Option<String>,
}

#[derive(Debug, PartialEq, FromRow)]
struct Line {
    id: i64,
    #[pgspan(json)]
    profile: Profile,
    #[pgspan(json, rename = "other")]
    second: Option<Profile>,
    #[pgspan(skip)]
    cache: Vec<u8>,
    #[pgspan(flatten)]
    page: Page,
    #[pgspan(default)]
    count: i32,
}

async fn a_field_is_read_from_where_its_attribute_says(via: Via) -> Result<()> {
    let bed = bed(via).await?;
    let mut session = bed.db().await?.session().await?;
    let profile = || Profile { tags: vec!["a".into()] };
    let line = |count| {
        let page = Page { number: 7, title: None };
        Line { id: 1, profile: profile(), second: None, cache: Vec::new(), page, count }
    };
    let rows = "SELECT 7 AS number, 1::int8 AS id, '{\"tags\": [\"a\"]}'::jsonb AS profile, NULL::json AS other, 'x' AS cache";
    let all: Vec<Line> = session.fetch_all(pgspan::Sql::new(rows).push(", 5 AS count")).await?;
    assert_eq!(all, [line(5)]);
    assert_eq!(session.fetch_one::<Line>(rows).await?, line(0));
    for (missing, says) in [
        ("SELECT 7 AS number, 1::int8 AS id, NULL::json AS other", "no column \"profile\""),
        ("SELECT 1::int8 AS id, '{}'::json AS profile, NULL::json AS other", "column \"profile\" (json)"),
        ("SELECT 1::int8 AS id, NULL::json AS profile, NULL::json AS other", "column \"profile\" is NULL"),
        (
            "SELECT 1::int8 AS id, '{\"tags\": []}'::json AS profile, NULL::json AS other",
            "no column \"number\"",
        ),
    ] {
        let error = session.fetch_one::<Line>(missing).await.err().context("read")?;
        assert!(error.kind() == Kind::Row && error.to_string().contains(says), "{error}");
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, FromRow)]
#[pgspan(transparent)]
struct CustomerId(i64);

#[derive(Debug, Clone, PartialEq, FromRow)]
#[pgspan(transparent)]
struct Email {
    text: String,
}

async fn a_transparent_struct_is_a_column_a_parameter_and_an_element(via: Via) -> Result<()> {
    let bed = bed(via).await?;
    bed.run("CREATE EXTENSION citext; CREATE TABLE c (id int8, email citext); INSERT INTO c VALUES (1, 'A@x'), (2, NULL)")
        .await?;
    let mut session = bed.db().await?.session().await?;
    let (id, email) = (CustomerId(1), Email { text: "a@X".into() });
    let found: (CustomerId, Option<Email>) =
        session.fetch_one(sql!("SELECT id, email FROM c WHERE id = {id} AND email = {email}")).await?;
    assert_eq!(found, (id, Some(Email { text: "A@x".into() })));
    let (ids, emails) = (vec![id, CustomerId(2)], [email.clone()]);
    let found: Vec<CustomerId> = session
        .fetch_all(sql!(
            "SELECT id FROM c WHERE id = ANY({ids}) AND (email = ANY({emails}) OR email IS NULL) ORDER BY id"
        ))
        .await?;
    assert_eq!(found, ids);
    assert_eq!(session.fetch_one::<Vec<CustomerId>>(sql!("SELECT {ids}")).await?, ids);
    let none: Option<CustomerId> = session.fetch_one(sql!("SELECT NULL::int8")).await?;
    assert_eq!(none, None);
    let error = session.fetch_one::<CustomerId>(sql!("SELECT 'x' AS name")).await.err().context("read")?;
    assert!(error.to_string().contains("\"name\" is text"), "{error}");
    Ok(())
}
