//! A Worker's TCP socket as a byte stream that closes itself.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::{Ready, ready as ready_future};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use worker::js_sys::{IteratorNext, JsString, Object, Reflect, Uint8Array};
use worker::send::SendWrapper;
use worker::web_sys::{ReadableStreamDefaultReader, WritableStreamDefaultWriter};
use worker::worker_sys;

use crate::sockets::Permit;

/// A socket that is closed when it is dropped; the runtime's own stays open until the process ends.
///
/// What is written is collected, and sent as one piece with the next flush, or when it is much.
#[derive(Debug)]
pub(crate) struct Stream(SendWrapper<Open>);

/// An open socket. Its two streams are locked by us for as long as it lives.
#[derive(Debug)]
struct Open {
    socket: worker_sys::Socket,
    reader: ReadableStreamDefaultReader,
    writer: WritableStreamDefaultWriter,
    reading: Option<JsFuture>,
    /// What was read, and how much of it was taken.
    chunk: Option<(Uint8Array, u32)>,
    ended: bool,
    unsent: Vec<u8>,
    writing: Option<JsFuture>,
    /// TLS was begun, and nothing was read since: what fails now is TLS.
    is_shaking_hands: bool,
    /// Empty once another stream has the socket.
    permit: Option<Permit>,
}

/// Until a flush no more than this is collected.
const UNSENT_MOST: usize = 64 * 1024;

impl Stream {
    /// Starts connecting; the first read or write waits for it.
    pub(crate) fn connect(host: &str, port: u16, tls: bool, permit: Permit) -> io::Result<Stream> {
        // the runtime puts a colon and the port behind it
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let address = object(&[("hostname", host.into()), ("port", port.into())])?;
        let transport = if tls { "starttls" } else { "off" };
        let options = object(&[("secureTransport", transport.into()), ("allowHalfOpen", false.into())])?;
        let socket = worker_sys::connect(address.into(), options.into())
            .map_err(|cause| failed("the runtime refused to connect", &cause))?;
        Stream::over(socket, false, permit)
    }

    fn over(socket: worker_sys::Socket, is_shaking_hands: bool, permit: Permit) -> io::Result<Stream> {
        let unusable = |cause| failed("the runtime's socket can't be used", &cause);
        let readable = socket.readable().map_err(unusable)?;
        let writable = socket.writable().map_err(unusable)?;
        Ok(Stream(SendWrapper::new(Open {
            reader: ReadableStreamDefaultReader::new(&readable).map_err(unusable)?,
            writer: WritableStreamDefaultWriter::new(&writable).map_err(unusable)?,
            socket,
            reading: None,
            chunk: None,
            ended: false,
            unsent: Vec::new(),
            writing: None,
            is_shaking_hands,
            permit: Some(permit),
        })))
    }

    /// The same socket, encrypted by the runtime, which verifies the certificate and the host's name.
    fn start_tls(mut self) -> io::Result<Stream> {
        let open = &mut *self.0;
        if open.chunk.is_some() || open.reading.is_some() || open.writing.is_some() {
            // the first would be plain text passed off as encrypted
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "there is traffic that TLS does not cover",
            ));
        }
        open.reader.release_lock();
        open.writer.release_lock();
        let socket = open.socket.start_tls().map_err(|cause| failed("TLS was refused", &cause))?;
        match open.permit.take() {
            Some(permit) => Stream::over(socket, true, permit),
            None => Err(io::Error::other("TLS was begun twice")),
        }
    }
}

impl Open {
    /// Waits for the next piece that has something in it; an empty one is not the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.chunk.is_none() && !self.ended {
            let read = poll_promise(&mut self.reading, cx, || self.reader.read());
            match ready!(read) {
                Ok(read) => {
                    let read: IteratorNext = read.unchecked_into(); // the reader's results have its form
                    self.ended = read.done();
                    let piece = read.value().dyn_into::<Uint8Array>().ok();
                    self.chunk = piece.filter(|piece| piece.length() > 0).map(|piece| (piece, 0));
                    self.is_shaking_hands &= self.chunk.is_none();
                }
                Err(cause) => return Poll::Ready(Err(self.broken("reading failed", &cause))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what was collected, in one piece.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.writing.is_some() || !self.unsent.is_empty() {
            let written = poll_promise(&mut self.writing, cx, || {
                let piece = Uint8Array::from(self.unsent.as_slice());
                self.unsent.clear();
                self.writer.write_with_chunk(&piece)
            });
            if let Err(cause) = ready!(written) {
                return Poll::Ready(Err(self.broken("writing failed", &cause)));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn broken(&self, what: &str, cause: &JsValue) -> io::Error {
        match self.is_shaking_hands {
            // the runtime's own words for it are "internal error"
            true => failed("TLS failed: the server's certificate or its name could not be verified", cause),
            false => failed(what, cause),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let open = &mut *self.0;
        let Some(permit) = open.permit.take() else { return };
        if open.writing.is_some() {
            // `close` waits for what the other end does not take. If that were aborted, the runtime would say that the socket is
            // closed, and keep it open until it is collected as garbage.
            quietly(open.reader.cancel());
        }
        if let Ok(closed) = open.socket.close() {
            spawn_local(async move {
                let _ = JsFuture::from(closed).await; // else its failure would be reported as no one's
                drop(permit); // a socket that still connects is closed when the runtime gave that up
            });
        }
    }
}

/// Lets a promise go: else its failure would be reported as no one's.
fn quietly(promise: worker::js_sys::Promise) {
    spawn_local(async move {
        let _ = JsFuture::from(promise).await;
    });
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let open = &mut *self.0;
        ready!(open.poll_chunk(cx))?;
        if let Some((piece, taken)) = &mut open.chunk {
            let end =
                piece.length().min(taken.saturating_add(u32::try_from(buf.remaining()).unwrap_or(u32::MAX)));
            let room = usize::try_from(end - *taken).unwrap_or_default();
            piece.subarray(*taken, end).copy_to(buf.initialize_unfilled_to(room));
            buf.advance(room);
            *taken = end;
            if end == piece.length() {
                open.chunk = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let open = &mut *self.0;
        if open.unsent.len() >= UNSENT_MOST {
            ready!(open.poll_unsent(cx))?;
        }
        open.unsent.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_unsent(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_unsent(cx) // all has left then; the socket is closed when this is dropped
    }
}

/// Polls a promise, which is made first if there is none.
fn poll_promise(
    promise: &mut Option<JsFuture>,
    cx: &mut Context<'_>,
    make: impl FnOnce() -> worker::js_sys::Promise,
) -> Poll<Result<JsValue, JsValue>> {
    let pending = promise.get_or_insert_with(|| JsFuture::from(make()));
    let settled = ready!(Pin::new(pending).poll(cx));
    *promise = None;
    Poll::Ready(settled)
}

fn object(entries: &[(&str, JsValue)]) -> io::Result<Object> {
    let object = Object::new();
    for (name, value) in entries {
        Reflect::set(&object, &JsString::from(*name), value)
            .map_err(|cause| failed("the runtime refused to connect", &cause))?;
    }
    Ok(object)
}

/// An error with the runtime's words for it.
fn failed(what: &str, cause: &JsValue) -> io::Error {
    let words = cause.dyn_ref::<worker::js_sys::Error>().map(|error| String::from(error.message()));
    match words.or_else(|| cause.as_string()).filter(|words| !words.is_empty()) {
        Some(words) => io::Error::other(format!("{what}: {words}")),
        None => io::Error::other(what.to_owned()),
    }
}

/// TLS by the runtime, which verifies the certificate and the host's name.
#[derive(Debug)]
pub(crate) struct RuntimeTls;

impl TlsConnect<Stream> for RuntimeTls {
    type Stream = Stream;
    type Error = io::Error;
    type Future = Ready<io::Result<Stream>>;

    fn connect(self, stream: Stream) -> Self::Future {
        ready_future(stream.start_tls())
    }
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}
