//! Settings from the Worker's bindings: variables, secrets and Hyperdrive.

use std::cell::RefCell;

use pgspan::{ConnectionUrl, Error, Kind, Pooler, Settings, Tls};
use tokio_postgres::config::{ChannelBinding, Host, SslNegotiation};
use worker::Env;

use crate::login::Opening;
use crate::variables::Variables;

/// How the Worker reaches PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connect {
    /// A Durable Object keeps the connections.
    Pool,
    /// One for each request.
    Socket,
    /// One for each request, to Cloudflare's pool.
    Hyperdrive,
}

/// Where the database is, and how it behaves. What the runtime can't do is refused here.
pub(crate) fn read(
    env: &Env,
    variables: Variables<'_>,
) -> Result<(ConnectionUrl, Settings, Opening), Vec<Error>> {
    let strange = RefCell::default();
    let lookup = strict(variables, &strange);
    let mut faults = Vec::new();
    let connect = match lookup("PGSPAN_CONNECT").as_deref() {
        Some("pool") if env.durable_object("POOL").is_err() => {
            faults
                .push(fault("POOL: the Durable Object binding is missing, which PGSPAN_CONNECT=pool needs"));
            Connect::Pool
        }
        None | Some("pool") => Connect::Pool,
        Some("socket") => Connect::Socket,
        Some("hyperdrive") => Connect::Hyperdrive,
        Some(_) => {
            faults.push(fault("PGSPAN_CONNECT: must be pool, socket or hyperdrive"));
            Connect::Socket
        }
    };
    let url = match connect {
        Connect::Hyperdrive => hyperdrive(env),
        Connect::Pool | Connect::Socket => direct(variables, &lookup),
    };
    let url = url.and_then(|url| {
        let opening = match connect {
            Connect::Hyperdrive => Opening::Ordinary, // its logins are not PostgreSQL's
            Connect::Pool | Connect::Socket => Opening::read(&url, &lookup)?,
        };
        Ok((url, opening))
    });
    let settings = Settings::read(&lookup);
    faults.extend(strange.take());
    match (url, settings, faults.is_empty()) {
        (Ok((url, opening)), Ok(mut settings), true) => {
            if connect == Connect::Hyperdrive {
                settings.pooler = Some(Pooler::Transaction);
                if settings.prepare {
                    return Err(vec![fault("DATABASE_PREPARE: nothing can be prepared behind Hyperdrive")]);
                }
            }
            Ok((url, settings, opening))
        }
        (url, settings, _) => {
            faults.extend(url.err());
            faults.extend(settings.err().unwrap_or_default());
            Err(faults)
        }
    }
}

/// Reads variables, and says of those that are strange.
pub(crate) fn strict(
    variables: Variables<'_>,
    faults: &RefCell<Vec<Error>>,
) -> impl Fn(&str) -> Option<String> {
    move |name| variables(name).map_err(|fault| faults.borrow_mut().push(fault)).ok().flatten()
}

fn direct(
    variables: Variables<'_>,
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<ConnectionUrl, Error> {
    let Some(url) = variables("DATABASE_URL")? else {
        return Err(fault("DATABASE_URL: is missing; set it with `npx wrangler secret put DATABASE_URL`"));
    };
    let url = match (url.parse::<ConnectionUrl>(), lookup("DATABASE_PRIVATE_LINK").as_deref()) {
        (_, Some(value)) if value != "true" && value != "false" => {
            return Err(fault("DATABASE_PRIVATE_LINK: must be true or false"));
        }
        // it says `sslmode=disable`, to another host
        (Err(_), Some("true")) => private(&url)?,
        (url, _) => url?,
    };
    match impossible(&url) {
        Some(impossible) => Err(fault(impossible)),
        None => Ok(url),
    }
}

/// A URL over a network that is private by other means.
fn private(url: &str) -> Result<ConnectionUrl, Error> {
    let url = ConnectionUrl::over_private_link(url)?;
    if url.tls() == Tls::Disable {
        tracing::warn!("DATABASE_PRIVATE_LINK: connections to the database are not encrypted");
    }
    Ok(url)
}

fn hyperdrive(env: &Env) -> Result<ConnectionUrl, Error> {
    match env.hyperdrive("HYPERDRIVE") {
        // plain text only between the Worker and Hyperdrive, inside the runtime
        Ok(hyperdrive) => ConnectionUrl::over_private_link(&hyperdrive.connection_string()),
        Err(_) => Err(fault("HYPERDRIVE: the binding is missing, which PGSPAN_CONNECT=hyperdrive needs")),
    }
}

/// What the runtime can't keep, and what to write instead.
fn impossible(url: &ConnectionUrl) -> Option<&'static str> {
    let postgres = url.postgres();
    match postgres.get_hosts() {
        [Host::Tcp(name)] if !name.starts_with('/') => {}
        [_] => {
            return Some("DATABASE_URL: a Worker can't reach a unix socket: write a host's name or address");
        }
        _ => return Some("DATABASE_URL: a Worker connects to one host: write one"),
    }
    let refused = [
        (
            !postgres.get_hostaddrs().is_empty(),
            "DATABASE_URL: the runtime looks names up itself, so hostaddr can't be kept: leave it out, or write the address as the \
             host",
        ),
        (
            postgres.get_ssl_negotiation() == SslNegotiation::Direct,
            "DATABASE_URL: the runtime can't begin with TLS as PostgreSQL wants it, so sslnegotiation=direct can't be kept: leave it \
             out",
        ),
        (
            postgres.get_tcp_user_timeout().is_some(),
            "DATABASE_URL: a Worker's sockets have no tcp_user_timeout: leave it out; STATEMENT_TIMEOUT_MS bounds the wait",
        ),
        (
            url.passfile().is_some(),
            "DATABASE_URL: a Worker has no files, so passfile can't be kept: write the password into the URL",
        ),
        (
            url.client_certificate().is_some(),
            "DATABASE_URL: the runtime presents no client certificate, so sslcert and sslkey can't be kept: log in with a password",
        ),
        (
            url.tls() == Tls::VerifyCa,
            "DATABASE_URL: the runtime verifies names too, so sslmode=verify-ca can't be kept: write sslmode=verify-full",
        ),
        (
            url.root_cert().is_some(),
            "DATABASE_URL: the runtime trusts the public authorities alone, so sslrootcert can't be kept: leave it out",
        ),
        (
            url.channel_binding() == ChannelBinding::Require,
            "DATABASE_URL: the runtime does not tell its TLS channel, so channel_binding=require can't be kept: leave it out, \
             sslmode=verify-full verifies the server",
        ),
    ];
    refused.into_iter().find_map(|(is_asked_for, why)| is_asked_for.then_some(why))
}

fn fault(text: &str) -> Error {
    Error::new(Kind::Config, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each option of libpq that ConnectionUrl keeps is kept here too, or refused by its name with what to do. Looked for besides
    /// those that were dropped in silence (hostaddr, sslnegotiation, tcp_user_timeout, target_session_attrs, connect_timeout): every
    /// other that a native host keeps. Those for keepalives have no effect in a Worker, as the book says.
    #[test]
    fn an_option_is_kept_or_refused_by_its_name_with_what_to_write() {
        let refusal = |query: &str| {
            let url = format!("postgres://u:p@db.example.com/d?{query}");
            impossible(&url.parse().unwrap()).map(str::to_owned)
        };
        for (query, name, instead) in [
            ("hostaddr=203.0.113.5", "hostaddr", "write the address as the host"),
            ("sslnegotiation=direct", "sslnegotiation=direct", "leave it out"),
            ("tcp_user_timeout=1000", "tcp_user_timeout", "STATEMENT_TIMEOUT_MS"),
            ("passfile=pgpass", "passfile", "into the URL"),
            ("sslcert=c.pem&sslkey=k.pem", "sslcert", "password"),
            ("sslmode=verify-ca", "verify-ca", "sslmode=verify-full"),
            ("sslrootcert=ca.pem", "sslrootcert", "leave it out"),
            ("sslmode=require&channel_binding=require", "channel_binding=require", "leave it out"),
        ] {
            let text = refusal(query).unwrap_or_else(|| panic!("{query} is dropped"));
            assert!(text.contains(name) && text.contains(instead), "{query}: {text}");
        }
        for kept in [
            "target_session_attrs=read-write",
            "target_session_attrs=any",
            "connect_timeout=2",
            "sslnegotiation=postgres",
            "channel_binding=prefer",
            "require_auth=scram-sha-256",
            "load_balance_hosts=random",
            "options=-c%20search_path%3Dshop",
        ] {
            assert_eq!(refusal(kept), None, "{kept}");
        }
        for hosts in ["a.example.com,b.example.com", "%2Frun%2Fpostgresql"] {
            assert!(impossible(&format!("postgres://u:p@{hosts}/d").parse().unwrap()).is_some(), "{hosts}");
        }
    }
}
