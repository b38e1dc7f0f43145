//! LISTEN and NOTIFY as a stream that says when it may have missed something.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use tokio_postgres::Notification;

use crate::driver::Link;
use crate::error::{Error, Kind, Result, Stake};
use crate::scope::{Elapsed, Scope};
use crate::session::Want;
use crate::session::pipeline::perform;
use crate::sql::{Encoded, Sql, quote_identifier};

/// A subscription to a channel, on a connection of its own. Made by [`Database::listen`](crate::Database::listen).
///
/// It lives as long as the database, whatever [deadline](crate::Database::with_deadline) its caller had.
pub struct Listener {
    scope: Scope,
    listen: Sql<'static>,
    connection: Option<Subscribed>,
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
    /// The database was closed. Nothing follows.
    Closed,
}

/// The pauses between attempts to connect again: 100 ms, doubled up to 1 s, ±10 %.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A channel may be silent for days, and so may a path that is dead: after so much silence an empty statement asks whether the server
/// still answers.
const CHECK_AFTER: Duration = Duration::from_secs(15);
/// And so long the answer may take.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);

impl Listener {
    pub(crate) async fn open(scope: &Scope, channel: &str) -> Result<Listener> {
        if scope.settings().pooler.is_some() {
            return Err(Error::refused(
                "a transaction pooler can't carry notifications: listen on a direct connection",
            ));
        }
        scope.check_open()?;
        scope.check_deadline()?;
        let listen = Sql::new(format!("LISTEN {}", quote_identifier(channel)));
        let connection = connect(scope, &listen).await?;
        let scope = scope.without_deadline();
        Ok(Listener { scope, listen, connection: Some(connection), pause: FIRST_PAUSE })
    }

    /// The next event. It waits as long as it takes: a channel may be silent for days. When the connection is lost it
    /// connects again, however long that takes, and says [`Event::Missed`]. A path that died without a word is noticed within 20 s.
    /// When the database is closed it says [`Event::Closed`], from then on each time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Event {
        let scope = self.scope.clone();
        if scope.check_open().is_err() {
            self.connection = None;
            return Event::Closed;
        }
        let event = match select(pin!(scope.closed()), pin!(self.next_open())).await {
            Either::Left(((), _)) => None,
            Either::Right((event, _)) => Some(event),
        };
        event.unwrap_or_else(|| {
            self.connection = None;
            Event::Closed
        })
    }

    async fn next_open(&mut self) -> Event {
        loop {
            if let Some(connection) = &mut self.connection {
                match connection.hear(&self.scope).await {
                    Ok(Some(notification)) => {
                        return Event::Notification {
                            payload: notification.payload().to_owned(),
                            process_id: notification.process_id(),
                        };
                    }
                    Err(_) if connection.answers(&self.scope).await => continue,
                    Ok(None) | Err(_) => {}
                }
                if let Some(connection) = self.connection.take() {
                    connection.link.watch.end(); // what is dead says no good-bye
                }
            }
            match connect(&self.scope, &self.listen).await {
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.pause = FIRST_PAUSE;
                    return Event::Missed;
                }
                Err(error) => {
                    let pause = self.pause.mul_f64(0.9 + 0.2 * self.scope.random_fraction());
                    tracing::warn!(%error, "the listener is not connected and tries again");
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                    self.scope.sleep(pause).await;
                }
            }
        }
    }
}

/// A connection that listens. Silence counts from call to call: a reader may wait for an event a second at a time.
struct Subscribed {
    link: Link,
    /// When the server last said something.
    heard: Duration,
    /// When what it has not answered yet was asked.
    asked: Duration,
}

impl Subscribed {
    fn new(link: Link, scope: &Scope) -> Subscribed {
        let now = scope.now();
        Subscribed { link, heard: now, asked: now }
    }

    /// What comes next, `None` at the end; an error after a long silence.
    async fn hear(&mut self, scope: &Scope) -> Result<Option<Notification>, Elapsed> {
        let silent = scope.now().saturating_sub(self.heard);
        let heard = scope.within(CHECK_AFTER.saturating_sub(silent), self.link.notifications.next()).await?;
        self.heard = scope.now();
        Ok(heard)
    }

    async fn answers(&mut self, scope: &Scope) -> bool {
        let now = scope.now();
        if self.link.watch.unanswered() == 0 {
            self.asked = now;
        }
        let left = CHECK_DEADLINE.saturating_sub(now.saturating_sub(self.asked));
        let answer = scope.within(left, self.link.client.execute_typed("", &[])).await;
        self.heard = scope.now();
        matches!(answer, Ok(Ok(_)))
    }
}

/// The good-bye goes behind the answer to what was asked last; on a dead connection it would wait for ever.
impl Drop for Subscribed {
    fn drop(&mut self) {
        if self.link.watch.unanswered() > 0 {
            self.link.watch.end();
        }
    }
}

async fn connect(scope: &Scope, listen: &Sql<'_>) -> Result<Subscribed> {
    let late = |elapsed| match elapsed {
        Elapsed::Deadline => Error::new(Kind::Timeout, "nothing was listened to before the deadline"),
        Elapsed::Limit => Error::unavailable("no connection was opened in time"),
    };
    let link = scope.within(scope.settings().acquire_timeout, scope.dial()).await.map_err(late)??;
    let encoded = Encoded::of(listen)?;
    let listening = perform(&link.client, None, &encoded, Want::Nothing);
    let listening = scope.within(scope.settings().statement_timeout, listening).await;
    let listening = listening.map_err(|elapsed| {
        link.watch.end(); // what does not answer says no good-bye
        late(elapsed)
    })?;
    let asked = listen.asked(scope.settings().error_detail);
    listening
        .map_err(|error| Error::answer(error, Stake::Nothing, asked))
        .inspect_err(|error| scope.count(error))?;
    Ok(Subscribed::new(link, scope))
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("connected", &self.connection.is_some()).finish_non_exhaustive()
    }
}
