//! Settings, parsed once: how long to wait for what, and what stands in between.

use std::time::Duration;

use crate::error::{Error, Kind, Result};

/// How a database behaves, whatever the driver. All times have a default.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Taking a connection, over everything: waiting, checking, opening. 3 s: a caller that waited longer than that is
    /// served better by an error.
    pub acquire_timeout: Duration,
    /// One statement (`statement_timeout`). 5 s: an endpoint's statement that takes longer is a mistake. Our own deadline
    /// lies half a second behind it, so that the server's answer comes first.
    pub statement_timeout: Duration,
    /// Waiting for a lock (`lock_timeout`). 2 s: below the statement's, so that contention is told from slowness.
    pub lock_timeout: Duration,
    /// An open transaction between two statements (`idle_in_transaction_session_timeout`). 10 s: it fences a client that
    /// vanished with locks held.
    pub idle_in_transaction_timeout: Duration,
    /// Whether a transaction pooler (PgBouncer, Hyperdrive) stands in between. Default: none.
    pub pooler: Option<Pooler>,
    /// How many connections single statements share. 0: each takes one of its own. Default 2: one while the other is
    /// replaced.
    pub shared: usize,
    /// Whether statements written with [`sql!`](crate::sql) are prepared on the connections that are kept, so that the
    /// server reads and plans each once. Default: no, which is right everywhere; behind a transaction pooler it is refused,
    /// since there the next statement may meet another server connection. It has no effect where a connection lives no longer
    /// than a request. Small statements then cost the server half.
    pub prepare: bool,
    /// What happens to a clean connection before it is given back. Default: nothing.
    pub recycle: Recycle,
}

/// What stands between the program and PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooler {
    /// A pooler that gives each transaction another server connection. No session state, no start-up options.
    Transaction,
}

/// What happens to a clean connection before it is given back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Recycle {
    /// Nothing: it is clean by the rule of return.
    #[default]
    Clean,
    /// `DISCARD ALL`, for programs whose functions change the session's state. It costs the server a statement for each
    /// session, but no one waits for it.
    DiscardAll,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            acquire_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            idle_in_transaction_timeout: Duration::from_secs(10),
            pooler: None,
            shared: 2,
            prepare: false,
            recycle: Recycle::Clean,
        }
    }
}

/// How long our own deadline waits for the server to keep its own.
const GRACE: Duration = Duration::from_millis(500);

impl Settings {
    /// Reads the settings by name, say from the environment: `ACQUIRE_TIMEOUT_MS`, `STATEMENT_TIMEOUT_MS`,
    /// `LOCK_TIMEOUT_MS`, `IDLE_IN_TRANSACTION_TIMEOUT_MS`, `DATABASE_POOLER` (`none` or `transaction`),
    /// `DATABASE_SHARED`, `DATABASE_PREPARE` (`true` or `false`), `DATABASE_RECYCLE` (`clean` or `discard-all`). What is not
    /// set has its default.
    ///
    /// # Errors
    ///
    /// Every fault there is, each [`Kind::Config`] and naming its setting.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Settings, Vec<Error>> {
        let mut read = Read { lookup, faults: Vec::new() };
        let default = Settings::default();
        let settings = Settings {
            acquire_timeout: read.millis("ACQUIRE_TIMEOUT_MS", default.acquire_timeout),
            statement_timeout: read.millis("STATEMENT_TIMEOUT_MS", default.statement_timeout),
            lock_timeout: read.millis("LOCK_TIMEOUT_MS", default.lock_timeout),
            idle_in_transaction_timeout: read
                .millis("IDLE_IN_TRANSACTION_TIMEOUT_MS", default.idle_in_transaction_timeout),
            pooler: read.one_of(
                "DATABASE_POOLER",
                &[("none", None), ("transaction", Some(Pooler::Transaction))],
                default.pooler,
            ),
            shared: read.number("DATABASE_SHARED", 64).unwrap_or(default.shared),
            prepare: read.one_of("DATABASE_PREPARE", &[("true", true), ("false", false)], default.prepare),
            recycle: read.one_of(
                "DATABASE_RECYCLE",
                &[("clean", Recycle::Clean), ("discard-all", Recycle::DiscardAll)],
                default.recycle,
            ),
        };
        if settings.recycle == Recycle::DiscardAll && settings.pooler.is_some() {
            read.fault("DATABASE_RECYCLE: discard-all has no meaning behind a transaction pooler");
        }
        if settings.prepare && settings.pooler.is_some() {
            read.fault("DATABASE_PREPARE: nothing can be prepared behind a transaction pooler");
        }
        if settings.lock_timeout > settings.statement_timeout {
            read.fault(
                "LOCK_TIMEOUT_MS: must not be above STATEMENT_TIMEOUT_MS, which would end the wait first",
            );
        }
        match read.faults.is_empty() {
            true => Ok(settings),
            false => Err(read.faults),
        }
    }

    /// The limits as start-up options (`-c name=value …`), which need no round trip; `None` behind a transaction pooler,
    /// which refuses them.
    pub fn startup_options(&self) -> Option<String> {
        self.pooler.is_none().then(|| {
            format!(
                "-c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={} \
                 -c client_connection_check_interval=1000",
                self.statement_timeout.as_millis(),
                self.lock_timeout.as_millis(),
                self.idle_in_transaction_timeout.as_millis(),
            )
        })
    }

    /// Whether anything is prepared.
    pub(crate) fn prepares(&self) -> bool {
        self.prepare && self.pooler.is_none()
    }

    /// Our own deadline for one answer.
    pub(crate) fn statement_deadline(&self) -> Duration {
        self.statement_timeout + GRACE
    }

    /// What a transaction sends behind BEGIN where the limits could not be set at start-up.
    pub(crate) fn transaction_limits(&self) -> Vec<String> {
        let limit = |name: &str, limit: Duration| format!("SET LOCAL {name} = {}", limit.as_millis());
        match self.pooler {
            None => Vec::new(),
            Some(Pooler::Transaction) => vec![
                limit("statement_timeout", self.statement_timeout),
                limit("lock_timeout", self.lock_timeout),
                limit("idle_in_transaction_session_timeout", self.idle_in_transaction_timeout),
            ],
        }
    }
}

/// Reads settings and collects what is wrong with them.
struct Read<L> {
    lookup: L,
    faults: Vec<Error>,
}

impl<L: Fn(&str) -> Option<String>> Read<L> {
    fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(Error::new(Kind::Config, text));
    }

    fn set(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    fn millis(&mut self, name: &str, default: Duration) -> Duration {
        // a day: PostgreSQL's own limit is about 24 of them
        const LONGEST: u64 = 86_400_000;
        match self.set(name).map(|value| value.parse::<u64>()) {
            None => default,
            Some(Ok(millis @ 1..=LONGEST)) => Duration::from_millis(millis),
            Some(_) => {
                self.fault(format!("{name}: must be a number of milliseconds from 1 to {LONGEST}"));
                default
            }
        }
    }

    fn number(&mut self, name: &str, most: usize) -> Option<usize> {
        let number = self.set(name)?.parse().ok().filter(|number| *number <= most);
        if number.is_none() {
            self.fault(format!("{name}: must be a number from 0 to {most}"));
        }
        number
    }

    fn one_of<T: Copy>(&mut self, name: &str, values: &[(&str, T)], default: T) -> T {
        let Some(value) = self.set(name) else { return default };
        if let Some((_, found)) = values.iter().find(|(known, _)| *known == value) {
            return *found;
        }
        let known: Vec<&str> = values.iter().map(|(known, _)| *known).collect();
        self.fault(format!("{name}: must be {}", known.join(" or ")));
        default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_the_settings_is_told_at_once() {
        let faults = Settings::read(|name| match name {
            "STATEMENT_TIMEOUT_MS" => Some("fast".into()),
            "DATABASE_POOLER" => Some("session".into()),
            "DATABASE_SHARED" => Some("65".into()),
            _ => None,
        })
        .unwrap_err();
        let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 3, "{text:?}");
        assert!(text[1].contains("none or transaction"), "{text:?}");
        let faults = Settings::read(|name| match name {
            "DATABASE_POOLER" => Some("transaction".into()),
            "DATABASE_PREPARE" => Some("true".into()),
            _ => None,
        });
        assert!(faults.unwrap_err()[0].to_string().starts_with("DATABASE_PREPARE: "));
        assert_eq!(Settings::read(|_| None).unwrap(), Settings::default());
    }
}
