//! How the program ends: its exit code, and why.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use pgspan::{Error, Kind};

use crate::logs;

pub(super) const FAILED: u8 = 1;
pub(super) const BAD_SETTINGS: u8 = 2;
/// A migration was refused: time does not heal it.
pub(super) const NOT_MIGRATED: u8 = 3;
/// `migrate --status`: something is not applied, altered since, or left half done.
pub(super) const MISSING: u8 = 4;

pub(super) const EXIT_CODES: &str = "Exit codes: 0 all went well; 1 it failed, and trying again may help (an address is taken or not there \
yet, a file is not there yet, a lock was held, requests were still running when the time to finish was over); 2 bad settings; 3 a \
migration was refused; 4 migrate --status: a migration is missing; 130 (Ctrl-C) or 143 (SIGTERM) ended by a second signal";

/// Faults that time may heal, such as a file that is mounted late, are worth another start.
pub(super) fn code_of(faults: &[Error]) -> u8 {
    match faults.iter().all(|fault| fault.kind() == Kind::Unavailable) {
        true => FAILED,
        false => BAD_SETTINGS,
    }
}

/// An address may be taken for a moment, or not be this machine's yet.
pub(super) fn code_of_address(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable | io::ErrorKind::NotFound => FAILED,
        _ => BAD_SETTINGS,
    }
}

/// A login that is refused and a migration that fails do so again.
pub(super) fn code_of_migration(error: &Error) -> u8 {
    let is_login = error.sqlstate().is_some_and(|code| code.code().starts_with("28"));
    match error.kind() {
        Kind::Config => BAD_SETTINGS,
        Kind::Server | Kind::Refused => NOT_MIGRATED,
        _ if is_login => NOT_MIGRATED,
        _ => FAILED,
    }
}

/// Says why on standard error, a line each. That may be a pipe that nobody reads.
pub(super) fn fail(name: &str, code: u8, reasons: &[impl Display]) -> ExitCode {
    let lines: String = reasons.iter().map(|reason| format!("{name}: {reason}\n")).collect();
    logs::at_most_a_second(move || eprint!("{lines}"));
    ExitCode::from(code)
}
