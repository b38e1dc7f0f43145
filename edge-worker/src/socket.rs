//! A Worker's TCP socket as a byte stream that closes itself.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::{Ready, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use wasm_bindgen_futures::spawn_local;
use worker::{SecureTransport, Socket};

/// A socket that is closed when it is dropped. The runtime's own stays open until the process ends.
#[derive(Debug)]
pub(crate) struct Stream(Option<Socket>);

impl Stream {
    /// Starts connecting; the first read or write waits for it.
    pub(crate) fn connect(host: &str, port: u16, tls: bool) -> io::Result<Stream> {
        let transport = if tls { SecureTransport::StartTls } else { SecureTransport::Off };
        let socket =
            Socket::builder().secure_transport(transport).connect(host.trim_matches(['[', ']']), port);
        socket
            .map(|socket| Stream(Some(socket)))
            .map_err(|_| io::Error::other("the runtime refused to connect"))
    }

    fn poll(
        &mut self,
        poll: impl FnOnce(Pin<&mut Socket>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(socket) => poll(Pin::new(socket)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(mut socket) = self.0.take() {
            spawn_local(async move {
                let _ = socket.close().await;
            });
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(|socket| socket.poll_read(cx, buf).map_ok(|()| 0)).map_ok(|_| ())
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(|socket| socket.poll_write(cx, data))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|socket| socket.poll_flush(cx).map_ok(|()| 0)).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|socket| socket.poll_shutdown(cx).map_ok(|()| 0)).map_ok(|_| ())
    }
}

/// TLS by the runtime, which verifies the certificate and the host's name.
#[derive(Debug)]
pub(crate) struct RuntimeTls;

impl TlsConnect<Stream> for RuntimeTls {
    type Stream = Stream;
    type Error = io::Error;
    type Future = Ready<io::Result<Stream>>;

    fn connect(self, mut stream: Stream) -> Self::Future {
        ready(match stream.0.take() {
            Some(socket) => Ok(Stream(Some(socket.start_tls()))),
            None => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// Runs a future beside the request, at most as long as `end` lets it.
pub(crate) fn spawn_until(task: impl Future<Output = ()> + 'static, end: impl Future<Output = ()> + 'static) {
    spawn_local(async move {
        futures_util::future::select(std::pin::pin!(task), std::pin::pin!(end)).await;
    });
}
