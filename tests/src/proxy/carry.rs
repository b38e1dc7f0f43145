//! What a proxy does with a connection: carries it both ways, with the faults of the moment, and counts.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::frames::Frames;
use super::{Ending, Faults, State, Traffic, Way};

/// Accepts connections and carries each, while the door is open.
pub(super) async fn accept(listener: TcpListener, address: SocketAddr, state: Arc<State>) {
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
    let connection = Connection::begin(&client, &state);
    let _open = Open(&connection);
    let mut ending = state.ending.subscribe();
    if state.faults().deaf {
        // held, and read, but never answered
        tokio::select! {
            () = listen_in_vain(&client) => {}
            how = end(&mut ending) => finish(client, &connection, how),
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
    finish(client, &connection, how);
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

fn finish(client: TcpStream, connection: &Connection, how: Ending) {
    connection.end();
    if how == Ending::Reset {
        let _ = client.set_zero_linger();
    }
}

/// A connection whose client has not closed it yet.
struct Open<'c>(&'c Connection);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What the two ways of a connection know of each other.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// How many were opened before.
    number: usize,
    /// To see whether the client has closed it; it is read elsewhere. None at the end.
    client: Mutex<Option<OwnedFd>>,
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
    fn begin(client: &TcpStream, state: &State) -> Arc<Connection> {
        let mut connections = state.connections();
        let client = Mutex::new(client.as_fd().try_clone_to_owned().ok());
        let connection = Arc::new(Connection { number: connections.len(), client, ..Connection::default() });
        connections.push(connection.clone());
        let open = connections.iter().filter(|connection| connection.is_open()).count();
        state.most_open.fetch_max(open, Ordering::SeqCst);
        connection
    }

    /// Whether the client has it open. The kernel is asked: what was read so far may lag behind.
    pub(super) fn is_open(&self) -> bool {
        #[cfg(target_os = "linux")]
        let closed = PollFlags::HUP | PollFlags::ERR | PollFlags::RDHUP;
        #[cfg(not(target_os = "linux"))]
        let closed = PollFlags::HUP | PollFlags::ERR;
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.as_ref().is_some_and(|client| {
            let mut polled = [PollFd::new(client, closed)];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut polled, Some(&at_once)).is_ok()
                && !polled.iter().any(|fd| fd.revents().intersects(closed))
        })
    }

    fn end(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn traffic(&self) -> Traffic {
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
            if lost || faults.deaf || self.connection.number < faults.forgotten {
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
