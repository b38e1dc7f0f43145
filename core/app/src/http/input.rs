//! What a request brings: its query and its JSON body, read strictly.

use std::borrow::Cow;

use axum::extract::Request;
use axum::http::Uri;
use axum::http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use percent_encoding::percent_decode_str;
use pgspan::Database;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_path_to_error::Segment;

use super::problem::Problem;

/// 100 names of 200 characters, all written as `\uXXXX` pairs, are 240 KB.
const BODY_BYTES: u64 = 256 * 1024;

const INTEGER: &str = "must be an integer from -9223372036854775808 to 9223372036854775807";

/// The parameters of a query string, each taken once.
pub(super) struct Query<'u> {
    pairs: Vec<(Cow<'u, str>, Cow<'u, str>)>,
}

impl<'u> Query<'u> {
    pub(super) fn parse(uri: &'u Uri) -> Result<Query<'u>, Problem> {
        let query = uri.query().unwrap_or_default();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Query { pairs: pairs.collect::<Result<_, Problem>>()? })
    }

    pub(super) fn required(&mut self, name: &str) -> Result<i64, Problem> {
        self.optional(name)?.ok_or_else(|| Problem::invalid(name, format_args!("is missing; it {INTEGER}")))
    }

    pub(super) fn optional(&mut self, name: &str) -> Result<Option<i64>, Problem> {
        let Some(position) = self.pairs.iter().position(|(given, _)| given == name) else { return Ok(None) };
        let (_, value) = self.pairs.swap_remove(position);
        match parse_integer(&value) {
            Some(number) => Ok(Some(number)),
            None => Err(Problem::invalid(name, format_args!("{INTEGER}"))),
        }
    }

    /// What is left is unknown, or was given twice.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::invalid(name, format_args!("is unknown, or given twice"))),
        }
    }
}

/// As JSON has integers, so that the two forms of an endpoint agree.
fn parse_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| serde_json::from_str(text).ok())?
}

fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    let bytes = text.as_bytes();
    let broken = bytes.iter().enumerate().any(|(position, byte)| {
        let hex = |offset| bytes.get(position + offset).is_some_and(u8::is_ascii_hexdigit);
        *byte == b'%' && !(hex(1) && hex(2))
    });
    let decoded = percent_decode_str(text).decode_utf8();
    match decoded {
        Ok(decoded) if !broken => Ok(match decoded.contains('+') && text.contains('+') {
            // a plus sign is a space, unless it was written as %2B
            true => Cow::Owned(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()),
            false => decoded,
        }),
        _ => Err(Problem::malformed("the query string is not percent-encoded UTF-8")),
    }
}

/// Reads a body, at most 256 KiB of it, within the request's deadline. What is announced as longer is refused before a byte of
/// it is read.
pub(super) async fn read_body(db: &Database, request: Request) -> Result<Vec<u8>, Problem> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > BODY_BYTES) {
        return Err(Problem::too_large());
    }
    let mut body = request.into_body();
    let read = async {
        // one piece of memory: a list of pieces of a byte would cost sixty times as much
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::malformed("the body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() as u64 + data.len() as u64 > BODY_BYTES {
                return Err(Problem::too_large());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    db.until_deadline(read).await.unwrap_or_else(|_| Err(Problem::request_timeout()))
}

/// Reads a JSON object: what is no JSON is malformed, what is JSON but not what was asked for is invalid.
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let syntax = std::str::from_utf8(body).is_ok() && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if !syntax {
        return Err(Problem::malformed("the body is not JSON"));
    }
    // serde would take [1, 2] for a struct
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Problem::invalid("body", format_args!("must be a JSON object")));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let message = error.inner().to_string();
        for fault in ["missing", "unknown", "duplicate"] {
            // "missing field `a`", "unknown field `x`, expected …"
            if let Some(name) = message.strip_prefix(fault).and_then(|rest| rest.split('`').nth(1)) {
                let is = if fault == "duplicate" { "given twice" } else { fault };
                return Problem::invalid(name, format_args!("is {is}"));
            }
        }
        let path = error.path().to_string();
        match error.path().iter().next() {
            Some(Segment::Map { key }) if key == "names" && path != "names" => {
                Problem::invalid(&path, format_args!("must be a string of Unicode scalar values"))
            }
            Some(Segment::Map { key }) if key == "names" => {
                Problem::invalid(&path, format_args!("must be an array of strings"))
            }
            Some(Segment::Map { .. }) => Problem::invalid(&path, format_args!("{INTEGER}")),
            _ => Problem::invalid("body", format_args!("does not fit")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "read by serde alone")]
    struct Numbers {
        a: i64,
        b: i64,
    }

    #[test]
    fn what_is_no_json_is_malformed_and_what_does_not_fit_is_invalid_and_named() {
        for body in ["{", "", "{}x", "NaN", "{\"a\":NaN}", "{\"a\":01}", "\u{feff}{}"] {
            assert_eq!(json::<Numbers>(body.as_bytes()).unwrap_err().code(), "malformed_request", "{body}");
        }
        assert_eq!(json::<Numbers>(b"{\"a\":\"\xff\"}").unwrap_err().code(), "malformed_request");
        for (body, field) in [
            ("[1,2]", "body"),
            ("1", "body"),
            ("{}", "a"),
            ("{\"a\":1}", "b"),
            ("{\"a\":1e400,\"b\":1}", "a"),
            ("{\"a\":9223372036854775808,\"b\":1}", "a"),
            ("{\"a\":1.5,\"b\":1}", "a"),
            ("{\"a\":1e3,\"b\":1}", "a"),
            ("{\"a\":\"1\",\"b\":1}", "a"),
            ("{\"a\":1,\"b\":null}", "b"),
            ("{\"a\":1,\"b\":[]}", "b"),
            ("{\"a\":1,\"b\":true}", "b"),
            ("{\"a\":1,\"b\":2,\"c\":3}", "c"),
            ("{\"a\":1,\"a\":1,\"b\":2}", "a"),
        ] {
            let problem = json::<Numbers>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.code(), "invalid_request", "{body}");
            assert!(problem.detail().starts_with(&format!("{field}: ")), "{body}: {}", problem.detail());
        }
        let exact: Numbers = json(b" {\"a\":9223372036854775807,\"b\":-9223372036854775808}").unwrap();
        assert_eq!((exact.a, exact.b), (i64::MAX, i64::MIN));
    }

    #[test]
    fn a_query_is_read_strictly() {
        let read = |query: &str| -> Result<(i64, Option<i64>), Problem> {
            let uri: Uri = format!("/add?{query}").parse().unwrap();
            let mut query = Query::parse(&uri)?;
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
            ("a=007", "invalid_request"),
            ("a=9223372036854775808", "invalid_request"),
        ] {
            assert_eq!(read(query).unwrap_err().code(), code, "{query}");
        }
    }
}
