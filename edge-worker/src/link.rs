//! The way to the database: a socket, encrypted unless the URL says otherwise.

use pgspan::{ConnectionUrl, Error, Result, Tls};
use tokio_postgres::config::Host;

use crate::login;
use crate::socket::{RuntimeTls, Stream};
use crate::sockets::Permit;

/// Opens one. The permit comes back when the runtime has closed it, however that comes about.
pub(crate) async fn open(url: &ConnectionUrl, permit: Permit) -> Result<Stream> {
    let postgres = url.postgres();
    let port = postgres.get_ports().first().copied().unwrap_or(5432);
    let stream = match postgres.get_hosts() {
        [Host::Tcp(host), ..] => Stream::connect(host, port, url.tls() != Tls::Disable, permit)
            .map_err(|error| Error::unavailable("could not open a socket").with_source(error))?,
        _ => return Err(Error::unavailable("the URL has no host a Worker can reach")),
    };
    match url.tls() {
        Tls::Disable => Ok(stream),
        _ => login::encrypt(stream, RuntimeTls).await,
    }
}
