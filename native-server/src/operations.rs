//! The operations listener: probes and metrics, on a thread of its own, so that they are answered whatever else goes on.

use std::io;
use std::net::TcpListener;
use std::thread;

use axum::Router;
use axum::routing::any_service;
use tokio::runtime::Builder;

use crate::metrics::Metrics;
use crate::serve::{Options, serve};

/// Answers `/metrics`, and the probes as `router` does, from now on to the end of the process, the drain included. `of` are the
/// options of the server whose probes these are.
///
/// # Errors
///
/// If the system can't start a thread.
pub fn watch(listener: TcpListener, router: &Router, metrics: &Metrics, of: &Options) -> io::Result<()> {
    let probes = [of.liveness, of.readiness];
    let router =
        probes.into_iter().fold(metrics.router(), |all, probe| all.route(probe, any_service(router.clone())));
    let mut options = Options::default();
    (options.draining, options.liveness, options.readiness) =
        (of.draining.clone(), of.liveness, of.readiness);
    options.max_connections = 64; // a scraper and a prober have one each
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("operations".to_owned()).spawn(move || {
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => drop(serve(listener, router, options, std::future::pending()).await),
                Err(error) => tracing::error!(%error, "neither probes nor metrics are served"),
            }
        });
    })?;
    Ok(())
}
