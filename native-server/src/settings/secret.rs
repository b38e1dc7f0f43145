//! Secrets in files: `DATABASE_URL_FILE` and `API_TOKEN_FILE` name files with what `DATABASE_URL` and `API_TOKEN` would say.

use std::io::ErrorKind;

use pgspan::{Error, Kind, Result};

/// The secret that `name` says, or the file that `name` with `_FILE` names.
///
/// # Errors
///
/// If both are given, or the file can't be read: [`Kind::Unavailable`] where it is not there, which time may heal.
pub(super) fn secret(name: &str, value: Option<String>, file: Option<String>) -> Result<Option<String>> {
    let Some(file) = file else { return Ok(value) };
    if value.is_some() {
        return Err(Error::new(Kind::Config, format!("{name}_FILE: must not be set where {name} is")));
    }
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => {
            Err(Error::new(Kind::Config, format!("{name}_FILE: the file is empty")))
        }
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) => {
            let kind = if error.kind() == ErrorKind::NotFound { Kind::Unavailable } else { Kind::Config };
            let text = format!("{name}_FILE: the file can't be read: {}", error.kind());
            Err(Error::new(kind, text).with_source(error))
        }
    }
}
