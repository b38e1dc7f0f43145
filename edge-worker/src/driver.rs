//! The driver of one request: it opens a socket when one is needed and closes it with the request.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use futures_util::future::select;
use pgspan::driver::{Driver, Link, Watch};
use pgspan::{Database, Error, Result};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use worker::durable::State;
use worker::js_sys::Promise;
use worker::send::SendFuture;
use worker::{Context, Env, Request, Response, ScheduleContext, worker_sys};

use crate::connection::{Connection, GOOD_BYE};
use crate::dialler::Dialler;
use crate::lock::lock;
use crate::panic::{self, End};
use crate::respond::respond_from;
use crate::settings;
use crate::time::{now, sleep};
use crate::variables::variable;

/// One request's connections, or another event's. Let a router [`answer`](Connections::answer) from them, or take their
/// [`database`](Connections::database); and drop them when the answer is there, which closes them.
///
/// A client that hangs up ends a Worker's request without a word, and what was open with it; so they ask the runtime to wait until
/// they are dropped and have said good-bye to the server (which takes two seconds at most).
#[derive(Debug)]
pub struct Connections {
    driver: SocketDriver,
    database: Database,
    /// Lets the runtime wait no more.
    over: Option<End>,
}

impl Connections {
    /// Reads `DATABASE_URL`, or the Hyperdrive binding where `PGSPAN_CONNECT=hyperdrive`, and the settings of
    /// [`pgspan::Settings::read`] from the Worker's bindings. It opens no connection yet.
    ///
    /// # Errors
    ///
    /// Everything that is missing or wrong, each naming its setting.
    pub fn from_env(env: &Env, ctx: &impl WaitUntil) -> Result<Connections, Vec<Error>> {
        Connections::from_variables(env, |name| variable(env, name), ctx)
    }

    /// The same with settings from somewhere else: from code, or from a secret that was asked for before.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Connections::from_env).
    pub fn from_variables(
        env: &Env,
        variables: impl Fn(&str) -> Result<Option<String>>,
        ctx: &impl WaitUntil,
    ) -> Result<Connections, Vec<Error>> {
        let (url, mut settings, opening) = settings::read(env, &variables)?;
        settings.shared_connections = 0; // a connection may not outlive its request
        let driver = SocketDriver(Arc::new(Inner {
            dialler: Dialler::new(url, settings.clone(), opening),
            idle: Mutex::default(),
        }));
        let (is_over, over) = panic::promise();
        ctx.wait_until(is_over);
        let database = pgspan::connect_with(driver.clone(), settings);
        Ok(Connections { driver, database, over })
    }

    /// The database, until these connections are dropped.
    pub fn database(&self) -> Database {
        self.database.clone()
    }

    /// Lets a router answer a request from these connections: it finds the [`Database`] in the request's extensions
    /// (axum's `Extension<Database>`), so that one router, built once, serves all requests.
    ///
    /// # Errors
    ///
    /// As [`respond`](crate::respond()).
    ///
    /// # Cancel safety
    ///
    /// That of the router's handlers.
    pub async fn answer(self, router: Router, request: Request) -> worker::Result<Response> {
        respond_from(self.database(), router, request).await
    }
}

impl Drop for Connections {
    /// Closes those that are idle now, and those that become so.
    fn drop(&mut self) {
        let sockets = self.driver.0.dialler.sockets().clone();
        sockets.end();
        lock(&self.driver.0.idle).clear();
        let over = self.over.take();
        spawn_local(async move {
            select(pin!(sockets.closed()), pin!(sleep(GOOD_BYE))).await;
            over.inspect(End::call);
        });
    }
}

/// What can ask the runtime to wait: the contexts of events, and an object's state.
pub trait WaitUntil {
    /// Asks it to wait for a promise.
    fn wait_until(&self, promise: Promise);
}

impl WaitUntil for Context {
    fn wait_until(&self, promise: Promise) {
        let _ = AsRef::<worker_sys::Context>::as_ref(self).wait_until(&promise);
    }
}

impl WaitUntil for ScheduleContext {
    fn wait_until(&self, promise: Promise) {
        ScheduleContext::wait_until(self, async move {
            let _ = JsFuture::from(promise).await;
        });
    }
}

impl WaitUntil for State {
    fn wait_until(&self, promise: Promise) {
        let _ = self.as_raw().wait_until(&promise);
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
