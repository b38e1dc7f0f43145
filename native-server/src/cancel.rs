//! The cancel request: asks the server to end what runs on another connection (PostgreSQL documentation, 54.2.8).
//!
//! It waits until the server has closed the stream, as libpq does: PgBouncer 1.18 ends with all its connections when a
//! client closes first.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::Host;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The server a connection goes to, and how to get there once more.
pub(crate) struct Peer {
    address: Address,
    /// The name in the server's certificate.
    name: String,
    tls: Option<MakeRustlsConnect>,
}

enum Address {
    /// An address, or a name where only that is known.
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Peer {
    /// The one host of this configuration.
    pub(crate) fn of(config: &Config, tls: Option<&MakeRustlsConnect>) -> Peer {
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let (name, address) = match config.get_hosts().first() {
            Some(Host::Unix(folder)) => ("", Address::Unix(folder.join(format!(".s.PGSQL.{port}")))),
            Some(Host::Tcp(name)) => (name.as_str(), Address::Tcp(name.clone(), port)),
            None => ("", Address::Tcp(String::new(), port)),
        };
        let address = match config.get_hostaddrs().first() {
            Some(ip) => Address::Tcp(ip.to_string(), port),
            None => address,
        };
        Peer { address, name: name.to_owned(), tls: tls.cloned() }
    }

    /// The name in the server's certificate.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Asks the server to end what runs on the connection of this token.
    ///
    /// # Cancel safety
    ///
    /// The request may have been sent or not.
    pub(crate) async fn cancel(&self, token: CancelToken) -> io::Result<()> {
        match &self.address {
            Address::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                self.send(token, stream).await
            }
            Address::Unix(path) => self.send(token, UnixStream::connect(path).await?).await,
        }
    }

    async fn send<S>(&self, token: CancelToken, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let sent = match &self.tls {
            None => token.cancel_query_raw(UntilClosed(stream), NoTls).await,
            Some(tls) => {
                let connect = MakeTlsConnect::<S>::make_tls_connect(&mut tls.clone(), &self.name);
                token.cancel_query_raw(stream, Inside(connect.map_err(io::Error::other)?)).await
            }
        };
        sent.map_err(io::Error::other)
    }
}

/// TLS whose stream waits, and not the one below it: else the client's farewell came before the server's.
struct Inside<T>(T);

impl<S, T> TlsConnect<S> for Inside<T>
where
    T: TlsConnect<S>,
    T::Future: Send + 'static,
{
    type Stream = UntilClosed<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.0.connect(stream);
        Box::pin(async { Ok(UntilClosed(connecting.await?)) })
    }
}

/// A stream that is shut down no sooner than its other end was closed.
struct UntilClosed<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for UntilClosed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for UntilClosed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut nothing = [0; 64];
        loop {
            let mut buffer = ReadBuf::new(&mut nothing);
            match ready!(Pin::new(&mut self.0).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                // an error is an end too: PostgreSQL closes without a farewell of TLS
                _ => return Pin::new(&mut self.0).poll_shutdown(context),
            }
        }
    }
}

impl<S: TlsStream + Unpin> TlsStream for UntilClosed<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.0.channel_binding()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_server_closes_before_the_client_does() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream
                .write_all(b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x07\0\0\0\x09Z\0\0\0\x05I")
                .await
                .unwrap();
            let (mut cancelling, _) = listener.accept().await.unwrap();
            let mut request = [0; 16];
            cancelling.read_exact(&mut request).await.unwrap();
            let closed = timeout(Duration::from_millis(100), cancelling.read(&mut [0])).await;
            assert!(closed.is_err(), "the client closed first");
            request
        });
        let url = format!("host=name.invalid hostaddr=127.0.0.1 port={port} user=u sslmode=disable");
        let config: Config = url.parse().unwrap();
        let (client, _connection) = config.connect(NoTls).await.unwrap();
        Peer::of(&config, None).cancel(client.cancel_token()).await.unwrap();
        assert_eq!(server.await.unwrap(), *b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\0\0\0\x09");
    }
}
