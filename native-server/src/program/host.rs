//! What a router is made with.

use std::fmt;

use pgspan::{Database, Error, Kind, Result};
use tokio::net::TcpListener;

use super::given::Given;
use crate::Driver;
use crate::metrics::Metrics;
use crate::serve::{Draining, Listener, Options};

/// What `serve` gives to whoever makes its router.
#[non_exhaustive]
pub struct Host<S = ()> {
    /// The database. Cheap to clone; the first statement opens a connection.
    pub database: Database,
    /// What the program's own settings say.
    pub settings: S,
    /// How long a request may take (`REQUEST_TIMEOUT_MS`), and who may write: nobody, unless you change it.
    pub http: pgspan_http::Options,
    /// The metrics that are served: a router's own go into the same registry ([`Metrics::register`]).
    pub metrics: Metrics,
    /// How the server serves it, as the settings say. You may change it.
    pub options: Options,
    /// Where the database's connections come from.
    pub driver: Driver,
    pub(super) listener: Option<Listener>,
    pub(super) at_hangup: Vec<Box<Reload>>,
}

pub(super) type Reload = dyn Fn(&mut Given<'_>) -> Result<()> + Send;

impl<S> Host<S> {
    /// Tells when the program was told to end: tasks of your own and upgraded connections (WebSockets) should end then. They have
    /// `DRAIN_TIMEOUT_MS` for it.
    pub fn draining(&self) -> Draining {
        self.options.draining.clone()
    }

    /// Accepts connections in a way of your own, over TLS for example. `wrap` is given the socket that `LISTEN_ADDR` names or systemd
    /// passed, and makes a listener of it ([`Listener::of`]). `native-server/examples/tls.rs` does so.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`] if it is a unix socket; what `wrap` has.
    pub fn wrap_listener(&mut self, wrap: impl FnOnce(TcpListener) -> Result<Listener>) -> Result<()> {
        match self.listener.take().map(Listener::into_tcp) {
            Some(Ok(socket)) => {
                self.listener = Some(wrap(socket)?);
                Ok(())
            }
            _ => {
                let text =
                    "LISTEN_ADDR: must be an address and a port: this program can't listen on a unix socket";
                Err(Error::new(Kind::Config, text))
            }
        }
    }

    /// At each SIGHUP, does this too, to read a secret's file again for example. An error, and what [`Given`] collects, is logged.
    pub fn at_hangup(&mut self, reload: impl Fn(&mut Given<'_>) -> Result<()> + Send + 'static) {
        self.at_hangup.push(Box::new(reload));
    }
}

impl<S> fmt::Debug for Host<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("options", &self.options).finish_non_exhaustive()
    }
}
