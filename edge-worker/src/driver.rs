//! The driver of one request: it opens a socket when one is needed and closes it with the request.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use futures_util::future::select;
use pgspan::driver::{Driver, Link, Watch};
use pgspan::{Database, Error, Result};
use worker::send::SendFuture;
use worker::{Context, Env, Request, Response};

use crate::connection::{Connection, GOOD_BYE};
use crate::dialler::Dialler;
use crate::lock::lock;
use crate::respond::respond_from;
use crate::settings;
use crate::time::{now, sleep};

/// One request's connections. Let a router [`answer`](Connections::answer) from them; or take their
/// [`database`](Connections::database), and when the answer is there [`close_with`](Connections::close_with) the request's
/// context.
#[derive(Debug)]
pub struct Connections {
    driver: SocketDriver,
    database: Database,
}

impl Connections {
    /// Reads `DATABASE_URL`, or the Hyperdrive binding where `PGSPAN_CONNECT=hyperdrive`, and the settings of
    /// [`pgspan::Settings::read`] from the Worker's bindings. It opens no connection yet.
    ///
    /// # Errors
    ///
    /// Everything that is missing or wrong, each naming its setting.
    pub fn from_env(env: &Env) -> Result<Connections, Vec<Error>> {
        let (url, mut settings, opening) = settings::read(env)?;
        settings.shared_connections = 0; // a connection may not outlive its request
        let driver = SocketDriver(Arc::new(Inner {
            dialler: Dialler::new(url, settings.clone(), opening),
            idle: Mutex::default(),
        }));
        Ok(Connections { database: pgspan::connect_with(driver.clone(), settings), driver })
    }

    /// The database, for this request alone.
    pub fn database(&self) -> Database {
        self.database.clone()
    }

    /// Lets a router answer a request from these connections: it finds the [`Database`] in the request's extensions
    /// (axum's `Extension<Database>`), so that one router, built once, serves all requests. Then as
    /// [`close_with`](Connections::close_with).
    ///
    /// # Errors
    ///
    /// As [`respond`](crate::respond()).
    ///
    /// # Cancel safety
    ///
    /// That of the router's handlers.
    pub async fn answer(self, router: Router, request: Request, ctx: &Context) -> worker::Result<Response> {
        let answer = respond_from(self.database(), router, request).await;
        self.close_with(ctx);
        answer
    }

    /// Closes the connections that are idle now and those that become so, and keeps the request's context alive until
    /// they have said good-bye, at most two seconds.
    pub fn close_with(self, ctx: &Context) {
        let sockets = self.driver.0.dialler.sockets().clone();
        sockets.end();
        lock(&self.driver.0.idle).clear();
        ctx.wait_until(async move {
            select(pin!(sockets.closed()), pin!(sleep(GOOD_BYE))).await;
        });
    }
}

/// Opens one socket per connection, at most five at a time, and keeps idle ones for the same request.
#[derive(Debug, Clone)]
struct SocketDriver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dialler: Dialler,
    idle: Mutex<Vec<Connection>>,
}

impl Driver for SocketDriver {
    type Connection = Connection;

    fn acquire(&self) -> impl Future<Output = Result<Connection>> + Send {
        SendFuture::new(async {
            let idle = lock(&self.0.idle).pop();
            if let Some(mut connection) = idle.filter(|idle| !idle.is_closed()) {
                connection.set_clean(false);
                return Ok(connection);
            }
            Ok(self.0.dialler.open().await?.0)
        })
    }

    fn refusal(&self, connection: &Connection) -> Option<Error> {
        connection.refusal()
    }

    fn recycle(&self, mut connection: Connection) {
        connection.set_clean(true);
        if !self.0.dialler.sockets().is_over() {
            lock(&self.0.idle).push(connection);
        }
    }

    fn watch<'c>(&self, connection: &'c Connection) -> &'c Watch {
        connection.watch()
    }

    fn dial(&self) -> impl Future<Output = Result<Link>> + Send {
        SendFuture::new(self.0.dialler.dial())
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        SendFuture::new(sleep(duration))
    }

    fn now(&self) -> Duration {
        now()
    }
}
