//! What a program hears of the system while it runs: that it is to stop, and that it is to read again what is logged.

use std::io;
use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::logs::{Filter, Refilter};

/// Done at the first SIGTERM or Ctrl-C. A second one ends the process at once.
///
/// # Errors
///
/// If signals can't be handled.
pub fn stop() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        next(&mut terminate, &mut interrupt).await;
        tokio::spawn(async move {
            let code = next(&mut terminate, &mut interrupt).await;
            std::process::exit(code)
        });
    })
}

/// The exit code that goes with the signal that comes: 128 and its number.
async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = terminate.recv() => 143,
        _ = interrupt.recv() => 130,
    }
}

/// At each SIGHUP, reads again what is to be logged.
///
/// # Errors
///
/// If signals can't be handled.
pub fn reload_at_hangup(refilter: Refilter, file: Option<PathBuf>) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match file.as_deref().map(Filter::read) {
                Some(Some(filter)) => {
                    refilter.set(filter);
                    tracing::info!("what is logged was read again");
                }
                Some(None) => {
                    tracing::error!("LOG_FILTER_FILE can't be read or is no filter: nothing changes")
                }
                None => tracing::warn!("there is nothing to read again: LOG_FILTER_FILE is not set"),
            }
        }
    });
    Ok(())
}
