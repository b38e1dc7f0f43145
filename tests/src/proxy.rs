//! A proxy between a client and PostgreSQL that breaks what a network breaks, and counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

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
}

#[derive(Debug, Clone, Default)]
struct Faults {
    deaf: bool,
    up_is_lost: bool,
    down_is_lost: bool,
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

/// What the two ways of a connection know of each other.
#[derive(Debug, Default)]
struct Connection {
    round_trips: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    /// The client spoke last.
    asked: AtomicBool,
    /// Flights the client sent, and those the server answered.
    flights: AtomicU64,
    answered: AtomicU64,
    /// The statement to cut after went by: answers are withheld.
    withheld: AtomicBool,
}

impl Connection {
    fn traffic(&self) -> Traffic {
        let read = |count: &AtomicU64| count.load(Ordering::SeqCst);
        Traffic { round_trips: read(&self.round_trips), up: read(&self.up), down: read(&self.down) }
    }

    /// Counts bytes on their way, and gives how many went this way so far.
    fn count(&self, way: Way, bytes: usize) -> u64 {
        let (count, spoke) = match way {
            Way::Up => (&self.up, true),
            Way::Down => (&self.down, false),
        };
        if !self.asked.swap(spoke, Ordering::SeqCst) && spoke {
            self.round_trips.fetch_add(1, Ordering::SeqCst);
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        count.fetch_add(bytes, Ordering::SeqCst) + bytes
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, state: Arc<State>) {
    let mut open = state.open.subscribe();
    let mut listener = Some(listener);
    let mut carried = JoinSet::new();
    loop {
        let wanted = *open.borrow_and_update();
        match (&listener, wanted) {
            (Some(_), false) => listener = None,
            (None, true) => listener = TcpListener::bind(address).await.ok(),
            _ => {}
        }
        state.listening.send_replace(listener.is_some());
        let Some(listening) = &listener else {
            tokio::select! {
                changed = open.changed() => if changed.is_err() { return },
                () = sleep(Duration::from_millis(10)), if wanted => {} // someone took the port: try again
            }
            continue;
        };
        tokio::select! {
            changed = open.changed() => if changed.is_err() { return },
            Some(_) = carried.join_next() => {}
            client = listening.accept() => if let Ok((client, _)) = client {
                carried.spawn(serve(client, state.clone()));
            }
        }
    }
}

async fn serve(client: TcpStream, state: Arc<State>) {
    let connection = Arc::new(Connection::default());
    state.connections().push(connection.clone());
    let mut ending = state.ending.subscribe();
    if state.faults().deaf {
        // held, and read, but never answered
        tokio::select! {
            () = listen_in_vain(&client) => {}
            how = end(&mut ending) => finish(client, how),
        }
        return;
    }
    let Ok(mut server) = TcpStream::connect(&state.server).await else { return };
    let mut client = client;
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let how = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let carry = Carry { state: &state, connection: &connection };
        let up = carry.carry(Way::Up, from_client, to_server);
        let down = carry.carry(Way::Down, from_server, to_client);
        tokio::select! {
            both = async { tokio::try_join!(up, down) } => both.err().unwrap_or(Ending::Closed),
            how = end(&mut ending) => how,
        }
    };
    finish(client, how);
}

async fn listen_in_vain(client: &TcpStream) {
    let mut heard = [0; 4096];
    while client.readable().await.is_ok() {
        if matches!(client.try_read(&mut heard), Ok(0)) {
            return;
        }
    }
}

/// Waits until the connections are to end as a whole.
async fn end(ending: &mut watch::Receiver<(u64, Ending)>) -> Ending {
    loop {
        if ending.changed().await.is_err() {
            return Ending::Closed;
        }
        match ending.borrow_and_update().1 {
            Ending::HalfClosed => {}
            how => return how,
        }
    }
}

fn finish(client: TcpStream, how: Ending) {
    if how == Ending::Reset {
        let _ = client.set_zero_linger();
    }
}

/// One connection's way.
struct Carry<'c> {
    state: &'c State,
    connection: &'c Connection,
}

impl Carry<'_> {
    /// Carries bytes one way until there are no more; an error ends both ways.
    async fn carry(
        &self,
        way: Way,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Result<(), Ending> {
        let mut ending = self.state.ending.subscribe();
        let mut frames = Frames::new(way);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = tokio::select! {
                read = from.read(&mut buffer) => read.map_err(|_| Ending::Reset)?,
                _ = ending.changed() => match (way, ending.borrow_and_update().1) {
                    (Way::Down, Ending::HalfClosed) => 0,
                    _ => continue,
                },
            };
            if read == 0 {
                let _ = to.shutdown().await;
                return Ok(());
            }
            let faults = self.state.faults().clone();
            let lost = match way {
                Way::Up => faults.up_is_lost,
                Way::Down => faults.down_is_lost,
            };
            if lost || faults.deaf {
                continue;
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            let mut kept = self.look(&mut frames, way, bytes, &faults)?;
            let gone = self.connection.count(way, kept.len());
            let cut = match faults.cut_after_bytes {
                Some((cut, most)) if cut == way && gone >= most => {
                    let surplus = usize::try_from(gone - most).unwrap_or(usize::MAX);
                    kept = kept.get(..kept.len().saturating_sub(surplus)).unwrap_or_default();
                    true
                }
                _ => false,
            };
            write(&mut to, kept, &faults).await?;
            if cut {
                return Err(Ending::Closed);
            }
        }
    }

    /// Follows the protocol for the statement to cut after, and gives what may pass.
    fn look<'b>(
        &self,
        frames: &mut Frames,
        way: Way,
        bytes: &'b [u8],
        faults: &Faults,
    ) -> Result<&'b [u8], Ending> {
        let Connection { flights, answered, withheld, .. } = self.connection;
        match way {
            Way::Up => frames.read(bytes, |tag, body| match tag {
                b'S' => {
                    flights.fetch_add(1, Ordering::SeqCst);
                }
                b'Q' | b'P' => {
                    let text = match tag {
                        b'P' => body.split(|byte| *byte == 0).nth(1), // behind the statement's name
                        _ => body.split(|byte| *byte == 0).next(),
                    };
                    flights.fetch_add(u64::from(tag == b'Q'), Ordering::SeqCst);
                    let text = text.map(String::from_utf8_lossy).unwrap_or_default();
                    let wanted = faults.cut_after_statement.as_deref();
                    if wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case(text.trim())) {
                        withheld.store(true, Ordering::SeqCst);
                    }
                }
                _ => {}
            }),
            Way::Down => {
                frames.read(bytes, |tag, _| {
                    answered.fetch_add(u64::from(tag == b'Z'), Ordering::SeqCst);
                });
                if withheld.load(Ordering::SeqCst) {
                    // the first ReadyForQuery ends the login and answers no flight
                    let all = answered.load(Ordering::SeqCst) > flights.load(Ordering::SeqCst);
                    return if all { Err(Ending::Closed) } else { Ok(&[]) };
                }
            }
        }
        Ok(bytes)
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8], faults: &Faults) -> Result<(), Ending> {
    if let Some(latency) = faults.latency {
        sleep(latency).await;
    }
    let piece = faults.slice.unwrap_or(usize::MAX);
    // twenty pieces a second
    let allowance = faults.bytes_per_second.map_or(u64::MAX, |bytes| bytes.div_ceil(20));
    let piece = piece.min(usize::try_from(allowance).unwrap_or(usize::MAX));
    for piece in bytes.chunks(piece) {
        to.write_all(piece).await.map_err(|_| Ending::Reset)?;
        to.flush().await.map_err(|_| Ending::Reset)?;
        match faults.bytes_per_second {
            Some(_) => sleep(Duration::from_millis(50)).await,
            None => tokio::task::yield_now().await,
        }
    }
    Ok(())
}

/// Finds the messages in a stream of bytes (PostgreSQL documentation, 54.7), however it is cut.
struct Frames {
    /// The client's first message has no type.
    untyped: bool,
    head: Vec<u8>,
    body: Vec<u8>,
    left: usize,
}

/// No more of a message is kept: enough to know COMMIT by.
const KEPT: usize = 1024;

impl Frames {
    fn new(way: Way) -> Self {
        Self { untyped: way == Way::Up, head: Vec::new(), body: Vec::new(), left: 0 }
    }

    fn read(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8, &[u8])) {
        while let Some((&byte, rest)) = bytes.split_first() {
            let head = if self.untyped { 4 } else { 5 };
            if self.head.len() < head {
                self.head.push(byte);
                bytes = rest;
                if self.head.len() < head {
                    continue;
                }
                let length = self.head.last_chunk::<4>().map_or(4, |length| u32::from_be_bytes(*length));
                self.left = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4);
            }
            let (body, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.body.extend(body.iter().take(KEPT.saturating_sub(self.body.len())));
            self.left -= body.len();
            bytes = rest;
            if self.left == 0 {
                if let (false, Some(tag)) = (self.untyped, self.head.first()) {
                    found(*tag, &self.body);
                }
                self.untyped = false;
                self.head.clear();
                self.body.clear();
            }
        }
    }
}

/// Where the host and port are in a connection URL.
fn host(url: &str) -> Option<(usize, usize)> {
    let authority = url.find("://")? + 3;
    let rest = url.get(authority..)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let start = rest.get(..end)?.rfind('@').map_or(0, |at| at + 1);
    Some((authority + start, authority + end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_the_stream_is_cut() {
        let mut stream = vec![0, 0, 0, 9, 0, 3, 0, 0, 0]; // start-up
        stream.extend([b'P', 0, 0, 0, 14, 0]);
        stream.extend(b"COMMIT\0\0\0");
        stream.extend([b'S', 0, 0, 0, 4]);
        for size in 1..stream.len() {
            let (mut frames, mut found) = (Frames::new(Way::Up), Vec::new());
            for piece in stream.chunks(size) {
                frames.read(piece, |tag, body| found.push((tag, body.len())));
            }
            assert_eq!(found, [(b'P', 10), (b'S', 0)], "pieces of {size}");
        }
    }

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
