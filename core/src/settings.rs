//! Settings, parsed once: how long to wait for what, and what stands in between.

use std::time::Duration;

use crate::error::{Error, ErrorDetail, Kind, Result};

/// How a database behaves, whatever the driver. All times have a default.
///
/// A time of zero counts as 1 ms, a part of a millisecond is rounded up, and nothing is longer than 24 days, PostgreSQL's own limit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Taking a connection, over everything: waiting, checking, opening. Default 3 s: a caller that has waited this long is better
    /// off with an error.
    pub acquire_timeout: Duration,
    /// One statement (`statement_timeout`). Default 5 s: an endpoint's statement that takes longer is a mistake. Our own deadline
    /// lies half a second behind it, so that the server's answer comes first. Statements, batches, transactions and sessions can be
    /// given another: see "How long a statement may take" in the [book](crate::book::session).
    pub statement_timeout: Duration,
    /// Waiting for a lock (`lock_timeout`). Default 2 s: below the statement's, so that contention is told from slowness.
    pub lock_timeout: Duration,
    /// An open transaction between two statements (`idle_in_transaction_session_timeout`). Default 10 s: it ends the transaction of
    /// a client that vanished with locks held.
    pub idle_in_transaction_timeout: Duration,
    /// Whether a transaction pooler (PgBouncer, Hyperdrive) stands in between. Default: none.
    pub pooler: Option<Pooler>,
    /// Whether that pooler stands statements that are written before the one ahead of them is answered, outside of a transaction.
    /// PgBouncer does. A pooler that lets go of its server connection at the first answer, as Supavisor was seen to, loses all
    /// others. Default: no, so that behind a pooler each single statement takes a connection of its own and a batch is sent one by
    /// one, unless it is atomic. `pgspan-server check` tries it out. It has no effect without a pooler.
    pub pooler_pipelines: bool,
    /// How many connections single statements share. 0: each takes one of its own. Default 2: one while the other is
    /// replaced.
    pub shared_connections: usize,
    /// Whether statements that are part of the program's text ([`sql!`](crate::sql) and string literals) are prepared on the
    /// connections that are kept, so that the server reads and plans each once. Small statements then cost the server half.
    /// Default: no, which is right everywhere. Behind a transaction pooler it is right only if the pooler keeps prepared statements
    /// (PgBouncer from 1.21 on, with `max_prepared_statements`); this was not tried. It has no effect where a connection lives no
    /// longer than a request.
    pub prepare: bool,
    /// What happens to a clean connection before it is given back. Default: nothing.
    pub recycle: Recycle,
    /// A statement whose answer takes longer than this is logged as a warning, with its text and never a value; statements that
    /// travel together count as one. Default 1 s: an endpoint's statement that takes a second is worth a look.
    pub slow_statement: Duration,
    /// How much of PostgreSQL's errors is shown. Default: what quotes no value.
    pub error_detail: ErrorDetail,
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
    /// Nothing. A connection returns only when it is idle, outside a transaction and unchanged.
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
            pooler_pipelines: false,
            shared_connections: 2,
            prepare: false,
            recycle: Recycle::Clean,
            slow_statement: Duration::from_secs(1),
            error_detail: ErrorDetail::Safe,
        }
    }
}

impl Settings {
    /// Reads the settings by name, say from the environment: `ACQUIRE_TIMEOUT_MS`, `STATEMENT_TIMEOUT_MS`,
    /// `LOCK_TIMEOUT_MS`, `IDLE_IN_TRANSACTION_TIMEOUT_MS`, `DATABASE_POOLER` (`none` or `transaction`),
    /// `DATABASE_POOLER_PIPELINES` (`true` or `false`), `DATABASE_SHARED`, `DATABASE_PREPARE` (`true` or `false`),
    /// `DATABASE_RECYCLE` (`clean` or `discard-all`), `SLOW_STATEMENT_MS`, `DATABASE_ERROR_DETAIL` (`safe` or `full`). What is not
    /// set has its default. White space at the ends of a value does not count.
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
            pooler_pipelines: read.flag("DATABASE_POOLER_PIPELINES", default.pooler_pipelines),
            shared_connections: read.number("DATABASE_SHARED", 64).unwrap_or(default.shared_connections),
            prepare: read.flag("DATABASE_PREPARE", default.prepare),
            recycle: read.one_of(
                "DATABASE_RECYCLE",
                &[("clean", Recycle::Clean), ("discard-all", Recycle::DiscardAll)],
                default.recycle,
            ),
            slow_statement: read.millis("SLOW_STATEMENT_MS", default.slow_statement),
            error_detail: read.one_of(
                "DATABASE_ERROR_DETAIL",
                &[("safe", ErrorDetail::Safe), ("full", ErrorDetail::Full)],
                default.error_detail,
            ),
        };
        if settings.recycle == Recycle::DiscardAll && settings.pooler.is_some() {
            read.fault("DATABASE_RECYCLE: discard-all has no meaning behind a transaction pooler");
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
                "-c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={} {CONNECTION_CHECK}",
                millis(self.statement_timeout),
                millis(self.lock_timeout),
                millis(self.idle_in_transaction_timeout),
            )
        })
    }

    /// The same with every time as it can be kept.
    pub(crate) fn rounded(self) -> Settings {
        let rounded = |time| Duration::from_millis(millis(time));
        Settings {
            acquire_timeout: rounded(self.acquire_timeout),
            statement_timeout: rounded(self.statement_timeout),
            lock_timeout: rounded(self.lock_timeout),
            idle_in_transaction_timeout: rounded(self.idle_in_transaction_timeout),
            ..self
        }
    }

    /// Whether a statement may be written before the one ahead of it is answered, outside of a transaction.
    pub(crate) fn pipelines(&self) -> bool {
        self.pooler.is_none() || self.pooler_pipelines
    }

    /// What a transaction sends behind BEGIN where the limits could not be set at start-up; its statements' limit goes with them.
    pub(crate) fn transaction_limits(&self) -> Vec<String> {
        let limit = |name: &str, limit: Duration| format!("SET LOCAL {name} = {}", millis(limit));
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

/// How often the server looks whether its client is still there while it works for it (PostgreSQL 14 and newer).
const CONNECTION_CHECK: &str = "-c client_connection_check_interval=1000";

/// For drivers: the same configuration without `client_connection_check_interval`, for a server that
/// [refuses it](Error::refuses_connection_check).
pub fn without_connection_check(config: &tokio_postgres::Config) -> tokio_postgres::Config {
    let mut config = config.clone();
    if let Some(options) = config.get_options().map(|options| options.replace(CONNECTION_CHECK, "")) {
        config.options(options);
    }
    config
}

/// A time as PostgreSQL takes it: whole milliseconds, rounded up, at least one, at most 2³¹ − 1 (24 days).
pub(crate) fn millis(time: Duration) -> u64 {
    const LONGEST: u128 = 0x7fff_ffff;
    let millis = time.as_nanos().div_ceil(1_000_000).clamp(1, LONGEST);
    u64::try_from(millis).unwrap_or(1)
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
        let value = (self.lookup)(name)?;
        let trimmed = value.trim_ascii();
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
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

    fn flag(&mut self, name: &str, default: bool) -> bool {
        self.one_of(name, &[("true", true), ("false", false)], default)
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
        assert_eq!(Settings::read(|_| None).unwrap(), Settings::default());
    }

    #[test]
    fn white_space_around_a_value_does_not_count() {
        let settings = Settings::read(|name| match name {
            "DATABASE_POOLER" => Some(" transaction\n".into()),
            "STATEMENT_TIMEOUT_MS" => Some("7000\r\n".into()),
            "DATABASE_PREPARE" => Some("\n".into()),
            _ => None,
        });
        let settings = settings.unwrap();
        assert_eq!((settings.pooler, settings.prepare), (Some(Pooler::Transaction), false));
        assert_eq!(settings.statement_timeout, Duration::from_secs(7));
    }

    #[test]
    fn a_time_is_rounded_up_and_never_none() {
        let times = [Duration::ZERO, Duration::from_micros(500), Duration::from_micros(1500), Duration::MAX];
        assert_eq!(times.map(millis), [1, 1, 2, 2_147_483_647]);
        let settings = Settings {
            statement_timeout: Duration::MAX,
            acquire_timeout: Duration::ZERO,
            ..Settings::default()
        };
        let rounded = settings.rounded();
        assert_eq!(rounded.acquire_timeout, Duration::from_millis(1));
        assert!(rounded.startup_options().unwrap().starts_with("-c statement_timeout=2147483647 "));
    }

    #[test]
    fn the_check_of_the_connection_can_be_left_out() {
        let mut config = tokio_postgres::Config::new();
        config.options(format!("{} -c work_mem=1MB", Settings::default().startup_options().unwrap()));
        let left = without_connection_check(&config);
        let left = left.get_options().unwrap();
        assert!(left.contains("statement_timeout=5000") && left.ends_with(" -c work_mem=1MB"), "{left}");
        assert!(!left.contains("client_connection_check_interval"), "{left}");
    }
}
