//! Where the database is: `DATABASE_URL`, with what it lacks from where libpq looks for it.

use std::net::IpAddr;

use pgspan::{ConnectionUrl, Error, Kind, Tls};
use tokio_postgres::config::Host;

/// What `DATABASE_PRIVATE_LINK` says.
pub(super) fn is_private(value: Option<String>) -> Result<bool, Error> {
    match value.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Error::new(Kind::Config, "DATABASE_PRIVATE_LINK: must be true or false")),
    }
}

/// The URL, with what it lacks from the environment; the server calls the program `application` unless the URL says otherwise. It
/// says `sslmode=disable` to another host only where the link is private,
/// and never without saying it.
pub(super) fn parse(
    url: Option<String>,
    is_private: bool,
    application: &str,
) -> Result<ConnectionUrl, Error> {
    let found = crate::complete(url.as_deref(), |name| std::env::var(name).ok())?;
    let missing = "DATABASE_URL: is not set, nor is PGHOST; it must be a URL such as postgres://user:password@host/database";
    let url = called(found.ok_or_else(|| Error::new(Kind::Config, missing))?, application);
    match url.parse() {
        Err(_) if is_private => ConnectionUrl::over_private_link(&url),
        parsed => parsed,
    }
}

/// The URL with this `application_name`, unless it has one.
fn called(url: String, application: &str) -> String {
    if url.contains("application_name=") {
        return url;
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    format!("{url}{separator}application_name={}", application.bytes().map(encode).collect::<String>())
}

/// Whether what is sent to the database can be read on the way.
pub(super) fn is_plain_text_over_a_network(url: &ConnectionUrl) -> bool {
    let is_local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
    };
    url.tls() == Tls::Disable && !url.postgres().get_hosts().iter().all(is_local)
}
