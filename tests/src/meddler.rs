//! A proxy between a client and PostgreSQL that understands messages, and does to them what a broken pooler does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::proxy::host;

/// What is done to the messages of each connection, once it has logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// One message of the server's, drawn from the first so many, is dropped, doubled, exchanged with the next, or has a message put in
    /// front of it that has no place there.
    Message {
        /// What is drawn follows from it.
        seed: u64,
        /// How many messages it is drawn from.
        among: u64,
    },
    /// One whole answer of the server's, up to its ReadyForQuery, drawn from the first so many, is dropped, doubled, or exchanged with the
    /// next.
    Answer {
        /// What is drawn follows from it.
        seed: u64,
        /// How many answers it is drawn from.
        among: u64,
    },
    /// The connection is cut before one message of either side, drawn from the first so many.
    Cut {
        /// What is drawn follows from it.
        seed: u64,
        /// How many messages it is drawn from.
        among: u64,
    },
    /// A pooler that lets go of its server connection at the first answer outside a transaction: the answers to what was written behind
    /// it never come.
    Forget,
}

/// A door to a server, on a free port of 127.0.0.1, that closes when this is dropped. For connections without TLS.
#[derive(Debug)]
pub struct Meddler {
    address: SocketAddr,
    done: Arc<AtomicU64>,
    accepting: AbortHandle,
}

impl Meddler {
    /// A door to the server of this URL.
    ///
    /// # Errors
    /// When the URL has no host and port, or no port is free.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn before(url: &str, meddling: Meddling) -> Result<Meddler> {
        let (start, end) = host(url).context("this URL has no host")?;
        let server = url.get(start..end).context("this URL has no host")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free")?;
        let address = listener.local_addr()?;
        let done = Arc::new(AtomicU64::new(0));
        let count = done.clone();
        let accepting = tokio::spawn(async move {
            let (mut carried, mut number) = (JoinSet::new(), 0);
            loop {
                tokio::select! {
                    Some(_) = carried.join_next() => {}
                    accepted = listener.accept() => {
                        let Ok((client, _)) = accepted else { return };
                        number += 1;
                        carried.spawn(carry(client, server.clone(), meddling, number, count.clone()));
                    }
                }
            }
        });
        Ok(Meddler { address, done, accepting: accepting.abort_handle() })
    }

    /// The same URL, through this door.
    pub fn url(&self, url: &str) -> String {
        let Some((start, end)) = host(url) else { return url.to_owned() };
        let (before, behind) = (url.get(..start).unwrap_or_default(), url.get(end..).unwrap_or_default());
        format!("{before}{}{behind}", self.address)
    }

    /// How often it meddled.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(
    client: TcpStream,
    server: String,
    meddling: Meddling,
    number: u64,
    done: Arc<AtomicU64>,
) -> Option<()> {
    let server = TcpStream::connect(&server).await.ok()?;
    client.set_nodelay(true).ok()?;
    server.set_nodelay(true).ok()?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asked = Arc::new(AtomicU64::new(0));
    let cut = match meddling {
        Meddling::Cut { seed, among } => {
            let mut random = Random(seed.wrapping_mul(31).wrapping_add(number));
            Some((random.below(2) == 0, random.below(among)))
        }
        Meddling::Message { .. } | Meddling::Answer { .. } | Meddling::Forget => None,
    };
    let up =
        up(Messages::new(from_client, true), to_server, cut.filter(|cut| cut.0).map(|cut| cut.1), &asked);
    let down = Down {
        meddling,
        random: match meddling {
            Meddling::Message { seed, .. } | Meddling::Answer { seed, .. } => {
                Random(seed.wrapping_mul(31).wrapping_add(number))
            }
            Meddling::Cut { .. } | Meddling::Forget => Random(1),
        },
        cut: cut.filter(|cut| !cut.0).map(|cut| cut.1),
        to: to_client,
        asked: &asked,
        answered: 0,
        done: &done,
    };
    tokio::select! {
        _ = up => {}
        _ = down.carry(Messages::new(from_server, false)) => {}
    }
    Some(())
}

/// What the client says, until the message it is cut before.
async fn up(mut from: Messages, mut to: OwnedWriteHalf, cut: Option<u64>, asked: &AtomicU64) -> Option<()> {
    let mut count = 0;
    loop {
        let message = from.next().await?;
        let is_request =
            matches!(message.first(), Some(b'P' | b'B' | b'D' | b'E' | b'S' | b'C' | b'd' | b'c' | b'Q'));
        if is_request && !from.starts {
            if cut == Some(count) {
                return None;
            }
            count += 1;
        }
        if is_request && matches!(message.first(), Some(b'S' | b'Q')) {
            asked.fetch_add(1, Ordering::SeqCst);
        }
        to.write_all(&message).await.ok()?;
    }
}

struct Down<'a> {
    meddling: Meddling,
    random: Random,
    cut: Option<u64>,
    to: OwnedWriteHalf,
    asked: &'a AtomicU64,
    answered: u64,
    done: &'a AtomicU64,
}

impl Down<'_> {
    async fn carry(mut self, mut from: Messages) -> Option<()> {
        loop {
            let message = from.next().await?;
            let is_ready = message.first() == Some(&b'Z');
            self.to.write_all(&message).await.ok()?;
            if is_ready {
                break;
            }
        }
        if let Meddling::Answer { among, .. } = self.meddling {
            return self.meddle_with_answer(among, from).await;
        }
        let chosen = match self.meddling {
            Meddling::Message { among, .. } => Some(self.random.below(among)),
            Meddling::Answer { .. } | Meddling::Cut { .. } | Meddling::Forget => None,
        };
        let mut number = 0;
        loop {
            let message = from.next().await?;
            if self.cut == Some(number) {
                return None;
            }
            if chosen == Some(number) {
                self.done.fetch_add(1, Ordering::Relaxed);
                self.meddle(message, &mut from).await?;
            } else {
                self.pass(&message, &mut from).await?;
            }
            number += 1;
        }
    }

    async fn pass(&mut self, message: &[u8], from: &mut Messages) -> Option<()> {
        // before the client hears it: what it asks then is asked of a server that it has
        let until = self.asked.load(Ordering::SeqCst);
        self.to.write_all(message).await.ok()?;
        if message.first() == Some(&b'G') {
            self.asked.fetch_sub(1, Ordering::SeqCst); // the Sync behind the Execute of a COPY is ignored
        }
        if message.first() == Some(&b'Z') {
            self.answered += 1;
            let is_idle = message.last() == Some(&b'I');
            if self.meddling == Meddling::Forget && is_idle {
                self.forget(until, from).await?;
            }
        }
        Some(())
    }

    /// Swallows the answers to everything that was asked already.
    async fn forget(&mut self, until: u64, from: &mut Messages) -> Option<()> {
        while self.answered < until {
            if from.next().await?.first() == Some(&b'Z') {
                self.answered += 1;
                self.done.fetch_add(1, Ordering::Relaxed);
            }
        }
        Some(())
    }

    /// Passes whole answers, all but the chosen one as they are.
    async fn meddle_with_answer(&mut self, among: u64, mut from: Messages) -> Option<()> {
        for _ in 0..self.random.below(among) {
            let answer = from.answer().await?;
            self.to.write_all(&answer).await.ok()?;
        }
        let answer = from.answer().await?;
        self.done.fetch_add(1, Ordering::Relaxed);
        match self.random.below(3) {
            0 => {}
            1 => self.to.write_all(&answer.repeat(2)).await.ok()?,
            _ => {
                // the client may wait for this one before it asks for the next
                let next = tokio::time::timeout(std::time::Duration::from_millis(20), from.answer()).await;
                if let Ok(next) = next {
                    self.to.write_all(&next?).await.ok()?;
                }
                self.to.write_all(&answer).await.ok()?;
            }
        }
        loop {
            let message = from.next().await?;
            self.to.write_all(&message).await.ok()?;
        }
    }

    async fn meddle(&mut self, message: Vec<u8>, from: &mut Messages) -> Option<()> {
        match self.random.below(4) {
            0 => {}
            1 => {
                self.to.write_all(&message).await.ok()?;
                self.to.write_all(&message).await.ok()?;
            }
            2 => {
                // the client may wait for this one before it asks for the next
                let next = tokio::time::timeout(std::time::Duration::from_millis(20), from.next()).await;
                if let Ok(next) = next {
                    self.to.write_all(&next?).await.ok()?;
                }
                self.to.write_all(&message).await.ok()?;
            }
            _ => {
                let strange: [&[u8]; 9] = [
                    b"Z\0\0\0\x05I",
                    b"Z\0\0\0\x05T",
                    b"1\0\0\0\x04",
                    b"2\0\0\0\x04",
                    b"n\0\0\0\x04",
                    b"I\0\0\0\x04",
                    b"C\0\0\0\x0dSELECT 1\0",
                    b"D\0\0\0\x12\0\x01\0\0\0\x08\0\0\0\0\0\0\x12\x34",
                    b"t\0\0\0\x06\0\0",
                ];
                let chosen = usize::try_from(self.random.below(9)).unwrap_or_default();
                self.to.write_all(strange.get(chosen)?).await.ok()?;
                self.to.write_all(&message).await.ok()?;
            }
        }
        Some(())
    }
}

/// The messages of one side.
struct Messages {
    from: OwnedReadHalf,
    heard: Vec<u8>,
    /// The start-up message is still to come, which has no tag.
    starts: bool,
}

impl Messages {
    fn new(from: OwnedReadHalf, starts: bool) -> Messages {
        Messages { from, heard: Vec::new(), starts }
    }

    /// The messages up to the next ReadyForQuery, as one piece. Dropping the future loses nothing but what was read of it.
    async fn answer(&mut self) -> Option<Vec<u8>> {
        let mut answer = Vec::new();
        loop {
            let message = self.next().await?;
            answer.extend(&message);
            if message.first() == Some(&b'Z') {
                return Some(answer);
            }
        }
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let tag = usize::from(!self.starts);
            if let Some(length) = self.heard.get(tag..tag + 4).and_then(|length| length.first_chunk::<4>()) {
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()? + tag;
                if self.heard.len() >= length {
                    self.starts = false;
                    return Some(self.heard.drain(..length).collect());
                }
            }
            let mut piece = vec![0; 16 * 1024];
            let read = self.from.read(&mut piece).await.ok()?;
            if read == 0 {
                return None;
            }
            self.heard.extend(piece.get(..read)?);
        }
    }
}

/// splitmix64: a run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit.max(1)
    }
}
