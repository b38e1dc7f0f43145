//! Where the database is: `DATABASE_URL`, with what it lacks from where libpq looks for it.

use std::fmt;
use std::net::IpAddr;

use clap::Args;
use pgspan::{ConnectionUrl, Error, Kind, Tls};
use tokio_postgres::config::Host;

use super::secret::secret;

/// Where the database is, for the commands that need no more.
#[derive(Clone, Args)]
pub struct DatabaseUrl {
    /// Where the database is: postgres://user:password@host:port/database [default: PGHOST and the other variables of libpq]
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// A file with the URL
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<String>,
    /// Whether sslmode=disable is allowed to any host: true or false
    #[arg(long, env = "DATABASE_PRIVATE_LINK", value_name = "BOOLEAN")]
    database_private_link: Option<String>,
}

impl DatabaseUrl {
    /// The URL, checked.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`], without the URL; [`Kind::Unavailable`] if a file is not there.
    pub fn url(&self) -> Result<ConnectionUrl, Error> {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let url = secret("DATABASE_URL", given(&self.database_url), given(&self.database_url_file))?;
        parse(url, is_private(given(&self.database_private_link))?)
    }
}

/// What `DATABASE_PRIVATE_LINK` says.
pub(super) fn is_private(value: Option<String>) -> Result<bool, Error> {
    match value.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Error::new(Kind::Config, "DATABASE_PRIVATE_LINK: must be true or false")),
    }
}

/// The URL, with what it lacks from the environment. It says `sslmode=disable` to another host only where the link is private,
/// and never without saying it.
pub(super) fn parse(url: Option<String>, is_private: bool) -> Result<ConnectionUrl, Error> {
    let found = crate::complete(url.as_deref(), |name| std::env::var(name).ok())?;
    let missing = "DATABASE_URL: is not set, nor is PGHOST; it must be a URL such as postgres://user:password@host/database";
    let url = found.ok_or_else(|| Error::new(Kind::Config, missing))?;
    match url.parse() {
        Err(_) if is_private => ConnectionUrl::over_private_link(&url),
        parsed => parsed,
    }
}

/// Whether what is sent to the database can be read on the way.
pub(super) fn is_plain_text_over_a_network(url: &ConnectionUrl) -> bool {
    let is_local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
    };
    url.tls() == Tls::Disable && !url.postgres().get_hosts().iter().all(is_local)
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseUrl").finish_non_exhaustive()
    }
}
