//! How a service is served.

use std::time::Duration;

use crate::writes::Writes;

/// How a service is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Who may write. Default: no one.
    pub writes: Writes,
    /// How long a request may take, its body included. Default: 10 s, longer than any statement may.
    pub request_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { writes: Writes::default(), request_timeout: Duration::from_secs(10) }
    }
}
