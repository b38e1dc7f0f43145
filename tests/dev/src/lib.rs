//! The automation and the test bed of a service on pgspan.
//!
//! [`main`] is `cargo xtask up`, `test`, `worker` and `setup` for any project: a real PostgreSQL without Docker, the native host
//! and Cloudflare's own runtime, on this machine. Tests of your own use the same bed:
//!
//! * [`TestDatabase`]: a migrated database of a test's own
//! * `on_both_hosts`, `Hosts`: the service on both hosts, for the same test (feature `hosts`, on by default)
//! * [`Cluster`]: a PostgreSQL of one's own, from the npm package that carries its binaries
//! * [`Native`] and [`Edge`]: each host as a process, the second in Cloudflare's own runtime
//! * [`Process`]: what all of them are: a child that never outlives its owner
//!
//! Everything listens on 127.0.0.1 only, and all of it ends when its value is dropped. No crate of pgspan is used here: the
//! hosts are started as the programs they are.
//!
//! # The project
//!
//! The workspace's `Cargo.toml` says what there is:
//!
//! ```toml
//! [workspace.metadata.pgspan]
//! native = "shop-server"                          # the package of the native program, and the program's name
//! worker = "worker"                               # the folder of the Worker's crate; the Worker is built into its `build/`
//! settings = { ALLOW_ANONYMOUS_WRITES = "true" }  # optional: of both hosts, in `up` and in tests
//! try = ["curl {url}/products"]                   # optional: what `up` tells to try
//! build = "edge/build"                            # optional: another folder for what is built
//! test-workers = ["tests/worker"]                 # optional: further Workers that tests start, built without optimisation
//! ```
//!
//! The native program understands `migrate` and `serve`, the settings `DATABASE_URL` and `LISTEN_ADDR`, and answers `/livez`
//! and `/readyz`, as `pgspan_server::program` does. `package.json` names the npm packages, as pgspan's own does; Rust tools are
//! installed in the versions that `Cargo.lock` has of their crates.

#[cfg(not(unix))]
compile_error!("pgspan-dev runs on Linux and macOS (on Windows: in WSL)");

mod binaries;
mod database;
mod edge;
#[cfg(feature = "hosts")]
mod hosts;
pub mod http;
mod native;
mod places;
mod port;
mod postgres;
mod process;
mod project;
mod random;
mod server;
mod skipped;
pub mod tasks;

pub use anyhow::Result;
pub use binaries::Account;
pub use database::TestDatabase;
pub use edge::{Edge, Launch, Main};
#[cfg(feature = "hosts")]
pub use hosts::{Answer, Host, Hosts, on_both_hosts};
pub use native::Native;
pub use places::private_dir;
pub use port::free_port;
pub use postgres::{Cluster, short_dir};
pub use process::{Process, command_line, last_lines};
pub use project::{root, target_dir};
pub use random::random_hex;
#[cfg(feature = "hosts")]
pub use reqwest;
pub use skipped::skip;
pub use tasks::{main, main_with};
