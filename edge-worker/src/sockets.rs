//! How many sockets may be open at a time: permits, which travel with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pgspan::{Error, Kind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at most. Cloudflare's limit is six sockets at a time for a request and for an object; one is left for what
/// cancels.
pub(crate) const CONNECTIONS_MOST: usize = 5;
const CANCELS_MOST: usize = 1;
/// Connections that are shared, or listen, at most: one is left for sessions.
const DIALLED_MOST: usize = CONNECTIONS_MOST - 1;

/// The sockets that a request or an object may have. Clones are the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Sockets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connections: Arc<Semaphore>,
    dialled: Arc<Semaphore>,
    cancels: Arc<Semaphore>,
    /// The request they belong to has been answered.
    over: AtomicBool,
    wanted: AtomicUsize,
}

/// The right to one socket. Whoever has the socket keeps it until the runtime has closed that.
#[derive(Debug)]
pub(crate) struct Permit {
    _permit: Option<OwnedSemaphorePermit>,
    _dialled: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// The same for a connection that is shared, or listens.
    pub(crate) fn dialled(self, dialled: Permit) -> Permit {
        Permit { _dialled: dialled._permit, ..self }
    }
}

/// Someone waits.
pub(crate) struct Wanted(Sockets);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.0.wanted.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sockets {
    pub(crate) fn new() -> Sockets {
        Sockets(Arc::new(Inner {
            connections: Arc::new(Semaphore::new(CONNECTIONS_MOST)),
            dialled: Arc::new(Semaphore::new(DIALLED_MOST)),
            cancels: Arc::new(Semaphore::new(CANCELS_MOST)),
            over: AtomicBool::new(false),
            wanted: AtomicUsize::new(0),
        }))
    }

    /// The right to a connection, waiting for another's end as long as it takes, in the order of the callers.
    pub(crate) async fn connection(&self) -> Result<Permit> {
        self.check()?;
        let permit = take(&self.0.connections).await;
        self.check()?; // it may have ended meanwhile
        Ok(permit)
    }

    /// A place among the connections that are shared, or listen.
    pub(crate) async fn dialled(&self) -> Permit {
        take(&self.0.dialled).await
    }

    /// The right to a socket that carries a cancel request. There is one also after the request was answered: what is cancelled
    /// then is what it left behind.
    pub(crate) async fn cancel(&self) -> Permit {
        take(&self.0.cancels).await
    }

    fn check(&self) -> Result<()> {
        match self.is_over() {
            false => Ok(()),
            true => Err(Error::new(
                Kind::Refused,
                "this database belongs to a request that is over: a Worker may not use another request's sockets, \
                 so connect in each request, or let a Durable Object hold the connections",
            )),
        }
    }

    /// Whether the request they belong to has been answered.
    pub(crate) fn is_over(&self) -> bool {
        self.0.over.load(Ordering::Relaxed)
    }

    /// How many connections there are, those included that open or close.
    pub(crate) fn connections(&self) -> usize {
        CONNECTIONS_MOST.saturating_sub(self.0.connections.available_permits())
    }

    /// Whether a further connection must wait.
    pub(crate) fn are_all_taken(&self) -> bool {
        self.0.connections.available_permits() == 0
    }

    /// Says, until what is returned is dropped, that someone waits who should have the socket of an idle connection.
    pub(crate) fn want(&self) -> Wanted {
        self.0.wanted.fetch_add(1, Ordering::Relaxed);
        Wanted(self.clone())
    }

    pub(crate) fn are_wanted(&self) -> bool {
        self.0.wanted.load(Ordering::Relaxed) > 0
    }

    /// Says that no further connection may be opened.
    pub(crate) fn end(&self) {
        self.0.over.store(true, Ordering::Relaxed);
    }

    /// Waits until none is open.
    pub(crate) async fn closed(&self) {
        for (sockets, all) in [(&self.0.connections, CONNECTIONS_MOST), (&self.0.cancels, CANCELS_MOST)] {
            let _ = sockets.acquire_many(u32::try_from(all).unwrap_or(u32::MAX)).await; // it is never closed
        }
    }
}

async fn take(semaphore: &Arc<Semaphore>) -> Permit {
    Permit { _permit: semaphore.clone().acquire_owned().await.ok(), _dialled: None } // it is never closed
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn at_once(sockets: &Sockets) -> Option<Result<Permit>> {
        sockets.connection().now_or_never()
    }

    #[test]
    fn a_request_that_is_over_opens_no_socket_and_says_why() {
        let sockets = Sockets::new();
        let open = at_once(&sockets).unwrap().unwrap();
        sockets.end();
        let error = at_once(&sockets).unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains("a Worker may not use another request's sockets"), "{error}");
        assert!(sockets.cancel().now_or_never().is_some(), "what it left behind can be cancelled");
        assert!(sockets.closed().now_or_never().is_none(), "one is open");
        drop(open);
        assert!(sockets.closed().now_or_never().is_some());
    }

    #[test]
    fn whoever_comes_when_all_are_open_waits_for_one_to_close() {
        let sockets = Sockets::new();
        let mut open: Vec<Permit> =
            (0..CONNECTIONS_MOST).map(|_| at_once(&sockets).unwrap().unwrap()).collect();
        assert_eq!(sockets.connections(), CONNECTIONS_MOST);
        let mut first = Box::pin(sockets.connection());
        let mut second = Box::pin(sockets.connection());
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        open.pop();
        assert!((&mut second).now_or_never().is_none(), "who came first is first");
        let place = (&mut first).now_or_never().unwrap().unwrap();
        // whoever gives up leaves its place to the next
        let gave_up = sockets.connection();
        drop((place, gave_up));
        assert!(second.now_or_never().is_some());
    }

    #[test]
    fn what_is_dialled_leaves_one_for_sessions() {
        let sockets = Sockets::new();
        let mut open: Vec<Permit> = (0..DIALLED_MOST)
            .map(|_| {
                let dialled = sockets.dialled().now_or_never().unwrap();
                at_once(&sockets).unwrap().unwrap().dialled(dialled)
            })
            .collect();
        assert!(sockets.dialled().now_or_never().is_none());
        assert!(at_once(&sockets).is_some(), "one is left");
        open.pop();
        assert!(sockets.dialled().now_or_never().is_some());
    }

    #[test]
    fn a_cancel_takes_no_connections_place_and_waits_for_another_cancel() {
        let sockets = Sockets::new();
        let open: Vec<_> = (0..CONNECTIONS_MOST).map(|_| at_once(&sockets).unwrap()).collect();
        let cancel = sockets.cancel().now_or_never().unwrap();
        assert!(sockets.cancel().now_or_never().is_none());
        drop(cancel);
        assert!(sockets.cancel().now_or_never().is_some());
        drop(open);
    }
}
