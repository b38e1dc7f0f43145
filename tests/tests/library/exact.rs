//! No value is silently another: what can't be held is an error that says why.
//!
//! Siblings that were looked for: as a value, an `Option`, an element of an array; infinity of `date`, `timestamp` and `timestamptz`, both
//! ways; 24:00; addresses of both families, as a host and in a network; `timestamp` read as a moment in another time zone; NaN and both
//! infinities in JSON, at the top, in a struct and in a list; floats with many digits, the largest and the smallest; an element that is
//! NULL; surplus, doubled and missing columns by `fetch_*` and from a `Row`.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use pgspan::{Composite, Error, FromRow, Json, Kind, Oid, Row, Session, sql};
use serde::{Deserialize, Serialize};

use crate::support::{Bed, Via};

ways! {
    both: a_moment_is_itself_in_every_time_zone_or_refused,
        what_no_time_or_address_of_rust_can_hold_is_an_error_that_says_why,
        a_float_in_a_document_comes_back_with_the_same_bits,
        a_number_that_json_does_not_have_is_an_error_that_names_its_field,
        an_element_that_is_null_is_said_to_be_one,
        an_oid_is_one_and_no_number,
        a_surplus_column_is_passed_over_and_a_doubled_one_is_an_error_however_the_row_is_read;
}

async fn session(via: Via) -> Result<Session> {
    Ok(Bed::new(via).await?.db().await?.session().await?)
}

/// The column can't be read, and the error says this of it.
#[track_caller]
fn refused<T>(result: Result<T, Error>, says: &str) {
    let error = result.err().expect("it is refused");
    assert_eq!(error.kind(), Kind::Row, "{error}");
    assert!(
        error.to_string().contains(says) && error.to_string().contains("column"),
        "{error} does not say {says}"
    );
}

async fn a_moment_is_itself_in_every_time_zone_or_refused(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    bed.run("CREATE TABLE moments (with_zone timestamptz, without timestamp)").await?;
    let moment = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    let mut session = bed.db().await?.session().await?;
    let mut tx = session.transaction();
    tx.execute(sql!("SET LOCAL TimeZone = 'Europe/Berlin'")).await?;
    tx.execute(sql!("INSERT INTO moments VALUES ({moment}, {moment})")).await?;
    let back: SystemTime =
        tx.fetch_one(sql!("SELECT with_zone FROM moments WHERE with_zone = {moment}")).await?;
    assert_eq!(back, moment);
    // PostgreSQL stored the time of a clock in Berlin
    refused(tx.fetch_one::<SystemTime>(sql!("SELECT without FROM moments")).await, "no time zone");
    refused(
        tx.fetch_one::<Vec<SystemTime>>(sql!("SELECT ARRAY[without] FROM moments")).await,
        "no time zone",
    );
    let back: SystemTime =
        tx.fetch_one(sql!("SELECT without AT TIME ZONE 'Europe/Berlin' FROM moments")).await?;
    assert_eq!(back, moment);
    // what the book says to write
    let found: Vec<i32> = tx
        .fetch_all(sql!("SELECT 1 FROM moments WHERE without = {moment} AT TIME ZONE 'Europe/Berlin'"))
        .await?;
    assert_eq!(found, [1]);
    tx.commit().await?;
    let before = SystemTime::UNIX_EPOCH - Duration::from_micros(1_700_000_000_000_001);
    assert_eq!(session.fetch_one::<SystemTime>(sql!("SELECT {before}")).await?, before);
    Ok(())
}

async fn what_no_time_or_address_of_rust_can_hold_is_an_error_that_says_why(via: Via) -> Result<()> {
    let s = &mut session(via).await?;
    for infinity in ["infinity", "-infinity"] {
        refused(s.fetch_one::<SystemTime>(sql!("SELECT {infinity}::timestamptz")).await, "infinite");
        refused(s.fetch_one::<Option<SystemTime>>(sql!("SELECT {infinity}::timestamptz")).await, "infinite");
        refused(s.fetch_one::<Vec<SystemTime>>(sql!("SELECT ARRAY[now(), {infinity}]")).await, "infinite");
        refused(s.fetch_one::<jiff::Timestamp>(sql!("SELECT {infinity}::timestamptz")).await, "infinite");
        refused(s.fetch_one::<jiff::civil::DateTime>(sql!("SELECT {infinity}::timestamp")).await, "infinite");
        refused(s.fetch_one::<jiff::civil::Date>(sql!("SELECT {infinity}::date")).await, "infinite");
    }
    // through a struct that is what its field is, and where there is a place for infinity
    #[derive(Debug, pgspan::FromRow)]
    #[pgspan(transparent)]
    struct CreatedAt(SystemTime);
    refused(s.fetch_one::<CreatedAt>(sql!("SELECT 'infinity'::timestamptz")).await, "infinite");
    refused(s.fetch_one::<Vec<CreatedAt>>(sql!("SELECT ARRAY[now(), 'infinity']")).await, "infinite");
    let CreatedAt(_) = s.fetch_one(sql!("SELECT now()")).await?;
    let row: pgspan::Row =
        s.fetch_one(sql!("SELECT ARRAY[now(), 'infinity'] AS both, 'infinity'::timestamptz AS at")).await?;
    refused(row.get::<[SystemTime; 2]>("both"), "infinite");
    let held: pgspan::types::Timestamp<chrono::DateTime<chrono::Utc>> = row.get("at")?;
    assert_eq!(held, pgspan::types::Timestamp::PosInfinity);
    refused(s.fetch_one::<jiff::civil::Time>(sql!("SELECT '24:00'::time")).await, "24:00");
    refused(s.fetch_one::<Vec<jiff::civil::Time>>(sql!("SELECT '{01:00,24:00}'::time[]")).await, "24:00");
    refused(s.fetch_one::<jiff::civil::Date>(sql!("SELECT '12000-01-01'::date")).await, "does not hold");
    refused(s.fetch_one::<jiff::Timestamp>(sql!("SELECT '12000-01-01'::timestamptz")).await, "does not hold");
    let bc: jiff::civil::Date = s.fetch_one(sql!("SELECT '0044-03-15 BC'::date")).await?;
    assert_eq!(bc, jiff::civil::date(-43, 3, 15));
    for network in ["10.1.2.3/8", "::1/64"] {
        refused(s.fetch_one::<IpAddr>(sql!("SELECT {network}::inet")).await, "network");
        refused(s.fetch_one::<Vec<IpAddr>>(sql!("SELECT ARRAY[{network}::inet]")).await, "network");
    }
    for host in ["10.1.2.3", "10.1.2.3/32", "::1/128"] {
        let address: IpAddr = s.fetch_one(sql!("SELECT {host}::inet")).await?;
        assert_eq!(Some(address.to_string().as_str()), host.split('/').next());
    }
    Ok(())
}

async fn a_float_in_a_document_comes_back_with_the_same_bits(via: Via) -> Result<()> {
    let s = &mut session(via).await?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let random = std::iter::from_fn(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some(f64::from_bits(state ^ state >> 29))
    });
    let special =
        [f64::MAX, f64::MIN, f64::MIN_POSITIVE, f64::from_bits(1), 0.1, 1e23, 9_007_199_254_740_993.0];
    let sent: Vec<f64> =
        special.into_iter().chain(random.filter(|float| float.is_finite()).take(2_000)).collect();
    let back: Json<Vec<f64>> = s.fetch_one(sql!("SELECT {sent}", sent = Json(&sent))).await?;
    for (sent, back) in sent.iter().zip(&back.0) {
        assert_eq!(sent.to_bits(), back.to_bits(), "{sent}");
    }
    let largest: Json<f64> = s.fetch_one(sql!("SELECT {largest}", largest = Json(f64::MAX))).await?;
    assert_eq!(largest.0, f64::MAX);
    let value: serde_json::Value = s.fetch_one(sql!("SELECT '[5e-324]'::jsonb")).await?;
    assert_eq!(value, serde_json::json!([f64::from_bits(1)]));
    Ok(())
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Composite)]
struct Reading {
    sensor: String,
    value: f64,
}

async fn a_number_that_json_does_not_have_is_an_error_that_names_its_field(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    bed.run("CREATE TYPE reading AS (sensor text, value float8); CREATE TABLE readings (reading reading)")
        .await?;
    let mut session = bed.db().await?.session().await?;
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let reading = Reading { sensor: "CANARY".into(), value };
        let many = vec![reading.clone()];
        let document = Json(&reading);
        let insert = sql!("INSERT INTO readings VALUES (jsonb_populate_record(NULL::reading, {reading}))");
        for statement in
            [insert, sql!("SELECT {document}"), sql!("SELECT {many}"), sql!("SELECT {x}", x = Some(document))]
        {
            let error = session.execute(&statement).await.err().context("it was sent")?;
            assert_eq!(error.kind(), Kind::Parameter, "{error}");
            assert!(
                error.to_string().contains("\"value\"") && !format!("{error:?}").contains("CANARY"),
                "{error}"
            );
        }
    }
    let reading = Reading { sensor: "a".into(), value: 0.1 };
    session
        .execute(sql!("INSERT INTO readings VALUES (jsonb_populate_record(NULL::reading, {reading}))"))
        .await?;
    let back: Vec<(Reading,)> = session.fetch_all(sql!("SELECT to_jsonb(reading) FROM readings")).await?;
    assert_eq!(back, [(reading,)]);
    Ok(())
}

async fn an_element_that_is_null_is_said_to_be_one(via: Via) -> Result<()> {
    let s = &mut session(via).await?;
    refused(
        s.fetch_one::<Vec<i32>>(sql!("SELECT '{1,NULL}'::int4[]")).await,
        "an element is NULL: read it as Vec<Option<i32>>",
    );
    refused(
        s.fetch_one::<Option<Vec<String>>>(sql!("SELECT '{NULL}'::text[]")).await,
        "an element is NULL: read it as Option<Vec<Option<String>>>",
    );
    refused(
        s.fetch_one::<Vec<i32>>(sql!("SELECT NULL::int4[]")).await,
        "is NULL: read it as Option<Vec<i32>>",
    );
    let read: Vec<Option<i32>> = s.fetch_one(sql!("SELECT '{1,NULL}'::int4[]")).await?;
    assert_eq!(read, [Some(1), None]);
    let read: Option<Vec<Option<String>>> = s.fetch_one(sql!("SELECT '{NULL}'::text[]")).await?;
    assert_eq!(read, Some(vec![None]));
    Ok(())
}

async fn an_oid_is_one_and_no_number(via: Via) -> Result<()> {
    let s = &mut session(via).await?;
    let class: Oid = s.fetch_one(sql!("SELECT 'pg_class'::regclass")).await?;
    let name: String = s.fetch_one(sql!("SELECT relname::text FROM pg_class WHERE oid = {class}")).await?;
    assert_eq!(name, "pg_class");
    let large = Oid(u32::MAX);
    assert_eq!(s.fetch_one::<Oid>(sql!("SELECT {large}")).await?, large);
    assert_eq!(
        s.fetch_one::<Vec<Oid>>(sql!("SELECT {list}", list = vec![large, Oid(0)])).await?,
        [large, Oid(0)]
    );
    refused(s.fetch_one::<Oid>(sql!("SELECT 1::int4")).await, "is int4");
    Ok(())
}

#[derive(Debug, PartialEq, FromRow)]
struct Pair {
    a: i32,
    b: i32,
}

#[derive(Debug, PartialEq, FromRow)]
#[pgspan(deny_unknown_columns)]
struct Strict {
    a: i32,
    #[pgspan(default)]
    b: i32,
}

async fn a_surplus_column_is_passed_over_and_a_doubled_one_is_an_error_however_the_row_is_read(
    via: Via,
) -> Result<()> {
    /// All at once, one, as a stream, and from a row by hand.
    async fn each_way<T: FromRow + Send>(
        session: &mut Session,
        text: &'static str,
    ) -> Result<Vec<Result<T, Error>>> {
        let all = session.fetch_all::<T>(text).await.map(|mut rows| rows.remove(0));
        let one = session.fetch_one::<T>(text).await;
        let row: Row = session.fetch_one(text).await?;
        let mut stream = session.fetch_stream::<T>(text).await?;
        let streamed = stream.next().await.map(|row| row.expect("there is one"));
        if streamed.is_ok() {
            while stream.next().await?.is_some() {}
        }
        Ok(vec![all, one, T::from_row(&row), streamed])
    }
    let s = &mut session(via).await?;
    for read in each_way::<Pair>(s, "SELECT 0 AS c, 2 AS b, 1 AS a, 0 AS c").await? {
        assert_eq!(read?, Pair { a: 1, b: 2 });
    }
    let s = &mut session(via).await?;
    for read in each_way::<Pair>(s, "SELECT 1 AS a, 2 AS b, 3 AS a").await? {
        refused(read, "two columns \"a\"");
    }
    let s = &mut session(via).await?;
    for read in each_way::<Pair>(s, "SELECT 1 AS a, 3 AS c").await? {
        refused(read, "no column \"b\"");
    }
    let s = &mut session(via).await?;
    for read in each_way::<Strict>(s, "SELECT 1 AS a, 3 AS c").await? {
        refused(read, "column \"c\" has no field");
    }
    let s = &mut session(via).await?;
    for (text, expected) in [("SELECT 2 AS b, 1 AS a", 2), ("SELECT 1 AS a", 0)] {
        for read in each_way::<Strict>(s, text).await? {
            assert_eq!(read?, Strict { a: 1, b: expected });
        }
    }
    Ok(())
}
