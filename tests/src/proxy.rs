//! A proxy between a client and PostgreSQL that breaks what a network breaks, and counts.

mod carry;
mod frames;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use self::carry::{Connection, accept};

/// A door to a server, on a free port of 127.0.0.1, that closes when this is dropped.
///
/// Without a fault it carries every byte at once. Faults hold for connections that are open already too, until
/// [`pass`](Self::pass); a connection that lost bytes to one can't recover, as in life. It reads the protocol as far as
/// it must to know a statement's text, so it is for connections without TLS.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: AbortHandle,
}

/// One way through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What went through one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How often the client said something and the server answered, its login included.
    pub round_trips: u64,
    /// Bytes from the client to the server.
    pub up: u64,
    /// Bytes from the server to the client.
    pub down: u64,
}

#[derive(Debug)]
struct State {
    server: String,
    faults: Mutex<Faults>,
    open: watch::Sender<bool>,
    /// Whether anyone listens, which follows `open`.
    listening: watch::Sender<bool>,
    ending: watch::Sender<(u64, Ending)>,
    connections: Mutex<Vec<Arc<Connection>>>,
    most_open: AtomicUsize,
}

#[derive(Debug, Clone, Default)]
struct Faults {
    deaf: bool,
    up_is_lost: bool,
    down_is_lost: bool,
    /// So many connections, the first that were opened, lose everything.
    forgotten: usize,
    latency: Option<Duration>,
    slice: Option<usize>,
    bytes_per_second: Option<u64>,
    cut_after_bytes: Option<(Way, u64)>,
    cut_after_statement: Option<String>,
}

/// How open connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Closed,
    Reset,
    /// The client is told that no more will come, and may go on talking.
    HalfClosed,
}

impl Proxy {
    /// A proxy before the server of this URL.
    ///
    /// # Errors
    /// When the URL has no host and port, or no port is free.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn before(url: &str) -> Result<Self> {
        let (start, end) = host(url).context("this URL has no host")?;
        let server = url.get(start..end).context("this URL has no host")?;
        let server = if server.contains(':') { server.to_owned() } else { format!("{server}:5432") };
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            server,
            faults: Mutex::default(),
            open: watch::Sender::new(true),
            listening: watch::Sender::new(true),
            ending: watch::Sender::new((0, Ending::Closed)),
            connections: Mutex::default(),
            most_open: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(accept(listener, address, state.clone())).abort_handle();
        Ok(Self { address, state, accepting })
    }

    /// The same URL, through this proxy.
    pub fn url(&self, url: &str) -> String {
        let Some((start, end)) = host(url) else { return url.to_owned() };
        format!(
            "{}{}{}",
            url.get(..start).unwrap_or_default(),
            self.address,
            url.get(end..).unwrap_or_default()
        )
    }

    /// Ends every fault.
    ///
    /// # Cancel safety
    /// The faults are ended, but the door may not be open yet.
    pub async fn pass(&self) {
        *self.state.faults() = Faults::default();
        self.open(true).await;
    }

    /// Nobody listens any more. Open connections go on.
    ///
    /// # Cancel safety
    /// The door may not be closed yet.
    pub async fn refuse(&self) {
        self.open(false).await;
    }

    async fn open(&self, open: bool) {
        self.state.open.send_replace(open);
        // an error would mean that the sender is gone, and we hold it
        let _ = self.state.listening.subscribe().wait_for(|listening| *listening == open).await;
    }

    /// Connections are accepted and never answered; on open ones nothing passes either.
    pub fn deaf(&self) {
        self.state.faults().deaf = true;
    }

    /// What goes this way is lost without a word.
    pub fn lose(&self, way: Way) {
        let mut faults = self.state.faults();
        match way {
            Way::Up => faults.up_is_lost = true,
            Way::Down => faults.down_is_lost = true,
        }
    }

    /// Everything is lost on the connections that were opened so far, without a word, while new ones pass: what a firewall does that
    /// was restarted.
    pub fn forget(&self) {
        let so_far = self.state.connections().len();
        self.state.faults().forgotten = so_far;
    }

    /// Ends all open connections, in order.
    pub fn close(&self) {
        self.end(Ending::Closed);
    }

    /// Ends all open connections with a reset.
    pub fn reset(&self) {
        self.end(Ending::Reset);
    }

    /// Tells the client on every open connection that no more will come, and goes on carrying what it says.
    pub fn half_close(&self) {
        self.end(Ending::HalfClosed);
    }

    fn end(&self, how: Ending) {
        self.state.ending.send_modify(|ending| *ending = (ending.0 + 1, how));
    }

    /// Everything takes this much longer, each way.
    pub fn delay(&self, latency: Duration) {
        self.state.faults().latency = Some(latency);
    }

    /// Everything comes in packets of so many bytes.
    pub fn slice(&self, bytes: usize) {
        self.state.faults().slice = Some(bytes.max(1));
    }

    /// No more than so many bytes a second pass, each way.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.state.faults().bytes_per_second = Some(bytes_per_second.max(1));
    }

    /// Ends a connection after so many bytes of it have gone this way.
    pub fn cut_after_bytes(&self, way: Way, bytes: u64) {
        self.state.faults().cut_after_bytes = Some((way, bytes));
    }

    /// Ends a connection when the server has answered a flight with this statement, without passing on the answer: the
    /// server has carried it out, and the client can't know. `COMMIT` is the one to try.
    pub fn cut_after(&self, statement: &str) {
        self.state.faults().cut_after_statement = Some(statement.to_owned());
    }

    /// How often a client said something and the server answered, on all connections so far.
    ///
    /// What is pipelined is one round trip only if all of it is said before the first answer comes. For a count that can
    /// be relied on give the answers a [`delay`](Self::delay).
    pub fn round_trips(&self) -> u64 {
        self.traffic().iter().map(|connection| connection.round_trips).sum()
    }

    /// How many connections clients have open now, whatever became of the other side.
    pub fn open_now(&self) -> usize {
        self.state.connections().iter().filter(|connection| connection.is_open()).count()
    }

    /// The most that were open at a time so far.
    pub fn most_open(&self) -> usize {
        self.state.most_open.load(Ordering::SeqCst)
    }

    /// What went through each connection so far, in the order they were opened.
    pub fn traffic(&self) -> Vec<Traffic> {
        self.state.connections().iter().map(|connection| connection.traffic()).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort(); // and with it everything it started
    }
}

impl State {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the host and port are in a connection URL.
pub(crate) fn host(url: &str) -> Option<(usize, usize)> {
    let authority = url.find("://")? + 3;
    let rest = url.get(authority..)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let start = rest.get(..end)?.rfind('@').map_or(0, |at| at + 1);
    Some((authority + start, authority + end))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::sleep;

    use super::*;

    #[test]
    fn the_host_of_a_url_is_what_is_replaced() {
        for (url, expected) in [
            ("postgres://u:p@127.0.0.1:5432/d?sslmode=disable", "127.0.0.1:5432"),
            ("postgres://127.0.0.1", "127.0.0.1"),
            ("postgres://u@localhost?a=b@c", "localhost"),
        ] {
            let (start, end) = host(url).unwrap();
            assert_eq!(&url[start..end], expected);
        }
    }

    #[tokio::test]
    async fn what_is_refused_passes_again_and_bytes_are_cut_where_they_are_told_to() -> Result<()> {
        let echo = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("postgres://u@{}/d", echo.local_addr()?);
        let echo = tokio::spawn(async move {
            while let Ok((mut client, _)) = echo.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let proxy = Proxy::before(&url).await?;
        proxy.refuse().await;
        assert!(TcpStream::connect(proxy.address).await.is_err());
        proxy.pass().await;
        proxy.slice(1);
        let mut client = TcpStream::connect(proxy.address).await?;
        client.write_all(b"hello").await?;
        let mut heard = [0; 5];
        client.read_exact(&mut heard).await?;
        assert_eq!(&heard, b"hello");
        assert_eq!(proxy.traffic(), [Traffic { round_trips: 1, up: 5, down: 5 }]);
        proxy.cut_after_bytes(Way::Down, 7);
        client.write_all(b"again").await?;
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await?;
        assert_eq!(rest, b"ag");
        proxy.pass().await;
        let mut client = TcpStream::connect(proxy.address).await?;
        client.write_all(b"hello").await?;
        client.read_exact(&mut heard).await?;
        proxy.half_close();
        assert_eq!(client.read(&mut heard).await?, 0);
        client.write_all(b"more").await?;
        proxy.reset();
        while client.write_all(b"more").await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
        echo.abort();
        Ok(())
    }
}
