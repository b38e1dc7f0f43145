//! PostgreSQL's object identifiers.

use std::error::Error as StdError;

use bytes::BytesMut;

use crate::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// An object identifier: the number that PostgreSQL gives a table, a type, a role (PostgreSQL documentation, 8.19).
///
/// It is sent as `oid`, and read from `oid`, `xid`, `cid` and from `regclass` and the others of its kind, as the number in them. For
/// numbers of your own use `i64`: PostgreSQL stores a large `oid` in an integer's column as a negative number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(pub u32);

impl ToSql for Oid {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.0.to_sql(ty, out)
    }

    accepts!(OID);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Oid {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        u32::from_sql(ty, raw).map(Oid)
    }

    accepts!(
        OID,
        XID,
        CID,
        REGCLASS,
        REGCOLLATION,
        REGCONFIG,
        REGDICTIONARY,
        REGNAMESPACE,
        REGOPER,
        REGOPERATOR,
        REGPROC,
        REGPROCEDURE,
        REGROLE,
        REGTYPE
    );
}
