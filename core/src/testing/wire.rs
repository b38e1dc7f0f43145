//! PostgreSQL's messages as a server reads and writes them (documentation, 54.7 "Message Formats").

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::failure::Failure;
use crate::types::{Oid, Type};

/// A column of a result.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) ty: Type,
}

/// What a client says.
#[derive(Debug)]
pub(super) enum Frontend {
    Parse { name: String, text: String, types: Vec<Oid> },
    Bind { statement: String, values: Vec<Option<Bytes>> },
    Describe,
    Execute,
    Close,
    Sync,
    CopyData(Bytes),
    CopyDone,
    CopyFail,
    Terminate,
    Other,
}

/// Takes the start-up message, once it is all there. It is the only one without a tag.
pub(super) fn take_startup(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = usize::try_from((&**buffer).try_get_u32().ok()?).ok()?;
    (buffer.len() >= length).then(|| buffer.split_to(length).freeze())
}

/// Takes the next message, once it is all there.
pub(super) fn take(buffer: &mut BytesMut) -> Option<Frontend> {
    let mut header = &**buffer;
    let tag = header.try_get_u8().ok()?;
    let length = usize::try_from(header.try_get_u32().ok()?).ok()?;
    if buffer.len() <= length {
        return None;
    }
    let mut message = buffer.split_to(length + 1).freeze();
    message.advance(message.len().min(5));
    Some(read(tag, message).unwrap_or(Frontend::Other))
}

fn read(tag: u8, mut body: Bytes) -> Option<Frontend> {
    Some(match tag {
        b'P' => {
            let (name, text) = (string(&mut body)?, string(&mut body)?);
            let types = (0..body.try_get_u16().ok()?).map_while(|_| body.try_get_u32().ok()).collect();
            Frontend::Parse { name, text, types }
        }
        b'B' => {
            let (_portal, statement) = (string(&mut body)?, string(&mut body)?);
            for _ in 0..body.try_get_u16().ok()? {
                body.try_get_u16().ok()?; // formats: tokio-postgres sends binary
            }
            let values = (0..body.try_get_u16().ok()?).map_while(|_| value(&mut body)).collect();
            Frontend::Bind { statement, values }
        }
        b'D' => Frontend::Describe,
        b'E' => Frontend::Execute,
        b'C' => Frontend::Close,
        b'S' => Frontend::Sync,
        b'd' => Frontend::CopyData(body),
        b'c' => Frontend::CopyDone,
        b'f' => Frontend::CopyFail,
        b'X' => Frontend::Terminate,
        _ => Frontend::Other,
    })
}

fn string(body: &mut Bytes) -> Option<String> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let text = body.split_to(end);
    body.advance(1);
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn value(body: &mut Bytes) -> Option<Option<Bytes>> {
    match body.try_get_i32().ok()? {
        -1 => Some(None),
        length => usize::try_from(length)
            .ok()
            .filter(|length| *length <= body.len())
            .map(|length| Some(body.split_to(length))),
    }
}

/// Writes a message.
pub(super) fn put(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    let mut written = BytesMut::new();
    body(&mut written);
    out.put_u8(tag);
    out.put_i32(count(written.len()) + 4);
    out.put_slice(&written);
}

pub(super) fn put_authenticated(out: &mut BytesMut, process: usize) {
    put(out, b'R', |body| body.put_i32(0));
    for (name, value) in
        [("server_version", "18.0"), ("client_encoding", "UTF8"), ("integer_datetimes", "on")]
    {
        put(out, b'S', |body| {
            put_string(body, name);
            put_string(body, value);
        });
    }
    put(out, b'K', |body| {
        body.put_i32(count(process));
        body.put_i32(0);
    });
}

pub(super) fn put_parameter_types(out: &mut BytesMut, types: &[Oid]) {
    put(out, b't', |body| {
        body.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
        types.iter().for_each(|oid| body.put_u32(*oid));
    });
}

pub(super) fn put_columns(out: &mut BytesMut, columns: Option<&[Column]>) {
    let Some(columns) = columns else { return put(out, b'n', |_| {}) };
    put(out, b'T', |body| {
        body.put_u16(u16::try_from(columns.len()).unwrap_or(u16::MAX));
        for column in columns {
            put_string(body, &column.name);
            body.put_i32(0); // of no table
            body.put_i16(0);
            body.put_u32(column.ty.oid());
            body.put_i16(-1); // size
            body.put_i32(-1); // type modifier
            body.put_i16(1); // binary
        }
    });
}

/// A row's values, as the body of its message.
pub(super) fn row<'v>(values: impl ExactSizeIterator<Item = Option<&'v [u8]>>) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u16(u16::try_from(values.len()).unwrap_or(u16::MAX));
    for value in values {
        match value {
            Some(value) => {
                body.put_i32(count(value.len()));
                body.put_slice(value);
            }
            None => body.put_i32(-1),
        }
    }
    body.freeze()
}

pub(super) fn put_error(out: &mut BytesMut, failure: &Failure) {
    put(out, b'E', |body| {
        for (field, value) in failure.fields() {
            body.put_u8(field);
            put_string(body, value);
        }
        body.put_u8(0);
    });
}

pub(super) fn put_notification(out: &mut BytesMut, channel: &str, payload: &str) {
    put(out, b'A', |body| {
        body.put_i32(1);
        put_string(body, channel);
        put_string(body, payload);
    });
}

/// The start of a COPY: binary or not, of no columns. `G` is in, `H` is out.
pub(super) fn put_copy(out: &mut BytesMut, tag: u8) {
    put(out, tag, |body| {
        body.put_u8(0);
        body.put_u16(0);
    });
}

pub(super) fn put_string(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX - 4)
}
