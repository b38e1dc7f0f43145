//! What can be set: names in the environment, flags, and what they mean.

/// One setting: a variable of the environment, and the flag of the same name (`POOL_SIZE`, `--pool-size`).
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub(crate) name: &'static str,
    /// What stands for the value in the help.
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
    flag: Option<&'static str>,
    pub(crate) is_secret: bool,
}

impl Setting {
    /// A setting: its name, what stands for its value in the help (`NUMBER`), and what it is. Say its default in brackets:
    /// `Users on a page [default: 100]`.
    pub const fn new(name: &'static str, value: &'static str, help: &'static str) -> Setting {
        Setting { name, value, help, flag: None, is_secret: false }
    }

    /// A secret, which a file may have too: the setting with `_FILE` behind its name names it.
    pub const fn secret(name: &'static str, value: &'static str, help: &'static str) -> Setting {
        Setting { is_secret: true, ..Setting::new(name, value, help) }
    }

    /// With another flag than the one that its name makes.
    const fn flag(self, flag: &'static str) -> Setting {
        Setting { flag: Some(flag), ..self }
    }

    /// The flag, without its dashes.
    pub(crate) fn long(&self) -> String {
        self.flag.map_or_else(|| self.name.to_ascii_lowercase().replace('_', "-"), str::to_owned)
    }
}

/// The settings that `migrate` needs.
pub(crate) fn of_the_database() -> impl Iterator<Item = &'static Setting> {
    ALL.iter().filter(|setting| ["DATABASE_URL", "DATABASE_PRIVATE_LINK"].contains(&setting.name))
}

/// The settings of every program.
pub(crate) const ALL: &[Setting] = &[
    Setting::new(
        "LISTEN_ADDR",
        "ADDRESS",
        "Where to listen: an address and a port, or unix: and the path of a socket [default: \
            127.0.0.1:8080]",
    )
    .flag("listen"),
    Setting::new(
        "HTTP2",
        "BOOLEAN",
        "Whether HTTP/2 without TLS (h2c) is spoken beside HTTP/1.1: true or false [default: false]",
    ),
    Setting::new(
        "HTTP2_AGE_MS",
        "MS",
        "How old a connection gets that speaks HTTP/2, less up to 5 % [default: 1800000]",
    ),
    Setting::secret(
        "DATABASE_URL",
        "URL",
        "Where the database is: postgres://user:password@host:port/database [default: PGHOST and the other \
            variables of libpq]",
    ),
    Setting::new(
        "DATABASE_PRIVATE_LINK",
        "BOOLEAN",
        "Whether sslmode=disable is allowed to any host, where the network is private by other means: true or \
            false [default: false]",
    ),
    Setting::new(
        "DATABASE_POOLER",
        "POOLER",
        "Whether a transaction pooler (PgBouncer) stands before it: none or transaction [default: none]",
    ),
    Setting::new(
        "DATABASE_POOLER_PIPELINES",
        "BOOLEAN",
        "Whether that pooler stands a statement that is sent before the one ahead is answered, as PgBouncer \
            does: true or false [default: false]",
    ),
    Setting::new(
        "DATABASE_SHARED",
        "NUMBER",
        "Connections that single statements share; 0: none [default: twice WORKER_THREADS, 8 at most]",
    ),
    Setting::new(
        "DATABASE_PREPARE",
        "BOOLEAN",
        "Whether statements are prepared on the connections that are kept: true or false [default: false]",
    ),
    Setting::new(
        "DATABASE_RECYCLE",
        "HOW",
        "What happens to a clean connection before it is given back: clean (nothing) or discard-all [default: \
            clean]",
    ),
    Setting::new("POOL_SIZE", "NUMBER", "Exclusive connections at most [default: 8]"),
    Setting::new("POOL_MIN_IDLE", "NUMBER", "Connections kept open though nobody uses them [default: 0]"),
    Setting::new(
        "POOL_MAX_WAITERS",
        "NUMBER",
        "Callers that may wait for a connection; further ones are refused at once [default: 64]",
    ),
    Setting::new("POOL_LIFETIME_MS", "MS", "How old a connection gets, less up to 5 % [default: 1800000]"),
    Setting::new("POOL_IDLE_TIMEOUT_MS", "MS", "How long a connection stays unused [default: 600000]"),
    Setting::new(
        "POOL_CHECK_AFTER_MS",
        "MS",
        "A connection unused for longer is checked before it is used [default: 30000]",
    ),
    Setting::new("CONNECT_TIMEOUT_MS", "MS", "Opening a connection, with TLS and login [default: 3000]"),
    Setting::new("ACQUIRE_TIMEOUT_MS", "MS", "Taking a connection, over everything [default: 3000]"),
    Setting::new("STATEMENT_TIMEOUT_MS", "MS", "One statement [default: 5000]"),
    Setting::new(
        "SLOW_STATEMENT_MS",
        "MS",
        "A statement that takes longer is logged as a warning [default: 1000]",
    ),
    Setting::new(
        "DATABASE_ERROR_DETAIL",
        "DETAIL",
        "How much of PostgreSQL's errors is logged: safe (nothing that quotes a value) or full [default: safe]",
    ),
    Setting::new("LOCK_TIMEOUT_MS", "MS", "Waiting for a lock [default: 2000]"),
    Setting::new(
        "IDLE_IN_TRANSACTION_TIMEOUT_MS",
        "MS",
        "An open transaction between two statements [default: 10000]",
    ),
    Setting::new("WORKER_THREADS", "NUMBER", "Threads that serve [default: as many as there are cores]"),
    Setting::new("REQUEST_TIMEOUT_MS", "MS", "One request, its body included [default: 10000]"),
    Setting::new(
        "HEADER_TIMEOUT_MS",
        "MS",
        "From the first byte of a request to the end of its headers [default: 10000]",
    ),
    Setting::new("KEEP_ALIVE_MS", "MS", "How long a connection may be idle [default: 75000]"),
    Setting::new("BODY_TIMEOUT_MS", "MS", "How long a request's body may make no progress [default: 10000]"),
    Setting::new("BODY_DEADLINE_MS", "MS", "How long all of a request's body may take [default: 60000]"),
    Setting::new("WRITE_TIMEOUT_MS", "MS", "How long a client may leave an answer unread [default: 20000]"),
    Setting::new(
        "MAX_CONNECTIONS",
        "NUMBER",
        "Open connections; for one more the longest idle one is closed [default: 1024]",
    ),
    Setting::new(
        "MAX_REQUESTS",
        "NUMBER",
        "Requests that are being answered; further ones are refused at once [default: 1024]",
    ),
    Setting::new(
        "MAX_BODIES_KIB",
        "KIB",
        "What the bodies of all requests and answers may hold [default: 65536]",
    ),
    Setting::new(
        "DRAIN_GRACE_MS",
        "MS",
        "From saying that it is not ready to accepting no more, at the end [default: 1000]",
    ),
    Setting::new("DRAIN_IDLE_MS", "MS", "How long idle connections then stay open [default: 3000]"),
    Setting::new(
        "DRAIN_TIMEOUT_MS",
        "MS",
        "What requests that are under way then have to finish [default: 20000]",
    ),
    Setting::new(
        "METRICS_ADDR",
        "ADDRESS:PORT",
        "Where /metrics, /livez and /readyz are answered whatever else goes on, or off [default: \
            127.0.0.1:8079, if that is free]",
    )
    .flag("metrics"),
    Setting::new(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "URL",
        "The OpenTelemetry collector that traces go to, such as http://127.0.0.1:4318",
    ),
    Setting::new("LOG_FORMAT", "FORMAT", "How log lines look: text or json [default: text]"),
    Setting::new(
        "LOG_FILTER",
        "FILTER",
        "What is logged: a level, or levels by module, such as info,pgspan=debug [default: info]",
    ),
    Setting::new("LOG_FILTER_FILE", "FILE", "A file that says it instead, and is read again at SIGHUP"),
];

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn every_setting_of_the_library_can_be_given() {
        let asked = RefCell::new(Vec::new());
        let settings = pgspan::Settings::read(|name| {
            asked.borrow_mut().push(name.to_owned());
            None
        });
        assert!(settings.is_ok());
        let is_known = |name: &String| ALL.iter().any(|setting| setting.name == name);
        let missing: Vec<String> = asked.into_inner().into_iter().filter(|name| !is_known(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
