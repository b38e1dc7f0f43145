//! What the macros expand to, compiled and run against a stand-in for `pgspan` with the real `postgres-types`.
#![deny(warnings, missing_docs, unreachable_pub, missing_debug_implementations)]
#![deny(clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::indexing_slicing)]

extern crate self as pgspan;

use std::cell::Cell;

use pgspan_macros::{Composite, Enum, FromRow, sql};
use serde::{Deserialize, Serialize};
use stand_in::{ArrayElement, Error, FromColumn, FromRow, Json, Param, Row, Sql, bind, types};
use types::private::BytesMut;
use types::{Format, FromSql, ToSql, Type};

mod stand_in {
    //! As much of `pgspan` as the expansions name.
    #![allow(missing_docs, unreachable_pub, missing_debug_implementations)]

    use serde::{Serialize, de::DeserializeOwned};
    pub use tokio_postgres::types;
    use types::{FromSql, FromSqlOwned, IsNull, ToSql, Type, private::BytesMut};

    pub type Error = Box<dyn std::error::Error + Sync + Send>;

    pub trait Param: ToSql + Sync {
        const TYPE: Type;
    }

    pub trait ArrayElement: Param {
        const ARRAY: Type;
    }

    pub type Bound<'a> = (&'a (dyn ToSql + Sync), Type);

    pub fn bind<P: Param>(value: &P) -> Bound<'_> {
        (value, P::TYPE)
    }

    pub struct Sql<'a>(pub &'static str, pub Vec<Bound<'a>>);

    impl<'a> Sql<'a> {
        pub fn from_macro(text: &'static str, params: Vec<Bound<'a>>) -> Self {
            Self(text, params)
        }
    }

    impl Param for i64 {
        const TYPE: Type = Type::INT8;
    }

    impl Param for String {
        const TYPE: Type = Type::TEXT;
    }

    pub trait FromColumn: FromSqlOwned {}

    impl<T: FromSqlOwned> FromColumn for T {}

    pub trait FromRow: Sized {
        const COLUMNS: Option<&'static [&'static str]>;
        fn from_row(row: &Row) -> Result<Self, Error>;
    }

    /// Columns of text.
    pub struct Row(pub Vec<(&'static str, &'static str)>);

    impl Row {
        pub fn field<T: FromSqlOwned>(&self, hint: usize, name: &str) -> Result<T, Error> {
            let column = self.0.get(hint).filter(|column| column.0 == name);
            let column = column.or_else(|| self.0.iter().find(|column| column.0 == name));
            T::from_sql(&Type::TEXT, column.ok_or("no such column")?.1.as_bytes())
        }

        pub fn scalar<T: FromSqlOwned>(&self) -> Result<T, Error> {
            T::from_sql(&Type::TEXT, self.0.first().ok_or("no column")?.1.as_bytes())
        }
    }

    #[derive(Debug)]
    pub struct Json<T>(pub T);

    impl<T: Serialize + std::fmt::Debug> ToSql for Json<T> {
        fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Error> {
            if *ty == Type::JSONB {
                out.extend_from_slice(&[1]);
            }
            out.extend_from_slice(&serde_json::to_vec(&self.0)?);
            Ok(IsNull::No)
        }

        fn accepts(ty: &Type) -> bool {
            matches!(*ty, Type::JSON | Type::JSONB)
        }

        types::to_sql_checked!();
    }

    impl<'a, T: DeserializeOwned> FromSql<'a> for Json<T> {
        fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Error> {
            let text =
                if *ty == Type::JSONB { raw.strip_prefix(&[1]).ok_or("unknown version")? } else { raw };
            Ok(Self(serde_json::from_slice(text)?))
        }

        fn accepts(ty: &Type) -> bool {
            matches!(*ty, Type::JSON | Type::JSONB)
        }
    }
}

#[derive(Debug, PartialEq, FromRow)]
struct User<T> {
    id: T,
    #[pgspan(rename = "full name")]
    r#type: Option<T>,
}

#[derive(Debug, PartialEq, FromRow)]
struct Count(String);

#[derive(Debug, PartialEq, FromRow)]
struct Nothing {}

macro_rules! point {
    ($name:ident, $ty:ty) => {
        #[derive(Debug, PartialEq, FromRow)]
        struct $name {
            x: $ty,
            y: String,
        }
    };
}

point!(Point, String);

#[derive(Debug, Clone, Copy, PartialEq, Enum)]
#[pgspan(rename_all = "kebab-case")]
enum Mood {
    VeryHappy,
    #[pgspan(rename = "glücklich")]
    Happy,
    /// A variant may be called like the method.
    #[expect(non_camel_case_types, reason = "the name is the test")]
    label,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Composite)]
struct Address {
    street: String,
    #[serde(rename = "town")]
    city: Option<String>,
}

impl Address {
    fn parameters(self) -> usize {
        let (r#type, r#gen) = (1_i64, 2_i64);
        sql!("SELECT {self}, {type}, {gen}").1.len()
    }
}

fn written(value: &dyn ToSql, ty: &Type) -> Result<Vec<u8>, Error> {
    let mut out = BytesMut::new();
    value.to_sql_checked(ty, &mut out)?;
    Ok(out.to_vec())
}

#[test]
fn a_statement_borrows_variables_and_computed_values() -> Result<(), Error> {
    let (a, name) = (1_i64, "Bob".to_owned());
    let kept = sql!("SELECT {a}, {name}, {a}");
    assert_eq!((kept.0, kept.1.len()), ("SELECT $1, $2, $1", 2));
    let length = |Sql(_, values): Sql<'_>| values.len();
    assert_eq!(length(sql!("SELECT {a}, {b}", b = name.to_uppercase())), 2);
    let mut bytes = Vec::new();
    for (value, ty) in sql!("SELECT {name}, {mood}", mood = Mood::Happy).1 {
        bytes.push((written(value, &ty)?, ty));
    }
    assert_eq!(bytes, [(b"Bob".to_vec(), Type::TEXT), ("glücklich".into(), Type::UNKNOWN)]);
    Ok(())
}

#[test]
fn a_value_is_computed_once_however_often_it_is_named() {
    let calls = Cell::new(0);
    let next = || {
        calls.set(calls.get() + 1);
        1_i64
    };
    assert_eq!(sql!("SELECT {n}, {n}", n = next()).1.len(), 1);
    assert_eq!(calls.get(), 1);
}

#[test]
fn a_statement_can_come_through_another_macro() {
    macro_rules! select {
        ($sql:literal, $value:expr) => {
            sql!($sql, value = $value)
        };
    }
    let a = 1_i64;
    assert_eq!(select!("SELECT {value}, {a}", 2_i64 + 1).1.len(), 2);
}

#[test]
fn a_keyword_and_self_are_variables() {
    assert_eq!(Address { street: String::new(), city: None }.parameters(), 3);
}

#[test]
fn a_struct_is_read_by_name_in_any_order() -> Result<(), Error> {
    assert_eq!(User::<String>::COLUMNS, Some(["id", "full name"].as_slice()));
    let user = User { id: "1".to_owned(), r#type: Some("Bob".to_owned()) };
    assert_eq!(User::from_row(&Row(vec![("id", "1"), ("full name", "Bob")]))?, user);
    assert_eq!(User::from_row(&Row(vec![("full name", "Bob"), ("id", "1")]))?, user);
    assert!(User::<String>::from_row(&Row(vec![("id", "1")])).is_err());
    Ok(())
}

#[test]
fn a_newtype_is_the_only_column_and_an_empty_struct_none() -> Result<(), Error> {
    assert_eq!(Count::COLUMNS, None);
    assert_eq!(Count::from_row(&Row(vec![("?column?", "3")]))?, Count("3".to_owned()));
    assert_eq!(Nothing::COLUMNS, Some([].as_slice()));
    assert_eq!(Nothing::from_row(&Row(Vec::new()))?, Nothing {});
    Ok(())
}

#[test]
fn a_struct_can_come_through_another_macro() -> Result<(), Error> {
    let point = Point { x: "1".to_owned(), y: "2".to_owned() };
    assert_eq!(Point::from_row(&Row(vec![("x", "1"), ("y", "2")]))?, point);
    Ok(())
}

#[test]
fn an_enum_goes_and_comes_as_its_label() -> Result<(), Error> {
    for (mood, label) in [(Mood::VeryHappy, "very-happy"), (Mood::Happy, "glücklich"), (Mood::label, "label")]
    {
        assert_eq!(mood.label(), label);
        assert_eq!(written(&mood, &Type::UNKNOWN)?, label.as_bytes());
        assert_eq!(mood.encode_format(&Type::UNKNOWN) as i16, Format::Text as i16);
        assert_eq!(Mood::from_sql(&Type::TEXT, label.as_bytes())?, mood);
    }
    assert_eq!((Mood::TYPE, Mood::ARRAY), (Type::UNKNOWN, Type::TEXT_ARRAY));
    assert!(<Mood as FromSql>::accepts(&Type::VARCHAR) && !<Mood as FromSql>::accepts(&Type::INT4));
    Ok(())
}

#[test]
fn an_array_of_enums_goes_and_comes_as_an_array_of_text() -> Result<(), Error> {
    let moods = vec![Mood::VeryHappy, Mood::Happy];
    let bytes = written(&moods, &Type::TEXT_ARRAY)?;
    assert_eq!(bytes, written(&vec!["very-happy", "glücklich"], &Type::TEXT_ARRAY)?);
    assert_eq!(Vec::<Mood>::from_sql(&Type::TEXT_ARRAY, &bytes)?, moods);
    Ok(())
}

#[test]
fn an_unknown_label_is_an_error_without_the_value() {
    let error = Mood::from_sql(&Type::TEXT, b"s3cr3t").map_err(|error| error.to_string());
    assert_eq!(error, Err("not a label of enum Mood".to_owned()));
}

#[test]
fn a_composite_goes_and_comes_as_json() -> Result<(), Error> {
    let address = Address { street: "Elm".to_owned(), city: None };
    for (ty, version) in [(Type::JSONB, "\u{1}"), (Type::JSON, "")] {
        let bytes = written(&address, &ty)?;
        assert_eq!(bytes, format!(r#"{version}{{"street":"Elm","town":null}}"#).into_bytes());
        assert_eq!(Address::from_sql(&ty, &bytes)?, address);
    }
    assert_eq!((Address::TYPE, Address::ARRAY), (Type::JSONB, Type::JSONB_ARRAY));
    assert!(written(&address, &Type::TEXT).is_err());
    Ok(())
}
