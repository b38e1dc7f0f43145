//! An exclusive connection of the scripted driver.

use std::fmt;
use std::ops::Deref;
use std::sync::Weak;

use futures_channel::oneshot;
use tokio_postgres::Client;

use super::log::ConnectionLog;
use super::shared::Shared;
use crate::driver::Link;

/// An exclusive connection of a [`ScriptedDriver`](super::ScriptedDriver). Dropping it ends it.
pub struct ScriptedConnection {
    pub(super) link: Link,
    pub(super) number: usize,
    pub(super) shared: Weak<Shared>,
    /// Dropped with it, it ends the future that drives the connection.
    pub(super) _alive: oneshot::Sender<()>,
}

impl ScriptedConnection {
    pub(super) fn change(&self, change: impl FnOnce(&mut ConnectionLog)) {
        if let Some(shared) = self.shared.upgrade() {
            shared.log.change(self.number, change);
        }
    }
}

impl Deref for ScriptedConnection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.link.client
    }
}

impl Drop for ScriptedConnection {
    fn drop(&mut self) {
        self.change(|log| {
            log.ended = true;
            log.idle = false;
        });
    }
}

impl fmt::Debug for ScriptedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedConnection").field("number", &self.number).finish_non_exhaustive()
    }
}
