//! What the scripted server has seen, to assert on.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_channel::mpsc::UnboundedSender;

use super::block::Status;

/// What became of one connection. Made by [`ScriptedDriver::connections`](super::ScriptedDriver::connections).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ConnectionLog {
    /// The texts of its statements, in the order of their arrival, those among them that were never answered.
    pub statements: Vec<String>,
    /// What pgspan said by itself about how long statements may take, such as `SET LOCAL statement_timeout TO 30000`. The script is not
    /// asked for these.
    pub limits: Vec<String>,
    /// How many round trips these took: statements that were written without waiting for an answer are one flight.
    pub flights: usize,
    /// How many statements are not answered yet.
    pub unanswered: usize,
    /// Where its transaction stands, as PostgreSQL would say.
    pub status: Status,
    /// How often it was given back.
    pub recycled: usize,
    /// It was given back and waits to be taken again.
    pub idle: bool,
    /// It has ended: its owner let it drop, or the server closed it.
    pub ended: bool,
    /// It was dialled, for shared statements or for LISTEN, rather than taken from the pool.
    pub dialled: bool,
    /// What COPY brought.
    pub copied: Vec<u8>,
}

/// What is said to a connection's server side from outside its script.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Notify { channel: String, payload: String },
    Close,
}

#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    connections: Vec<ConnectionLog>,
    /// The texts of all statements, in the order of their arrival.
    statements: Vec<String>,
    events: Vec<UnboundedSender<Event>>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a new connection and gives its number.
    pub(super) fn open(&self, dialled: bool, events: UnboundedSender<Event>) -> usize {
        let mut inner = self.lock();
        inner.connections.push(ConnectionLog { dialled, ..ConnectionLog::default() });
        inner.events.push(events);
        inner.connections.len() - 1
    }

    pub(super) fn change<T>(&self, number: usize, change: impl FnOnce(&mut ConnectionLog) -> T) -> Option<T> {
        self.lock().connections.get_mut(number).map(change)
    }

    pub(super) fn statement(&self, number: usize, text: &str, flight: bool) {
        self.lock().statements.push(text.to_owned());
        self.change(number, |log| {
            log.statements.push(text.to_owned());
            log.flights += usize::from(flight);
            log.unanswered += 1;
        });
    }

    pub(super) fn limit(&self, number: usize, text: &str, flight: bool) {
        self.change(number, |log| {
            log.limits.push(text.to_owned());
            log.flights += usize::from(flight);
            log.unanswered += 1;
        });
    }

    pub(super) fn copied(&self, number: usize, data: &Bytes) {
        self.change(number, |log| log.copied.extend_from_slice(data));
    }

    pub(super) fn say(&self, event: &Event) {
        for events in &self.lock().events {
            let _ = events.unbounded_send(event.clone()); // a connection that ended hears nothing
        }
    }

    pub(super) fn connections(&self) -> Vec<ConnectionLog> {
        self.lock().connections.clone()
    }

    pub(super) fn statements(&self) -> Vec<String> {
        self.lock().statements.clone()
    }
}
