//! Tests that can't run on this machine.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;

/// The variable that names the file in which skipped tests are noted.
pub(crate) const VARIABLE: &str = "PGSPAN_SKIPPED";

/// Says that a test can't run here and why, for tests that need what not every machine has.
///
/// Return from the test right after. Under `cargo xtask test` the closing line counts it as skipped and not as passed.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
    let Some(path) = env::var_os(VARIABLE) else { return };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(format!("{reason}\n").as_bytes())) {
        println!("could not note it in {}: {error}", path.display());
    }
}
