//! Settings from the Worker's bindings: variables, secrets and Hyperdrive.

use std::cell::RefCell;

use pgspan::{ConnectionUrl, Error, Kind, Pooler, Settings, Tls};
use tokio_postgres::config::{ChannelBinding, Host};
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

fn impossible(url: &ConnectionUrl) -> Option<&'static str> {
    match url.postgres().get_hosts() {
        [Host::Tcp(name)] if !name.starts_with('/') => {}
        [_] => return Some("DATABASE_URL: a Worker can't reach a unix socket"),
        _ => return Some("DATABASE_URL: a Worker connects to one host"),
    }
    if url.passfile().is_some() {
        return Some("DATABASE_URL: a Worker has no files, so passfile can't be used");
    }
    if url.client_certificate().is_some() {
        return Some(
            "DATABASE_URL: the runtime presents no client certificate, so sslcert and sslkey can't be used",
        );
    }
    match (url.tls(), url.root_cert(), url.channel_binding()) {
        (Tls::VerifyCa, _, _) => {
            Some("DATABASE_URL: the runtime verifies names too: use sslmode=verify-full")
        }
        (_, Some(_), _) => Some(
            "DATABASE_URL: the runtime trusts the public authorities alone, so sslrootcert can't be used",
        ),
        (_, _, ChannelBinding::Require) => Some(
            "DATABASE_URL: the runtime does not tell its TLS channel, so channel_binding=require can't be used",
        ),
        _ => None,
    }
}

fn fault(text: &str) -> Error {
    Error::new(Kind::Config, text)
}
