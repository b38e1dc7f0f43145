//! Opens one connection, encrypted or not, to the first host that can be used, and drives it on tokio.

use std::sync::Arc;
use std::time::Duration;

use pgspan::{ConnectionUrl, Error, Result};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Config;
use tokio_postgres::config::LoadBalanceHosts;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::hosts::{Server, shares};
use crate::link::{self, Opened};
use crate::passfile::Passwords;
use crate::random::shuffle;
use crate::tls;

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
    tls: Option<MakeRustlsConnect>,
}

impl Dialler {
    /// `config` is the URL's, with what else is to be set.
    pub(crate) fn new(url: &ConnectionUrl, mut config: Config) -> Result<Dialler> {
        if config.get_keepalives_idle() == UNSET_KEEPALIVE_IDLE {
            config.keepalives_idle(KEEPALIVE_IDLE);
            config.keepalives_interval(config.get_keepalives_interval().unwrap_or(KEEPALIVE_INTERVAL));
            config.keepalives_retries(config.get_keepalives_retries().unwrap_or(KEEPALIVE_RETRIES));
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNACKNOWLEDGED);
        }
        let in_order = config.get_load_balance_hosts() == LoadBalanceHosts::Disable;
        let servers = Server::all_of(&config, &Passwords::of(url))?;
        Ok(Dialler(Arc::new(Inner { servers, in_order, tls: tls::tls(url)? })))
    }

    /// A connection to the first host that can be used, within `limit`. Each address has its share of the time, over TCP,
    /// TLS, the login and what `target_session_attrs` asks for, so that one which says nothing leaves some for the others.
    pub(crate) async fn open(&self, limit: Duration) -> Result<Opened> {
        let mut failures = Failures::default();
        for (server, end) in shares(self.ordered(self.0.servers.iter().collect()), Instant::now() + limit) {
            let addresses = match timeout_at(end, server.addresses()).await {
                Ok(Ok(addresses)) => addresses,
                _ => Vec::new(),
            };
            if addresses.is_empty() {
                failures.add(Error::unavailable("could not connect: the host's name has no address"));
            }
            if let Some(opened) = self.open_any(addresses, end, &mut failures).await {
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
    ) -> Option<Opened> {
        for (config, end) in shares(self.ordered(addresses), end) {
            let started = Instant::now();
            let end = config.get_connect_timeout().map_or(end, |limit| end.min(started + *limit));
            failures.add(match timeout_at(end, link::open(&config, self.0.tls.as_ref())).await {
                Ok(Ok(opened)) => return Some(opened),
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
}

/// Why no address could be used so far.
#[derive(Default)]
struct Failures {
    count: usize,
    last: Option<Error>,
}

impl Failures {
    fn add(&mut self, error: Error) {
        self.count += 1;
        self.last = Some(error);
    }

    fn sum_up(self) -> Error {
        let last = self.last.unwrap_or_else(|| Error::unavailable("could not connect: there is no host"));
        match self.count {
            ..2 => last,
            count => last.with_prefix(&format!("none of {count} addresses can be used, the last")),
        }
    }
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
        let dialler = Dialler::new(&url, url.postgres().clone()).unwrap();
        let addresses = ["127.0.0.2", "127.0.0.1"].map(|ip| dialler.0.servers[0].at(ip.parse().unwrap()));
        let (mut failures, started) = (Failures::default(), Instant::now());
        let end = started + Duration::from_millis(600);
        assert!(dialler.open_any(addresses.to_vec(), end, &mut failures).await.is_none());
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        let error = failures.sum_up().to_string();
        assert_eq!(
            error,
            "none of 2 addresses can be used, the last: could not connect: too many connections (53300)"
        );
        drop((silent, answering.await.unwrap()));
    }

    #[test]
    fn a_server_that_vanished_is_noticed_by_the_socket_unless_the_url_says_otherwise() {
        let times = |url: &str| {
            let url: ConnectionUrl = url.parse().unwrap();
            let dialler = Dialler::new(&url, url.configure(&pgspan::Settings::default())).unwrap();
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
