//! Every type of PostgreSQL's catalog is in the book's table ("Types"), and is read and written as the table says.
//!
//! Siblings that were looked for: each type as a value, as NULL, as an array with NULLs; numbers of any length, and the largest and the
//! smallest; a `Decimal` at its limits, and what lies behind them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use pgspan::{Decimal, FromRow, Interval, Json, Kind, Numeric, Oid, Param, Session, Sql, sql};

use crate::support::{Bed, Via};

ways! {
    both: every_type_of_the_catalog_is_read_as_the_book_says,
        a_numeric_is_exact_whatever_its_length,
        a_decimal_is_exact_or_refused,
        an_interval_is_itself;
}

const BOOK: &str = include_str!("../../../core/docs/types.md");

/// A value of each type as PostgreSQL writes it. `None`: nobody writes one.
#[rustfmt::skip]
const SAMPLES: &[(&str, Option<&str>)] = &[
    ("bool", Some("true")), ("int2", Some("-32768")), ("int4", Some("-2147483648")), ("int8", Some("-9223372036854775808")),
    ("float4", Some("1.5")), ("float8", Some("1e-300")), ("numeric", Some("-0.0001")), ("money", Some("$12.50")),
    ("text", Some("a b")), ("varchar", Some("a b")), ("bpchar", Some("a b")), ("name", Some("a b")), ("char", Some("x")),
    ("bytea", Some("\\x00ff")), ("uuid", Some("00000000-0000-0000-0000-000000000001")),
    ("date", Some("2024-02-29")), ("time", Some("23:59:59.999999")), ("timestamp", Some("2024-02-29 12:00:00")),
    ("timestamptz", Some("2024-02-29 12:00:00+00")), ("timetz", Some("12:00:00+02")), ("interval", Some("1 mon -2 days +00:00:03")),
    ("json", Some("{\"a\":1}")), ("jsonb", Some("{\"a\": 1}")), ("jsonpath", Some("$.\"a\"")), ("xml", Some("<a/>")),
    ("inet", Some("10.1.2.3/32")), ("cidr", Some("10.0.0.0/8")), ("macaddr", Some("08:00:2b:01:02:03")),
    ("macaddr8", Some("08:00:2b:01:02:03:04:05")), ("bit", Some("1")), ("varbit", Some("101")),
    ("int4range", Some("[1,3)")), ("int8range", Some("[1,3)")), ("numrange", Some("[1.5,2]")), ("daterange", Some("[2024-01-01,2024-02-01)")),
    ("tsrange", Some("[\"2024-01-01 00:00:00\",)")), ("tstzrange", Some("empty")),
    ("int4multirange", Some("{[1,3)}")), ("int8multirange", Some("{[1,3)}")), ("nummultirange", Some("{}")),
    ("tsmultirange", Some("{}")), ("tstzmultirange", Some("{}")), ("datemultirange", Some("{}")),
    ("tsvector", Some("'a' 'b'")), ("tsquery", Some("'a' & 'b'")),
    ("point", Some("(1,2)")), ("lseg", Some("[(1,2),(3,4)]")), ("path", Some("((1,2),(3,4))")), ("box", Some("(3,4),(1,2)")),
    ("polygon", Some("((1,2),(3,4))")), ("line", Some("{1,2,3}")), ("circle", Some("<(1,2),3>")),
    ("oid", Some("4294967295")), ("xid", Some("7")), ("cid", Some("7")),
    ("regclass", Some("pg_class")), ("regcollation", Some("\"C\"")), ("regconfig", Some("english")), ("regdictionary", Some("simple")),
    ("regnamespace", Some("pg_catalog")), ("regoper", Some("||/")), ("regoperator", Some("+(integer,integer)")),
    ("regproc", Some("now")), ("regprocedure", Some("now()")), ("regrole", Some("pg_monitor")), ("regtype", Some("integer")),
    ("pg_lsn", Some("16/B374D848")), ("tid", Some("(1,2)")), ("xid8", Some("18446744073709551615")), ("pg_snapshot", Some("10:20:10,14")),
    ("txid_snapshot", Some("10:20:10,14")), ("refcursor", Some("a")), ("aclitem", Some("pg_monitor=r/pg_monitor")),
    ("pg_node_tree", None), ("pg_ndistinct", None), ("pg_dependencies", None), ("pg_mcv_list", None), ("pg_brin_bloom_summary", None),
    ("pg_brin_minmax_multi_summary", None), ("gtsvector", None),
];

/// What the book's first table says that each type is read as.
fn table() -> BTreeMap<&'static str, &'static str> {
    let rows = BOOK.lines().skip_while(|line| !line.starts_with("| PostgreSQL")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| {
        let mut cells = row.split('|').skip(1);
        let (names, read) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        names.split('`').skip(1).step_by(2).map(move |name| (name, read))
    })
    .collect()
}

/// As this type: alone, as NULL, and in an array with NULLs.
async fn reads<T: FromRow + Send>(session: &mut Session, name: &str, sample: &str) -> Result<T>
where
    Option<T>: FromRow,
    Vec<Option<T>>: FromRow,
{
    let cast = |end: &str| format!("::\"{name}\"{end}");
    let null = Sql::new("SELECT NULL").push(&cast(""));
    ensure!(session.fetch_one::<Option<T>>(null).await?.is_none());
    let array = Sql::new("SELECT ARRAY[").bind(&sample).push(&cast("")).push(", NULL]");
    ensure!(session.fetch_one::<Vec<Option<T>>>(array).await?.len() == 2);
    Ok(session.fetch_one(Sql::new("SELECT ").bind(&sample).push(&cast(""))).await?)
}

/// What the Rust type writes is what the text is.
async fn is_written<T: Param>(session: &mut Session, name: &str, sample: &str, value: &T) -> Result<()> {
    let sql =
        Sql::new("SELECT ").bind(value).push("::text = ").bind(&sample).push(&format!("::\"{name}\"::text"));
    ensure!(session.fetch_one::<bool>(sql).await?, "it is written as another");
    Ok(())
}

async fn every_type_of_the_catalog_is_read_as_the_book_says(via: Via) -> Result<()> {
    let bed = Bed::new(via).await?;
    let mut session = bed.db().await?.session().await?;
    let all: Vec<String> = session
        .fetch_all(sql!(
            "SELECT typname::text FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm')
             AND typcategory <> 'A'"
        ))
        .await?;
    let (table, samples) = (table(), BTreeMap::from_iter(SAMPLES.iter().copied()));
    assert!(all.len() > 70);
    for name in &all {
        let read = table.get(name.as_str()).with_context(|| format!("the book does not name {name}"))?;
        let sample = samples.get(name.as_str()).with_context(|| format!("no sample of {name}"))?;
        let Some(sample) = *sample else { continue };
        is_read(&mut session, name, read, sample).await.with_context(|| format!("{name}, read as {read}"))?;
    }
    Ok(())
}

async fn is_read(session: &mut Session, name: &str, read: &str, sample: &'static str) -> Result<()> {
    macro_rules! typed {
        ($($ty:ty),*) => {{
            $({
                let rust = stringify!($ty).split('<').next().and_then(|path| path.rsplit("::").next());
                let rust = rust.unwrap_or_default().trim();
                ensure!(read.contains(rust), "the book does not say {rust}");
                let value = reads::<$ty>(session, name, sample).await?;
                is_written(session, name, sample, &value).await?;
            })*
        }};
    }
    // any of them is written from a string, and read as text
    let text = format!("::\"{name}\"::text");
    let back: String = session.fetch_one(Sql::new("SELECT ").bind(&sample).push(&text)).await?;
    assert_eq!(back, sample, "{name}");
    match name {
        "bool" => typed!(bool),
        "int2" => typed!(i16),
        "int4" => typed!(i32),
        "int8" => typed!(i64),
        "float4" => typed!(f32),
        "float8" => typed!(f64),
        "numeric" => typed!(Numeric, Decimal),
        "text" | "varchar" | "bpchar" | "name" => typed!(String),
        "char" => typed!(i8),
        "bytea" => typed!(Vec<u8>),
        "uuid" => typed!(uuid::Uuid),
        "date" => typed!(jiff::civil::Date, chrono::NaiveDate, time::Date),
        "time" => typed!(jiff::civil::Time, chrono::NaiveTime, time::Time),
        "timestamp" => typed!(jiff::civil::DateTime, chrono::NaiveDateTime, time::PrimitiveDateTime),
        "timestamptz" => {
            typed!(
                std::time::SystemTime,
                jiff::Timestamp,
                chrono::DateTime<chrono::Utc>,
                time::OffsetDateTime
            );
        }
        "interval" => typed!(Interval),
        "json" => drop(reads::<serde_json::Value>(session, name, sample).await?),
        "jsonb" => typed!(serde_json::Value, Json<serde_json::Value>),
        "inet" => drop(reads::<std::net::IpAddr>(session, name, sample).await?),
        "oid" => typed!(Oid),
        name if read.contains("Oid") => drop(reads::<Oid>(session, name, sample).await?),
        "money" => {
            let value: Numeric =
                session.fetch_one(Sql::new("SELECT ").bind(&sample).push("::money::numeric")).await?;
            assert_eq!(value.as_str(), "12.50");
        }
        "pg_lsn" => {
            let row: pgspan::Row =
                session.fetch_one(Sql::new("SELECT ").bind(&sample).push("::pg_lsn")).await?;
            assert_eq!(row.get::<pgspan::types::PgLsn>(0)?.to_string(), sample);
        }
        _ => {
            ensure!(read.contains("`::text`"), "the book says how, and the test does not");
            let uncast = Sql::new("SELECT ").bind(&sample).push(&format!("::\"{name}\""));
            let error =
                session.fetch_one::<String>(uncast).await.err().context("it is read without a cast")?;
            // an aclitem has no binary form, so that the server itself refuses it
            let expected = if name == "aclitem" { Kind::Server } else { Kind::Row };
            assert_eq!(error.kind(), expected, "{error}");
        }
    }
    Ok(())
}

/// Numbers without order, always the same.
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

fn digits(next: &mut impl FnMut(u64) -> u64, length: u64) -> String {
    (0..length)
        .map(|_| if next(3) == 0 { '0' } else { char::from(b'0' + u8::try_from(next(10)).unwrap_or(0)) })
        .collect()
}

/// As PostgreSQL writes it.
fn number(next: &mut impl FnMut(u64) -> u64, whole: u64, fraction: u64) -> String {
    let (whole, fraction) = (digits(next, whole), digits(next, fraction));
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let number = if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") };
    let is_zero = number.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    if next(2) == 0 && !is_zero { format!("-{number}") } else { number }
}

async fn a_numeric_is_exact_whatever_its_length(via: Via) -> Result<()> {
    let mut session = Bed::new(via).await?.db().await?.session().await?;
    let mut next = numbers(1);
    let mut all: Vec<String> = (0..300)
        .map(|_| {
            let (whole, fraction) = (next(40), next(40));
            number(&mut next, whole, fraction)
        })
        .collect();
    let largest =
        ["9".repeat(131_072), format!("0.{}1", "0".repeat(16_382)), format!("1{}", "0".repeat(131_071))];
    all.extend(
        ["NaN", "Infinity", "-Infinity", "0.00", "10000.0000"].map(str::to_owned).into_iter().chain(largest),
    );
    let sent: Vec<Numeric> = all.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    // what is sent in its binary form is what the text says, and what is read is it again
    let (texts, back): (Vec<String>, Vec<Numeric>) =
        session.fetch_one(sql!("SELECT {sent}::text[], {sent}")).await?;
    assert!(texts == all && back == sent);
    let read: Vec<Numeric> = session.fetch_one(sql!("SELECT {all}::numeric[]")).await?;
    assert!(read == sent);
    let one: Numeric = "-12.50".parse()?;
    assert_eq!(session.fetch_one::<Numeric>(sql!("SELECT {one}")).await?, one);
    Ok(())
}

async fn a_decimal_is_exact_or_refused(via: Via) -> Result<()> {
    let mut session = Bed::new(via).await?.db().await?.session().await?;
    let mut next = numbers(2);
    let mut held = 0;
    for _ in 0..400 {
        let (whole, fraction) = (next(32), next(32));
        let text = number(&mut next, whole, fraction);
        match session.fetch_one::<Decimal>(sql!("SELECT {text}::numeric AS n")).await {
            Ok(decimal) => {
                held += 1;
                let same: bool = session.fetch_one(sql!("SELECT {decimal} = {text}")).await?;
                assert!(same, "{text} is read as {decimal}");
            }
            Err(error) => {
                assert_eq!(error.kind(), Kind::Row, "{error}");
                assert!(
                    error.to_string().contains("\"n\"") && error.to_string().contains("digits"),
                    "{error}"
                );
                let significant = text.trim_start_matches('-').trim_start_matches("0.").len();
                assert!(significant > 27, "{text} would fit");
            }
        }
    }
    assert!(held > 100);
    for fits in [
        "79228162514264337593543950335",
        "-79228162514264337593543950335",
        "0.0000000000000000000000000001",
        "1.10",
    ] {
        let decimal: Decimal = session.fetch_one(sql!("SELECT {fits}::numeric")).await?;
        assert_eq!(decimal.to_string(), fits);
        assert_eq!(session.fetch_one::<String>(sql!("SELECT {decimal}::text")).await?, fits);
    }
    for other in
        ["79228162514264337593543950336", "0.00000000000000000000000000001", "NaN", "Infinity", "1e-130"]
    {
        for error in [
            session.fetch_one::<Decimal>(sql!("SELECT {other}::numeric AS n")).await.err(),
            session.fetch_one::<Vec<Decimal>>(sql!("SELECT ARRAY[1, {other}::numeric] AS n")).await.err(),
            session.fetch_one::<Option<Decimal>>(sql!("SELECT {other}::numeric AS n")).await.err(),
        ] {
            let error = error.with_context(|| format!("{other} is read"))?;
            assert!(error.kind() == Kind::Row && error.to_string().contains("Numeric"), "{error}");
        }
    }
    Ok(())
}

async fn an_interval_is_itself(via: Via) -> Result<()> {
    let mut session = Bed::new(via).await?.db().await?.session().await?;
    for (months, days, microseconds) in [
        (0, 0, 0),
        (14, -3, 90_500_000),
        (i32::MAX, i32::MIN, 1),
        (0, 0, -1),
        (-1, 0, 0),
        (0, 0, i64::MAX / 2),
    ] {
        let interval = Interval { months, days, microseconds };
        let text = interval.to_string();
        let (back, same): (Interval, bool) = session
            .fetch_one(sql!(
                "SELECT {interval}, {interval} = {text} AND {interval}::text = {text}::interval::text"
            ))
            .await?;
        assert!(back == interval && same, "{interval}");
    }
    let span = Interval { months: 1, days: 0, microseconds: 0 };
    let day: jiff::civil::Date =
        session.fetch_one(sql!("SELECT ('2024-01-31'::date + {span})::date")).await?;
    assert_eq!(day, jiff::civil::date(2024, 2, 29));
    let many = vec![span, Interval::default()];
    assert_eq!(session.fetch_one::<Vec<Interval>>(sql!("SELECT {many}")).await?, many);
    let error = session.fetch_one::<Interval>(sql!("SELECT 'infinity'::interval AS span")).await.err();
    let error = error.context("read")?;
    assert!(error.kind() == Kind::Row && error.to_string().contains("isfinite"), "{error}");
    Ok(())
}
