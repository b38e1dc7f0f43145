//! Opens one connection, encrypted or not, to the first host that can be used, and drives it on tokio.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgspan::{ConnectionUrl, Error, Result};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Config;
use tokio_postgres::config::LoadBalanceHosts;

use crate::credentials::{Credentials, Provider};
use crate::hosts::{Server, shares};
use crate::link::{self, Opened};
use crate::random::shuffle;
use crate::system::said;
use crate::tls::files::Files;

/// A peer that vanished without a word is noticed after 60 s + 3 × 15 s (and by a deadline before that, if it is needed);
/// the system's default is two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// What tokio-postgres has where the URL does not say.
const UNSET_KEEPALIVE_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// What was sent and is not acknowledged for so long never will be (Linux).
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Knows where the database is and how to get there.
#[derive(Clone)]
pub(crate) struct Dialler(Arc<Inner>);

struct Inner {
    servers: Vec<Server>,
    in_order: bool,
    tls: Files,
    credentials: Credentials,
    /// The host and the address that a connection was opened to last.
    last: Mutex<Option<(usize, Option<IpAddr>)>>,
}

impl Dialler {
    /// `config` is the URL's, with what else is to be set.
    pub(crate) fn new(
        url: &ConnectionUrl,
        mut config: Config,
        provider: Option<Provider>,
    ) -> Result<Dialler> {
        if config.get_keepalives_idle() == UNSET_KEEPALIVE_IDLE {
            config.keepalives_idle(KEEPALIVE_IDLE);
            config.keepalives_interval(config.get_keepalives_interval().unwrap_or(KEEPALIVE_INTERVAL));
            config.keepalives_retries(config.get_keepalives_retries().unwrap_or(KEEPALIVE_RETRIES));
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNACKNOWLEDGED);
        }
        Ok(Dialler(Arc::new(Inner {
            servers: Server::all_of(&config)?,
            in_order: config.get_load_balance_hosts() == LoadBalanceHosts::Disable,
            tls: Files::read(url)?,
            credentials: Credentials::new(url, provider),
            last: Mutex::default(),
        })))
    }

    /// A connection to the first host that can be used, within `limit`. Each address has its share of the time, over TCP,
    /// TLS, the login and what `target_session_attrs` asks for, so that one which says nothing leaves some for the others. What
    /// worked last is tried first: a host that is silent costs its share once, and not each time.
    pub(crate) async fn open(&self, limit: Duration) -> Result<Opened> {
        let end = Instant::now() + limit;
        let credentials = timeout_at(end, self.0.credentials.current()).await;
        let credentials =
            credentials.map_err(|_| Error::unavailable("could not connect: no password came in time"))??;
        let last = *self.last();
        let mut failures = Failures::default();
        let mut servers = self.ordered(self.0.servers.iter().enumerate().collect());
        if let Some((number, _)) = last.filter(|_| self.0.in_order) {
            servers.sort_by_key(|(place, _)| *place != number); // stable
        }
        for ((number, server), end) in shares(servers, end) {
            let password = credentials.of(server);
            let mut addresses = match timeout_at(end, server.addresses()).await {
                Ok(Ok(addresses)) if addresses.is_empty() => {
                    failures.add(Error::unavailable("could not connect: the host's name has no address"));
                    continue;
                }
                Ok(Ok(addresses)) => self.ordered(addresses),
                Ok(Err(error)) => {
                    failures.add(no_address(&error));
                    continue;
                }
                Err(_) => {
                    failures.add(Error::unavailable(
                        "could not connect: the host's name was not found in time (DNS)",
                    ));
                    continue;
                }
            };
            for config in &mut addresses {
                password.as_ref().map(|password| config.password(password));
            }
            if let Some((_, Some(address))) = last.filter(|_| self.0.in_order) {
                addresses.sort_by_key(|config| config.get_hostaddrs() != [address]);
            }
            if let Some((opened, address)) = self.open_any(addresses, end, &mut failures).await {
                *self.last() = Some((number, address));
                return Ok(opened);
            }
        }
        Err(failures.sum_up())
    }

    async fn open_any(
        &self,
        addresses: Vec<Config>,
        end: Instant,
        failures: &mut Failures,
    ) -> Option<(Opened, Option<IpAddr>)> {
        let tls = self.0.tls.current();
        for (config, end) in shares(addresses, end) {
            let started = Instant::now();
            let end = config.get_connect_timeout().map_or(end, |limit| end.min(started + *limit));
            failures.add(match timeout_at(end, link::open(&config, tls.as_ref())).await {
                Ok(Ok(opened)) => return Some((opened, config.get_hostaddrs().first().copied())),
                Ok(Err(error)) => error,
                Err(_) => {
                    let limit = end.duration_since(started).as_millis();
                    Error::unavailable(format!("could not connect: no answer within {limit} ms"))
                }
            });
        }
        None
    }

    /// As `load_balance_hosts` wants them.
    fn ordered<T>(&self, mut all: Vec<T>) -> Vec<T> {
        if !self.0.in_order {
            shuffle(&mut all);
        }
        all
    }

    fn last(&self) -> MutexGuard<'_, Option<(usize, Option<IpAddr>)>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// getaddrinfo(3) tells why a name has no address; Rust has that as a text alone, which does not name the host.
fn no_address(error: &io::Error) -> Error {
    let text = error.to_string();
    let why = match text.rsplit_once("failed to lookup address information: ") {
        Some((_, why)) => format!("the host's name has no address: {why} (DNS)"),
        None => format!("the host's name has no address: {}", said(error)),
    };
    Error::unavailable(format!("could not connect: {why}"))
}

/// Why no address could be used so far.
#[derive(Default)]
struct Failures {
    count: usize,
    /// The last one, and each reason that is another.
    last: Option<Error>,
    others: Vec<String>,
}

impl Failures {
    fn add(&mut self, error: Error) {
        self.count += 1;
        let before = self.last.replace(error).map(|before| reason(&before));
        if let Some(before) = before
            && !self.others.iter().any(|other| is_alike(other, &before))
        {
            self.others.push(before);
        }
    }

    fn sum_up(mut self) -> Error {
        let last = self.last.unwrap_or_else(|| Error::unavailable("could not connect: there is no host"));
        let own = reason(&last);
        self.others.retain(|other| !is_alike(other, &own));
        match (self.count, self.others.join("; ")) {
            (..2, _) => last,
            (count, others) if others.is_empty() => {
                last.with_prefix(&format!("none of {count} addresses can be used, the last"))
            }
            (count, others) => {
                last.with_prefix(&format!("none of {count} addresses can be used ({others}), the last"))
            }
        }
    }
}

fn reason(error: &Error) -> String {
    let text = error.to_string();
    text.strip_prefix("could not connect: ").unwrap_or(&text).to_owned()
}

/// Whether two reasons differ in their times alone.
fn is_alike(one: &str, other: &str) -> bool {
    let words =
        |text: &'_ str| -> String { text.chars().filter(|letter| !letter.is_ascii_digit()).collect() };
    words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_address_that_says_nothing_leaves_time_for_the_others_of_its_name() {
        let silent = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let full = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = full.accept().await.unwrap();
            stream.write_all(b"E\0\0\0\x25SFATAL\0C53300\0Mtoo many clients\0\0").await.unwrap();
            stream
        });
        let url: ConnectionUrl = format!("postgres://u@localhost:{port}/d").parse().unwrap();
        let dialler = Dialler::new(&url, url.postgres().clone(), None).unwrap();
        let addresses = ["127.0.0.2", "127.0.0.1"].map(|ip| dialler.0.servers[0].at(ip.parse().unwrap()));
        let (mut failures, started) = (Failures::default(), Instant::now());
        let end = started + Duration::from_millis(600);
        assert!(dialler.open_any(addresses.to_vec(), end, &mut failures).await.is_none());
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        let error = failures.sum_up().to_string();
        let start = "none of 2 addresses can be used (no answer within ";
        let end = " ms), the last: could not connect: too many connections (53300): too many clients";
        assert!(error.starts_with(start) && error.ends_with(end), "{error}");
        drop((silent, answering.await.unwrap()));
    }

    #[test]
    fn a_server_that_vanished_is_noticed_by_the_socket_unless_the_url_says_otherwise() {
        let times = |url: &str| {
            let url: ConnectionUrl = url.parse().unwrap();
            let dialler = Dialler::new(&url, url.configure(&pgspan::Settings::default()), None).unwrap();
            let config = dialler.0.servers[0].at("127.0.0.1".parse().unwrap());
            let seconds = |time: Option<&Duration>| time.map(Duration::as_secs);
            (
                config.get_keepalives_idle().as_secs(),
                config.get_keepalives_interval().map(|time| time.as_secs()),
                config.get_keepalives_retries(),
                seconds(config.get_tcp_user_timeout()),
            )
        };
        assert_eq!(times("postgres://u@127.0.0.1/d"), (60, Some(15), Some(3), Some(20)));
        let theirs = times("postgres://u@127.0.0.1/d?keepalives_idle=7&tcp_user_timeout=9000");
        assert_eq!((theirs.0, theirs.3), (7, Some(9)));
    }
}
