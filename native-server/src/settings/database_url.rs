//! Where the database is: `DATABASE_URL`, with what it lacks from where libpq looks for it.

use std::fmt;

use clap::Args;
use pgspan::{ConnectionUrl, Error, Kind};

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
}

impl DatabaseUrl {
    /// The URL, checked.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`], without the URL; [`Kind::Unavailable`] if a file is not there.
    pub fn url(&self) -> Result<String, Error> {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let url = secret("DATABASE_URL", given(&self.database_url), given(&self.database_url_file))?;
        let url = complete(url)?;
        url.parse::<ConnectionUrl>()?;
        Ok(url)
    }
}

/// The URL, with what it lacks from the environment.
pub(super) fn complete(url: Option<String>) -> Result<String, Error> {
    let found = crate::complete(url.as_deref(), |name| std::env::var(name).ok())?;
    let missing = "DATABASE_URL: is not set, nor is PGHOST; it must be a URL such as postgres://user:password@host/database";
    found.ok_or_else(|| Error::new(Kind::Config, missing))
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseUrl").finish_non_exhaustive()
    }
}
