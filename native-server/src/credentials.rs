//! Passwords, asked for again at each login: a changed one is used without a restart.

use std::pin::Pin;
use std::sync::Arc;

use pgspan::{ConnectionUrl, Result};

use crate::hosts::Server;
use crate::passfile::Passwords;

type Asking = Pin<Box<dyn Future<Output = Result<String>> + Send>>;

/// Asks for the password of the moment: see [`Driver::with_password`](crate::Driver::with_password).
pub(crate) type Provider = Arc<dyn Fn() -> Asking + Send + Sync>;

/// Where the passwords of a URL's hosts come from.
pub(crate) struct Credentials {
    url: ConnectionUrl,
    provider: Option<Provider>,
}

/// The passwords of this moment.
pub(crate) enum Current {
    /// One for all hosts.
    Provided(String),
    /// Those of the password file, for hosts whose password the URL does not have.
    File(Passwords),
}

impl Credentials {
    pub(crate) fn new(url: &ConnectionUrl, provider: Option<Provider>) -> Credentials {
        Credentials { url: url.clone(), provider }
    }

    pub(crate) async fn current(&self) -> Result<Current> {
        Ok(match &self.provider {
            Some(provider) => Current::Provided(provider().await?),
            None => Current::File(Passwords::of(&self.url)),
        })
    }
}

impl Current {
    /// The password for this host, unless the URL has it.
    pub(crate) fn of(&self, server: &Server) -> Option<String> {
        match self {
            Current::Provided(password) => Some(password.clone()),
            Current::File(passwords) => server.password(passwords),
        }
    }
}
