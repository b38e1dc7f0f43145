//! Where the database is: a connection URL, parsed once.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::{ChannelBinding, Host, SslMode, SslNegotiation};

use crate::error::{Error, Kind, Result};
use crate::settings::Settings;

/// Where the database is: a connection URL, taken apart and checked.
///
/// `postgres://user:password@host:port/database?sslmode=verify-full`, as libpq has it (PostgreSQL documentation, 34.1.1).
/// Its `Debug` shows neither user nor password. TLS is decided here and never by what the server offers:
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
    tls: Tls,
    root_cert: Option<String>,
    channel_binding: ChannelBinding,
    requires_scram: bool,
    client_certificate: Option<ClientCertificate>,
    passfile: Option<String>,
}

/// The files of a certificate that the client shows to the server, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ClientCertificate {
    certificate: String,
    key: String,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tls {
    /// Not at all.
    Disable,
    /// Encrypted; the certificate must be signed by a known authority.
    VerifyCa,
    /// Encrypted; the certificate must be signed by a known authority and be the host's.
    VerifyFull,
}

impl ConnectionUrl {
    /// A URL whose connection is private by other means, so that plain text is allowed to any host: a Hyperdrive binding, or
    /// a network of one's own that is encrypted below.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`], as for any other URL.
    pub fn over_private_link(url: &str) -> Result<ConnectionUrl> {
        parse(url, true)
    }

    /// What tokio-postgres understands of it: hosts, ports, user, password, database, options, and whether it is encrypted.
    pub fn postgres(&self) -> &tokio_postgres::Config {
        &self.postgres
    }

    /// How it is encrypted.
    pub fn tls(&self) -> Tls {
        self.tls
    }

    /// The file with the authorities to trust (`sslrootcert`), instead of the public ones.
    pub fn root_cert(&self) -> Option<&str> {
        self.root_cert.as_deref()
    }

    /// The files with the certificate to show to the server (`sslcert`) and with its key (`sslkey`).
    pub fn client_certificate(&self) -> Option<(&str, &str)> {
        let files = self.client_certificate.as_ref()?;
        Some((&files.certificate, &files.key))
    }

    /// The file to look for the password in, for each host its own (`passfile`; PostgreSQL documentation, 34.16).
    pub fn passfile(&self) -> Option<&str> {
        self.passfile.as_deref()
    }

    /// Whether the login must be tied to the TLS connection (`channel_binding`).
    pub fn channel_binding(&self) -> ChannelBinding {
        self.channel_binding
    }

    /// Whether a server that asks for anything but SCRAM is to be refused (`require_auth=scram-sha-256`).
    pub fn requires_scram(&self) -> bool {
        self.requires_scram
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

fn parse(url: &str, private: bool) -> Result<ConnectionUrl> {
    let fault = |text: &str| Error::new(Kind::Config, format!("DATABASE_URL: {text}"));
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(fault("must be a URL such as postgres://user:password@host:5432/database"));
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut rest = Vec::new();
    let (mut sslmode, mut root_cert, mut channel_binding, mut require_auth) = (None, None, None, None);
    let (mut certificate, mut key_file, mut passfile, mut user_timeout) = (None, None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = || percent_decode_str(value).decode_utf8().map(String::from);
        let ours = match key {
            "sslmode" => &mut sslmode,
            "sslrootcert" => &mut root_cert,
            "sslcert" => &mut certificate,
            "sslkey" => &mut key_file,
            "channel_binding" => &mut channel_binding,
            "require_auth" => &mut require_auth,
            "passfile" => &mut passfile,
            "tcp_user_timeout" => &mut user_timeout,
            _ => {
                rest.push(pair);
                continue;
            }
        };
        *ours = Some(value().map_err(|_| fault("is not percent-encoded UTF-8"))?);
    }
    let plain = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    let mut postgres = tokio_postgres::Config::from_str(&plain).map_err(|error| {
        // the parser names the key it does not know, and never a value
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        let cause = if cause.contains("unknown option") { cause } else { String::new() };
        fault(&format!("can't be parsed{cause}"))
    })?;
    if postgres.get_hosts().is_empty() {
        return Err(fault("has no host"));
    }
    if postgres.get_user().is_none() {
        return Err(fault("has no user"));
    }
    // an address goes before the host's name (`hostaddr`), so it decides where the bytes go
    let near = |address: &std::net::IpAddr| address.is_loopback();
    let local =
        private || postgres.get_hosts().iter().all(is_local) && postgres.get_hostaddrs().iter().all(near);
    let tls = match sslmode.as_deref() {
        None if local => Tls::Disable,
        None | Some("require" | "verify-full") => Tls::VerifyFull,
        Some("verify-ca") => Tls::VerifyCa,
        Some("disable") if local => Tls::Disable,
        Some("disable") => {
            return Err(fault(
                "sslmode=disable would send everything in plain text over the network: use verify-full",
            ));
        }
        Some("prefer" | "allow") => {
            return Err(fault(
                "sslmode=prefer and sslmode=allow fall back to plain text without a word: use verify-full, or disable on loopback",
            ));
        }
        Some(_) => return Err(fault("sslmode must be disable, require, verify-ca or verify-full")),
    };
    let channel_binding = match channel_binding.as_deref() {
        None | Some("prefer") => ChannelBinding::Prefer,
        Some("disable") => ChannelBinding::Disable,
        Some("require") if tls == Tls::Disable => {
            return Err(fault("channel_binding=require needs TLS: set sslmode=verify-full"));
        }
        Some("require") => ChannelBinding::Require,
        Some(_) => return Err(fault("channel_binding must be disable, prefer or require")),
    };
    if root_cert.is_some() && tls == Tls::Disable {
        return Err(fault("sslrootcert has no meaning with sslmode=disable"));
    }
    let client_certificate = match (certificate, key_file) {
        (None, None) => None,
        (Some(_), Some(_)) if tls == Tls::Disable => {
            return Err(fault("sslcert has no meaning with sslmode=disable"));
        }
        (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
        _ => return Err(fault("sslcert and sslkey need each other")),
    };
    let requires_scram = match require_auth.as_deref() {
        None => false,
        Some("scram-sha-256") => true,
        Some(_) => return Err(fault("require_auth must be scram-sha-256, or left out")),
    };
    if let Some(millis) = user_timeout {
        // as libpq has it; tokio-postgres reads seconds
        let fault = |_| fault("tcp_user_timeout must be a number of milliseconds");
        match millis.parse::<u32>().map_err(fault)? {
            0 => {}
            millis => {
                postgres.tcp_user_timeout(Duration::from_millis(millis.into()));
            }
        }
    }
    if tls == Tls::Disable && postgres.get_ssl_negotiation() == SslNegotiation::Direct {
        return Err(fault("sslnegotiation=direct needs TLS: set sslmode=verify-full"));
    }
    // here, so that no use of it can fall back to plain text: tokio-postgres's own default does
    postgres.ssl_mode(match tls {
        Tls::Disable => SslMode::Disable,
        _ => SslMode::Require,
    });
    postgres.channel_binding(channel_binding);
    Ok(ConnectionUrl {
        postgres,
        tls,
        root_cert,
        channel_binding,
        requires_scram,
        client_certificate,
        passfile,
    })
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
        #[allow(unreachable_patterns, reason = "tokio-postgres has unix sockets on unix alone")]
        _ => true,
    }
}

impl fmt::Debug for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionUrl")
            .field("hosts", &self.postgres.get_hosts())
            .field("ports", &self.postgres.get_ports())
            .field("database", &self.postgres.get_dbname())
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Pooler;

    fn parse(url: &str) -> Result<ConnectionUrl> {
        url.parse()
    }

    #[test]
    fn tls_is_decided_by_configuration() {
        for (url, tls) in [
            ("postgres://u@127.0.0.1/d", Tls::Disable),
            ("postgres://u@[::1]:5432/d", Tls::Disable),
            ("postgres://u@localhost/d?sslmode=verify-full", Tls::VerifyFull),
            ("postgresql://u:p@db.example.com/d", Tls::VerifyFull),
            ("postgres://u@db.example.com/d?sslmode=require", Tls::VerifyFull),
            ("postgres://u@db.example.com/d?sslmode=verify-ca&sslrootcert=%2Fca.pem", Tls::VerifyCa),
            ("postgres://u@%2Frun%2Fpostgresql/d", Tls::Disable),
        ] {
            let parsed = parse(url).unwrap();
            assert_eq!(parsed.tls(), tls, "{url}");
            let mode = if tls == Tls::Disable { SslMode::Disable } else { SslMode::Require };
            assert_eq!(parsed.postgres().get_ssl_mode(), mode, "{url}");
        }
    }

    #[test]
    fn what_would_be_unsafe_or_makes_no_sense_is_refused_with_advice_and_without_the_secret() {
        for (url, advice) in [
            ("postgres://u:CANARY@db.example.com/d?sslmode=prefer", "verify-full"),
            ("postgres://u:CANARY@db.example.com/d?sslmode=allow", "verify-full"),
            ("postgres://u:CANARY@db.example.com/d?sslmode=disable", "verify-full"),
            ("postgres://u:CANARY@db.example.com/d?sslmode=maybe", "must be"),
            ("postgres://u:CANARY@127.0.0.1/d?channel_binding=require", "needs TLS"),
            ("postgres://u:CANARY@127.0.0.1/d?sslnegotiation=direct", "needs TLS"),
            ("postgres://u:CANARY@127.0.0.1/d?tcp_user_timeout=2s", "milliseconds"),
            ("postgres://u:CANARY@127.0.0.1/d?sslrootcert=a", "no meaning"),
            ("postgres://u:CANARY@127.0.0.1/d?sslcert=a&sslkey=b", "no meaning"),
            ("postgres://u:CANARY@db.example.com/d?sslcert=a", "need each other"),
            ("postgres://u:CANARY@localhost/d?hostaddr=203.0.113.5&sslmode=disable", "verify-full"),
            ("postgres://u:CANARY@127.0.0.1,db.example.com/d?sslmode=disable", "verify-full"),
            ("postgres://u:CANARY@127.0.0.1/d?require_auth=md5", "scram-sha-256"),
            ("postgres://u:CANARY@127.0.0.1/d?nonsense=CANARY", "unknown option"),
            ("postgres://u:CANARY@127.0.0.1:port/d", "can't be parsed"),
            ("postgres://:CANARY@/d", "no "),
            ("mysql://u:CANARY@127.0.0.1/d", "must be a URL"),
            ("host=127.0.0.1 password=CANARY", "must be a URL"),
        ] {
            let error = parse(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(advice) && !text.contains("CANARY"), "{url}: {text}");
            assert_eq!(error.kind(), Kind::Config);
        }
    }

    #[test]
    fn a_url_is_shown_without_user_and_password() {
        let shown = format!("{:?}", parse("postgres://alice:CANARY@127.0.0.1:5433/d").unwrap());
        assert!(shown.contains("5433") && !shown.contains("alice") && !shown.contains("CANARY"), "{shown}");
    }

    #[test]
    fn several_hosts_and_a_client_certificate_are_let_through() {
        let url = "postgres://u@a:1,b:2/d?target_session_attrs=read-write&sslcert=%2Fc.pem&sslkey=%2Fk.pem";
        let url = parse(url).unwrap();
        assert_eq!((url.postgres().get_hosts().len(), url.postgres().get_ports()), (2, &[1, 2][..]));
        let wanted = url.postgres().get_target_session_attrs();
        assert_eq!(wanted, tokio_postgres::config::TargetSessionAttrs::ReadWrite);
        assert_eq!(url.client_certificate(), Some(("/c.pem", "/k.pem")));
    }

    #[test]
    fn the_time_until_a_peer_must_have_acknowledged_is_in_milliseconds_as_libpq_has_it() {
        let timeout = |url: &str| parse(url).unwrap().postgres().get_tcp_user_timeout().copied();
        let expected = Some(Duration::from_millis(2500));
        assert_eq!(timeout("postgres://u@127.0.0.1/d?tcp_user_timeout=2500"), expected);
        assert_eq!(timeout("postgres://u@127.0.0.1/d?tcp_user_timeout=0"), None);
    }

    #[test]
    fn a_password_file_can_be_named() {
        let url = parse("postgres://u@127.0.0.1/d?passfile=%2Fsecrets%2Fpgpass").unwrap();
        assert_eq!(url.passfile(), Some("/secrets/pgpass"));
    }

    #[test]
    fn scram_can_be_required() {
        assert!(parse("postgres://u@127.0.0.1/d?require_auth=scram-sha-256").unwrap().requires_scram());
        assert!(!parse("postgres://u@127.0.0.1/d").unwrap().requires_scram());
    }

    #[test]
    fn limits_travel_as_start_up_options_but_not_through_a_pooler() {
        let url = parse("postgres://u@127.0.0.1/d?options=-c%20statement_timeout%3D1").unwrap();
        let options = url.configure(&Settings::default()).get_options().unwrap().to_owned();
        assert!(options.starts_with("-c statement_timeout=5000 -c lock_timeout=2000"), "{options}");
        assert!(options.ends_with("-c statement_timeout=1"), "{options}");
        let pooled = Settings { pooler: Some(Pooler::Transaction), ..Settings::default() };
        assert_eq!(pooled.startup_options(), None);
        assert_eq!(pooled.transaction_limits().len(), 3);
    }
}
