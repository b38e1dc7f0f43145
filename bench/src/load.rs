//! The clients: so many keep-alive connections, one request at a time on each, every answer checked.
//!
//! Why not a load generator that is kept elsewhere: what is measured shares two cores with it, so it must cost little; and it
//! must make each request different, check each answer to the byte, and hold a rate. `wrk` does the first two from a
//! script of its own language, at a price, and holds no rate; `oha` checks no body; libraries bring a loop, but the HTTP
//! client is left to us. The parts are kept ones: `httparse` reads the answers, `hdrhistogram` counts the latencies.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::answer::{Answer, Endpoint};

/// How long an answer may be outstanding when all is over.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a refused client is told to wait (`Retry-After: 1`).
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The number of the next request. One count for all runs, so that no name comes twice.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) port: u16,
    pub(crate) clients: usize,
    pub(crate) endpoint: Endpoint,
    /// As fast as answers come, or so many requests a second.
    pub(crate) rate: Option<f64>,
    pub(crate) until: Until,
    /// The server may refuse who comes while it is busy (503 `unavailable`): such a client comes again after a second, as the
    /// answer tells it. Else that is an error.
    pub(crate) may_refuse: bool,
}

/// When the clients stop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// Nothing counts that was asked during the warm-up. What was asked in time and answered after the end counts as a latency
    /// and not for the speed.
    Elapsed { warm_up: Duration, measured: Duration },
    /// After so many answers.
    Requests(u64),
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// Right answers.
    pub(crate) answers: u64,
    pub(crate) refused: u64,
    pub(crate) seconds: f64,
    /// In microseconds.
    pub(crate) latencies: Histogram<u64>,
    /// Wrong answers, and requests that got none, the warm-up's included.
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// What the clients' own thread computed, in seconds, from start to end.
    pub(crate) own_cpu: f64,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        to_f64(self.answers) / self.seconds
    }

    /// A quantile in milliseconds.
    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        to_f64(self.latencies.value_at_quantile(quantile)) / 1000.0
    }
}

impl Load {
    /// Runs it on a thread of its own.
    pub(crate) async fn run(self) -> Result<Outcome> {
        let clients = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, self.all())
        });
        clients.await.context("the load generator failed")?
    }

    async fn all(self) -> Result<Outcome> {
        let mut connections = Vec::with_capacity(self.clients);
        for _ in 0..self.clients {
            connections.push(Connection::open(self.port).await?);
        }
        let cpu = crate::cpu::own_thread();
        let began = Instant::now();
        let (from, end, most) = match self.until {
            Until::Elapsed { warm_up, measured } => {
                (began + warm_up, Some(began + warm_up + measured), u64::MAX)
            }
            Until::Requests(most) => (began, None, most),
        };
        let run = Rc::new(Run {
            load: self,
            began,
            from,
            end,
            left: Cell::new(most),
            answers: Cell::new(0),
            refused: Cell::new(0),
            latencies: RefCell::new(Histogram::new_with_bounds(1, 120_000_000, 3)?),
            errors: Cell::new(0),
            first_error: RefCell::default(),
        });
        let clients: Vec<_> = (0_u32..)
            .zip(connections)
            .map(|(number, connection)| tokio::task::spawn_local(run.clone().client(number, connection)))
            .collect();
        let finished = async {
            for client in clients {
                let _ = client.await;
            }
        };
        let limit = end.map_or(Duration::from_secs(600), |end| end - began) + PATIENCE;
        if timeout(limit, finished).await.is_err() {
            run.fail(&format!("clients still waited {} s after the end", PATIENCE.as_secs()));
        }
        let seconds = end.map_or_else(|| began.elapsed(), |end| end - from).as_secs_f64();
        let first_error = run.first_error.borrow().clone();
        let latencies = run.latencies.borrow().clone();
        Ok(Outcome {
            answers: run.answers.get(),
            refused: run.refused.get(),
            seconds,
            latencies,
            errors: run.errors.get(),
            first_error,
            own_cpu: crate::cpu::own_thread().zip(cpu).map_or(0.0, |(now, then)| now - then),
        })
    }
}

/// What the clients of one run share.
struct Run {
    load: Load,
    began: Instant,
    from: Instant,
    end: Option<Instant>,
    left: Cell<u64>,
    answers: Cell<u64>,
    refused: Cell<u64>,
    latencies: RefCell<Histogram<u64>>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
}

impl Run {
    async fn client(self: Rc<Self>, number: u32, mut connection: Connection) {
        let mut asked = 0;
        while let Some(since) = self.turn(number, asked).await {
            asked += 1;
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let answered = connection.ask_busy(self.load.endpoint, number).await;
            let now = Instant::now();
            if answered.is_ok() && since >= self.from {
                let micros = u64::try_from((now - since).as_micros()).unwrap_or(u64::MAX);
                self.latencies.borrow_mut().saturating_record(micros);
            }
            match answered {
                Ok(Answered::Rightly) if since < self.from || self.end.is_some_and(|end| now > end) => {}
                Ok(Answered::Rightly) => self.answers.set(self.answers.get() + 1),
                Ok(Answered::Refused) if self.load.may_refuse => {
                    self.refused.set(self.refused.get() + 1);
                    sleep(RETRY_AFTER).await;
                }
                Ok(Answered::Refused) => self.fail("refused, since the server is busy"),
                Err(error) => {
                    self.fail(&format!("{error:#}"));
                    match Connection::open(self.load.port).await {
                        Ok(new) => connection = new,
                        Err(_) => return,
                    }
                }
            }
        }
    }

    /// Waits until this client's next request is due, and gives the moment from which it counts; `None` at the end.
    ///
    /// With a rate a request counts from when it was due if the client was still waiting for an answer then (the server's
    /// fault), else from when it is sent (a timer that is late is ours).
    async fn turn(&self, client: u32, asked: u32) -> Option<Instant> {
        let mut now = Instant::now();
        let mut since = now;
        if let Some(rate) = self.load.rate {
            let every = to_f64(u64::try_from(self.load.clients).unwrap_or(u64::MAX)) / rate;
            let due =
                self.began + Duration::from_secs_f64(f64::from(client) / rate + f64::from(asked) * every);
            since = due;
            if due > now {
                sleep_until(due.into()).await;
                now = Instant::now();
                since = now;
            }
        }
        if self.end.is_some_and(|end| now >= end) {
            return None;
        }
        self.left.set(self.left.get().checked_sub(1)?);
        Some(since)
    }

    fn fail(&self, error: &str) {
        self.errors.set(self.errors.get() + 1);
        self.first_error.borrow_mut().get_or_insert_with(|| error.to_owned());
    }
}

/// How a request was answered, where nothing was wrong with that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Rightly,
    /// 503 `unavailable`.
    Refused,
}

/// A keep-alive connection.
pub(crate) struct Connection {
    port: u16,
    stream: TcpStream,
    request: Vec<u8>,
    bytes: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        let stream = stream.with_context(|| format!("could not connect to port {port}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { port, stream, request: Vec::with_capacity(512), bytes: Vec::with_capacity(4096) })
    }

    /// Asks once; an answer that is not the right one is an error.
    pub(crate) async fn ask(&mut self, endpoint: Endpoint, number: u64) -> Result<()> {
        match self.ask_busy(endpoint, number).await? {
            Answered::Rightly => Ok(()),
            Answered::Refused => bail!("refused, since the server is busy"),
        }
    }

    /// Asks once a server that may be too busy; any other answer that is not the right one is an error.
    async fn ask_busy(&mut self, endpoint: Endpoint, number: u64) -> Result<Answered> {
        let expected = endpoint.ask(number, self.port, &mut self.request);
        self.stream.write_all(&self.request).await.context("could not send")?;
        self.bytes.clear();
        let answer = loop {
            if self.stream.read_buf(&mut self.bytes).await.context("no answer")? == 0 {
                bail!("the connection was closed before the answer");
            }
            if let Some(answer) = Answer::read(&self.bytes)? {
                break answer;
            }
        };
        let body = answer.body(&self.bytes);
        let whole = answer.end == self.bytes.len();
        let refused = answer.status == 503 && find(body, b"\"code\":\"unavailable\"");
        let is_expected = refused || expected.is(answer.status, body);
        if !whole || !is_expected {
            let body = String::from_utf8_lossy(body);
            let body: String = body.chars().take(300).collect();
            bail!("wrong answer to {expected:?}: {} {body}", answer.status);
        }
        if !answer.keep_alive {
            *self = Self::open(self.port).await?;
        }
        Ok(if refused { Answered::Refused } else { Answered::Rightly })
    }

    /// The number of a request that nobody has asked yet.
    pub(crate) fn number() -> u64 {
        NEXT.fetch_add(1, Ordering::Relaxed)
    }
}

/// Counts here are far below 2^53.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub(crate) fn to_f64(count: u64) -> f64 {
    count as f64
}

fn find(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server for one client: its first answer is that it is busy, all others are right and take so long.
    async fn busy_then_slow(slow: Duration) -> Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(serve(listener, slow));
        Ok(port)
    }

    async fn serve(listener: TcpListener, slow: Duration) -> Result<()> {
        let (mut stream, _) = listener.accept().await?;
        for number in 0.. {
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await?;
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            let sum: u64 = text.split([' ', '=', '&']).filter_map(|part| part.parse::<u64>().ok()).sum();
            let (status, body) = match number {
                0 => (503, r#"{"code":"unavailable"}"#.to_owned()),
                _ => (200, format!("{{\"sum\":{sum}}}")),
            };
            if number > 0 {
                sleep(slow).await;
            }
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await?;
        }
        Ok(())
    }

    async fn load(port: u16, measured: u64, may_refuse: bool) -> Result<Outcome> {
        let until = Until::Elapsed { warm_up: Duration::ZERO, measured: Duration::from_millis(measured) };
        Load { port, clients: 1, endpoint: Endpoint::Add, rate: None, until, may_refuse }.run().await
    }

    #[tokio::test]
    async fn what_is_answered_after_the_end_is_a_latency_and_no_speed() -> Result<()> {
        let port = busy_then_slow(Duration::from_millis(700)).await?;
        let outcome = load(port, 1_200, true).await?;
        assert_eq!((outcome.answers, outcome.refused, outcome.errors), (0, 1, 0), "{outcome:?}");
        assert!(outcome.millis(1.0) >= 690.0, "{} ms", outcome.millis(1.0));
        Ok(())
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_where_nobody_may_be_refused() -> Result<()> {
        let port = busy_then_slow(Duration::from_millis(1)).await?;
        let outcome = load(port, 200, false).await?;
        assert_eq!((outcome.refused, outcome.errors), (0, 1));
        assert!(outcome.answers > 0 && outcome.first_error.is_some_and(|error| error.contains("refused")));
        Ok(())
    }
}
