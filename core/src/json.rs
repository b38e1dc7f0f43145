//! Values that serde writes and reads, as `json` and `jsonb`.

mod finite;

use std::error::Error as StdError;
use std::fmt;

use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use finite::NotFinite;

use crate::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// Any value that serde can write or read, as `jsonb`: `{document}` with `let document = Json(&profile)`, and `Json<Profile>` as a column.
///
/// A number that JSON does not have (NaN, an infinity) is an error that names its field, and not `null`. A float comes back with the same
/// bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize + fmt::Debug> ToSql for Json<T> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        finite::check(&self.0)?;
        if *ty == Type::JSONB {
            out.put_u8(VERSION);
        }
        serde_json::to_writer(out.writer(), &self.0)?;
        Ok(IsNull::No)
    }

    accepts!(JSON, JSONB);
    to_sql_checked!();
}

impl<'a, T: Deserialize<'a>> FromSql<'a> for Json<T> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let text = match (ty == &Type::JSONB, raw) {
            (false, text) | (true, [VERSION, text @ ..]) => text,
            (true, _) => return Err("another version of jsonb".into()),
        };
        Ok(Json(serde_json::from_slice(text)?))
    }

    accepts!(JSON, JSONB);
}

/// The first byte of jsonb's binary form.
const VERSION: u8 = 1;

impl<T: Serialize> Serialize for Json<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Json<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Json)
    }
}
