//! The program's settings: from flags and the environment, read once, every fault told at once and never a secret.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use pgspan::{ConnectionUrl, Error, Kind};

use crate::PoolSettings;
use crate::logs::{Filter, Format};

/// The command line of `pgspan-server`.
///
/// Every flag of `serve` can be given in the environment too; a flag wins. Exit codes: 0 all went well; 1 it failed, or
/// requests were still running when the time to finish was over; 2 bad settings, or the port is taken; 130 (Ctrl-C) or
/// 143 (SIGTERM) ended by a second signal.
#[derive(Debug, Parser)]
#[command(name = "pgspan-server", version, about = "PostgreSQL behind HTTP, natively", after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 all went well; 1 it failed, or requests were still running when the time to \
finish was over; 2 bad settings, or the port is taken; 130 (Ctrl-C) or 143 (SIGTERM) ended by a second signal";

/// What the program can do.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Serve the endpoints until SIGTERM or Ctrl-C
    #[command(after_help = EXIT_CODES)]
    Serve(Box<Arguments>),
    /// Apply the migrations that are not applied yet
    #[command(after_help = EXIT_CODES)]
    Migrate {
        /// Where the database is.
        #[command(flatten)]
        database: DatabaseUrl,
        /// Say which are applied, and change nothing
        #[arg(long)]
        status: bool,
    },
}

/// Where the database is, for the commands that need no more.
#[derive(Clone, Args)]
pub struct DatabaseUrl {
    /// Where the database is: postgres://user:password@host:port/database [required]
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
}

/// Makes the flags, and finds their values by the names of the environment: both come from one list.
macro_rules! arguments {
    ($($(#[$doc:meta])* $field:ident $name:literal $value:literal;)*) => {
        /// The flags of `serve`, as they were given.
        #[derive(Clone, Args)]
        pub struct Arguments {
            $($(#[$doc])*
            #[arg(long, env = $name, hide_env_values = true, value_name = $value)]
            $field: Option<String>,)*
        }

        impl Arguments {
            /// The value of a setting by its name in the environment. One that is empty counts as not given.
            pub fn find(&self, name: &str) -> Option<String> {
                let value = match name {
                    $($name => &self.$field,)*
                    _ => &None,
                };
                value.clone().filter(|value| !value.is_empty())
            }
        }
    };
}

arguments! {
    /// Where to listen [default: 127.0.0.1:8080]
    listen "LISTEN_ADDR" "ADDRESS:PORT";
    /// Where the database is: postgres://user:password@host:port/database [required]
    database_url "DATABASE_URL" "URL";
    /// Whether a transaction pooler (PgBouncer) stands before it: none or transaction [default: none]
    database_pooler "DATABASE_POOLER" "POOLER";
    /// Connections that single statements share; 0: none [default: 2]
    database_shared "DATABASE_SHARED" "NUMBER";
    /// What happens to a clean connection before it is given back: clean (nothing) or discard-all [default: clean]
    database_recycle "DATABASE_RECYCLE" "HOW";
    /// The bearer token that writes need, at least 16 characters. Without it writes are refused
    api_token "API_TOKEN" "TOKEN";
    /// Let everyone write (true or false), for trying it out on one's own machine [default: false]
    allow_anonymous_writes "ALLOW_ANONYMOUS_WRITES" "BOOLEAN";
    /// Exclusive connections at most [default: 8]
    pool_size "POOL_SIZE" "NUMBER";
    /// Callers that may wait for a connection; further ones are refused at once [default: 64]
    pool_max_waiters "POOL_MAX_WAITERS" "NUMBER";
    /// How old a connection gets, less up to 5 % [default: 1800000]
    pool_lifetime_ms "POOL_LIFETIME_MS" "MS";
    /// How long a connection stays unused [default: 600000]
    pool_idle_timeout_ms "POOL_IDLE_TIMEOUT_MS" "MS";
    /// A connection unused for longer is checked before it is used [default: 30000]
    pool_check_after_ms "POOL_CHECK_AFTER_MS" "MS";
    /// Opening a connection, with TLS and login [default: 3000]
    connect_timeout_ms "CONNECT_TIMEOUT_MS" "MS";
    /// Taking a connection, over everything [default: 3000]
    acquire_timeout_ms "ACQUIRE_TIMEOUT_MS" "MS";
    /// One statement [default: 5000]
    statement_timeout_ms "STATEMENT_TIMEOUT_MS" "MS";
    /// Waiting for a lock [default: 2000]
    lock_timeout_ms "LOCK_TIMEOUT_MS" "MS";
    /// An open transaction between two statements [default: 10000]
    idle_in_transaction_timeout_ms "IDLE_IN_TRANSACTION_TIMEOUT_MS" "MS";
    /// One request, its body included [default: 10000]
    request_timeout_ms "REQUEST_TIMEOUT_MS" "MS";
    /// How log lines look: text or json [default: text]
    log_format "LOG_FORMAT" "FORMAT";
    /// What is logged: a level, or levels by module, such as info,pgspan=debug [default: info]
    log_filter "LOG_FILTER" "FILTER";
}

/// What `serve` needs to know.
#[non_exhaustive]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the database is.
    pub database: ConnectionUrl,
    /// How statements and transactions behave.
    pub limits: pgspan::Settings,
    /// How the pool behaves.
    pub pool: PoolSettings,
    /// The bearer token that writes need.
    pub api_token: Option<String>,
    /// Whether everyone may write.
    pub allow_anonymous_writes: bool,
    /// How long a request may take. 10 s: longer than any statement may.
    pub request_timeout: Duration,
    /// How log lines look.
    pub log_format: Format,
    /// What is logged.
    pub log_filter: Filter,
}

impl Arguments {
    /// Checks everything.
    ///
    /// # Errors
    ///
    /// Every fault there is, each [`Kind::Config`], naming its setting, and without its value.
    pub fn settings(&self) -> Result<Settings, Vec<Error>> {
        let mut faults = Vec::new();
        let database = database(self.find("DATABASE_URL"), &mut faults);
        let limits = keep(pgspan::Settings::read(|name| self.find(name)), &mut faults);
        let pool = keep(PoolSettings::read(|name| self.find(name)), &mut faults);
        let mut read = Read { arguments: self, faults: &mut faults };
        let listen = read.parse(
            "LISTEN_ADDR",
            "127.0.0.1:8080",
            "must be an address and a port, such as 127.0.0.1:8080",
        );
        let allow_anonymous_writes = read.parse("ALLOW_ANONYMOUS_WRITES", "false", "must be true or false");
        let millis =
            read.parse::<u32>("REQUEST_TIMEOUT_MS", "10000", "must be a number of milliseconds above 0");
        let log_format = read.find("LOG_FORMAT", "text", "must be text or json", |text| match text {
            "text" => Some(Format::Text),
            "json" => Some(Format::Json),
            _ => None,
        });
        let filter_fault = crate::logs::NotAFilter.to_string();
        let log_filter = read.parse("LOG_FILTER", "info", &filter_fault);
        if millis == Some(0) {
            read.fault("REQUEST_TIMEOUT_MS", "must be a number of milliseconds above 0");
        }
        let api_token = self.find("API_TOKEN");
        if api_token.as_ref().is_some_and(|token| token.chars().count() < 16) {
            read.fault("API_TOKEN", "must have at least 16 characters");
        }
        let complete = || {
            Some(Settings {
                listen: listen?,
                database: database?,
                limits: limits?,
                pool: pool?,
                api_token,
                allow_anonymous_writes: allow_anonymous_writes?,
                request_timeout: Duration::from_millis(millis?.into()),
                log_format: log_format?,
                log_filter: log_filter?,
            })
        };
        match faults.is_empty() {
            true => complete().ok_or(faults),
            false => Err(faults),
        }
    }
}

impl DatabaseUrl {
    /// The URL, checked.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`], without the URL.
    pub fn url(&self) -> Result<String, Error> {
        let url = self.database_url.clone().filter(|url| !url.is_empty()).ok_or_else(missing)?;
        url.parse::<ConnectionUrl>()?;
        Ok(url)
    }
}

fn database(url: Option<String>, faults: &mut Vec<Error>) -> Option<ConnectionUrl> {
    let url = url.ok_or_else(missing).and_then(|url| url.parse());
    keep(url.map_err(|fault| vec![fault]), faults)
}

fn missing() -> Error {
    Error::new(
        Kind::Config,
        "DATABASE_URL: is not set; it must be a URL such as postgres://user:password@host/database",
    )
}

fn keep<T>(read: Result<T, Vec<Error>>, faults: &mut Vec<Error>) -> Option<T> {
    read.map_err(|more| faults.extend(more)).ok()
}

/// Reads settings and collects what is wrong with them.
struct Read<'r> {
    arguments: &'r Arguments,
    faults: &'r mut Vec<Error>,
}

impl Read<'_> {
    fn fault(&mut self, name: &str, text: &str) {
        self.faults.push(Error::new(Kind::Config, format!("{name}: {text}")));
    }

    fn find<T>(
        &mut self,
        name: &str,
        default: &str,
        fault: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let found = read(self.arguments.find(name).as_deref().unwrap_or(default));
        if found.is_none() {
            self.fault(name, fault);
        }
        found
    }

    fn parse<T: std::str::FromStr>(&mut self, name: &str, default: &str, fault: &str) -> Option<T> {
        self.find(name, default, fault, |text| text.parse().ok())
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arguments").finish_non_exhaustive() // two of them are secrets
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseUrl").finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("listen", &self.listen)
            .field("database", &self.database)
            .field("limits", &self.limits)
            .field("pool", &self.pool)
            .field("api_token", &self.api_token.as_ref().map(|_| ".."))
            .field("allow_anonymous_writes", &self.allow_anonymous_writes)
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}
