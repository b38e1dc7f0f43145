//! The files that TLS is made of, read again when they have changed: a renewed certificate is used without a restart.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use pgspan::{ConnectionUrl, Result};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;

/// What encrypts the connections of a URL.
pub(crate) struct Files {
    url: ConnectionUrl,
    last: Mutex<(Vec<Stamp>, Option<MakeRustlsConnect>)>,
}

/// When a file was changed, and its length; nothing if it is not there.
type Stamp = Option<(SystemTime, u64)>;

impl Files {
    /// # Errors
    ///
    /// As [`tls()`].
    pub(crate) fn read(url: &ConnectionUrl) -> Result<Files> {
        let stamps = stamps(url);
        Ok(Files { url: url.clone(), last: Mutex::new((stamps, tls(url)?)) })
    }

    /// As they are now. Files that can't be used, say since they are half written, are left for the next connection.
    pub(crate) fn current(&self) -> Option<MakeRustlsConnect> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.url);
        if stamps != last.0 {
            match tls(&self.url) {
                Ok(tls) => *last = (stamps, tls),
                Err(error) => {
                    tracing::warn!(%error, "the files of TLS have changed and can't be used: the last ones are")
                }
            }
        }
        last.1.clone()
    }
}

fn stamps(url: &ConnectionUrl) -> Vec<Stamp> {
    let certificate = url.client_certificate();
    let files = [url.root_cert(), certificate.map(|(file, _)| file), certificate.map(|(_, key)| key)];
    let stamp = |file: &str| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    files.into_iter().flatten().map(stamp).collect()
}
