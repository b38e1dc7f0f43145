//! How what a connection runs is ended: over a socket of its own.

use std::time::Duration;

use futures_util::future::select;
use pgspan::ConnectionUrl;

use crate::link;
use crate::login::{self, Login};
use crate::sockets::Sockets;
use crate::time::sleep;

/// How long asking may take, the wait for a socket included.
const DEADLINE: Duration = Duration::from_secs(1);

/// Asks the server to end what runs on one connection.
#[derive(Debug, Clone)]
pub(crate) struct Cancel {
    pub(crate) login: Login,
    pub(crate) url: ConnectionUrl,
    pub(crate) sockets: Sockets,
}

impl Cancel {
    /// Asks, once the server has let the connection in; gives up after a second.
    pub(crate) async fn ask(self) {
        let asked = async {
            self.login.settled().await.ok()?;
            let request = self.login.cancel_request()?;
            let permit = self.sockets.cancel().await;
            login::cancel(link::open(&self.url, permit).await.ok()?, &request).await.ok()
        };
        let _ = select(Box::pin(asked), Box::pin(sleep(DEADLINE))).await;
    }
}
