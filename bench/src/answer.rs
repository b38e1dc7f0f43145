//! Requests, and what must be answered to them.

use std::io::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

/// What the clients ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Endpoint {
    /// A sum, computed by PostgreSQL.
    #[serde(rename = "GET /add")]
    Add,
    /// Two users, stored in one transaction.
    #[serde(rename = "POST /users")]
    Users,
    /// The one and the other by turns.
    #[serde(rename = "both")]
    Both,
}

impl Endpoint {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Add => "GET /add",
            Self::Users => "POST /users",
            Self::Both => "both",
        }
    }

    /// Writes request number `number`, which is like no other, and gives what must be answered.
    pub(crate) fn ask(self, number: u64, port: u16, request: &mut Vec<u8>) -> Expected {
        request.clear();
        let adds = match self {
            Self::Add => true,
            Self::Users => false,
            Self::Both => number.is_multiple_of(2),
        };
        // Writing to a Vec can't fail.
        if adds {
            let (a, b) = (number % 1_000_000_007, number % 1_009);
            let _ = write!(request, "GET /add?a={a}&b={b} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
            return Expected::Sum(a + b);
        }
        let length = format!("{{\"names\":[\"n{number}a\",\"n{number}b\"]}}").len();
        let _ = write!(
            request,
            "POST /users HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{{\"names\":[\"n{number}a\",\"n{number}b\"]}}"
        );
        Expected::Stored(number)
    }
}

/// What must be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Sum(u64),
    Stored(u64),
}

impl Expected {
    /// Whether this is the answer, to the byte; ids may be any.
    pub(crate) fn is(self, status: u16, body: &[u8]) -> bool {
        match self {
            Self::Sum(sum) => status == 200 && number_between(body, b"{\"sum\":", b"}") == Some((sum, b"")),
            Self::Stored(number) => {
                let stored = || {
                    let rest = body.strip_prefix(b"{\"users\":[")?;
                    let rest = user(rest, number, b'a')?.strip_prefix(b",")?;
                    user(rest, number, b'b')?.strip_prefix(b"]}")
                };
                status == 201 && stored() == Some(b"")
            }
        }
    }
}

/// What follows `{"id":…,"name":"n<number><letter>"}`.
fn user(bytes: &[u8], number: u64, letter: u8) -> Option<&[u8]> {
    let (_, rest) = number_between(bytes, b"{\"id\":", b",\"name\":\"n")?;
    let (found, rest) = leading_number(rest)?;
    (found == number).then_some(rest)?.strip_prefix(&[letter])?.strip_prefix(b"\"}")
}

fn number_between<'b>(bytes: &'b [u8], before: &[u8], after: &[u8]) -> Option<(u64, &'b [u8])> {
    let (number, rest) = leading_number(bytes.strip_prefix(before)?)?;
    Some((number, rest.strip_prefix(after)?))
}

fn leading_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(digits);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// One answer, read whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Where in the bytes the body is; `chunks` holds it when it came in chunks.
    body: std::ops::Range<usize>,
    chunks: Option<Vec<u8>>,
    /// Where the next answer begins.
    pub(crate) end: usize,
    /// Whether the connection goes on.
    pub(crate) keep_alive: bool,
}

impl Answer {
    /// Reads the answer at the beginning of what came so far; `None` when more must come.
    ///
    /// It knows what the servers measured here send: a length, or chunks.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let start = match head.parse(bytes).context("the answer is not HTTP")? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(start) => start,
        };
        let status = head.code.unwrap_or_default();
        let (mut length, mut chunked, mut keep_alive) = (None, false, true);
        for header in head.headers.iter() {
            let is = |text: &str| header.value.eq_ignore_ascii_case(text.as_bytes());
            match header.name {
                name if name.eq_ignore_ascii_case("content-length") => {
                    let text = std::str::from_utf8(header.value)?;
                    length = Some(text.trim().parse::<usize>()?);
                }
                name if name.eq_ignore_ascii_case("transfer-encoding") => chunked = is("chunked"),
                name if name.eq_ignore_ascii_case("connection") => keep_alive = !is("close"),
                _ => {}
            }
        }
        if chunked {
            let found = unchunk(bytes, start)?;
            return Ok(found.map(|(body, end)| Self {
                status,
                body: 0..0,
                chunks: Some(body),
                end,
                keep_alive,
            }));
        }
        let end = start + length.context("the answer has neither a length nor chunks")?;
        let whole = bytes.len() >= end;
        Ok(whole.then_some(Self { status, body: start..end, chunks: None, end, keep_alive }))
    }

    pub(crate) fn body<'b>(&'b self, bytes: &'b [u8]) -> &'b [u8] {
        match &self.chunks {
            Some(body) => body,
            None => bytes.get(self.body.clone()).unwrap_or_default(),
        }
    }
}

fn unchunk(bytes: &[u8], mut at: usize) -> Result<Option<(Vec<u8>, usize)>> {
    let mut body = Vec::new();
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let (head, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => bail!("the answer's chunks are broken"),
        };
        let start = at + head;
        let end = start + usize::try_from(size)?;
        match bytes.get(end..end + 2) {
            None => return Ok(None),
            Some(line_end) => ensure!(line_end == b"\r\n", "the answer's chunks are broken"),
        }
        body.extend_from_slice(bytes.get(start..end).unwrap_or_default());
        at = end + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_however_it_is_cut() -> Result<()> {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX: y\r\n\r\n{\"sum\":3}".as_slice();
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
            4\r\n{\"su\r\n5\r\nm\":3}\r\n0\r\n\r\n"
            .as_slice();
        for (bytes, keep_alive) in [(plain, true), (chunked, false)] {
            for length in 0..bytes.len() {
                assert_eq!(Answer::read(&bytes[..length])?, None);
            }
            let answer = Answer::read(bytes)?.context("incomplete")?;
            assert_eq!((answer.status, answer.end, answer.keep_alive), (200, bytes.len(), keep_alive));
            assert!(Expected::Sum(3).is(answer.status, answer.body(bytes)));
        }
        Ok(())
    }

    #[test]
    fn only_the_right_answer_is_right() {
        let sum = Expected::Sum(3);
        assert!(sum.is(200, br#"{"sum":3}"#));
        for (status, body) in
            [(200, r#"{"sum":4}"#), (500, r#"{"sum":3}"#), (200, r#"{"sum":3} "#), (200, "")]
        {
            assert!(!sum.is(status, body.as_bytes()), "{status} {body}");
        }
        let stored = Expected::Stored(7);
        assert!(stored.is(201, br#"{"users":[{"id":1,"name":"n7a"},{"id":2,"name":"n7b"}]}"#));
        for body in [
            r#"{"users":[{"id":1,"name":"n7b"},{"id":2,"name":"n7a"}]}"#,
            r#"{"users":[{"id":1,"name":"n7a"}]}"#,
            r#"{"users":[{"id":1,"name":"n8a"},{"id":2,"name":"n8b"}]}"#,
        ] {
            assert!(!stored.is(201, body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn every_request_is_like_no_other_and_has_its_length() {
        let mut request = Vec::new();
        assert_eq!(Endpoint::Both.ask(8, 80, &mut request), Expected::Sum(16));
        assert_eq!(Endpoint::Both.ask(9, 80, &mut request), Expected::Stored(9));
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, r#"{"names":["n9a","n9b"]}"#);
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
