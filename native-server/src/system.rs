//! The system: how many files a process may have open, and what a failure is called.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets the process have as many files and connections open as it may, and says how many these are; `None`: without a limit.
///
/// Systems start a process with far fewer than that, often 1,024, for programs that can't handle more.
pub fn raise_open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }
}

/// So many connections as there are files for, beside `others`; fewer than are wanted with a warning.
pub fn fit(connections: usize, others: usize) -> usize {
    let max = raise_open_files().and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let fit = connections.min(max.saturating_sub(others)).max(1);
    if fit < connections {
        tracing::warn!(
            "MAX_CONNECTIONS: lowered from {connections} to {fit}: the process may have {max} files open: raise LimitNOFILE, or \
             ulimit -n"
        );
    }
    fit
}

/// A failure's name for people. Rust has none for what happens when a process or a system has too many files open.
pub(crate) fn said(error: &io::Error) -> String {
    let text = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => {
            "the process has as many files open as it may (EMFILE): raise LimitNOFILE, or ulimit -n"
        }
        Some(Errno::NFILE) => "the system has as many files open as it can (ENFILE)",
        Some(Errno::NOBUFS | Errno::NOMEM) => "the system has no memory for one more connection",
        Some(Errno::ADDRNOTAVAIL) => {
            "no local port is free, or the address is not this machine's (EADDRNOTAVAIL)"
        }
        _ => return error.kind().to_string(),
    };
    text.to_owned()
}
