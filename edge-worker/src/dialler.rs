//! Opens connections to one database.

use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use pgspan::driver::{Link, Notifications, drive};
use pgspan::{ConnectionUrl, Error, Result, Settings};
use tokio_postgres::config::TargetSessionAttrs;
use wasm_bindgen_futures::spawn_local;
use worker::js_sys::Math;

use crate::backoff::Backoff;
use crate::cancel::Cancel;
use crate::connection::{CHECK_AFTER, Connection};
use crate::link;
use crate::login::{self, Connected, Opening};
use crate::socket::Stream;
use crate::sockets::{Permit, Sockets};
use crate::time::{now, sleep};

/// As on the native host: a fail-over or a changed DNS entry is followed within that.
const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// A socket that is about to close is closed by then.
pub(crate) const SOON: Duration = Duration::from_millis(250);

/// Opens connections to one database, no more than the runtime allows.
#[derive(Debug)]
pub(crate) struct Dialler {
    url: ConnectionUrl,
    settings: Settings,
    opening: Opening,
    sockets: Sockets,
    /// Where connections are opened again and again.
    backoff: Option<Backoff>,
}

impl Dialler {
    pub(crate) fn new(url: ConnectionUrl, settings: Settings, opening: Opening) -> Dialler {
        Dialler { url, settings, opening, sockets: Sockets::new(), backoff: None }
    }

    /// Lets each attempt after a failed one wait a little, and logs the failures.
    pub(crate) fn patient(self) -> Dialler {
        Dialler { backoff: Some(Backoff::default()), ..self }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// A connection whose login the server may still refuse, and what the server says unasked on it.
    pub(crate) async fn open(&self) -> Result<(Connection, Notifications)> {
        self.within_the_deadline(self.patiently(None, false)).await
    }

    /// The same, when the server has let it in.
    pub(crate) async fn open_settled(&self) -> Result<(Connection, Notifications)> {
        self.within_the_deadline(self.patiently(None, true)).await
    }

    /// A client of its own, for shared statements and LISTEN.
    pub(crate) async fn dial(&self) -> Result<Link> {
        let full = "shared connections and listeners have all sockets but one, which is for sessions: have fewer listeners, or \
                    more objects";
        // no longer than one that ends takes for that, so that the caller is told
        let dialled =
            within(self.settings.acquire_timeout / 2, full, async { Ok(self.sockets.dialled().await) });
        let dialling = self.patiently(Some(dialled.await?), true);
        let (connection, notifications) = self.within_the_deadline(dialling).await?;
        let (client, watch) =
            connection.into_client().ok_or_else(|| Error::unavailable("the connection is closed"))?;
        let mut link = Link::new(client, watch, notifications);
        link.lifetime = Some(lifetime());
        link.check_after = Some(CHECK_AFTER);
        Ok(link)
    }

    /// Waits for its turn after failed attempts, and for a socket. That wait is no failure of the server's.
    async fn patiently(&self, dialled: Option<Permit>, settle: bool) -> Result<(Connection, Notifications)> {
        if let Some(backoff) = &self.backoff {
            backoff.turn().await;
        }
        let mut permit = self.permit().await?;
        if let Some(dialled) = dialled {
            permit = permit.dialled(dialled);
        }
        let attempt = self.backoff.as_ref().map(|backoff| backoff.attempt(self.settings.acquire_timeout));
        let opened = async {
            let stream = link::open(&self.url, permit).await?;
            let opened = self.log_in(stream).await?;
            self.check_session(&opened.0).await?;
            if settle {
                opened.0.settled().await?;
            }
            Ok(opened)
        };
        let limit = self.url.postgres().get_connect_timeout().copied().unwrap_or(Duration::MAX);
        let opened =
            within(limit.min(self.settings.acquire_timeout), "connecting took too long", opened).await;
        if let Some(attempt) = attempt {
            attempt.end(&opened);
        }
        opened
    }

    async fn log_in(&self, stream: Stream) -> Result<(Connection, Notifications)> {
        let connected = login::connect(stream, &self.url.configure(&self.settings), self.opening).await?;
        let Connected { client, connection, watch, login } = connected;
        let (task, notifications) = drive(connection);
        let (end, ended) = oneshot::channel();
        // the client's end makes the connection say good-bye; if it can't, its socket is closed all the same
        let limit = async move {
            match ended.await {
                Ok(good_bye) => sleep(good_bye).await,
                Err(_) => std::future::pending().await, // dialled: whoever has the client ends it
            }
        };
        spawn_local(async move {
            select(std::pin::pin!(task), std::pin::pin!(limit)).await;
        });
        let cancel = Cancel { login, url: self.url.clone(), sockets: self.sockets.clone() };
        let expires = now().saturating_add(lifetime());
        Ok((Connection::new(client, watch, cancel, expires, end), notifications))
    }

    /// Waits for a socket. Who waits for long wants one that another connection has.
    async fn permit(&self) -> Result<Permit> {
        let waiting = Box::pin(self.sockets.connection());
        match select(waiting, Box::pin(sleep(SOON))).await {
            Either::Left((permit, _)) => permit,
            Either::Right(((), waiting)) => {
                let _wanted = self.sockets.want();
                waiting.await
            }
        }
    }

    /// Whether the server is what `target_session_attrs` asks for. It says so with the login.
    async fn check_session(&self, connection: &Connection) -> Result<()> {
        let wanted = match self.url.postgres().get_target_session_attrs() {
            TargetSessionAttrs::ReadWrite => true,
            TargetSessionAttrs::ReadOnly => false,
            _ => return Ok(()),
        };
        connection.settled().await?;
        let unfit = match connection.takes_writes() {
            Some(takes_writes) if takes_writes == wanted => return Ok(()),
            Some(false) => "the server takes no writes, as target_session_attrs=read-write asks for",
            Some(true) => {
                "the server takes writes, and target_session_attrs=read-only asks for one that does not"
            }
            None => "the server does not say whether it takes writes: leave target_session_attrs out",
        };
        Err(Error::unavailable(format!("could not connect: {unfit}")))
    }

    async fn within_the_deadline<T>(&self, opening: impl Future<Output = Result<T>>) -> Result<T> {
        within(self.settings.acquire_timeout, "no connection could be opened in time", opening).await
    }
}

async fn within<T>(limit: Duration, late: &str, opening: impl Future<Output = Result<T>>) -> Result<T> {
    match select(Box::pin(opening), Box::pin(sleep(limit))).await {
        Either::Left((opened, _)) => opened,
        Either::Right(_) => Err(Error::unavailable(late)),
    }
}

/// Less up to 5 %, so that connections that were opened together do not all end at once.
fn lifetime() -> Duration {
    LIFETIME.mul_f64(1.0 - 0.05 * Math::random())
}
