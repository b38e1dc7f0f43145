//! What the system says of a failure, in words.

use std::io;

use rustix::io::Errno;

/// Its name for people. Rust has none for what happens when a process or a system has too many files open.
pub(crate) fn said(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => {
            "the process has as many files open as it may (EMFILE): raise LimitNOFILE or ulimit -n".to_owned()
        }
        Some(Errno::NFILE) => "the system has as many files open as it can (ENFILE)".to_owned(),
        Some(Errno::NOBUFS | Errno::NOMEM) => "the system has no memory for one more connection".to_owned(),
        Some(Errno::ADDRNOTAVAIL) => {
            "no local port is free, or the address is not this machine's (EADDRNOTAVAIL)".to_owned()
        }
        _ => error.kind().to_string(),
    }
}
