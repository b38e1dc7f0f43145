//! A JSON body, read strictly.

use std::fmt;
use std::ops::Range;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use pgspan::Database;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_path_to_error::{Error as Fault, Segment};

use crate::context::RequestContext;
use crate::problem::Problem;
use crate::query::Parameter;

/// 100 names of 200 characters, all written as `\uXXXX` pairs, are 240 KB.
const USUAL_KIB: u32 = 256;

/// The JSON object in a request's body: an extractor. Answer with [`axum::Json`].
///
/// In this order, and each before the next is looked at:
///
/// * A `content-type` that is not `application/json`, or a compressed body, is 415 `unsupported_media_type`. A form of another
///   site can't send that type, so it can't write here.
/// * While [everyone may write](crate::Writes::Anonymous), another host or a page of another site is 403 `forbidden`.
/// * A body of more than `KIB` KiB is 413 `too_large`, at once if it was announced as longer. Default: 256 KiB, which many
///   requests can have in memory at a time. An endpoint that takes more says so: `JsonBody<Import, 4096>`.
/// * A body that does not arrive before the request's deadline is 408 `request_timeout`.
/// * What is no JSON is 400 `malformed_request`.
/// * JSON that is not what `T` asks for is 422 `invalid_request`; the detail names the place and says what must be there, for
///   example `lines[0].pieces: must be an integer from 0 to 65535`. An array is not taken for a struct.
///
/// Give your structs `#[serde(deny_unknown_fields)]`, so that a typing error in a name is no silent default.
///
/// ```
/// use axum::Json;
/// use pgspan_http::JsonBody;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Numbers {
///     a: i32,
///     b: i32,
/// }
///
/// async fn sum(JsonBody(Numbers { a, b }): JsonBody<Numbers>) -> Json<i64> {
///     Json(i64::from(a) + i64::from(b))
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct JsonBody<T, const KIB: u32 = USUAL_KIB>(pub T);

impl<S: Sync, T: DeserializeOwned, const KIB: u32> FromRequest<S> for JsonBody<T, KIB> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<JsonBody<T, KIB>, Problem> {
        let (parts, body) = request.into_parts();
        let RequestContext { db, options, .. } = RequestContext::of(&parts)?;
        options.writes.check_form(&parts.uri, &parts.headers)?;
        read(&read_body(db, &parts.headers, body, KIB).await?).map(JsonBody)
    }
}

/// Reads a body, at most so many KiB of it, within the request's deadline. What is announced as longer is refused before a byte of
/// it is read.
async fn read_body(
    db: &Database,
    headers: &HeaderMap,
    mut body: Body,
    most_kib: u32,
) -> Result<Vec<u8>, Problem> {
    let most = u64::from(most_kib) * 1024;
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > most) {
        return Err(Problem::too_large(most_kib));
    }
    let read = async {
        // one piece of memory: a list of pieces of a byte would cost sixty times as much
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::malformed("the body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() as u64 + data.len() as u64 > most {
                return Err(Problem::too_large(most_kib));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    db.until_deadline(read).await.unwrap_or_else(|_| Err(Problem::request_timeout()))
}

/// Reads a JSON object: what is no JSON is malformed, what is JSON but not what was asked for is invalid.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let is_json = std::str::from_utf8(body).is_ok() && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if !is_json {
        return Err(Problem::malformed("the body is not JSON"));
    }
    // serde would take [1, 2] for a struct
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Problem::invalid("body", "must be a JSON object"));
    }
    parse(body).map_err(|fault| match token_at(body, &fault) {
        // what must be there instead of it is known when another value is
        Some(token) => {
            let (before, after) = (body.get(..token.start), body.get(token.end..));
            let other = [before.unwrap_or_default(), b"null", after.unwrap_or_default()].concat();
            describe(&parse::<T>(&other).err().unwrap_or(fault))
        }
        None => describe(&fault),
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault<serde_json::Error>> {
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(body))
}

/// Where a number or a string is that JSON allows and no type can hold: 1e400, half of a surrogate pair.
fn token_at(body: &[u8], fault: &Fault<serde_json::Error>) -> Option<Range<usize>> {
    let error = fault.inner();
    if !error.is_syntax() {
        return None;
    }
    let lines = body.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    let read = lines.map(<[u8]>::len).sum::<usize>() + error.column();
    let mut at = 0;
    while let Some(rest) = body.get(at..).filter(|rest| !rest.is_empty()) {
        let end = at + length(rest);
        if end >= read {
            return Some(at..end);
        }
        at = end;
    }
    None
}

/// How long the string, the number or the byte is that these begin with.
fn length(json: &[u8]) -> usize {
    let is_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    match json.first() {
        Some(b'"') => {
            let mut is_escaped = true; // the quote that opens it
            let closing = json.iter().position(|byte| {
                let is_closing = *byte == b'"' && !is_escaped;
                is_escaped = *byte == b'\\' && !is_escaped;
                is_closing
            });
            closing.map_or(json.len(), |closing| closing + 1)
        }
        Some(b'0'..=b'9' | b'-') => json.iter().take_while(is_number).count(),
        _ => 1,
    }
}

/// Names the place and says what must be there, by serde's message; what was there it does not say.
fn describe(fault: &Fault<serde_json::Error>) -> Problem {
    let message = fault.inner().to_string();
    let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
    let path = fault.path().to_string();
    for (begin, is) in [
        ("missing field `", "is missing"),
        ("unknown field `", "is unknown"),
        ("duplicate field `", "is given twice"),
    ] {
        if let Some((name, _)) = message.strip_prefix(begin).and_then(|rest| rest.split_once('`')) {
            return Problem::invalid(name, is);
        }
    }
    match message.rsplit_once(", expected ") {
        _ if !matches!(fault.path().iter().next(), Some(Segment::Map { .. })) => {
            Problem::invalid("body", "does not fit")
        }
        Some((_, expected)) => Problem::invalid(&path, Expected(expected)),
        None if message == "number out of range" => Problem::invalid(&path, "must be a number of 64 bits"),
        None if fault.inner().is_syntax() => Problem::invalid(&path, STRING),
        None => Problem::invalid(&path, message), // a type's own
    }
}

const STRING: &str = "must be a string of Unicode scalar values";

/// What serde expected, in the words of JSON.
struct Expected<'e>(&'e str);

impl fmt::Display for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            "i16" => i16::MUST_BE,
            "i32" => i32::MUST_BE,
            "i64" => i64::MUST_BE,
            "u16" => u16::MUST_BE,
            "u32" => u32::MUST_BE,
            "u64" => u64::MUST_BE,
            "a boolean" => bool::MUST_BE,
            "a string" => STRING,
            "a sequence" => "must be an array",
            "f32" | "f64" => "must be a number",
            expected if expected.starts_with("struct ") => "must be an object",
            expected => return write!(f, "must be {expected}"),
        })
    }
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
            assert_eq!(read::<Numbers>(body.as_bytes()).unwrap_err().code(), "malformed_request", "{body}");
        }
        assert_eq!(read::<Numbers>(b"{\"a\":\"\xff\"}").unwrap_err().code(), "malformed_request");
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
            let problem = read::<Numbers>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.code(), "invalid_request", "{body}");
            assert!(problem.detail().starts_with(&format!("{field}: ")), "{body}: {}", problem.detail());
        }
        let exact: Numbers = read(b" {\"a\":9223372036854775807,\"b\":-9223372036854775808}").unwrap();
        assert_eq!((exact.a, exact.b), (i64::MAX, i64::MIN));
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "read by serde alone")]
    struct Order {
        name: String,
        status: Option<Status>,
        lines: Vec<Line>,
        weight: Option<f64>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Status {
        Paid,
        Sent,
    }

    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code, reason = "read by serde alone")]
    struct Line {
        pieces: u16,
        gift: bool,
    }

    #[test]
    fn the_answer_names_the_place_and_what_must_be_there_but_not_what_was() {
        for (body, detail) in [
            (r#"{"name":1,"lines":[]}"#, "name: must be a string of Unicode scalar values"),
            (r#"{"name":"\udead","lines":[]}"#, "name: must be a string of Unicode scalar values"),
            (r#"{"name":"a","lines":{}}"#, "lines: must be an array"),
            (
                r#"{"name":"a","lines":[{"pieces":70000}]}"#,
                "lines[0].pieces: must be an integer from 0 to 65535",
            ),
            (
                r#"{"name":"a","lines":[{"pieces":-1}]}"#,
                "lines[0].pieces: must be an integer from 0 to 65535",
            ),
            (
                r#"{"name":"a","lines":[{"pieces":1e999}]}"#,
                "lines[0].pieces: must be an integer from 0 to 65535",
            ),
            (
                r#"{"name":"a","lines":[{"pieces":"\ud800"}]}"#,
                "lines[0].pieces: must be an integer from 0 to 65535",
            ),
            (
                r#"{"name":"a","lines":[{"pieces":1,"gift":"x, expected y"}]}"#,
                "lines[0].gift: must be true or false",
            ),
            (
                r#"{"name":"a\"\\","lines":[{"pieces":"\ud800"}]}"#,
                "lines[0].pieces: must be an integer from 0 to 65535",
            ),
            (r#"{"name":"a","lines":[7]}"#, "lines[0]: must be an object"),
            (r#"{"name":"a","lines":[{"pieces":1}]}"#, "gift: is missing"),
            (r#"{"name":"a","status":"lost","lines":[]}"#, "status: must be `paid` or `sent`"),
            (r#"{"name":"a","weight":"1","lines":[]}"#, "weight: must be a number"),
            (r#"{"name":"a","weight":-1E999,"lines":[]}"#, "weight: must be a number of 64 bits"),
        ] {
            let problem = read::<Order>(body.as_bytes()).unwrap_err();
            assert_eq!((problem.code(), problem.detail()), ("invalid_request", detail), "{body}");
        }
    }
}
