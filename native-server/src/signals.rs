//! What a program hears of the system while it runs: that it is to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

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
