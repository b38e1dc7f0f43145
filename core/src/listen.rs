//! LISTEN and NOTIFY as a stream that says when it may have missed something.

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;

use crate::database::Database;
use crate::driver::Dialled;
use crate::error::{Error, Result, Stake};
use crate::session::pipeline::perform;
use crate::sql::{Sql, quote_identifier};

/// A subscription to a channel, on a connection of its own. Made by [`Database::listen`].
pub struct Listener {
    db: Database,
    listen: Sql<'static>,
    connection: Option<Dialled>,
    pause: Duration,
}

/// What a [`Listener`] hears.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// `NOTIFY`.
    Notification {
        /// What came with it; often a key to look up. At most 8,000 bytes.
        payload: String,
        /// The process on the server that sent it.
        process_id: i32,
    },
    /// The connection was lost, or its reader fell more than 1,024 notifications behind, and it listens again:
    /// notifications in between are lost. Read the state anew.
    Missed,
}

/// The pauses between attempts to connect again: 100 ms, doubled up to 1 s, ±10 %.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Listener {
    pub(crate) async fn open(db: Database, channel: &str) -> Result<Listener> {
        if db.settings().pooler.is_some() {
            return Err(Error::refused(
                "a transaction pooler can't carry notifications: listen on a direct connection",
            ));
        }
        let listen = Sql::new(format!("LISTEN {}", quote_identifier(channel)));
        let mut listener = Listener { db, listen, connection: None, pause: FIRST_PAUSE };
        listener.connection = Some(listener.connect().await?);
        Ok(listener)
    }

    /// The next event. It waits as long as it takes: a channel may be silent for days. When the connection is lost it
    /// connects again, however long that takes, and says [`Event::Missed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(connection) = &mut self.connection {
                if let Some(notification) = connection.notifications.next().await {
                    return Event::Notification {
                        payload: notification.payload().to_owned(),
                        process_id: notification.process_id(),
                    };
                }
                self.connection = None;
            }
            match self.connect().await {
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.pause = FIRST_PAUSE;
                    return Event::Missed;
                }
                Err(error) => {
                    let pause = self.pause.mul_f64(0.9 + 0.2 * self.db.random_fraction());
                    tracing::warn!(%error, "the listener is not connected and tries again");
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                    self.db.port().sleep(pause).await;
                }
            }
        }
    }

    async fn connect(&self) -> Result<Dialled> {
        let late = |_| Error::unavailable("no connection was opened in time");
        let dial = self.db.within(self.db.settings().acquire_timeout, self.db.dial());
        let dialled = dial.await.map_err(late)??;
        let listen = self
            .db
            .within(self.db.settings().statement_deadline(), perform(&dialled.client, None, &self.listen));
        let listening = listen.await.map_err(late)?.map_err(|error| Error::answer(error, Stake::Nothing));
        listening.inspect_err(|error| self.db.count(error))?;
        Ok(dialled)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("connected", &self.connection.is_some()).finish_non_exhaustive()
    }
}
