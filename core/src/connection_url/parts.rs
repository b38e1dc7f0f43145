//! A URL taken apart and decoded. What its options mean is said in `options`.
//!
//! libpq takes `postgres://alice:pa@ss@host/d` for the host `ss@host`, sends that name to the resolver, and shows it. Here a URL
//! whose password is not percent-encoded is either read as it was meant or refused: the only `@` that is written out stands
//! between the password and the hosts.

use percent_encoding::percent_decode_str;

use super::fault::fault;
use crate::error::Result;

/// The parts of `postgres://user:password@host:port,host:port/database?name=value&…`; one that is missing is empty.
pub(super) struct Parts {
    pub(super) user: String,
    pub(super) password: String,
    /// The hosts, separated by commas.
    pub(super) hosts: String,
    /// Their ports, separated by commas; an empty one was left out.
    pub(super) ports: String,
    pub(super) database: String,
    /// Names and values.
    pub(super) query: Vec<(String, String)>,
}

impl Parts {
    pub(super) fn of(url: &str) -> Result<Parts> {
        let url = url.trim_matches(|character: char| character.is_ascii_whitespace());
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let rest =
            rest.ok_or_else(|| fault("must be a URL such as postgres://user:password@host:5432/database"))?;
        if rest.contains(|character: char| character == ' ' || character.is_ascii_control()) {
            return Err(fault("has white space in it: percent-encode it, a space is %20"));
        }
        let (base, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = base.split_once('/').unwrap_or((base, ""));
        let (login, places) = authority.split_once('@').unwrap_or(("", authority));
        if [places, database, query].iter().any(|part| part.contains('@')) {
            return Err(fault(
                "has an @ in the wrong place: percent-encode the password (@ is %40, / is %2F, ? is %3F), and an @ in other values",
            ));
        }
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (hosts, ports) = hosts_and_ports(places)?;
        Ok(Parts {
            user: decode(user)?,
            password: decode(password)?,
            hosts,
            ports,
            database: decode(database)?,
            query: pairs(query)?,
        })
    }
}

fn hosts_and_ports(places: &str) -> Result<(String, String)> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for place in places.split(',') {
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (place, ""),
        };
        if host.contains(':') && !host.starts_with('[') {
            return Err(fault(
                "has a colon too many before its host's port: an IPv6 address is written [::1]",
            ));
        }
        hosts.push(decode(host)?);
        ports.push(decode(port)?);
    }
    let ports = if ports.iter().all(String::is_empty) { String::new() } else { ports.join(",") };
    Ok((hosts.join(","), ports))
}

fn pairs(query: &str) -> Result<Vec<(String, String)>> {
    if query.is_empty() {
        return Ok(Vec::new());
    }
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, value)) => Ok((decode(name)?, decode(value)?)),
        None => Err(fault("an option must be written name=value; an & in a value is %26")),
    };
    query.split('&').map(pair).collect()
}

/// As libpq decodes: a plus is a plus, and a percent sign begins an escape.
fn decode(text: &str) -> Result<String> {
    let is_escape = |rest: &str| {
        let digits = rest.get(..2);
        digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(fault("has a % that begins no escape: percent-encode the password, a % is %25"));
    }
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| fault("is not percent-encoded UTF-8"))?;
    match decoded.contains('\0') {
        true => Err(fault("has a zero byte (%00), which PostgreSQL's protocol can't carry")),
        false => Ok(decoded.into_owned()),
    }
}
