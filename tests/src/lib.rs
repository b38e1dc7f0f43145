//! What only pgspan's own suites need, on the bed that any project has (`pgspan_dev`, all of which is here too).
//!
//! * [`Proxy`]: a network that fails, before a cluster
//! * [`Meddler`]: one that adds, drops and reorders messages
//! * [`PgBouncer`]: from Debian's package
//! * [`Example`]: a database for an example of the documentation

mod example;
mod meddler;
mod pgbouncer;
mod proxy;

pub use example::{Example, example};
pub use meddler::{Meddler, Meddling};
pub use pgbouncer::PgBouncer;
pub use pgspan_dev::{
    Cluster, Edge, Launch, Main, Native, Process, TestDatabase, command_line, free_port, http, last_lines,
    private_dir, root, skip, target_dir,
};
pub use proxy::{Proxy, Traffic, Way};
