//! The options of a URL: those of libpq (PostgreSQL documentation, 34.1.2), and what to write instead of other drivers'.
//!
//! `core/docs/connect.md` has this table for users.

use super::fault::fault;
use super::parts::Parts;
use crate::error::{Error, Result};

/// What is done with an option.
enum Rule {
    /// It is kept.
    Kept,
    /// Whatever it says has no effect here.
    NoEffect,
    /// These values, in either case, ask for nothing that is not so anyway; the text says why another can't be kept.
    Only(&'static [&'static str], &'static str),
    /// It can't be kept; the text says what to do.
    Refused(&'static str),
}

use Rule::{Kept, NoEffect, Only, Refused};

/// Every option of PostgreSQL 18's libpq, and the older `requiressl`.
const OPTIONS: &[(&str, Rule)] = &[
    ("host", Kept),
    ("hostaddr", Kept),
    ("port", Kept),
    ("dbname", Kept),
    ("user", Kept),
    ("password", Kept),
    ("passfile", Kept),
    ("require_auth", Kept),
    ("channel_binding", Kept),
    ("connect_timeout", Kept),
    ("client_encoding", Only(&["UTF8", "UTF-8", "unicode", "auto"], "all text is UTF-8")),
    ("options", Kept),
    ("application_name", Kept),
    ("fallback_application_name", Kept),
    ("keepalives", Kept),
    ("keepalives_idle", Kept),
    ("keepalives_interval", Kept),
    ("keepalives_count", Kept),
    ("tcp_user_timeout", Kept),
    ("replication", Only(&["false", "off", "no", "0"], "replication is not spoken")),
    ("gssencmode", Only(&["disable", "prefer"], "GSSAPI is not spoken; use sslmode=verify-full")),
    ("sslmode", Kept),
    ("requiressl", Refused("write sslmode=verify-full instead")),
    ("sslnegotiation", Kept),
    ("sslcompression", Only(&["0"], "TLS does not compress")),
    ("sslcert", Kept),
    ("sslkey", Kept),
    ("sslkeylogfile", Refused("the keys of a connection are not written to files; leave it out")),
    ("sslpassword", Refused("the file of sslkey must not be encrypted; leave it out")),
    ("sslcertmode", Only(&["allow"], "a certificate is shown if there is one and the server asks")),
    ("sslrootcert", Kept),
    ("sslcrl", Refused("lists of revoked certificates are not read; leave it out")),
    ("sslcrldir", Refused("lists of revoked certificates are not read; leave it out")),
    ("sslsni", Only(&["1"], "the host's name is always sent")),
    ("requirepeer", Refused("the owner of a unix socket is not looked at; leave it out")),
    ("ssl_min_protocol_version", Only(&["TLSv1", "TLSv1.1", "TLSv1.2"], "1.2 and 1.3 are spoken")),
    ("ssl_max_protocol_version", Only(&["TLSv1.3"], "1.2 and 1.3 are spoken")),
    ("min_protocol_version", Only(&["3.0"], "version 3.0 is spoken")),
    ("max_protocol_version", Only(&["3.0", "3.2", "latest"], "version 3.0 is spoken")),
    ("krbsrvname", NoEffect),
    ("gsslib", NoEffect),
    ("gssdelegation", NoEffect),
    ("scram_client_key", Refused("set the password instead")),
    ("scram_server_key", Refused("set the password instead")),
    ("service", Refused("no service file is read; write its options in the URL")),
    ("target_session_attrs", Kept),
    ("load_balance_hosts", Kept),
    ("oauth_issuer", Refused("OAuth is not spoken; set a password")),
    ("oauth_client_id", Refused("OAuth is not spoken; set a password")),
    ("oauth_client_secret", Refused("OAuth is not spoken; set a password")),
    ("oauth_scope", Refused("OAuth is not spoken; set a password")),
];

/// Options of other drivers, as [`plain`] has them, and what to do instead.
const FOREIGN: &[(&[&str], &str)] = &[
    (&["pgbouncer"], "set DATABASE_POOLER=transaction instead"),
    (&["schema", "currentschema", "searchpath"], "write options=-c%20search_path%3DNAME instead"),
    (&["ssl", "sslaccept"], "write sslmode=verify-full instead, or sslmode=disable on loopback"),
    (&["uselibpqcompat"], "leave it out"),
    (&["sslidentity"], "write sslcert and sslkey instead, with files in PEM"),
    (
        &["connectionlimit", "maxconnections", "poolsize", "maxpoolsize", "poolmaxconns"],
        "leave it out: the native server has the setting POOL_SIZE, and a Worker five connections at most",
    ),
    (&["pooltimeout"], "leave it out: the native server has the setting ACQUIRE_TIMEOUT_MS"),
    (
        &[
            "statementcachesize",
            "statementcachecapacity",
            "preparethreshold",
            "preparedstatementcachesize",
            "preparedstatementcachequeries",
            "preparedstatements",
            "defaultqueryexecmode",
        ],
        "leave it out: the setting DATABASE_PREPARE says whether statements are prepared",
    ),
    (
        &["sockettimeout", "statementtimeout", "querytimeout", "commandtimeout"],
        "set STATEMENT_TIMEOUT_MS instead",
    ),
    (&["locktimeout"], "set LOCK_TIMEOUT_MS instead"),
    (&["logintimeout"], "write connect_timeout instead"),
    (&["targetservertype"], "write target_session_attrs instead"),
    (&["database"], "write dbname instead"),
    (&["username"], "write user instead"),
];

/// The options that a URL sets, by libpq's names. An empty value sets nothing.
pub(super) struct Options(Vec<(&'static str, String)>);

impl Options {
    pub(super) fn of(url: &str) -> Result<Options> {
        let parts = Parts::of(url)?;
        // What looks like an option can be the end of a password: one without a host behind it, or one with an & in the query.
        let mut is_no_secret = !parts.user.is_empty();
        let mut options = Options(Vec::new());
        for (name, value) in parts.query {
            let Some((name, rule)) = known(&name) else { return Err(unknown(&name, is_no_secret)) };
            is_no_secret &= name != "password";
            match rule {
                _ if value.is_empty() => {}
                Kept | NoEffect => options.set(name, value)?,
                Only(values, _) if values.iter().any(|known| known.eq_ignore_ascii_case(&value)) => {
                    options.set(name, value)?;
                }
                Only(values, why) => {
                    return Err(fault(format!("{name} can only be {}: {why}", alternatives(values))));
                }
                Refused(instead) => return Err(fault(format!("{name} can't be kept: {instead}"))),
            }
        }
        options.set("user", parts.user)?;
        options.set("password", parts.password)?;
        options.set("host", parts.hosts)?;
        options.set("port", parts.ports)?;
        options.set("dbname", parts.database)?;
        Ok(options)
    }

    /// libpq takes the last of several. That would let the end of a URL undo what its beginning says.
    fn set(&mut self, name: &'static str, value: String) -> Result<()> {
        if value.is_empty() {
            return Ok(());
        }
        if self.0.iter().any(|(set, _)| *set == name) {
            return Err(fault(format!("{name} is set twice: leave one out")));
        }
        self.0.push((name, value));
        Ok(())
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(set, _)| *set == name).map(|(_, value)| value.as_str())
    }

    /// One of the values there are.
    pub(super) fn one_of<T: Copy>(&self, name: &str, values: &[(&str, T)]) -> Result<Option<T>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        match values.iter().find(|(known, _)| *known == value) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let known: Vec<&str> = values.iter().map(|(known, _)| *known).collect();
                Err(fault(format!("{name} must be {}", alternatives(&known))))
            }
        }
    }

    /// A whole number, as libpq's are: 32 bits, and one that is not above zero asks for the default.
    pub(super) fn number(&self, name: &str, of: &str) -> Result<Option<u32>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number: i32 =
            value.parse().map_err(|_| fault(format!("{name} must be a whole number of {of}")))?;
        Ok(u32::try_from(number).ok().filter(|number| *number > 0))
    }
}

fn known(name: &str) -> Option<(&'static str, &'static Rule)> {
    let name = if name == "keepalives_retries" { "keepalives_count" } else { name }; // as tokio-postgres calls it
    OPTIONS.iter().find(|(known, _)| *known == name).map(|(name, rule)| (*name, rule))
}

fn unknown(name: &str, is_no_secret: bool) -> Error {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let shown = match is_no_secret && name.len() <= 40 && name.bytes().all(letters) {
        true => format!("unknown option `{name}`"),
        false => "unknown option; if it is part of a password, percent-encode that (& is %26)".to_owned(),
    };
    let plain = plain(name);
    let foreign = FOREIGN.iter().find(|(names, _)| names.contains(&plain.as_str()));
    fault(match (foreign, near(&plain)) {
        (Some((_, instead)), _) => format!("{shown}: {instead}"),
        (None, Some(known)) => format!("{shown}: did you mean {known}?"),
        (None, None) => shown,
    })
}

/// The option whose name differs by a letter or two.
fn near(plain_name: &str) -> Option<&'static str> {
    let distance = |known: &str| strsim::osa_distance(plain_name, &plain(known));
    let kept = OPTIONS.iter().filter(|(_, rule)| !matches!(rule, Refused(_)));
    let (distance, known) = kept.map(|(known, _)| (distance(known), *known)).min()?;
    (distance <= 2 && distance * 3 <= known.len()).then_some(known)
}

/// Lower case, and nothing but letters and digits: drivers differ in how they write a name of several words.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric).take(40);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// `a, b or c`.
fn alternatives(values: &[&str]) -> String {
    match values {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
