//! A stream of whatever kind, for tokio-postgres: it is compiled for each kind of stream that it is given, which would make the
//! Worker some KB larger.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Connection, Error, NoTls};

pub(crate) type AnyStream = Box<dyn Stream>;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// tokio-postgres's login, on a stream that is encrypted if it has to be.
pub(super) async fn connect(
    stream: AnyStream,
    config: &Config,
) -> Result<(Client, Connection<AnyStream, NoTlsStream>), Error> {
    config.connect_raw(stream, NoTls).await
}
