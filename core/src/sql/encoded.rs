//! A statement whose values are written: nothing about it can fail any more when it is sent.

use std::error::Error as StdError;
use std::fmt;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

use super::open;
use super::statement::Sql;
use crate::error::{Error, Kind, Result};
use crate::json::NotFinite;
use crate::types::Unheld;

/// A statement with its values as PostgreSQL gets them.
///
/// In a flight of several statements the others, and a COMMIT, do not wait for one that can't be sent. So all are encoded before the
/// first is.
pub(crate) struct Encoded<'q> {
    sql: &'q Sql<'q>,
    values: BytesMut,
    params: Vec<Encoding>,
}

#[derive(Clone, Copy)]
struct Encoding {
    /// Where the value ends in `values`; it begins where the one before ends.
    end: usize,
    is_null: bool,
    is_text: bool,
}

/// PostgreSQL's protocol counts parameters in 16 bits.
const PARAMETERS_MAX: usize = 65_535;

/// The longest message that a server takes is 1 GB (`PQ_LARGE_MESSAGE_LIMIT`).
const MESSAGE_MAX: usize = 0x3fff_fffe;

impl<'q> Encoded<'q> {
    /// # Errors
    ///
    /// [`Kind::Parameter`]: a value does not fit its type, or the whole does not fit into a message.
    pub(crate) fn of(sql: &'q Sql<'q>) -> Result<Encoded<'q>> {
        let fault = |text: &str| Err(Error::new(Kind::Parameter, text));
        if sql.text.contains('\0') {
            return fault("the statement's text holds U+0000");
        }
        if sql.params.len() > PARAMETERS_MAX {
            return fault(
                "the statement has more than 65535 parameters, PostgreSQL's limit: pass many values as one array, as in \
                 INSERT … SELECT * FROM unnest({ids}, {names}::text[])",
            );
        }
        let mut encoded =
            Encoded { sql, values: BytesMut::new(), params: Vec::with_capacity(sql.params.len()) };
        for (position, param) in sql.params.iter().enumerate() {
            let (value, ty) = (param.value(), param.ty());
            let is_null = open::write(value, ty, &mut encoded.values).map_err(|cause| {
                let number = position + 1;
                let why = reason(&*cause);
                Error::new(Kind::Parameter, format!("parameter {number} does not fit its type {ty}{why}"))
            })?;
            encoded.params.push(Encoding {
                end: encoded.values.len(),
                is_null: matches!(is_null, IsNull::Yes),
                is_text: open::is_open(ty) || matches!(value.encode_format(ty), Format::Text),
            });
        }
        let lengths = 64 + 12 * encoded.params.len();
        if sql.text.len() + encoded.values.len() + lengths > MESSAGE_MAX {
            return fault(
                "the statement with its values is larger than 1 GB, PostgreSQL's limit for a message: send it in parts, or \
                 the data by COPY",
            );
        }
        Ok(encoded)
    }

    pub(crate) fn sql(&self) -> &'q Sql<'q> {
        self.sql
    }

    pub(crate) fn text(&self) -> &'q str {
        self.sql.text()
    }

    /// The types that the parameters are sent as.
    pub(crate) fn types(&self) -> impl Iterator<Item = &'q Type> + Clone {
        self.sql.params.iter().map(|param| open::sent_as(param.ty()))
    }

    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = Value<'_>> {
        let mut start = 0;
        self.params.iter().map(move |param| {
            let bytes = self.values.get(start..param.end).unwrap_or_default();
            start = param.end;
            Value { bytes: (!param.is_null).then_some(bytes), is_text: param.is_text }
        })
    }

    /// The values with their types.
    pub(crate) fn typed_values(&self) -> impl Iterator<Item = (Value<'_>, Type)> {
        self.values().zip(self.types().cloned())
    }
}

/// A value as it is sent.
pub(crate) struct Value<'e> {
    bytes: Option<&'e [u8]>,
    is_text: bool,
}

/// Nothing of it: tokio-postgres writes its parameters to the log, at `debug`.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self.bytes {
            Some(bytes) => {
                out.put_slice(bytes);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        if self.is_text { Format::Text } else { Format::Binary }
    }

    tokio_postgres::types::to_sql_checked!();
}

/// What is known of a value's fault without quoting the value: serde_json says where in the JSON it is, and of what sort.
pub(crate) fn reason(cause: &(dyn StdError + 'static)) -> String {
    if let Some(number) = cause.downcast_ref::<NotFinite>() {
        return format!(": {number}");
    }
    if let Some(unheld) = cause.downcast_ref::<Unheld>() {
        return format!(": {unheld}");
    }
    let Some(json) = cause.downcast_ref::<serde_json::Error>() else { return String::new() };
    let sort = match json.classify() {
        serde_json::error::Category::Io => "it can't be written as JSON",
        serde_json::error::Category::Syntax => "no JSON",
        serde_json::error::Category::Data => "the JSON has another form",
        serde_json::error::Category::Eof => "the JSON ends too early",
    };
    match json.line() {
        0 => format!(": {sort}"),
        line => format!(": {sort}, at line {line}, column {}", json.column()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;

    #[test]
    fn a_statement_that_can_not_be_sent_is_an_error_that_says_why() {
        let number = 1_i32;
        let many = (0..=PARAMETERS_MAX).fold(Sql::new("SELECT "), |sql, _| sql.bind(&number));
        let error = Encoded::of(&many).err().unwrap();
        assert!(error.kind() == Kind::Parameter && error.to_string().contains("unnest"), "{error}");
        let sql = Sql::new("SELECT '\0'");
        assert_eq!(Encoded::of(&sql).err().unwrap().kind(), Kind::Parameter);
    }

    #[test]
    fn a_value_that_does_not_fit_is_not_quoted() {
        struct Canary;
        impl std::fmt::Debug for Canary {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("CANARY")
            }
        }
        impl serde::Serialize for Canary {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("CANARY"))
            }
        }
        let value = Json(Canary);
        let sql = Sql::new("SELECT ").bind(&value);
        let error = Encoded::of(&sql).err().unwrap();
        assert!(error.to_string().contains("parameter 1"), "{error}");
        let mut cause: Option<&dyn StdError> = Some(&error);
        while let Some(error) = cause {
            assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
            cause = error.source();
        }
    }
}
