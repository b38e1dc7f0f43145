//! One connection: its client, and how it ends.

use std::fmt;
use std::ops::Deref;
use std::pin::pin;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use pgspan::Error;
use pgspan::driver::{Prepared, Watch};
use tokio_postgres::Client;
use wasm_bindgen_futures::spawn_local;

use crate::cancel::Cancel;
use crate::time::{now, sleep};

/// How long a connection may take to say good-bye, its cancelled statement included.
pub(crate) const GOOD_BYE: Duration = Duration::from_secs(2);

/// A connection that was unused for longer is checked before it is given out, which costs a round trip. 30 s, as on the native
/// host: less than what firewalls and address translation forget connections after.
pub(crate) const CHECK_AFTER: Duration = Duration::from_secs(30);
/// The check's own deadline: a healthy server answers an empty statement in a few milliseconds.
const CHECK_DEADLINE: Duration = Duration::from_secs(1);

/// An exclusive connection; dropping it cancels what may run and closes the socket.
pub(crate) struct Connection {
    client: Option<Client>,
    watch: Watch,
    prepared: Prepared,
    cancel: Cancel,
    /// Nothing runs on it: it needs no cancel.
    clean: bool,
    /// It did not answer: there is no one to say good-bye to.
    dead: bool,
    /// When it is too old, by the runtime's clock.
    expires: Duration,
    used: Duration,
    /// Says how long it may take to end.
    end: Option<oneshot::Sender<Duration>>,
}

impl Connection {
    /// `end` is told when this is dropped. It is not told, but dropped, when the client goes its own way.
    pub(crate) fn new(
        client: Client,
        watch: Watch,
        cancel: Cancel,
        expires: Duration,
        end: oneshot::Sender<Duration>,
    ) -> Connection {
        Connection {
            client: Some(client),
            watch,
            prepared: Prepared::default(),
            cancel,
            clean: false,
            dead: false,
            expires,
            used: now(),
            end: Some(end),
        }
    }

    /// Gives up the client; from then on whoever has it ends the connection.
    pub(crate) fn into_client(mut self) -> Option<(Client, Watch)> {
        Some((self.client.take()?, self.watch.clone()))
    }

    /// Waits until the server has answered the login.
    pub(crate) async fn settled(&self) -> Result<(), Error> {
        self.cancel.login.settled().await
    }

    /// Whether the server takes writes, if it says so.
    pub(crate) fn takes_writes(&self) -> Option<bool> {
        self.cancel.login.takes_writes()
    }

    /// Why the server did not let it in, if so.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.cancel.login.refusal()
    }

    pub(crate) fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn set_clean(&mut self, clean: bool) {
        self.clean = clean;
        self.used = now();
    }

    /// When it was last taken or given back, by the runtime's clock.
    pub(crate) fn used(&self) -> Duration {
        self.used
    }

    /// Whether it is open, and not too old.
    pub(crate) fn is_good(&self) -> bool {
        !self.is_closed() && now() < self.expires
    }

    /// Asks whether the server still answers. A path that died without a word is found out here, and not by the caller's statement.
    pub(crate) async fn answers(&self) -> bool {
        let (asked, late) = (pin!(self.execute_typed("", &[])), pin!(sleep(CHECK_DEADLINE)));
        matches!(select(asked, late).await, Either::Left((Ok(_), _)))
    }

    /// Lets it end at once when it is dropped: the other end is not there any more.
    pub(crate) fn give_up(&mut self) {
        self.dead = true;
    }
}

impl Deref for Connection {
    type Target = Client;

    #[allow(clippy::expect_used, reason = "the client is taken in `into_client` and in `drop` alone")]
    fn deref(&self) -> &Client {
        self.client.as_ref().expect("a connection has its client until it is dropped")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        let good_bye = if self.dead { Duration::ZERO } else { GOOD_BYE };
        self.end.take().map(|end| end.send(good_bye));
        if !self.clean && !self.dead && !client.is_closed() {
            spawn_local(self.cancel.clone().ask());
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("clean", &self.clean).finish_non_exhaustive()
    }
}
