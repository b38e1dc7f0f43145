//! Opens one connection to one address: the socket, TLS, the login, and the guard over its bytes.

use std::net::SocketAddr;

use pgspan::driver::{Notifications, Watch, drive, without_connection_check};
use pgspan::{Error, Result};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::cancel::Peer;
use crate::coalesced::coalesced;
use crate::system::said;
use crate::tls;

/// A connection that was just opened.
pub(crate) struct Opened {
    pub(crate) client: Client,
    pub(crate) watch: Watch,
    pub(crate) notifications: Notifications,
    pub(crate) peer: Peer,
    /// Drives the connection; it ends when the client is dropped and everything is answered, or when aborted.
    pub(crate) task: JoinHandle<()>,
}

/// Opens a connection to the one address of this configuration. A server that can't look after its clients while it works is asked
/// again without that.
pub(crate) async fn open(config: &Config, tls: Option<&MakeRustlsConnect>) -> Result<Opened> {
    match open_once(config, tls).await {
        Err(error) if error.refuses_connection_check() => {
            tracing::warn!(%error, "the server does not notice clients that vanish while it works for them");
            open_once(&without_connection_check(config), tls).await
        }
        opened => opened,
    }
}

async fn open_once(config: &Config, tls: Option<&MakeRustlsConnect>) -> Result<Opened> {
    let peer = Peer::of(config, tls);
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let opened = match (config.get_hosts().first(), config.get_hostaddrs().first()) {
        (_, Some(address)) => log_in(tcp(config, (*address, port).into()).await?, config, tls, peer).await,
        (Some(Host::Unix(folder)), None) => {
            let socket =
                UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await.map_err(no_socket)?;
            log_in(socket, config, tls, peer).await
        }
        // the addresses of a name were looked up before
        (Some(Host::Tcp(_)) | None, None) => {
            Err(Error::unavailable("could not connect: there is no address"))
        }
    }?;
    check_session(&opened, config.get_target_session_attrs()).await?;
    Ok(opened)
}

async fn tcp(config: &Config, address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await.map_err(no_socket)?;
    let options = SockRef::from(&stream);
    let set = || {
        stream.set_nodelay(true)?;
        if config.get_keepalives() {
            let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
            if let Some(interval) = config.get_keepalives_interval() {
                keepalive = keepalive.with_interval(interval);
            }
            #[cfg(not(windows))]
            if let Some(retries) = config.get_keepalives_retries() {
                keepalive = keepalive.with_retries(retries);
            }
            options.set_tcp_keepalive(&keepalive)?;
        }
        #[cfg(target_os = "linux")]
        options.set_tcp_user_timeout(config.get_tcp_user_timeout().copied())?;
        Ok(())
    };
    set().map_err(no_socket)?;
    Ok(stream)
}

fn no_socket(error: std::io::Error) -> Error {
    Error::unavailable(format!("could not connect: {}", said(&error))).with_source(error)
}

async fn log_in<S>(stream: S, config: &Config, tls: Option<&MakeRustlsConnect>, peer: Peer) -> Result<Opened>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watch = Watch::new();
    let Some(tls) = tls else {
        let connected = config.connect_raw(watch.guard(stream), NoTls).await.map_err(refused)?;
        return Ok(start(connected, watch, peer));
    };
    let connect = MakeTlsConnect::<S>::make_tls_connect(&mut tls.clone(), peer.name());
    let connect = connect
        .map_err(|_| Error::unavailable("could not connect: the host's name is none that TLS knows"))?;
    let connected = config.connect_raw(stream, watch.guard_tls(connect)).await.map_err(refused)?;
    Ok(start(connected, watch, peer))
}

fn start<S, T>((client, connection): (Client, Connection<S, T>), watch: Watch, peer: Peer) -> Opened
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (task, notifications) = drive(connection);
    Opened { client, watch, notifications, peer, task: tokio::spawn(coalesced(task)) }
}

fn refused(error: tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(_) => Error::connect(error),
        None => Error::unavailable(format!("could not connect: {}", tls::reason(&error))).with_source(error),
    }
}

/// Whether the server is what `target_session_attrs` asks for.
async fn check_session(opened: &Opened, wanted: TargetSessionAttrs) -> Result<()> {
    let (wanted, unfit) = match wanted {
        TargetSessionAttrs::ReadWrite => {
            ("off", "it takes no writes, and target_session_attrs=read-write asks for a server that does")
        }
        TargetSessionAttrs::ReadOnly => {
            ("on", "it takes writes, and target_session_attrs=read-only asks for a server that does not")
        }
        _ => return Ok(()),
    };
    let rows = opened.client.query_typed("SHOW transaction_read_only", &[]).await.map_err(refused)?;
    let found = rows.first().and_then(|row| row.try_get::<_, String>(0).ok());
    match found.as_deref() == Some(wanted) {
        true => Ok(()),
        false => Err(Error::unavailable(format!("could not connect: {unfit}"))),
    }
}
