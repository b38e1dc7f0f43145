//! The query string, read strictly.

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::problem::Problem;

/// The parameters of a query string: an extractor. Each is taken once, by its name; [`finish`](Query::finish) refuses what is left.
///
/// A query string that is not percent-encoded UTF-8 is 400 `malformed_request`. Everything else that does not fit is 422
/// `invalid_request`, and the detail names the parameter.
///
/// ```
/// use axum::Json;
/// use pgspan_http::{Problem, Query};
///
/// async fn sum(mut query: Query) -> Result<Json<i32>, Problem> {
///     let a: i32 = query.required("a")?;
///     let b: Option<i32> = query.optional("b")?;
///     query.finish()?; // a typing error in a name is no silent default
///     Ok(Json(a + b.unwrap_or(0)))
/// }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads the query of a URL.
    ///
    /// # Errors
    ///
    /// 400 `malformed_request` if it is not percent-encoded UTF-8.
    pub fn parse(uri: &Uri) -> Result<Query, Problem> {
        let query = uri.query().unwrap_or_default();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Query { pairs: pairs.collect::<Result<_, Problem>>()? })
    }

    /// Takes a parameter that must be there.
    ///
    /// # Errors
    ///
    /// 422 `invalid_request` if it is missing, or is not what a `T` must be.
    pub fn required<T: Parameter>(&mut self, name: &str) -> Result<T, Problem> {
        self.optional(name)?
            .ok_or_else(|| Problem::invalid(name, format_args!("is missing; it {}", T::MUST_BE)))
    }

    /// Takes a parameter that may be there.
    ///
    /// # Errors
    ///
    /// 422 `invalid_request` if it is there and is not what a `T` must be.
    pub fn optional<T: Parameter>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match T::parse(&value) {
            Some(value) => Ok(Some(value)),
            None => Err(Problem::invalid(name, T::MUST_BE)),
        }
    }

    /// Refuses what is left: it is unknown, or was given twice.
    ///
    /// # Errors
    ///
    /// 422 `invalid_request` if anything is left.
    pub fn finish(self) -> Result<(), Problem> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::invalid(name, "is unknown, or given twice")),
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let position = self.pairs.iter().position(|(given, _)| given == name)?;
        Some(self.pairs.swap_remove(position).1)
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query, Problem> {
        Query::parse(&parts.uri)
    }
}

/// What a parameter of a query can be: integers, `bool`, `String`, and types of your own.
///
/// ```
/// use pgspan_http::Parameter;
///
/// enum Status { Active, Retired }
///
/// impl Parameter for Status {
///     const MUST_BE: &'static str = "must be active or retired";
///
///     fn parse(text: &str) -> Option<Status> {
///         match text {
///             "active" => Some(Status::Active),
///             "retired" => Some(Status::Retired),
///             _ => None,
///         }
///     }
/// }
/// ```
pub trait Parameter: Sized {
    /// What the answer says behind the parameter's name, such as `must be true or false`.
    const MUST_BE: &'static str;

    /// Reads it; `None` if it is none.
    fn parse(text: &str) -> Option<Self>;
}

/// As JSON has integers, so that the two forms of an endpoint agree: no plus sign, no leading zeros.
macro_rules! integers {
    ($($integer:ty: $must_be:literal;)*) => {$(
        impl Parameter for $integer {
            const MUST_BE: &'static str = $must_be;

            fn parse(text: &str) -> Option<$integer> {
                let is_plain = match text.strip_prefix('-').unwrap_or(text).as_bytes() {
                    [b'0'] => text == "0",
                    digits => matches!(digits, [b'1'..=b'9', ..]),
                };
                is_plain.then(|| text.parse().ok())?
            }
        }
    )*};
}

integers! {
    i16: "must be an integer from -32768 to 32767";
    i32: "must be an integer from -2147483648 to 2147483647";
    i64: "must be an integer from -9223372036854775808 to 9223372036854775807";
    u16: "must be an integer from 0 to 65535";
    u32: "must be an integer from 0 to 4294967295";
    u64: "must be an integer from 0 to 18446744073709551615";
}

impl Parameter for bool {
    const MUST_BE: &'static str = "must be true or false";

    fn parse(text: &str) -> Option<bool> {
        text.parse().ok()
    }
}

impl Parameter for String {
    const MUST_BE: &'static str = "must be text without U+0000, which PostgreSQL can't store";

    fn parse(text: &str) -> Option<String> {
        (!text.contains('\0')).then(|| text.to_owned())
    }
}

fn decode(text: &str) -> Result<String, Problem> {
    let bytes = text.as_bytes();
    let broken = bytes.iter().enumerate().any(|(position, byte)| {
        let hex = |offset| bytes.get(position + offset).is_some_and(u8::is_ascii_hexdigit);
        *byte == b'%' && !(hex(1) && hex(2))
    });
    // a plus sign is a space, unless it was written as %2B
    let spaced = text.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(decoded) if !broken => Ok(decoded.into_owned()),
        _ => Err(Problem::malformed("the query string is not percent-encoded UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_strictly() {
        let read = |query: &str| -> Result<(i64, Option<i64>), Problem> {
            let mut query = Query::parse(&format!("/add?{query}").parse().unwrap())?;
            let read = (query.required("a")?, query.optional("b")?);
            query.finish()?;
            Ok(read)
        };
        assert_eq!(read("a=1&b=-2").unwrap(), (1, Some(-2)));
        assert_eq!(read("%61=%31").unwrap(), (1, None));
        for (query, code) in [
            ("a=%zz", "malformed_request"),
            ("a=%ff", "malformed_request"),
            ("a=%", "malformed_request"),
            ("a=1&a=1", "invalid_request"),
            ("a=1&c=1", "invalid_request"),
            ("b=1", "invalid_request"),
            ("a=", "invalid_request"),
            ("a=+1", "invalid_request"),
            ("a=%2B1", "invalid_request"),
            ("a=1.0", "invalid_request"),
            ("a=-0", "invalid_request"),
            ("a=007", "invalid_request"),
            ("a=9223372036854775808", "invalid_request"),
        ] {
            assert_eq!(read(query).unwrap_err().code(), code, "{query}");
        }
    }

    #[test]
    fn text_comes_as_it_was_meant_and_every_type_has_its_own_range() {
        fn read<T: Parameter>(value: &str) -> Option<T> {
            Query::parse(&format!("/?x={value}").parse().unwrap()).unwrap().required("x").ok()
        }
        assert_eq!(read::<String>("a+b%2Bc%20d").as_deref(), Some("a b+c d"));
        assert_eq!(read::<String>("%00"), None);
        assert_eq!(
            (read::<bool>("true"), read::<bool>("false"), read::<bool>("1")),
            (Some(true), Some(false), None)
        );
        assert_eq!(
            (read::<u16>("65535"), read::<u16>("65536"), read::<u16>("-1")),
            (Some(65_535), None, None)
        );
        assert_eq!((read::<i16>("-32768"), read::<i16>("32768")), (Some(-32_768), None));
        assert_eq!((read::<u64>("18446744073709551615"), read::<u32>("4294967296")), (Some(u64::MAX), None));
    }
}
