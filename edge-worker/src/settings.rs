//! Settings from the Worker's bindings: variables and secrets.

use pgspan::{ConnectionUrl, Error, Kind, Settings, Tls};
use tokio_postgres::config::{ChannelBinding, Host};
use worker::Env;

/// Reads a variable or a secret by name.
pub fn lookup(env: &Env) -> impl Fn(&str) -> Option<String> {
    let env = env.clone();
    move |name| env.var(name).ok().map(|value| value.to_string())
}

/// Where the database is, and how it behaves. What the runtime can't do is refused here.
pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<(ConnectionUrl, Settings), Vec<Error>> {
    let fault = |text: &str| Error::new(Kind::Config, text);
    let url = match lookup("DATABASE_URL").filter(|url| !url.is_empty()) {
        None => Err(fault("DATABASE_URL: is missing; set it with `npx wrangler secret put DATABASE_URL`")),
        Some(url) => url.parse::<ConnectionUrl>(),
    };
    let url = url.and_then(|url| match check(&url) {
        Some(impossible) => Err(fault(impossible)),
        None => Ok(url),
    });
    match (url, Settings::read(lookup)) {
        (Ok(url), Ok(mut settings)) => {
            settings.shared = 0; // a connection may not outlive its request
            Ok((url, settings))
        }
        (url, settings) => Err(url.err().into_iter().chain(settings.err().unwrap_or_default()).collect()),
    }
}

fn check(url: &ConnectionUrl) -> Option<&'static str> {
    let postgres = url.postgres();
    match postgres.get_hosts() {
        [Host::Tcp(name)] if !name.starts_with('/') => {}
        [_] => return Some("DATABASE_URL: a Worker can't reach a unix socket"),
        _ => return Some("DATABASE_URL: a Worker connects to one host"),
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
