//! Opens one connection, encrypted or not, and drives it on tokio.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pgspan::driver::{Notifications, drive};
use pgspan::{ConnectionUrl, Result};
use tokio::task::JoinHandle;
use tokio_postgres::{CancelToken, Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::politely::politely;
use crate::tls;

/// A peer that vanished without a word is noticed after 60 s + 3 × 15 s (and by a deadline before that, if it is needed);
/// the system's default is two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// What tokio-postgres has where the URL does not say.
const UNSET_KEEPALIVE_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// What was sent and is not acknowledged for so long never will be (Linux).
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Knows where the database is and how to get there.
#[derive(Clone)]
pub(crate) struct Dialler(Arc<Inner>);

struct Inner {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

/// A connection that was just opened.
pub(crate) struct Opened {
    pub(crate) client: Client,
    pub(crate) notifications: Notifications,
    /// Drives the connection; it ends when the client is dropped and everything is answered, or when aborted.
    pub(crate) task: JoinHandle<()>,
}

impl Dialler {
    /// `config` is the URL's, with what else is to be set.
    pub(crate) fn new(url: &ConnectionUrl, mut config: Config) -> Result<Dialler> {
        if config.get_keepalives_idle() == UNSET_KEEPALIVE_IDLE {
            config.keepalives_idle(KEEPALIVE_IDLE);
            config.keepalives_interval(config.get_keepalives_interval().unwrap_or(KEEPALIVE_INTERVAL));
            config.keepalives_retries(config.get_keepalives_retries().unwrap_or(KEEPALIVE_RETRIES));
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNACKNOWLEDGED);
        }
        Ok(Dialler(Arc::new(Inner { config, tls: tls::tls(url)? })))
    }

    /// Connects, encrypts and logs in, without a deadline.
    pub(crate) async fn open(&self) -> Result<Opened, tokio_postgres::Error> {
        match &self.0.tls {
            None => {
                let (client, connection) = self.0.config.connect(NoTls).await?;
                let (task, notifications) = drive(connection);
                Ok(Opened { client, notifications, task: tokio::spawn(politely(task)) })
            }
            Some(tls) => {
                let (client, connection) = self.0.config.connect(tls.clone()).await?;
                let (task, notifications) = drive(connection);
                Ok(Opened { client, notifications, task: tokio::spawn(politely(task)) })
            }
        }
    }

    /// Asks the server to end what runs on the connection of this token (PostgreSQL documentation, 54.2.8).
    pub(crate) async fn cancel(&self, token: CancelToken) -> Result<(), tokio_postgres::Error> {
        match &self.0.tls {
            None => token.cancel_query(NoTls).await,
            Some(tls) => token.cancel_query(tls.clone()).await,
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }
}

/// How deadpool-postgres opens connections: as everyone here, so that no notice is logged, which could quote values.
impl deadpool_postgres::Connect for Dialler {
    #[allow(clippy::type_complexity, reason = "the trait's type")]
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + '_>>
    {
        Box::pin(async move {
            let Opened { client, task, .. } = self.open().await?;
            Ok((client, task))
        })
    }
}
