//! Free ports on 127.0.0.1.

use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};

/// Below every system's range for outgoing connections: a server that is started again on its port would else now
/// and then find it taken by someone's outgoing connection, or by a client that connected to itself.
const FIRST: u64 = 15_000;
const COUNT: u64 = 15_000;

static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(0) % COUNT));

/// A port on 127.0.0.1 that nothing listens on, and that this process did not hand out before.
///
/// # Errors
/// When none of the range is free.
pub fn free_port() -> Result<u16> {
    (0..COUNT)
        .map(|_| FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        .context("found no free port on 127.0.0.1")
}
