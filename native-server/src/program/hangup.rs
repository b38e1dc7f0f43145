//! SIGHUP: what is logged is read again, and whatever else the program wants to.

use std::io;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::given::Given;
use super::host::Reload;
use crate::logs::{Filter, Refilter};
use crate::settings::Arguments;

/// What is done at each SIGHUP.
pub(super) struct AtHangup {
    pub(super) refilter: Refilter,
    pub(super) filter_file: Option<PathBuf>,
    pub(super) reloads: Vec<Box<Reload>>,
    pub(super) arguments: Arguments,
}

impl AtHangup {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// If signals can't be handled.
    pub(super) fn listen(self) -> io::Result<()> {
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                self.reload();
            }
        });
        Ok(())
    }

    fn reload(&self) {
        match self.filter_file.as_deref().map(Filter::read) {
            Some(Some(filter)) => {
                self.refilter.set(filter);
                tracing::info!("what is logged was read again");
            }
            Some(None) => {
                tracing::error!("LOG_FILTER_FILE can't be read or is no filter: nothing changes")
            }
            None if self.reloads.is_empty() => {
                tracing::warn!("there is nothing to read again: LOG_FILTER_FILE is not set")
            }
            None => {}
        }
        for reload in &self.reloads {
            let mut given = Given::new(&self.arguments);
            let done = reload(&mut given);
            let (notes, faults) = given.end();
            notes.iter().for_each(|note| tracing::info!("{note}"));
            if faults.is_empty() && done.is_ok() {
                tracing::info!("the settings that may change were read again");
            }
            for error in faults.into_iter().chain(done.err()) {
                tracing::error!(%error, "what SIGHUP asks for can't be read again");
            }
        }
    }
}
