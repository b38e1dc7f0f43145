//! A driver on tokio that logs in early, over whatever stream it is given.

use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::future::BoxFuture;
use pgspan::driver::{Driver, Link, Notifications, Watch, drive};
use pgspan::{ConnectionUrl, Database, Error, Settings};
use tests::Cluster;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, NoTls};

use super::super::{Connected, Login, Opening, connect};

pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

pub(super) type Open = dyn Fn() -> BoxFuture<'static, io::Result<Pin<Box<dyn Wire>>>> + Send + Sync;

/// Every connection is a new one.
pub(super) struct Tokio {
    url: ConnectionUrl,
    opening: Opening,
    open: Box<Open>,
    started: Instant,
    /// The login of the last connection.
    last: Arc<Mutex<Option<Login>>>,
}

pub(super) struct Leased {
    client: Client,
    watch: Watch,
    login: Login,
}

impl Deref for Leased {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Tokio {
    async fn connect(&self) -> pgspan::Result<(Leased, Notifications)> {
        let opened = async {
            let stream = (self.open)().await.map_err(|error| Error::unavailable("").with_source(error))?;
            connect(stream, &self.url.configure(&Settings::default()), self.opening).await
        };
        let Connected { client, connection, watch, login } =
            timeout(Duration::from_secs(5), opened).await.map_err(|_| Error::unavailable("too long"))??;
        let (task, notifications) = drive(connection);
        tokio::spawn(task);
        *self.last.lock().unwrap() = Some(login.clone());
        Ok((Leased { client, watch, login }, notifications))
    }
}

impl Driver for Tokio {
    type Connection = Leased;

    async fn acquire(&self) -> pgspan::Result<Leased> {
        Ok(self.connect().await?.0)
    }

    fn recycle(&self, connection: Leased) {
        drop(connection);
    }

    fn refusal(&self, connection: &Leased) -> Option<Error> {
        connection.login.refusal()
    }

    fn watch<'c>(&self, connection: &'c Leased) -> &'c Watch {
        &connection.watch
    }

    async fn dial(&self) -> pgspan::Result<Link> {
        let (Leased { client, watch, login }, notifications) = self.connect().await?;
        login.settled().await?;
        Ok(Link::new(client, watch, notifications))
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        sleep(duration)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The library over this login; every session has a new connection.
pub(super) struct Under {
    pub(super) db: Database,
    last: Arc<Mutex<Option<Login>>>,
}

impl Under {
    pub(super) fn login(&self) -> Login {
        self.last.lock().unwrap().clone().expect("nothing was connected")
    }

    pub(super) fn over(url: &str, opening: Opening, shared: usize, open: Box<Open>) -> Result<Under> {
        let last = Arc::default();
        let driver =
            Tokio { url: url.parse()?, opening, open, started: Instant::now(), last: Arc::clone(&last) };
        let mut settings = Settings::default();
        settings.shared_connections = shared;
        Ok(Under { db: pgspan::connect_with(driver, settings), last })
    }

    /// Over TCP, to where the URL says.
    pub(super) fn tcp(url: &str, opening: Opening, shared: usize) -> Result<Under> {
        let port = *url.parse::<ConnectionUrl>()?.postgres().get_ports().first().context("no port")?;
        let open = move || -> BoxFuture<'static, _> {
            Box::pin(async move {
                let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                stream.set_nodelay(true)?;
                Ok(Box::pin(stream) as Pin<Box<dyn Wire>>)
            })
        };
        Under::over(url, opening, shared, Box::new(open))
    }
}

/// A server, and a client that has nothing to do with the login.
pub(super) struct Bed {
    pub(super) url: String,
    pub(super) other: Client,
}

impl Bed {
    pub(super) async fn new() -> Result<Bed> {
        static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
        let url = match std::env::var("PGSPAN_TEST_DATABASE_URL") {
            Ok(url) => url,
            Err(_) => {
                let start = || Cluster::throwaway(&[("max_connections", "200")]);
                CLUSTER.get_or_try_init(start).await?.url("postgres")
            }
        };
        let (other, connection) = tokio_postgres::connect(&url, NoTls).await?;
        tokio::spawn(connection);
        Ok(Bed { url, other })
    }

    /// A table of the test's own, empty.
    pub(super) async fn table(&self, name: &str) -> Result<()> {
        let sql = format!("DROP TABLE IF EXISTS {name}; CREATE TABLE {name}(n int)");
        Ok(self.other.batch_execute(&sql).await?)
    }

    pub(super) async fn count(&self, table: &str) -> Result<i64> {
        Ok(self.other.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await?.get(0))
    }
}

/// The same URL with another user and password.
pub(super) fn with_login(url: &str, login: &str) -> Result<String> {
    let (scheme, rest) = url.split_once("://").context("no URL")?;
    let (_, place) = rest.rsplit_once('@').context("no user")?;
    Ok(format!("{scheme}://{login}@{place}"))
}
