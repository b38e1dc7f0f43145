//! The pool's settings.

use std::time::Duration;

use pgspan::{Error, Result};

use crate::numbers::Numbers;

/// How the pool behaves. Each has a default and a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolSettings {
    /// Exclusive connections at most. 8: what a server of four cores can work on at once (twice its cores), and well
    /// below PostgreSQL's default of 100 connections with several instances. More make each slower, fewer make callers
    /// wait. The connections that single statements share (`DATABASE_SHARED`) come on top.
    pub size: usize,
    /// Connections that are kept open though nobody uses them, from the first use of the database on. 0: a server that is
    /// asked now and then needs none, and one that is asked all the time has them anyway; set it where the first requests
    /// of a burst must not wait for a login.
    pub min_idle: usize,
    /// Callers that may wait for a connection; further ones are refused at once. 64: eight for each connection. With more
    /// the last would wait past the deadline for nothing, with fewer a short burst is refused.
    pub max_waiters: usize,
    /// Opening a connection, with TLS and login, over all hosts and addresses. 3 s: a healthy server needs milliseconds, and
    /// the acquire deadline ends it anyway.
    pub connect_timeout: Duration,
    /// How old a connection gets, less up to 5 % so that they do not all end at once. 30 min: a fail-over or a changed
    /// DNS entry is followed within that, and a server process does not grow for ever.
    pub lifetime: Duration,
    /// How long a connection stays unused. 10 min: a burst's connections are given back to the server, those of a
    /// steady trickle stay.
    pub idle_timeout: Duration,
    /// A connection unused for longer is checked before it is given to a session, which costs a round trip. 30 s: below
    /// what firewalls and address translation forget connections after.
    pub check_after: Duration,
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings {
            size: 8,
            min_idle: 0,
            max_waiters: 64,
            connect_timeout: Duration::from_secs(3),
            lifetime: Duration::from_secs(30 * 60),
            idle_timeout: Duration::from_secs(10 * 60),
            check_after: Duration::from_secs(30),
        }
    }
}

impl PoolSettings {
    /// Reads the settings by name, say from the environment: `POOL_SIZE`, `POOL_MIN_IDLE`, `POOL_MAX_WAITERS`,
    /// `CONNECT_TIMEOUT_MS`, `POOL_LIFETIME_MS`, `POOL_IDLE_TIMEOUT_MS`, `POOL_CHECK_AFTER_MS`. What is not set has its default.
    ///
    /// # Errors
    ///
    /// Every fault there is, each [`Kind::Config`](pgspan::Kind::Config) and naming its setting.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<PoolSettings, Vec<Error>> {
        const DAY: u64 = 86_400_000;
        let default = PoolSettings::default();
        let mut numbers = Numbers { lookup, faults: Vec::new() };
        let settings = PoolSettings {
            size: numbers.size("POOL_SIZE", default.size, 1..=1000),
            min_idle: numbers.size("POOL_MIN_IDLE", default.min_idle, 0..=1000),
            max_waiters: numbers.size("POOL_MAX_WAITERS", default.max_waiters, 0..=100_000),
            connect_timeout: numbers.millis("CONNECT_TIMEOUT_MS", default.connect_timeout, 1..=DAY),
            lifetime: numbers.millis("POOL_LIFETIME_MS", default.lifetime, 1..=DAY),
            idle_timeout: numbers.millis("POOL_IDLE_TIMEOUT_MS", default.idle_timeout, 1..=DAY),
            check_after: numbers.millis("POOL_CHECK_AFTER_MS", default.check_after, 0..=DAY),
        };
        if settings.min_idle > settings.size {
            numbers.fault("POOL_MIN_IDLE", "must not be above POOL_SIZE");
        }
        numbers.check(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_the_pools_settings_is_told_at_once() {
        let faults = PoolSettings::read(|name| match name {
            "POOL_SIZE" => Some("0".into()),
            "POOL_LIFETIME_MS" => Some("-1".into()),
            _ => None,
        });
        let text: Vec<String> = faults.unwrap_err().iter().map(ToString::to_string).collect();
        let expected = "POOL_SIZE: must be a number from 1 to 1000";
        assert!(text.len() == 2 && text[0] == expected, "{text:?}");
        let faults = PoolSettings::read(|name| (name == "POOL_MIN_IDLE").then(|| "9".into())).unwrap_err();
        assert_eq!(faults[0].to_string(), "POOL_MIN_IDLE: must not be above POOL_SIZE");
        assert_eq!(PoolSettings::read(|_| None).unwrap(), PoolSettings::default());
    }
}
