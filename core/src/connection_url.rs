//! Where the database is: a connection URL, parsed once.

mod encryption;
mod fault;
mod hosts;
mod options;
mod parts;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslMode, TargetSessionAttrs};

use self::encryption::Encryption;
pub use self::encryption::Tls;
use self::fault::fault;
use self::options::Options;
use crate::error::{Error, Result};
use crate::settings::Settings;

/// Where the database is: a connection URL, taken apart and checked.
///
/// `postgres://user:password@host:port/database?sslmode=verify-full`, as libpq has it (PostgreSQL documentation, 34.1.1).
/// Every option of libpq is kept, or has no effect, or is refused by its name: [the table](crate::book::connect).
///
/// Percent-encode what is no letter or digit in the user and the password. A URL that can't be read for certain is refused.
/// Neither its `Debug` nor an error shows user or password. TLS is decided here and never by what the server offers:
///
/// | `sslmode` | |
/// | --- | --- |
/// | not given | `disable` to a loopback address or a unix socket, `verify-full` elsewhere |
/// | `disable` | only to a loopback address or a unix socket |
/// | `require`, `verify-full` | the certificate and the host's name are verified |
/// | `verify-ca` | the certificate is verified, the name is not |
/// | `prefer`, `allow` | refused: they fall back to plain text without a word |
///
/// With several hosts (`host1:5432,host2:5432`) the next is tried when one can't be connected to, or is not what
/// `target_session_attrs` (`any`, `read-write`, `read-only`) asks for. A password that the URL does not have can be in a
/// `passfile`, for each host its own. Times are seconds as libpq has them (`connect_timeout`, `keepalives_idle`), but
/// `tcp_user_timeout` is milliseconds, as there.
#[derive(Clone)]
pub struct ConnectionUrl {
    postgres: tokio_postgres::Config,
    encryption: Encryption,
    passfile: Option<String>,
}

impl ConnectionUrl {
    /// A URL whose connection is private by other means, so that plain text is allowed to any host: a Hyperdrive binding, or
    /// a network of one's own that is encrypted below.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::Kind::Config), as for any other URL.
    pub fn over_private_link(url: &str) -> Result<ConnectionUrl> {
        parse(url, true)
    }

    /// What tokio-postgres understands of it: hosts, ports, user, password, database, options, and whether it is encrypted.
    pub fn postgres(&self) -> &tokio_postgres::Config {
        &self.postgres
    }

    /// How it is encrypted.
    pub fn tls(&self) -> Tls {
        self.encryption.tls
    }

    /// The file with the authorities to trust (`sslrootcert`), instead of the public ones.
    pub fn root_cert(&self) -> Option<&str> {
        self.encryption.root_cert.as_deref()
    }

    /// The files with the certificate to show to the server (`sslcert`) and with its key (`sslkey`).
    pub fn client_certificate(&self) -> Option<(&str, &str)> {
        let files = self.encryption.client_certificate.as_ref()?;
        Some((&files.certificate, &files.key))
    }

    /// The file to look for the password in, for each host its own (`passfile`; PostgreSQL documentation, 34.16).
    pub fn passfile(&self) -> Option<&str> {
        self.passfile.as_deref()
    }

    /// Whether the login must be tied to the TLS connection (`channel_binding`).
    pub fn channel_binding(&self) -> ChannelBinding {
        self.encryption.channel_binding
    }

    /// Whether a server that asks for anything but SCRAM is to be refused (`require_auth=scram-sha-256`).
    pub fn requires_scram(&self) -> bool {
        self.encryption.requires_scram
    }

    /// The configuration of a connection with these settings: limits as start-up options where there is no pooler, and
    /// `application_name` unless the URL has one.
    pub fn configure(&self, settings: &Settings) -> tokio_postgres::Config {
        let mut config = self.postgres.clone();
        let own = config.get_options().map(str::to_owned);
        match (settings.startup_options(), own) {
            // what the URL says comes last, and wins
            (Some(limits), Some(own)) => {
                config.options(format!("{limits} {own}"));
            }
            (Some(limits), None) => {
                config.options(limits);
            }
            (None, _) => {}
        }
        if config.get_application_name().is_none() {
            config.application_name("pgspan");
        }
        config
    }
}

impl FromStr for ConnectionUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<ConnectionUrl> {
        parse(url, false)
    }
}

impl fmt::Debug for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionUrl")
            .field("hosts", &self.postgres.get_hosts())
            .field("ports", &self.postgres.get_ports())
            .field("database", &self.postgres.get_dbname())
            .field("tls", &self.encryption.tls)
            .finish_non_exhaustive()
    }
}

fn parse(url: &str, private: bool) -> Result<ConnectionUrl> {
    let options = Options::of(url)?;
    let mut postgres = tokio_postgres::Config::new();
    hosts::set_hosts(&mut postgres, &options)?;
    set_session(&mut postgres, &options)?;
    set_choice(&mut postgres, &options)?;
    set_waiting(&mut postgres, &options)?;
    let encryption = Encryption::of(&options, private || hosts::is_local(&postgres))?;
    // here, so that no use of it can fall back to plain text: tokio-postgres's own default does
    postgres.ssl_mode(match encryption.tls {
        Tls::Disable => SslMode::Disable,
        _ => SslMode::Require,
    });
    postgres.ssl_negotiation(encryption.negotiation);
    postgres.channel_binding(encryption.channel_binding);
    let passfile = options.value("passfile").map(str::to_owned);
    Ok(ConnectionUrl { postgres, encryption, passfile })
}

/// What the server is told when a session begins.
fn set_session(config: &mut tokio_postgres::Config, options: &Options) -> Result<()> {
    config.user(options.value("user").ok_or_else(|| fault("has no user"))?);
    options.value("password").map(|password| config.password(password));
    options.value("dbname").map(|name| config.dbname(name));
    options.value("options").map(|options| config.options(options));
    let application = options.value("application_name").or(options.value("fallback_application_name"));
    application.map(|name| config.application_name(name));
    Ok(())
}

/// Which of several hosts is wanted.
fn set_choice(config: &mut tokio_postgres::Config, options: &Options) -> Result<()> {
    if let Some("primary" | "standby" | "prefer-standby") = options.value("target_session_attrs") {
        return Err(fault(
            "target_session_attrs must be any, read-write or read-only; primary, standby and prefer-standby are not supported",
        ));
    }
    let attributes = [
        ("any", TargetSessionAttrs::Any),
        ("read-write", TargetSessionAttrs::ReadWrite),
        ("read-only", TargetSessionAttrs::ReadOnly),
    ];
    options.one_of("target_session_attrs", &attributes)?.map(|wanted| config.target_session_attrs(wanted));
    let orders = [("disable", LoadBalanceHosts::Disable), ("random", LoadBalanceHosts::Random)];
    options.one_of("load_balance_hosts", &orders)?.map(|order| config.load_balance_hosts(order));
    Ok(())
}

/// How long to wait for a connection, and how to notice that it is gone.
fn set_waiting(config: &mut tokio_postgres::Config, options: &Options) -> Result<()> {
    let seconds = |name| {
        let number = options.number(name, "seconds")?;
        Ok(number.map(|seconds| Duration::from_secs(seconds.into())))
    };
    seconds("connect_timeout")?.map(|limit| config.connect_timeout(limit));
    // tokio-postgres's own parser reads seconds here
    let unacknowledged = options.number("tcp_user_timeout", "milliseconds")?;
    unacknowledged.map(|limit| config.tcp_user_timeout(Duration::from_millis(limit.into())));
    options.one_of("keepalives", &[("0", false), ("1", true)])?.map(|on| config.keepalives(on));
    let (idle, interval) = (seconds("keepalives_idle")?, seconds("keepalives_interval")?);
    let count = options.number("keepalives_count", "probes")?;
    #[cfg(not(target_arch = "wasm32"))]
    {
        idle.map(|idle| config.keepalives_idle(idle));
        interval.map(|interval| config.keepalives_interval(interval));
        count.map(|count| config.keepalives_retries(count));
    }
    #[cfg(target_arch = "wasm32")]
    let _ = (idle, interval, count); // a Worker's sockets have no such options
    Ok(())
}
