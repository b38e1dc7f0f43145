//! Conflicting settings: times that were set and can't be kept, since another ends first.

use std::time::Duration;

use pgspan::{Error, Kind};

use super::arguments::Arguments;
use crate::PoolSettings;
use crate::serve::Options;

impl Arguments {
    /// A fault for each. Only a time that was set can be in conflict: lowering one is not refused because of another's default.
    pub(super) fn conflicts(
        &self,
        limits: Option<&pgspan::Settings>,
        pool: Option<&PoolSettings>,
        server: Option<&Options>,
        request: Option<Duration>,
    ) -> Vec<Error> {
        let acquire = limits.map(|limits| limits.acquire_timeout);
        let statement = limits.map(|limits| limits.statement_timeout);
        let connect = pool.map(|pool| pool.connect_timeout);
        let (idle, lifetime) = (pool.map(|pool| pool.idle_timeout), pool.map(|pool| pool.lifetime));
        let drain = server.map(|server| server.drain);
        let pairs = [
            ("STATEMENT_TIMEOUT_MS", statement, "REQUEST_TIMEOUT_MS", request, "ends the request first"),
            ("ACQUIRE_TIMEOUT_MS", acquire, "REQUEST_TIMEOUT_MS", request, "ends the request first"),
            ("CONNECT_TIMEOUT_MS", connect, "ACQUIRE_TIMEOUT_MS", acquire, "ends the attempt first"),
            ("POOL_IDLE_TIMEOUT_MS", idle, "POOL_LIFETIME_MS", lifetime, "ends the connection first"),
            ("REQUEST_TIMEOUT_MS", request, "DRAIN_TIMEOUT_MS", drain, "cuts it off when the server stops"),
        ];
        let conflicts = pairs.into_iter().filter(|(name, time, _, first, _)| {
            self.find(name).is_some() && matches!((time, first), (Some(time), Some(first)) if time > first)
        });
        let fault = |(name, _, other, first, why): (&str, _, &str, Option<Duration>, &str)| {
            let first = first.unwrap_or_default().as_millis();
            let text = format!(
                "{name}: must not be above {other} ({first}), which {why}: lower it, or raise {other}"
            );
            Error::new(Kind::Config, text)
        };
        conflicts.map(fault).collect()
    }
}
