//! A driver that speaks to a script instead of a server: for tests without PostgreSQL.
//!
//! The client is the real one, with tokio-postgres' real codec; only what answers is scripted. So a program's own
//! functions can be tested with whatever a server can do, and with what is hard to make one do: a deadline that passes,
//! a connection lost at COMMIT. Feature `testing`.
//!
//! ```
//! use pgspan::testing::{Reply, ScriptedDriver};
//! use pgspan::sql;
//!
//! # futures_executor::block_on(async {
//! let (driver, mut backend) = ScriptedDriver::new(|statement| match statement.text() {
//!     "INSERT INTO users(name) VALUES ($1)" if statement.param(1) == Some("Bob".to_owned()) => {
//!         Reply::error("23505").constraint("users_name_key")
//!     }
//!     "SELECT pg_sleep(60)" => Reply::silence(),
//!     _ => Reply::ok(), // BEGIN, COMMIT and ROLLBACK do what they do in PostgreSQL
//! });
//! let db = pgspan::connect(driver.clone());
//! backend.run(async {
//!     let mut session = db.session().await?;
//!     let mut tx = session.transaction();
//!     for name in ["Thunder", "Bob"] {
//!         if let Err(error) = tx.execute(sql!("INSERT INTO users(name) VALUES ({name})")).await {
//!             assert_eq!(error.constraint(), Some("users_name_key"));
//!         }
//!     }
//!     assert_eq!(tx.commit().await.unwrap_err().kind(), pgspan::Kind::RolledBack);
//!     assert!(!driver.statements().contains(&"COMMIT".to_owned()));
//!
//!     // time passes when nothing else can happen
//!     let slow = session.execute(sql!("SELECT pg_sleep(60)").reads_only()).await;
//!     assert_eq!(slow.unwrap_err().kind(), pgspan::Kind::Timeout);
//!     drop(session);
//!     assert!(driver.connections()[0].ended, "not given to another");
//!     Ok::<(), pgspan::Error>(())
//! })
//! .await
//! # }).unwrap();
//! ```

mod backend;
mod block;
mod clock;
mod connection;
mod failure;
mod log;
mod reply;
mod server;
mod shared;
mod statement;
mod wire;

pub use backend::Backend;
pub use block::Status;
pub use connection::ScriptedConnection;
pub use log::ConnectionLog;
pub use reply::Reply;
pub use statement::Statement;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_channel::{mpsc, oneshot};
use futures_util::FutureExt;
use futures_util::future::select;
use tokio_postgres::NoTls;

use crate::driver::{Driver, Link, Watch, drive};
use crate::error::{Error, Result};
use crate::port::BoxFuture;
use clock::Clock;
use log::{Event, Log};
use server::Server;
use shared::{BUFFER, Shared, lock};

/// A [`Driver`] whose server is a script. All clones are the same driver, so that a test keeps one.
///
/// Its pool has no limit: a connection that was given back is taken first, else one is opened.
#[derive(Clone)]
pub struct ScriptedDriver {
    shared: Arc<Shared>,
    idle: Arc<Mutex<Vec<ScriptedConnection>>>,
    tasks: mpsc::UnboundedSender<BoxFuture<()>>,
}

impl ScriptedDriver {
    /// A driver, and the future that answers.
    ///
    /// The script is asked for every statement that arrives, transaction control included, but not for those that a
    /// failed transaction refuses (25P02).
    pub fn new(script: impl FnMut(&Statement<'_>) -> Reply + Send + 'static) -> (ScriptedDriver, Backend) {
        let (tasks, arriving) = mpsc::unbounded();
        let clock = Arc::new(Clock::default());
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(script)),
            greeting: Mutex::new(Box::new(|_| Reply::ok())),
            network: Mutex::default(),
            log: Log::default(),
            clock: clock.clone(),
        });
        (ScriptedDriver { shared, idle: Arc::default(), tasks }, Backend::new(clock, arriving))
    }

    /// What the server answers to one that connects, by the connection's number, counted from 0. [`Reply::ok`] lets it
    /// in, as it is without this.
    pub fn on_connect(&self, greeting: impl FnMut(usize) -> Reply + Send + 'static) {
        *lock(&self.shared.greeting) = Box::new(greeting);
    }

    /// Closes every connection opened from now on after so many bytes from the server, start-up included.
    pub fn cut_connections_after(&self, bytes: impl Into<Option<usize>>) {
        lock(&self.shared.network).cut_after = bytes.into();
    }

    /// The same, but they are left open: nothing comes any more, and nothing says so.
    pub fn stop_connections_after(&self, bytes: impl Into<Option<usize>>) {
        lock(&self.shared.network).stop_after = bytes.into();
    }

    /// Lets what the server says travel in packets of so many bytes, on connections opened from now on.
    pub fn packets_of(&self, bytes: impl Into<Option<usize>>) {
        lock(&self.shared.network).packet = bytes.into();
    }

    /// Closes every connection there is, as a server does that is killed. It takes effect when the backend is polled.
    pub fn lose_connections(&self) {
        self.shared.log.say(&Event::Close);
    }

    /// Sends a notification to the connections that listen to a channel.
    pub fn notify(&self, channel: &str, payload: &str) {
        self.shared.log.say(&Event::Notify { channel: channel.to_owned(), payload: payload.to_owned() });
    }

    /// Lets time pass. [`Backend::run`] does so by itself.
    pub fn advance(&self, duration: Duration) {
        self.shared.clock.advance(duration);
    }

    /// The texts of all statements that arrived, on whatever connection, in order.
    pub fn statements(&self) -> Vec<String> {
        self.shared.log.statements()
    }

    /// What became of each connection, in the order they were opened.
    pub fn connections(&self) -> Vec<ConnectionLog> {
        self.shared.log.connections()
    }

    /// How many round trips all statements took.
    pub fn flights(&self) -> usize {
        self.connections().iter().map(|log| log.flights).sum()
    }

    /// Connects; gives the connection, the future that drives it, and its number.
    async fn open(&self, dialled: bool) -> Result<(Link, BoxFuture<()>, usize)> {
        let (near, far) = tokio::io::duplex(BUFFER);
        let (say, events) = mpsc::unbounded();
        let number = self.shared.log.open(dialled, say);
        self.run(Box::pin(Server::new(number, self.shared.clone(), far, events).serve()))?;
        let mut config = tokio_postgres::Config::new();
        let watch = Watch::without_marks();
        let connected = config.user("scripted").connect_raw(watch.guard(near), NoTls).await;
        let (client, connection) = connected.map_err(Error::connect)?;
        let (task, notifications) = drive(connection);
        Ok((Link::new(client, watch, notifications), Box::pin(task), number))
    }

    fn run(&self, task: BoxFuture<()>) -> Result<()> {
        self.tasks
            .unbounded_send(task)
            .map_err(|_| Error::unavailable("the backend of the scripted driver is gone"))
    }
}

impl Driver for ScriptedDriver {
    type Connection = ScriptedConnection;

    async fn acquire(&self) -> Result<ScriptedConnection> {
        loop {
            let Some(idle) = lock(&self.idle).pop() else { break };
            if !idle.link.client.is_closed() {
                idle.change(|log| log.idle = false);
                return Ok(idle);
            }
        }
        let (link, task, number) = self.open(false).await?;
        let (alive, ended) = oneshot::channel::<()>();
        self.run(Box::pin(select(task, ended).map(drop)))?;
        Ok(ScriptedConnection { link, number, shared: Arc::downgrade(&self.shared), _alive: alive })
    }

    fn recycle(&self, connection: ScriptedConnection) {
        connection.change(|log| {
            log.recycled += 1;
            log.idle = true;
        });
        lock(&self.idle).push(connection);
    }

    fn watch<'c>(&self, connection: &'c ScriptedConnection) -> &'c Watch {
        &connection.link.watch
    }

    async fn dial(&self) -> Result<Link> {
        let (link, task, _) = self.open(true).await?;
        self.run(task)?;
        Ok(link)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.shared.clock.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.shared.clock.now()
    }
}

impl fmt::Debug for ScriptedDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedDriver").field("connections", &self.connections()).finish_non_exhaustive()
    }
}
