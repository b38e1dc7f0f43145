//! Names and passwords that nobody can guess.

use std::fs::File;
use std::io::Read as _;

use anyhow::{Context as _, Result};

/// This many random bytes, as hexadecimal digits.
///
/// # Errors
/// When the system has none.
pub fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    read.context("could not read /dev/urandom")?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
