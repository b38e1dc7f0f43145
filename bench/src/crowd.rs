//! Many clients at once: what they cost in memory, and whether a small pool serves them all in time.

use std::pin::pin;
use std::time::Duration;

use ::tests::Native;
use anyhow::Result;
use tokio::time::sleep;

use crate::answer::Endpoint;
use crate::cpu;
use crate::load::{Load, Outcome, Until};
use crate::stage::Stage;

/// What a crowd at one server came to.
pub(crate) struct Crowd {
    pub(crate) outcome: Outcome,
    /// The longest that anybody waited, in milliseconds.
    pub(crate) longest_ms: f64,
    /// The most connections its database had.
    pub(crate) connections: i64,
    /// The most memory the server held, in MiB.
    pub(crate) memory: Option<f64>,
}

/// Lets so many clients loose on a server of their own, with a database of its own.
pub(crate) async fn crowd(
    stage: &Stage,
    clients: usize,
    endpoint: Endpoint,
    settings: &[(&str, &str)],
    measured: Duration,
    may_refuse: bool,
) -> Result<Crowd> {
    let database = format!("crowd_{clients}_{}", settings.len());
    let url = stage.other_database(&database).await?;
    let mut all = vec![("DATABASE_URL", url.as_str()), ("ALLOW_ANONYMOUS_WRITES", "true")];
    all.extend(settings);
    let mut server = Native::start(&all).await?;
    let until = Until::Elapsed { warm_up: Duration::ZERO, measured };
    let mut load = pin!(Load { port: server.port(), clients, endpoint, rate: None, until, may_refuse }.run());
    let mut connections = 0;
    let outcome = loop {
        tokio::select! {
            outcome = &mut load => break outcome?,
            () = sleep(Duration::from_millis(20)) => {
                connections = connections.max(stage.connections(&database).await?);
            }
        }
    };
    let longest_ms = outcome.millis(1.0);
    let memory = cpu::peak_memory(server.process().id());
    Ok(Crowd { outcome, longest_ms, connections, memory })
}
