//! Every type there and back.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use pgspan::{FromRow, Json, Kind, Param, Session, Sql, sql};
use serde::{Deserialize, Serialize};

use crate::support::{Bed, Via};

ways! {
    both:
    numbers_texts_and_bytes_come_back_as_they_were_sent,
    uuids_addresses_and_times_come_back_as_they_were_sent,
    documents_come_back_as_they_were_sent,
    arrays_and_options_come_back_as_they_were_sent,
    a_numeric_travels_as_text,
    a_parameter_of_the_wrong_type_is_an_error_and_the_session_is_usable;
}

/// The value comes back as it was sent.
async fn same<T: Param + FromRow + PartialEq + std::fmt::Debug>(
    session: &mut Session,
    value: T,
) -> Result<()> {
    let back: T =
        session.fetch_one(Sql::new("SELECT ").bind(&value)).await.with_context(|| format!("{value:?}"))?;
    assert_eq!(back, value);
    Ok(())
}

async fn session(via: Via) -> Result<Session> {
    Ok(Bed::new(via).await?.db().await?.session().await?)
}

async fn numbers_texts_and_bytes_come_back_as_they_were_sent(via: Via) -> Result<()> {
    let s = &mut session(via).await?;
    for value in [true, false] {
        same(s, value).await?;
    }
    for value in [i16::MIN, 0, i16::MAX] {
        same(s, value).await?;
    }
    for value in [i32::MIN, 0, i32::MAX] {
        same(s, value).await?;
    }
    for value in [i64::MIN, 0, i64::MAX] {
        same(s, value).await?;
    }
    same(s, pgspan::Oid(u32::MAX)).await?;
    same(s, -3_i8).await?; // "char"
    for value in [0.1_f32, f32::MIN, f32::INFINITY] {
        same(s, value).await?;
    }
    for value in [0.1_f64, f64::MAX, f64::NEG_INFINITY, f64::MIN_POSITIVE] {
        same(s, value).await?;
    }
    for value in ["", "😀".repeat(200).as_str(), "a'b\"c\\d$1{e}\n", "\u{10FFFF}"] {
        same(s, value.to_owned()).await?;
    }
    for value in [vec![], vec![0_u8, 255, 39, 92], vec![7; 100_000]] {
        same(s, value).await?;
    }
    let nan: f64 = s.fetch_one(sql!("SELECT {n}", n = f64::NAN)).await?;
    assert!(nan.is_nan());
    Ok(())
}

async fn uuids_addresses_and_times_come_back_as_they_were_sent(via: Via) -> Result<()> {
    let s = &mut session(via).await?;
    same(s, uuid::Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0)).await?;
    for value in ["127.0.0.1", "::1", "2001:db8::ff00:42:8329"] {
        same(s, value.parse::<IpAddr>()?).await?;
    }
    same(s, SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456)).await?;
    same(s, "2024-02-29T23:59:59.123456Z".parse::<jiff::Timestamp>()?).await?;
    same(s, jiff::civil::date(1600, 2, 29)).await?;
    same(s, jiff::civil::time(23, 59, 59, 999_999_000)).await?;
    same(s, jiff::civil::date(2024, 2, 29).at(1, 2, 3, 4_000)).await?;
    let at = "2024-02-29T12:00:00Z".parse::<jiff::Timestamp>()?;
    let later: jiff::Timestamp = s.fetch_one(sql!("SELECT {at} + interval '1 day'")).await?;
    assert_eq!(later.to_string(), "2024-03-01T12:00:00Z");
    Ok(())
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Profile {
    tags: Vec<String>,
    score: Option<f64>,
}

async fn documents_come_back_as_they_were_sent(via: Via) -> Result<()> {
    let s = &mut session(via).await?;
    same(s, serde_json::json!({"a": [1, null, {"b": "{c}"}], "big": 9_007_199_254_740_993_i64})).await?;
    let profile = Json(Profile { tags: vec!["x".into()], score: None });
    let back: Json<Profile> = s.fetch_one(sql!("SELECT {profile}")).await?;
    assert_eq!(back.0, profile.0);
    let tag: String = s.fetch_one(sql!("SELECT {profile} -> 'tags' ->> 0")).await?;
    assert_eq!(tag, "x");
    let json: serde_json::Value = s.fetch_one(sql!("SELECT '[1]'::json")).await?;
    assert_eq!(json, serde_json::json!([1]));
    let error =
        s.fetch_one::<Json<Profile>>(sql!("SELECT '{}'::jsonb AS profile")).await.err().context("it fits")?;
    assert!(error.kind() == Kind::Row && error.to_string().contains("\"profile\""), "{error}");
    Ok(())
}

async fn arrays_and_options_come_back_as_they_were_sent(via: Via) -> Result<()> {
    let s = &mut session(via).await?;
    same(s, Vec::<i64>::new()).await?;
    same(s, vec![1_i64, -1, i64::MAX]).await?;
    let texts = vec![
        Some("a".to_owned()),
        None,
        Some("{,\"\\".to_owned()),
        Some("NULL".to_owned()),
        Some(String::new()),
    ];
    assert_eq!(s.fetch_one::<Vec<Option<String>>>(sql!("SELECT {texts}::text[]")).await?, texts);
    same(s, vec![vec![1_u8, 2], vec![]]).await?;
    same(s, vec![uuid::Uuid::nil()]).await?;
    same(s, vec![serde_json::json!({"a": 1}), serde_json::json!(null)]).await?;
    same(s, None::<i32>).await?;
    same(s, Some(5_i32)).await?;
    same(s, None::<Vec<i32>>).await?;
    let (ids, names) = ([1_i64, 2, 3].as_slice(), ["a", "b"]);
    let found: Vec<i64> =
        s.fetch_all(sql!("SELECT n FROM generate_series(1::int8, 9) n WHERE n = ANY({ids})")).await?;
    assert_eq!(found, [1, 2, 3]);
    let rows: Vec<(i64, String)> =
        s.fetch_all(sql!("SELECT * FROM unnest({two}, {names}::text[])", two = vec![7_i64, 8])).await?;
    assert_eq!(rows, [(7, "a".into()), (8, "b".into())]);
    Ok(())
}

async fn a_numeric_travels_as_text(via: Via) -> Result<()> {
    let s = &mut session(via).await?;
    let price = "12345678901234567890.123456789";
    let double: String = s.fetch_one(sql!("SELECT ({price}::text::numeric * 2)::text")).await?;
    assert_eq!(double, "24691357802469135780.246913578");
    let error = s
        .fetch_one::<String>(sql!("SELECT {price}::text::numeric AS price"))
        .await
        .err()
        .context("it fits")?;
    assert!(error.to_string().contains("\"price\" is numeric"), "{error}");
    Ok(())
}

async fn a_parameter_of_the_wrong_type_is_an_error_and_the_session_is_usable(via: Via) -> Result<()> {
    let bed = Bed::with_students(via).await?;
    let mut session = bed.db().await?.session().await?;
    let number = 5_i64;
    let error = session.execute(sql!("SELECT 1 WHERE {number}")).await.err().context("it fits")?;
    assert_eq!((error.kind(), error.sqlstate().map(|code| code.code())), (Kind::Server, Some("42804")));
    let nul = "a\0b";
    let error =
        session.execute(sql!("INSERT INTO students VALUES ({nul})")).await.err().context("it fits")?;
    assert!(matches!(error.kind(), Kind::Server | Kind::Parameter), "{error}");
    assert!(!error.to_string().contains("a\0b"));
    session.execute(sql!("INSERT INTO students VALUES ('a')")).await?;
    assert_eq!(bed.students().await?, ["a"]);
    Ok(())
}
