//! Opens one connection to one address: the socket, TLS, the login, and the guard over its bytes.

use std::io;
use std::path::PathBuf;

use pgspan::Error;
use pgspan::driver::{Notifications, Watch, drive, without_connection_check};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::cancel::Peer;
use crate::coalesced::coalesced;

/// A connection that was just opened.
pub(crate) struct Opened {
    pub(crate) client: Client,
    pub(crate) watch: Watch,
    pub(crate) notifications: Notifications,
    pub(crate) peer: Peer,
    /// Drives the connection; it ends when the client is dropped and everything is answered, or when aborted.
    pub(crate) task: JoinHandle<()>,
}

/// Why a connection could not be opened.
#[derive(Debug)]
pub(crate) enum Failure {
    Socket(io::Error),
    Postgres(tokio_postgres::Error),
    /// The server is not what `target_session_attrs` asks for.
    Session(&'static str),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Socket(error)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Postgres(error)
    }
}

/// Opens a connection to the one address of this configuration. A server that can't look after its clients while it works is asked
/// again without that.
pub(crate) async fn open(config: &Config, tls: Option<&MakeRustlsConnect>) -> Result<Opened, Failure> {
    match open_once(config, tls).await {
        Err(Failure::Postgres(error)) if error.as_db_error().is_some() => {
            let refused = Error::connect(error);
            match refused.refuses_connection_check() {
                true => open_once(&without_connection_check(config), tls).await,
                false => Err(Failure::Refused(refused)),
            }
        }
        opened => opened,
    }
}

async fn open_once(config: &Config, tls: Option<&MakeRustlsConnect>) -> Result<Opened, Failure> {
    let peer = Peer::of(config, tls);
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let opened = match (config.get_hosts().first(), config.get_hostaddrs().first()) {
        (_, Some(address)) => log_in(tcp(config, (*address, port).into()).await?, config, tls, peer).await?,
        (Some(Host::Unix(folder)), None) => {
            let path: PathBuf = folder.join(format!(".s.PGSQL.{port}"));
            log_in(UnixStream::connect(path).await?, config, tls, peer).await?
        }
        // the addresses of a name were looked up before
        (Some(Host::Tcp(_)) | None, None) => return Err(Failure::Session("its host has no address")),
    };
    check_session(&opened, config.get_target_session_attrs()).await?;
    Ok(opened)
}
