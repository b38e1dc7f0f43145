//! What libpq reads besides the URL: variables of the environment (`PG…`).
//!
//! Source: PostgreSQL documentation, 34.15 "Environment Variables".

use std::path::Path;

use pgspan::{ConnectionUrl, Error, Kind, Result};

/// The URL with what it lacks taken from the environment, as libpq does; `None` if there is neither a URL nor `PGHOST`.
/// `lookup` finds a variable by its name.
///
/// What the URL says wins over `PGHOST`, `PGHOSTADDR`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGAPPNAME`, `PGOPTIONS`,
/// `PGSSLMODE`, `PGSSLNEGOTIATION`, `PGSSLROOTCERT`, `PGSSLCERT`, `PGSSLKEY`, `PGCHANNELBINDING`, `PGCONNECT_TIMEOUT`,
/// `PGLOADBALANCEHOSTS` and `PGTARGETSESSIONATTRS`. Where no password is in either, the URL that is returned names the file that
/// `PGPASSFILE` does, else `~/.pgpass` if there is one: each host's password is looked for there when the URL is used. A file
/// that others may read is left alone, with a warning in the log, or on standard error where no log is kept.
///
/// # Errors
///
/// [`Kind::Config`], as [`ConnectionUrl`]'s parsing, and without the URL; also if a variable asks for something that matters
/// for safety and is not kept here (`PGREQUIREAUTH`, `PGSERVICE`, `PGSSLCRL` …).
pub fn complete(url: Option<&str>, lookup: impl Fn(&str) -> Option<String>) -> Result<Option<String>> {
    let variable = |name: &str| lookup(name).filter(|value| !value.is_empty());
    let not_kept = |(name, harmless): &(&'static str, &[&str])| {
        variable(name).filter(|value| !harmless.contains(&value.as_str())).map(|_| *name)
    };
    let not_kept: Vec<&str> = NOT_KEPT.iter().filter_map(not_kept).collect();
    if !not_kept.is_empty() {
        let text = format!("{}: what it asks for can't be kept here: unset it", not_kept.join(", "));
        return Err(Error::new(Kind::Config, text));
    }
    // as `ConnectionUrl` does: what is added must not come after the line end of a secret's file
    let url = url.map(|url| url.trim_matches(|character: char| character.is_ascii_whitespace()));
    let mut parts = match (url, variable("PGHOST")) {
        (None, None) => return Ok(None),
        (None, Some(_)) => Parts::of("postgresql://"),
        (Some(url), _) => match url.starts_with("postgres://") || url.starts_with("postgresql://") {
            true => Parts::of(url),
            false => return url.parse::<ConnectionUrl>().map(|_| None), // which says what is wrong
        },
    };
    if let Some(port) = variable("PGPORT") {
        parts.default_port(&port);
    }
    // an address belongs to the host beside it
    let address = variable("PGHOSTADDR").filter(|_| !parts.have("host"));
    for (key, name) in VARIABLES {
        if let Some(value) = variable(name).filter(|_| !parts.have(key)) {
            parts.add(key, &value);
        }
    }
    if let Some(address) = address {
        parts.add("hostaddr", &address);
    }
    if !parts.have("password") && !parts.have("passfile") {
        let home = || variable("HOME").map(|home| format!("{home}/.pgpass"));
        let file = variable("PGPASSFILE").or_else(|| home().filter(|file| Path::new(file).exists()));
        if let Some(file) = file {
            parts.add("passfile", &file);
        }
    }
    // whether plain text is allowed is for who uses it to know
    let strict = parts.url.parse::<ConnectionUrl>();
    strict.or_else(|fault| ConnectionUrl::over_private_link(&parts.url).map_err(|_| fault))?;
    Ok(Some(parts.url))
}

const VARIABLES: [(&str, &str); 15] = [
    ("host", "PGHOST"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("dbname", "PGDATABASE"),
    ("application_name", "PGAPPNAME"),
    ("options", "PGOPTIONS"),
    ("sslmode", "PGSSLMODE"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
];

/// What libpq would keep, and nobody does here, with the values that ask for nothing more than there is. Who sets another
/// relies on it.
const NOT_KEPT: [(&str, &[&str]); 10] = [
    ("PGREQUIREAUTH", &[]),
    ("PGREQUIREPEER", &[]),
    ("PGREQUIRESSL", &["0"]),
    ("PGGSSENCMODE", &["disable", "prefer"]),
    ("PGSERVICE", &[]),
    ("PGSSLCERTMODE", &["allow"]),
    ("PGSSLCRL", &[]),
    ("PGSSLCRLDIR", &[]),
    ("PGSSLMAXPROTOCOLVERSION", &["TLSv1.3"]),
    ("PGSSLMINPROTOCOLVERSION", &["TLSv1", "TLSv1.1", "TLSv1.2"]), // TLS 1.2 is the oldest that rustls speaks
];

/// A URL to which parts are added.
struct Parts {
    url: String,
}

impl Parts {
    fn of(url: &str) -> Parts {
        Parts { url: url.to_owned() }
    }

    /// User and password, hosts, database, and the query, as they are written.
    fn split(&self) -> (Option<&str>, &str, &str, &str) {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = base.split_once('/').unwrap_or((base, ""));
        match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts, database, query),
            None => (None, authority, database, query),
        }
    }

    fn have(&self, key: &str) -> bool {
        let (login, hosts, database, query) = self.split();
        let login = login.map(|login| login.split_once(':').unwrap_or((login, "")));
        let set =
            query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(_, value)| !value.is_empty());
        let mut keys = set.map(|(key, _)| key);
        match key {
            "host" if !hosts.is_empty() => true,
            "host" => keys.any(|found| found == "host" || found == "hostaddr"),
            "user" if login.is_some_and(|(user, _)| !user.is_empty()) => true,
            "password" if login.is_some_and(|(_, password)| !password.is_empty()) => true,
            "dbname" if !database.is_empty() => true,
            _ => keys.any(|found| found == key),
        }
    }

    fn add(&mut self, key: &str, value: &str) {
        self.url.push(if self.url.contains('?') { '&' } else { '?' });
        self.url.push_str(key);
        self.url.push('=');
        for byte in value.bytes() {
            match byte.is_ascii_alphanumeric() {
                true => self.url.push(char::from(byte)),
                false => self.url.push_str(&format!("%{byte:02X}")),
            }
        }
    }

    /// A port for the hosts that have none.
    fn default_port(&mut self, port: &str) {
        let (_, hosts, _, _) = self.split();
        if hosts.is_empty() {
            if !self.have("port") {
                self.add("port", port);
            }
            return;
        }
        let bare = |host: &str| !host.rsplit(']').next().unwrap_or_default().contains(':');
        let ported = |host: &str| if bare(host) { format!("{host}:{port}") } else { host.to_owned() };
        if !self.have("port") && port.bytes().all(|byte| byte.is_ascii_digit()) {
            let all: Vec<String> = hosts.split(',').map(ported).collect();
            let start = hosts.as_ptr() as usize - self.url.as_ptr() as usize;
            let end = start + hosts.len();
            self.url.replace_range(start..end, &all.join(","));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::{Host, LoadBalanceHosts, SslNegotiation, TargetSessionAttrs};

    use super::*;

    fn completed(url: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<String>> {
        complete(url, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_stand_in_for_what_the_url_lacks_and_never_override_it() {
        let all = [
            ("PGHOST", "db.example.com"),
            ("PGPORT", "6432"),
            ("PGUSER", "alice"),
            ("PGPASSWORD", "s:e/c?r&et"),
            ("PGDATABASE", "shop"),
            ("PGAPPNAME", "till 1"),
        ];
        let url: ConnectionUrl = completed(None, &all).unwrap().unwrap().parse().unwrap();
        let config = url.postgres();
        assert_eq!(config.get_hosts(), [Host::Tcp("db.example.com".to_owned())]);
        assert_eq!((config.get_ports(), config.get_user()), (&[6432][..], Some("alice")));
        assert_eq!((config.get_password(), config.get_dbname()), (Some(&b"s:e/c?r&et"[..]), Some("shop")));
        assert_eq!(config.get_application_name(), Some("till 1"));

        let full = "postgres://bob:pw@127.0.0.1:5433/d?application_name=x";
        assert_eq!(completed(Some(full), &all).unwrap().as_deref(), Some(full));
        let url: ConnectionUrl =
            completed(Some("postgres://bob@[::1],127.0.0.1:7/d"), &all).unwrap().unwrap().parse().unwrap();
        assert_eq!((url.postgres().get_ports(), url.postgres().get_user()), (&[6432, 7][..], Some("bob")));
    }

    #[test]
    fn a_variable_is_added_to_a_url_that_ends_with_a_line_and_where_an_option_is_empty() {
        let variables = [("PGPASSWORD", "s"), ("PGUSER", "alice"), ("PGPORT", "7"), ("PGAPPNAME", "till")];
        for url in [
            "postgres://127.0.0.1/d\n",
            "\r\n postgres://127.0.0.1/d?sslmode=disable\n",
            "postgres://127.0.0.1/d?user=&application_name=&password=",
        ] {
            let completed: ConnectionUrl =
                completed(Some(url), &variables).unwrap().unwrap().parse().unwrap();
            let config = completed.postgres();
            assert_eq!(
                (config.get_user(), config.get_password()),
                (Some("alice"), Some(&b"s"[..])),
                "{url:?}"
            );
            assert_eq!(
                (config.get_dbname(), config.get_application_name()),
                (Some("d"), Some("till")),
                "{url:?}"
            );
            assert_eq!(config.get_ports(), [7], "{url:?}");
        }
    }

    #[test]
    fn no_variable_makes_a_url_whose_password_is_not_encoded_readable() {
        let variables = [("PGUSER", "alice"), ("PGPORT", "7"), ("PGPASSWORD", "s"), ("PGHOST", "h")];
        for url in [
            "postgres://alice:pa@CANARY@127.0.0.1/d",
            "postgres://alice:12/CANARY@127.0.0.1/d",
            "postgres://alice:12?CANARY@127.0.0.1/d",
            "postgres://alice:CANARY#x/y@127.0.0.1/d",
            "postgres://alice:CANARY x@127.0.0.1/d",
        ] {
            let text = completed(Some(url), &variables).unwrap_err().to_string();
            assert!(text.contains("percent-encode") && !text.contains("CANARY"), "{url}: {text}");
        }
    }

    #[test]
    fn without_a_url_and_a_host_there_is_nothing_to_connect_to() {
        assert_eq!(completed(None, &[("PGUSER", "alice")]).unwrap(), None);
        assert!(completed(Some("mysql://u:CANARY@h/d"), &[]).is_err());
        let error = completed(Some("postgres://u:CANARY@db.example.com/d"), &[("PGSSLMODE", "prefer")]);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("verify-full") && !text.contains("CANARY"), "{text}");
    }

    #[test]
    fn an_address_a_time_and_the_choice_of_hosts_are_taken_from_the_environment_too() {
        let all = [
            ("PGHOST", "db.example.com"),
            ("PGHOSTADDR", "203.0.113.5"),
            ("PGUSER", "alice"),
            ("PGCONNECT_TIMEOUT", "7"),
            ("PGLOADBALANCEHOSTS", "random"),
            ("PGTARGETSESSIONATTRS", "read-write"),
            ("PGSSLNEGOTIATION", "direct"),
        ];
        let url: ConnectionUrl = completed(None, &all).unwrap().unwrap().parse().unwrap();
        let config = url.postgres();
        assert_eq!(config.get_hostaddrs(), ["203.0.113.5".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(config.get_connect_timeout(), Some(&std::time::Duration::from_secs(7)));
        assert_eq!(config.get_load_balance_hosts(), LoadBalanceHosts::Random);
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(config.get_ssl_negotiation(), SslNegotiation::Direct);
        // the address is another host's
        let url = completed(Some("postgres://bob@other.example.com/d"), &all).unwrap().unwrap();
        assert!(!url.contains("hostaddr"), "{url}");
    }

    #[test]
    fn a_variable_that_can_t_be_kept_is_refused_by_its_name_unless_it_asks_for_nothing_more() {
        let url = Some("postgres://u:CANARY@db.example.com/d");
        for (name, value) in [
            ("PGREQUIREAUTH", "scram-sha-256"),
            ("PGREQUIREPEER", "postgres"),
            ("PGREQUIRESSL", "1"),
            ("PGGSSENCMODE", "require"),
            ("PGSERVICE", "shop"),
            ("PGSSLCERTMODE", "require"),
            ("PGSSLCRL", "/crl.pem"),
            ("PGSSLCRLDIR", "/crl"),
            ("PGSSLMAXPROTOCOLVERSION", "TLSv1.2"),
            ("PGSSLMINPROTOCOLVERSION", "TLSv1.3"),
        ] {
            let error = completed(url, &[(name, value)]).unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{name}");
            assert!(error.to_string().starts_with(&format!("{name}: ")), "{error}");
        }
        let both = [("PGSSLCRL", "a"), ("PGSERVICE", "b")];
        assert!(completed(None, &both).unwrap_err().to_string().starts_with("PGSERVICE, PGSSLCRL: "));
        let harmless = [("PGGSSENCMODE", "prefer"), ("PGSSLMINPROTOCOLVERSION", "TLSv1.2"), ("PGSSLCRL", "")];
        assert_eq!(completed(url, &harmless).unwrap().as_deref(), url);
    }

    #[test]
    fn a_password_file_is_named_where_there_is_no_password() {
        let file = [("PGPASSFILE", "/secrets/pgpass")];
        let passfile = |url| {
            let url: ConnectionUrl = completed(Some(url), &file).unwrap().unwrap().parse().unwrap();
            url.passfile().map(str::to_owned)
        };
        assert_eq!(passfile("postgres://u@h/d").as_deref(), Some("/secrets/pgpass"));
        assert_eq!(passfile("postgres://u@h/d?passfile=mine").as_deref(), Some("mine"));
        assert_eq!(passfile("postgres://u:p@h/d"), None);
        let nowhere = Some("postgres://u@h/d");
        assert_eq!(completed(nowhere, &[("HOME", "/no/such/folder")]).unwrap().as_deref(), nowhere);
    }
}
