//! Values that can be bound to a statement, and the PostgreSQL type each is sent as.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::BytesMut;

use crate::interval::Interval;
use crate::json::Json;
use crate::numeric::Numeric;
use crate::oid::Oid;
use crate::types::{IsNull, ToSql, Type};
use serde::Serialize;

/// A value that can stand in the braces of [`sql!`](crate::sql).
///
/// Statements are sent with the types of their parameters, so that they need one round trip and nothing need be prepared.
/// `TYPE` is that type: `i64` is `int8`, `&str` is `text`, `Vec<i32>` is `int4[]`. Where PostgreSQL needs another, cast
/// in the SQL: `{price}::numeric`.
///
/// Implemented for what `postgres-types` can send as a built-in type; `uuid`, `chrono`, `time` and `jiff` are features.
/// For an enum or a composite of yours derive [`Enum`](crate::Enum) or [`Composite`](crate::Composite); any other value
/// that serde can write goes as `jsonb` in [`Json`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be sent to PostgreSQL as a parameter",
    note = "derive `pgspan::Enum` or `pgspan::Composite` for a type of yours, wrap it in `pgspan::Json`, \
            or switch on the feature of its crate (`uuid`, `chrono`, `time`, `jiff`)",
    note = "PostgreSQL has no unsigned integers: send `i64::from(n)`, or `i64::try_from(n)?` for a `u64` or `usize`; for an object \
            identifier `pgspan::Oid(n)`"
)]
pub trait Param: ToSql + Sync {
    /// The type it is sent as.
    const TYPE: Type;
}

/// A value that can be an element of a PostgreSQL array.
#[diagnostic::on_unimplemented(message = "`{Self}` can't be an element of a PostgreSQL array")]
pub trait ArrayElement: Param {
    /// The type of an array of these.
    const ARRAY: Type;
}

/// A parameter as a statement holds it: the value, usually by reference, and its type.
#[derive(Clone)]
pub struct Bound<'a> {
    value: Value<'a>,
    ty: Type,
}

#[derive(Clone)]
enum Value<'a> {
    Borrowed(&'a (dyn ToSql + Sync)),
    /// What has no size of its own (`str`, slices), behind a reference that must be kept somewhere.
    Kept(Arc<dyn ToSql + Send + Sync + 'a>),
}

impl<'a> Bound<'a> {
    pub(crate) fn value(&self) -> &(dyn ToSql + Sync + 'a) {
        match &self.value {
            Value::Borrowed(value) => *value,
            Value::Kept(value) => &**value,
        }
    }

    pub(crate) fn ty(&self) -> &Type {
        &self.ty
    }
}

/// Binds a value; what [`sql!`](crate::sql) calls for a value given by name.
pub fn bind<P: Param>(value: &P) -> Bound<'_> {
    Bound { value: Value::Borrowed(value), ty: P::TYPE }
}

/// For [`sql!`](crate::sql): the parameters of a statement in which something stands before `IS NULL`. Of each is said which of the values it
/// is, and whether PostgreSQL is told only if that is NULL.
#[doc(hidden)]
pub fn with_null_tests<'a>(values: &[Bound<'a>], uses: &[(usize, bool)]) -> Vec<Bound<'a>> {
    let bound = |&(place, is_null_test): &(usize, bool)| {
        let value = values.get(place)?.clone();
        Some(if is_null_test { null_test(value) } else { value })
    };
    uses.iter().filter_map(bound).collect()
}

fn null_test(value: Bound<'_>) -> Bound<'_> {
    Bound { value: Value::Kept(Arc::new(NullTest(value))), ty: Type::BOOL }
}

#[derive(Debug)]
struct NullTest<'a>(Bound<'a>);

impl ToSql for NullTest<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let start = out.len();
        let is_null = self.0.value().to_sql_checked(self.0.ty(), out)?;
        out.truncate(start);
        match is_null {
            IsNull::Yes => Ok(IsNull::Yes),
            IsNull::No => true.to_sql(ty, out),
        }
    }

    crate::types::accepts!(BOOL);
    crate::types::to_sql_checked!();
}

/// How [`sql!`](crate::sql) binds a variable: through any references, for as long as what they point to lives.
#[doc(hidden)]
pub trait Bind {
    fn pgspan_bind(&self) -> Bound<'_>;
}

impl<P: Param> Bind for P {
    fn pgspan_bind(&self) -> Bound<'_> {
        bind(self)
    }
}

impl Bind for str {
    fn pgspan_bind(&self) -> Bound<'_> {
        Bound { value: Value::Kept(Arc::new(self)), ty: Type::TEXT }
    }
}

impl<T: ArrayElement> Bind for [T] {
    fn pgspan_bind(&self) -> Bound<'_> {
        Bound { value: Value::Kept(Arc::new(self)), ty: T::ARRAY }
    }
}

impl Bind for [u8] {
    fn pgspan_bind(&self) -> Bound<'_> {
        Bound { value: Value::Kept(Arc::new(self)), ty: Type::BYTEA }
    }
}

/// For [`sql!`](crate::sql): says in words what is wrong with a variable that can't be bound.
#[doc(hidden)]
pub const fn expect_param<P: Param>(_: &P) {}

impl fmt::Debug for Bound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ty) // the type, never the value
    }
}

macro_rules! params {
    ($($(#[$attribute:meta])* $rust:ty => $ty:ident, $array:ident;)*) => {$(
        $(#[$attribute])*
        impl Param for $rust {
            const TYPE: Type = Type::$ty;
        }
        $(#[$attribute])*
        impl ArrayElement for $rust {
            const ARRAY: Type = Type::$array;
        }
    )*};
}

params! {
    bool => BOOL, BOOL_ARRAY;
    i8 => CHAR, CHAR_ARRAY;
    i16 => INT2, INT2_ARRAY;
    i32 => INT4, INT4_ARRAY;
    i64 => INT8, INT8_ARRAY;
    Oid => OID, OID_ARRAY;
    Numeric => NUMERIC, NUMERIC_ARRAY;
    Interval => INTERVAL, INTERVAL_ARRAY;
    #[cfg(feature = "rust_decimal")] crate::decimal::Decimal => NUMERIC, NUMERIC_ARRAY;
    f32 => FLOAT4, FLOAT4_ARRAY;
    f64 => FLOAT8, FLOAT8_ARRAY;
    &str => TEXT, TEXT_ARRAY;
    String => TEXT, TEXT_ARRAY;
    Box<str> => TEXT, TEXT_ARRAY;
    Cow<'_, str> => TEXT, TEXT_ARRAY;
    &[u8] => BYTEA, BYTEA_ARRAY;
    Vec<u8> => BYTEA, BYTEA_ARRAY;
    Cow<'_, [u8]> => BYTEA, BYTEA_ARRAY;
    SystemTime => TIMESTAMPTZ, TIMESTAMPTZ_ARRAY;
    IpAddr => INET, INET_ARRAY;
    #[cfg(feature = "uuid")] uuid::Uuid => UUID, UUID_ARRAY;
    #[cfg(feature = "chrono")] chrono::NaiveDate => DATE, DATE_ARRAY;
    #[cfg(feature = "chrono")] chrono::NaiveTime => TIME, TIME_ARRAY;
    #[cfg(feature = "chrono")] chrono::NaiveDateTime => TIMESTAMP, TIMESTAMP_ARRAY;
    #[cfg(feature = "chrono")] chrono::DateTime<chrono::Utc> => TIMESTAMPTZ, TIMESTAMPTZ_ARRAY;
    #[cfg(feature = "chrono")] chrono::DateTime<chrono::FixedOffset> => TIMESTAMPTZ, TIMESTAMPTZ_ARRAY;
    #[cfg(feature = "time")] time::Date => DATE, DATE_ARRAY;
    #[cfg(feature = "time")] time::Time => TIME, TIME_ARRAY;
    #[cfg(feature = "time")] time::PrimitiveDateTime => TIMESTAMP, TIMESTAMP_ARRAY;
    #[cfg(feature = "time")] time::OffsetDateTime => TIMESTAMPTZ, TIMESTAMPTZ_ARRAY;
    #[cfg(feature = "jiff")] jiff::civil::Date => DATE, DATE_ARRAY;
    #[cfg(feature = "jiff")] jiff::civil::Time => TIME, TIME_ARRAY;
    #[cfg(feature = "jiff")] jiff::civil::DateTime => TIMESTAMP, TIMESTAMP_ARRAY;
    #[cfg(feature = "jiff")] jiff::Timestamp => TIMESTAMPTZ, TIMESTAMPTZ_ARRAY;
}

impl Param for serde_json::Value {
    const TYPE: Type = Type::JSONB;
}
impl ArrayElement for serde_json::Value {
    const ARRAY: Type = Type::JSONB_ARRAY;
}
impl<T: Serialize + fmt::Debug + Sync> Param for Json<T> {
    const TYPE: Type = Type::JSONB;
}
impl<T: Serialize + fmt::Debug + Sync> ArrayElement for Json<T> {
    const ARRAY: Type = Type::JSONB_ARRAY;
}
impl<T: Param> Param for Option<T> {
    const TYPE: Type = T::TYPE;
}
impl<T: ArrayElement> ArrayElement for Option<T> {
    const ARRAY: Type = T::ARRAY;
}
impl<T: Param> Param for &T {
    const TYPE: Type = T::TYPE;
}
impl<T: ArrayElement> ArrayElement for &T {
    const ARRAY: Type = T::ARRAY;
}
impl<T: ArrayElement> Param for Vec<T> {
    const TYPE: Type = T::ARRAY;
}
impl<T: ArrayElement> Param for &[T] {
    const TYPE: Type = T::ARRAY;
}
impl<T: ArrayElement, const N: usize> Param for [T; N] {
    const TYPE: Type = T::ARRAY;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_knows_the_type_it_is_sent_as() {
        let names = vec!["Thunder", "Bob"];
        assert_eq!(bind(&1_i64).ty, Type::INT8);
        assert_eq!(bind(&Some("x")).ty, Type::TEXT);
        assert_eq!(bind(&names).ty, Type::TEXT_ARRAY);
        assert_eq!(bind(&names.as_slice()).ty, Type::TEXT_ARRAY);
        assert_eq!(bind(&vec![1_u8]).ty, Type::BYTEA);
        assert_eq!(bind(&Json(vec![1])).ty, Type::JSONB);
        assert_eq!(bind(&&&1_i32).ty, Type::INT4);
    }

    #[test]
    fn a_statement_outlives_the_variable_that_refers_to_its_value() {
        fn by_name<'a>(name: &'a str, owner: &'a String, ids: &'a [i64]) -> crate::Sql<'a> {
            crate::sql!("SELECT {name}, {owner}, {ids}")
        }
        assert_eq!(by_name("a", &"b".to_owned(), &[1]).text(), "SELECT $1, $2, $3");
    }

    #[test]
    fn a_bound_value_is_not_shown() {
        assert_eq!(format!("{:?}", bind(&"secret")), "text");
    }
}
