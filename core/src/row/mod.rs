//! Rows by name: structs, tuples and single values.

mod exact;
mod opaque;

use std::any::type_name;
use std::error::Error as StdError;
use std::fmt;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::json::Json;
use crate::sql::reason;
use crate::types::{FromSql, FromSqlOwned, Type, WasNull};
#[doc(hidden)]
pub use exact::from_sql_exact;
use opaque::{Opaque, Raw};

/// A row of a result.
///
/// Most programs let [`FromRow`] take it apart. For a statement whose columns are not known in advance ask it by name or
/// by index; whatever does not fit is an error, never a panic.
pub struct Row(tokio_postgres::Row);

/// A type that can be made of a row: what `fetch_one` and its siblings return.
///
/// * a struct with `#[derive(FromRow)]`: by the names of its fields, in any order; a missing or doubled column is an error that names
///   it, and other columns are passed over, so that a table may get more of them;
/// * a tuple: by position, and the number of columns must be the same;
/// * a single value (`i64`, `Option<String>`, …): the one column there must be;
/// * [`Row`] itself.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be read from a row",
    note = "derive `pgspan::FromRow` for a struct whose fields are the columns, or read a tuple, one value, or `pgspan::Row`"
)]
pub trait FromRow: Sized {
    /// The columns a row must have, in any order; `None` where position decides.
    const COLUMNS: Option<&'static [&'static str]> = None;

    /// The columns it may have besides.
    #[doc(hidden)]
    const OPTIONAL: &'static [&'static str] = &[];

    /// Whether a row may have no others: `#[pgspan(deny_unknown_columns)]`.
    #[doc(hidden)]
    const DENIES_UNKNOWN: bool = false;

    /// Takes the row apart.
    ///
    /// # Errors
    ///
    /// [`Kind::Row`](crate::Kind::Row), naming the column, and both types where they differ.
    fn from_row(row: &Row) -> Result<Self>;

    /// The same where the columns were looked at, as it is done once for all rows of a result.
    #[doc(hidden)]
    fn from_checked(row: &Row) -> Result<Self> {
        Self::from_row(row)
    }
}

/// A type one column can be read as: everything `postgres-types` reads into an owned value.
pub trait FromColumn: FromSqlOwned {}

impl<T: FromSqlOwned> FromColumn for T {}

/// How a column is found: by `usize`, counted from 0, or by name.
pub trait ColumnIndex {
    /// Its position in the row.
    ///
    /// # Errors
    ///
    /// [`Kind::Row`](crate::Kind::Row) where there is none, or where two columns have that name.
    fn position(&self, row: &Row) -> Result<usize>;
}

impl Row {
    /// The value of a column, by name or by index.
    ///
    /// # Errors
    ///
    /// [`Kind::Row`](crate::Kind::Row): there is no such column, two have that name, it is NULL and `T` is not an
    /// `Option`, or PostgreSQL's type does not fit `T`.
    pub fn get<'a, T: FromSql<'a>>(&'a self, column: impl ColumnIndex) -> Result<T> {
        self.read(column.position(self)?)
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no column at all, as in `SELECT FROM users`.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of the columns with their types, in order. A type that PostgreSQL does not build in (an enum, citext, …) is
    /// `unknown` here.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &Type)> {
        self.0.columns().iter().map(|column| (column.name(), column.type_()))
    }

    /// For the derive: a column by name, looked for at `hint` first.
    #[doc(hidden)]
    pub fn field<T: FromSqlOwned>(&self, hint: usize, name: &str) -> Result<T> {
        match self.0.columns().get(hint) {
            Some(column) if column.name() == name => self.read(hint),
            _ => self.read(name.position(self)?),
        }
    }

    /// For the derive: a column by name, or the default where there is none.
    #[doc(hidden)]
    pub fn field_or_default<T: FromSqlOwned + Default>(&self, hint: usize, name: &str) -> Result<T> {
        match self.0.columns().iter().any(|column| column.name() == name) {
            true => self.field(hint, name),
            false => Ok(T::default()),
        }
    }

    /// For the derive: a column of json. NULL is what `null` is.
    #[doc(hidden)]
    pub fn json_field<T: DeserializeOwned>(&self, hint: usize, name: &str) -> Result<T> {
        match self.field::<Option<Json<T>>>(hint, name)? {
            Some(Json(value)) => Ok(value),
            None => serde_json::from_value(serde_json::Value::Null).map_err(|_| {
                Error::row(format!(
                    "column {name:?} is NULL: read it as Option<{}>",
                    readable(type_name::<T>())
                ))
            }),
        }
    }

    /// For the derive: the only column.
    #[doc(hidden)]
    pub fn scalar<T: FromSqlOwned>(&self) -> Result<T> {
        self.expect_len(1, type_name::<T>())?;
        self.read(0)
    }

    fn read<'a, T: FromSql<'a>>(&'a self, position: usize) -> Result<T> {
        let Some(column) = self.0.columns().get(position) else {
            return Err(Error::row(format!("there is no column {position}: the row has {}", self.len())));
        };
        let Raw(raw) = self.0.try_get(position).map_err(|_| Error::row("the row is cut short"))?;
        let (name, wanted) = (column.name(), type_name::<T>());
        let ty = match (Opaque::of(column), raw) {
            (Some(opaque), Some(raw)) => opaque.readable_as::<T>(raw)?,
            (None, _) if !T::accepts(column.type_()) => {
                let (ty, wanted) = (column.type_(), readable(wanted));
                return Err(Error::row(format!("column {name:?} is {ty}, not {wanted}")));
            }
            _ => column.type_(),
        };
        if let Some(fault) = raw.and_then(|raw| exact::fault_of(ty, raw, wanted)) {
            return Err(Error::row(format!("column {name:?} ({ty}) {fault}")));
        }
        let value = match raw {
            Some(raw) => T::from_sql(ty, raw),
            None => T::from_sql_null(ty),
        };
        value.map_err(|cause| unfit::<T>(name, ty, raw.is_none(), &*cause))
    }

    fn expect_len(&self, expected: usize, what: &str) -> Result<()> {
        match self.len() {
            len if len == expected => Ok(()),
            len => Err(Error::row(format!("the row has {len} columns, {what} has {expected}"))),
        }
    }

    /// For the derive: whether each of the columns is there once, in any order, and no others where they are denied.
    #[doc(hidden)]
    pub fn check<T: FromRow>(&self) -> Result<()> {
        let Some(expected) = T::COLUMNS else { return Ok(()) };
        self.expect_columns(expected, T::DENIES_UNKNOWN.then_some(T::OPTIONAL))
    }

    fn expect_columns(&self, expected: &[&str], only: Option<&[&str]>) -> Result<()> {
        for name in expected {
            name.position(self)?;
        }
        let Some(optional) = only else { return Ok(()) };
        let is_known = |name: &str| expected.contains(&name) || optional.contains(&name);
        match self.0.columns().iter().find(|column| !is_known(column.name())) {
            Some(surplus) => Err(Error::row(format!("column {:?} has no field to go to", surplus.name()))),
            None => Ok(()),
        }
    }
}

/// A value that is not what was asked for. Its cause may quote it, and is told in words that do not.
fn unfit<T>(name: &str, ty: &Type, is_null: bool, cause: &(dyn StdError + Sync + Send + 'static)) -> Error {
    let wanted = readable(type_name::<T>());
    if cause.is::<WasNull>() && is_null {
        return Error::row(format!("column {name:?} ({ty}) is NULL: read it as Option<{wanted}>"));
    }
    if cause.is::<WasNull>() {
        let with_null = wanted.replacen("Vec<", "Vec<Option<", 1);
        return Error::row(format!("column {name:?} ({ty}): an element is NULL: read it as {with_null}>"));
    }
    // the usual case is a label of an enum, which has no spaces behind it
    if *ty == Type::BPCHAR {
        return Error::row(format!(
            "column {name:?} (char(n)) does not hold a {wanted}: it may be padded with spaces, which a cast to text takes away"
        ));
    }
    Error::row(format!("column {name:?} ({ty}) does not hold a {wanted}{}", reason(cause)))
}

/// A type's name without the paths of what everybody knows.
fn readable(name: &str) -> String {
    [
        "alloc::string::",
        "alloc::vec::",
        "alloc::boxed::",
        "core::option::",
        "std::time::",
        "core::net::ip_addr::",
    ]
    .iter()
    .fold(name.to_owned(), |name, path| name.replace(path, ""))
}

/// Makes values of rows, checking the columns once.
pub(crate) fn from_rows<T: FromRow>(rows: Vec<tokio_postgres::Row>) -> Result<Vec<T>> {
    let mut shape = Shape::default();
    rows.into_iter().map(|row| shape.read(row)).collect()
}

/// Remembers that the columns of a result were checked.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    checked: bool,
}

impl Shape {
    pub(crate) fn read<T: FromRow>(&mut self, row: tokio_postgres::Row) -> Result<T> {
        let row = Row(row);
        if !self.checked {
            row.check::<T>()?;
        }
        self.checked = true;
        T::from_checked(&row)
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.columns()).finish() // names and types, never values
    }
}

impl ColumnIndex for usize {
    fn position(&self, _: &Row) -> Result<usize> {
        Ok(*self)
    }
}

impl ColumnIndex for &str {
    fn position(&self, row: &Row) -> Result<usize> {
        let mut found = row.0.columns().iter().enumerate().filter(|(_, column)| column.name() == *self);
        match (found.next(), found.next()) {
            (Some((position, _)), None) => Ok(position),
            (None, _) => Err(Error::row(format!("there is no column {self:?}"))),
            (Some(_), Some(_)) => {
                Err(Error::row(format!("there are two columns {self:?}: name one of them with AS")))
            }
        }
    }
}

impl FromRow for Row {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Row(row.0.clone()))
    }
}

impl FromRow for () {
    fn from_row(row: &Row) -> Result<Self> {
        row.expect_len(0, "()")
    }
}

macro_rules! scalars {
    ($($(#[$attribute:meta])* $ty:ty;)*) => {$(
        $(#[$attribute])*
        impl FromRow for $ty {
            fn from_row(row: &Row) -> Result<Self> {
                row.scalar()
            }
        }
    )*};
}

scalars! {
    bool; i8; i16; i32; i64; crate::oid::Oid; crate::numeric::Numeric; crate::interval::Interval; f32; f64; String; Box<str>;
    std::time::SystemTime; std::net::IpAddr; serde_json::Value;
    #[cfg(feature = "rust_decimal")] crate::decimal::Decimal;
    #[cfg(feature = "uuid")] uuid::Uuid;
    #[cfg(feature = "chrono")] chrono::NaiveDate;
    #[cfg(feature = "chrono")] chrono::NaiveTime;
    #[cfg(feature = "chrono")] chrono::NaiveDateTime;
    #[cfg(feature = "chrono")] chrono::DateTime<chrono::Utc>;
    #[cfg(feature = "chrono")] chrono::DateTime<chrono::FixedOffset>;
    #[cfg(feature = "time")] time::Date;
    #[cfg(feature = "time")] time::Time;
    #[cfg(feature = "time")] time::PrimitiveDateTime;
    #[cfg(feature = "time")] time::OffsetDateTime;
    #[cfg(feature = "jiff")] jiff::civil::Date;
    #[cfg(feature = "jiff")] jiff::civil::Time;
    #[cfg(feature = "jiff")] jiff::civil::DateTime;
    #[cfg(feature = "jiff")] jiff::Timestamp;
}

impl<T: FromColumn> FromRow for Option<T> {
    fn from_row(row: &Row) -> Result<Self> {
        row.scalar()
    }
}

impl<T> FromRow for Vec<T>
where
    Vec<T>: FromColumn,
{
    fn from_row(row: &Row) -> Result<Self> {
        row.scalar()
    }
}

impl<T: DeserializeOwned> FromRow for Json<T> {
    fn from_row(row: &Row) -> Result<Self> {
        row.scalar()
    }
}

macro_rules! tuples {
    ($($len:literal: $($name:ident $position:tt),+;)*) => {$(
        impl<$($name: FromColumn),+> FromRow for ($($name,)+) {
            fn from_row(row: &Row) -> Result<Self> {
                row.expect_len($len, "the tuple")?;
                Ok(($(row.read::<$name>($position)?,)+))
            }
        }
    )*};
}

tuples! {
    1: A 0;
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
    5: A 0, B 1, C 2, D 3, E 4;
    6: A 0, B 1, C 2, D 3, E 4, F 5;
    7: A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
    9: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8;
    10: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9;
    11: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10;
    12: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11;
}
