//! The command line.

use std::{fmt, io};

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use super::database_url::DatabaseUrl;
use super::secret::secret;

/// The command line of `pgspan-server`.
///
/// Every flag of `serve` can be given in the environment too; a flag wins. Exit codes: 0 all went well; 1 it failed, and trying
/// again may help; 2 bad settings; 3 a migration was refused; 4 `migrate --status`: a migration is missing; 130 (Ctrl-C) or 143
/// (SIGTERM) ended by a second signal.
#[derive(Debug, Parser)]
#[command(name = "pgspan-server", version, about = "PostgreSQL behind HTTP, natively", after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 all went well; 1 it failed, and trying again may help (an address is taken or not there \
yet, a file is not there yet, a lock was held, requests were still running when the time to finish was over); 2 bad settings; 3 a \
migration was refused; 4 migrate --status: a migration is missing; 130 (Ctrl-C) or 143 (SIGTERM) ended by a second signal";

/// What the program can do.
#[derive(Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Serve the endpoints until SIGTERM or Ctrl-C
    #[command(after_help = EXIT_CODES)]
    Serve(Box<Arguments>),
    /// Look whether the settings and the database are as serve needs them, and change nothing
    ///
    /// A line for each thing looked at; exit code 0 if all is well, 1 if the database is not, 2 if a setting is not.
    #[command(after_help = EXIT_CODES)]
    Check(Box<Arguments>),
    /// Write the manual page or shell completions to standard output
    #[command(hide = true)]
    Generate {
        /// Which of them.
        #[command(subcommand)]
        what: Generated,
    },
    /// Apply the migrations that are not applied yet
    #[command(after_help = EXIT_CODES)]
    Migrate {
        /// Where the database is.
        #[command(flatten)]
        database: DatabaseUrl,
        /// Say which are applied, and change nothing; exit code 4 if one is missing
        #[arg(long)]
        status: bool,
        /// How to go on with one that was left half done.
        #[command(flatten)]
        how: MigrateHow,
    },
}

/// How to go on with a migration that was left half done.
#[derive(Debug, Clone, Default, Args)]
pub struct MigrateHow {
    /// Run this one again, which was left half done: look first at what it left behind
    #[arg(long, value_name = "VERSION", conflicts_with = "status")]
    pub again: Option<i64>,
    /// Take this one, which was left half done, as applied: look first whether all of it is there
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["status", "again"])]
    pub as_applied: Option<i64>,
}

/// What goes into a package beside the program.
#[derive(Debug, Clone, Copy, Subcommand)]
#[non_exhaustive]
pub enum Generated {
    /// The manual page, for section 1
    Man,
    /// What completes the command line in a shell
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

impl Generated {
    /// Writes it.
    ///
    /// # Errors
    ///
    /// As writing has them.
    pub fn write(self, to: &mut dyn io::Write) -> io::Result<()> {
        let mut command = Cli::command();
        match self {
            Generated::Man => {
                clap_mangen::Man::new(command.clone()).render(to)?;
                // the options are those of its commands, each a page of its own by convention; here one has them all
                command.build();
                for part in
                    command.get_subcommands().filter(|part| !part.is_hide_set() && part.get_name() != "help")
                {
                    let name = part.get_name();
                    writeln!(to, ".SH \"{}\"", name.to_uppercase())?;
                    clap_mangen::Man::new(part.clone()).render_options_section(to)?;
                }
                writeln!(to, ".SH ENVIRONMENT\nEvery option of serve can be given here; an option wins.")?;
                let serve = command.find_subcommand("serve");
                for option in serve.into_iter().flat_map(clap::Command::get_arguments) {
                    if let (Some(variable), Some(flag)) = (option.get_env(), option.get_long()) {
                        let flag = flag.replace('-', "\\-");
                        writeln!(to, ".TP\n\\fB{}\\fR\n\\-\\-{flag}", variable.display())?;
                    }
                }
                Ok(())
            }
            Generated::Completions { shell } => {
                clap_complete::generate(shell, &mut command, "pgspan-server", to);
                Ok(())
            }
        }
    }
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

        /// The names of all settings.
        pub(super) const NAMES: &[&str] = &[$($name),*];

        impl Arguments {
            /// The value of a setting by its name in the environment. One that is empty counts as not given.
            pub fn find(&self, name: &str) -> Option<String> {
                let value = match name {
                    $($name => &self.$field,)*
                    _ => &None,
                };
                value.clone().filter(|value| !value.is_empty())
            }

            /// The same for a secret, which a file may have: `name` with `_FILE` names it.
            ///
            /// # Errors
            ///
            /// If both are given, or the file can't be read: [`Kind::Unavailable`](pgspan::Kind::Unavailable) where it is
            /// not there.
            pub fn find_secret(&self, name: &str) -> pgspan::Result<Option<String>> {
                secret(name, self.find(name), self.find(&format!("{name}_FILE")))
            }
        }
    };
}

arguments! {
    /// Where to listen: an address and a port, or unix: and the path of a socket [default: 127.0.0.1:8080]
    listen "LISTEN_ADDR" "ADDRESS";
    /// Whether HTTP/2 without TLS (h2c) is spoken beside HTTP/1.1: true or false [default: false]
    http2 "HTTP2" "BOOLEAN";
    /// Where the database is: postgres://user:password@host:port/database [default: PGHOST and the other variables of libpq]
    database_url "DATABASE_URL" "URL";
    /// A file with the URL. Its password is read again for each connection
    database_url_file "DATABASE_URL_FILE" "FILE";
    /// Whether sslmode=disable is allowed to any host, where the network is private by other means: true or false [default: false]
    database_private_link "DATABASE_PRIVATE_LINK" "BOOLEAN";
    /// Whether a transaction pooler (PgBouncer) stands before it: none or transaction [default: none]
    database_pooler "DATABASE_POOLER" "POOLER";
    /// Whether that pooler stands a statement that is sent before the one ahead is answered, as PgBouncer does: true or false
    /// [default: false]
    database_pooler_pipelines "DATABASE_POOLER_PIPELINES" "BOOLEAN";
    /// Connections that single statements share; 0: none [default: twice WORKER_THREADS, 8 at most]
    database_shared "DATABASE_SHARED" "NUMBER";
    /// Whether statements are prepared on the connections that are kept: true or false [default: false]
    database_prepare "DATABASE_PREPARE" "BOOLEAN";
    /// What happens to a clean connection before it is given back: clean (nothing) or discard-all [default: clean]
    database_recycle "DATABASE_RECYCLE" "HOW";
    /// The bearer token that writes need, at least 16 characters. Without it writes are refused
    api_token "API_TOKEN" "TOKEN";
    /// A file with the token
    api_token_file "API_TOKEN_FILE" "FILE";
    /// Let everyone write (true or false), for trying it out on one's own machine [default: false]
    allow_anonymous_writes "ALLOW_ANONYMOUS_WRITES" "BOOLEAN";
    /// Exclusive connections at most [default: 8]
    pool_size "POOL_SIZE" "NUMBER";
    /// Connections kept open though nobody uses them [default: 0]
    pool_min_idle "POOL_MIN_IDLE" "NUMBER";
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
    /// A statement that takes longer is logged as a warning [default: 1000]
    slow_statement_ms "SLOW_STATEMENT_MS" "MS";
    /// How much of PostgreSQL's errors is logged: safe (nothing that quotes a value) or full [default: safe]
    database_error_detail "DATABASE_ERROR_DETAIL" "DETAIL";
    /// Waiting for a lock [default: 2000]
    lock_timeout_ms "LOCK_TIMEOUT_MS" "MS";
    /// An open transaction between two statements [default: 10000]
    idle_in_transaction_timeout_ms "IDLE_IN_TRANSACTION_TIMEOUT_MS" "MS";
    /// Threads that serve [default: as many as there are cores]
    worker_threads "WORKER_THREADS" "NUMBER";
    /// One request, its body included [default: 10000]
    request_timeout_ms "REQUEST_TIMEOUT_MS" "MS";
    /// From the first byte of a request to the end of its headers [default: 10000]
    header_timeout_ms "HEADER_TIMEOUT_MS" "MS";
    /// How long a connection may be idle [default: 75000]
    keep_alive_ms "KEEP_ALIVE_MS" "MS";
    /// How long a request's body may make no progress [default: 10000]
    body_timeout_ms "BODY_TIMEOUT_MS" "MS";
    /// How long a client may leave an answer unread [default: 20000]
    write_timeout_ms "WRITE_TIMEOUT_MS" "MS";
    /// Open connections; for one more the longest idle one is closed [default: 1024]
    max_connections "MAX_CONNECTIONS" "NUMBER";
    /// Requests that are being answered; further ones are refused at once [default: 1024]
    max_requests "MAX_REQUESTS" "NUMBER";
    /// What the bodies of all requests and answers may hold [default: 65536]
    max_bodies_kib "MAX_BODIES_KIB" "KIB";
    /// From saying that it is not ready to accepting no more, at the end [default: 1000]
    drain_grace_ms "DRAIN_GRACE_MS" "MS";
    /// How long idle connections then stay open [default: 3000]
    drain_idle_ms "DRAIN_IDLE_MS" "MS";
    /// What requests that are under way then have to finish [default: 20000]
    drain_timeout_ms "DRAIN_TIMEOUT_MS" "MS";
    /// Where /metrics, /livez and /readyz are answered whatever else goes on, or off [default: 127.0.0.1:8079, if that is free]
    metrics "METRICS_ADDR" "ADDRESS:PORT";
    /// The OpenTelemetry collector that traces go to, such as http://127.0.0.1:4318
    otel_exporter_otlp_endpoint "OTEL_EXPORTER_OTLP_ENDPOINT" "URL";
    /// How log lines look: text or json [default: text]
    log_format "LOG_FORMAT" "FORMAT";
    /// What is logged: a level, or levels by module, such as info,pgspan=debug [default: info]
    log_filter "LOG_FILTER" "FILTER";
    /// A file that says it instead, and is read again at SIGHUP
    log_filter_file "LOG_FILTER_FILE" "FILE";
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arguments").finish_non_exhaustive() // some of them are secrets
    }
}

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
        let missing: Vec<String> =
            asked.into_inner().into_iter().filter(|name| !NAMES.contains(&name.as_str())).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
