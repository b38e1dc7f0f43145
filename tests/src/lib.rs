//! The test bed: real servers, privately, for as long as a test needs them.
//!
//! * [`Cluster`]: a PostgreSQL of one's own, from the npm package that carries its binaries
//! * [`Native`] and [`Edge`]: each of pgspan's hosts as a process, the second in Cloudflare's own runtime
//! * [`Proxy`]: a network that fails, before a cluster
//! * [`Process`]: what all of them are: a child that never outlives its owner
//!
//! Everything listens on 127.0.0.1 only, and all of it ends when its value is dropped. `cargo xtask up` and `cargo xtask
//! test` stand on the same bed, so what a newcomer runs is what the suites ran against. No crate of the product is
//! used here: the hosts are started as the programs they are.

#[cfg(not(unix))]
compile_error!("pgspan's test bed runs on Linux and macOS (on Windows: in WSL)");

mod binaries;
mod edge;
mod example;
pub mod http;
mod meddler;
mod native;
mod pgbouncer;
mod places;
mod port;
mod postgres;
mod process;
mod proxy;
mod random;

use std::io::Write as _;

pub use edge::{Edge, Launch, Main};
pub use example::{Example, example};
pub use meddler::{Meddler, Meddling};
pub use native::Native;
pub use pgbouncer::PgBouncer;
pub use places::{private_dir, root, target_dir};
pub use port::free_port;
pub use postgres::Cluster;
pub use process::{Process, command_line, last_lines};
pub use proxy::{Proxy, Traffic, Way};

/// Says that a test can't run here and why, for tests that need a Debian package.
///
/// Return from the test right after. With `PGSPAN_SKIPPED` set (`cargo xtask test` does) the line also goes to
/// that file, so that the closing line counts it as skipped and not as passed.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
    let Some(path) = std::env::var_os("PGSPAN_SKIPPED") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(format!("{reason}\n").as_bytes())) {
        println!("could not note it in {}: {error}", path.display());
    }
}
