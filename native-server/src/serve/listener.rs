//! Where the server listens: on a TCP port, or on a unix socket.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use futures_util::FutureExt;
use listenfd::ListenFd;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::system::said;

/// An address to listen on: `127.0.0.1:8080`, or `unix:/run/pgspan.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// The path of a socket. Who may connect is up to the folder it is in: the socket itself is open to all (0666).
    Unix(PathBuf),
}

impl Address {
    /// Listens there. A socket's file that a process left behind when it was killed is replaced, and nothing else is.
    ///
    /// Between the moment a unix socket exists and the one it is open to all, those whom the umask excludes are refused.
    ///
    /// # Errors
    ///
    /// As the system says; a socket that someone listens on is in use, and a file that is no socket is in the way.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn listen(&self) -> io::Result<Listener> {
        match self {
            Address::Tcp(address) => TcpListener::bind(address).await.map(Listener::from),
            Address::Unix(path) => {
                make_way(path).await?;
                let listener = UnixListener::bind(path)?;
                let listener = Listener(Kind::Unix { listener, _file: Some(SocketFile(path.clone())) });
                std::fs::set_permissions(path, Permissions::from_mode(OPEN_TO_ALL))?;
                Ok(listener)
            }
        }
    }
}

/// Whatever the umask: the folder decides.
const OPEN_TO_ALL: u32 = 0o666;

/// Removes the file of a socket that nobody listens on.
async fn make_way(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        // connecting to it would be refused too
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket has this path",
            ));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
    }
}

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Address, NotAnAddress> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Address::Unix(path.into())),
            Some(_) => Err(NotAnAddress),
            None => text.parse().map(Address::Tcp).map_err(|_| NotAnAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The text is no address.
#[derive(Debug)]
pub struct NotAnAddress;

impl fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an address and a port, such as 127.0.0.1:8080, or unix: and a path")
    }
}

impl std::error::Error for NotAnAddress {}

/// A listening socket of either kind.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    /// With the file that goes with it, if it is ours to remove.
    Unix {
        listener: UnixListener,
        _file: Option<SocketFile>,
    },
    Other(Box<dyn Other>),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Listener {
        Listener(Kind::Tcp(listener))
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Listener {
        Listener(Kind::Unix { listener, _file: None })
    }
}

impl Listener {
    /// A listener of your own, for TLS by example: it accepts connections, and the server gets what comes out of them.
    ///
    /// Its `accept` must not wait for one client's handshake before it accepts the next: give each a task of its own, and a deadline.
    /// `WRITE_TIMEOUT_MS` is up to it.
    pub fn of<L>(listener: L) -> Listener
    where
        L: axum::serve::Listener<Addr = SocketAddr> + Sync,
    {
        Listener(Kind::Other(Box::new(Own(listener))))
    }

    /// The TCP socket, if it is one, else itself.
    #[cfg(feature = "program")]
    pub(crate) fn into_tcp(self) -> Result<TcpListener, Listener> {
        match self.0 {
            Kind::Tcp(listener) => Ok(listener),
            other => Err(Listener(other)),
        }
    }

    /// The socket that systemd passes to a program it starts for it (`LISTEN_FDS`, systemd's sd_listen_fds(3)), if there is
    /// one. Call it once, at the start.
    ///
    /// # Errors
    ///
    /// If it is not a socket that streams can be accepted on, or if there are several.
    pub fn passed() -> io::Result<Option<Listener>> {
        let mut passed = ListenFd::from_env();
        match passed.len() {
            0 => return Ok(None),
            1 => {}
            more => {
                let text = format!("{more} sockets were passed, and one can be served: pass one alone");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        if let Ok(Some(listener)) = passed.take_tcp_listener(0) {
            listener.set_nonblocking(true)?;
            return TcpListener::from_std(listener).map(|listener| Some(listener.into()));
        }
        let Some(listener) = passed.take_unix_listener(0)? else { return Ok(None) };
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(|listener| Some(listener.into()))
    }
}

/// The address that is served.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().map_err(|_| fmt::Error)?.fmt(f),
            Kind::Unix { listener, .. } => {
                let address = listener.local_addr().map_err(|_| fmt::Error)?;
                write!(f, "unix:{}", address.as_pathname().unwrap_or(Path::new("")).display())
            }
            Kind::Other(listener) => listener.address().map_err(|_| fmt::Error)?.fmt(f),
        }
    }
}

/// A listener of someone else's, whatever its type.
trait Other: Send + Sync {
    fn accept(&mut self) -> Accepting<'_>;

    fn address(&self) -> io::Result<SocketAddr>;
}

impl fmt::Debug for dyn Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a listener of the program's own")
    }
}

struct Own<L>(L);

type Accepting<'a> = Pin<Box<dyn Future<Output = (Box<dyn Io>, SocketAddr)> + Send + 'a>>;

impl<L: axum::serve::Listener<Addr = SocketAddr> + Sync> Other for Own<L> {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async {
            let (stream, peer) = self.0.accept().await;
            (Box::new(stream) as Box<dyn Io>, peer)
        })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}

/// A client's connection, and its address if it has one.
pub(super) struct Accepted {
    pub(super) stream: Stream,
    pub(super) peer: Option<SocketAddr>,
}

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Other(Box<dyn Io>),
}

impl Stream {
    /// The same, driven by another runtime.
    pub(super) fn driven_by(self, runtime: &Handle) -> io::Result<Stream> {
        let _entered = runtime.enter();
        Ok(match self {
            Stream::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream.into_std()?)?),
            Stream::Unix(stream) => Stream::Unix(UnixStream::from_std(stream.into_std()?)?),
            Stream::Other(stream) => Stream::Other(stream), // the runtime it was accepted on wakes this one
        })
    }
}

impl Listener {
    /// The next connection.
    pub(super) async fn accept(&mut self, write_timeout: Duration) -> Accepted {
        loop {
            match self.accept_one(write_timeout).await {
                Ok(accepted) => return accepted,
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    // out of descriptors or memory, which time may heal
                    tracing::error!(error = said(&error), "no connection can be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// A connection that waits to be accepted, if there is one.
    pub(super) fn accept_now(&mut self, write_timeout: Duration) -> Option<Accepted> {
        self.accept_one(write_timeout).now_or_never()?.ok()
    }

    async fn accept_one(&mut self, write_timeout: Duration) -> io::Result<Accepted> {
        match &mut self.0 {
            Kind::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let _ = stream.set_nodelay(true); // an answer is small and complete
                end_when_unread(&stream, write_timeout);
                Ok(Accepted { stream: Stream::Tcp(stream), peer: Some(peer) })
            }
            Kind::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted { stream: Stream::Unix(stream), peer: None })
            }
            Kind::Other(listener) => {
                let (stream, peer) = listener.accept().await;
                Ok(Accepted { stream: Stream::Other(stream), peer: Some(peer) })
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn end_when_unread(stream: &TcpStream, after: Duration) {
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(after));
}

#[cfg(not(target_os = "linux"))]
fn end_when_unread(_: &TcpStream, _: Duration) {}

/// The file of a unix socket, removed with it.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
