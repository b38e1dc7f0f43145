//! What a Durable Object is made of: a pool, and a router in front of it.
//!
//! What the runtime does to an object: it is evicted when it has been idle, re-created on a deploy and after a panic, and
//! never told so. Nothing here needs to be told: the connections end with it, and PostgreSQL rolls back what was open.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use pgspan::{Database, Error, Kind};
use wasm_bindgen_futures::spawn_local;
use worker::{Env, Request, Response, Result};

use crate::dialler::Dialler;
use crate::pool::PoolDriver;
use crate::sockets::CONNECTIONS_MOST;
use crate::time::{now, sleep};
use crate::{respond, settings};

/// Connections are given up when no request has used one for so long, so that the object can be evicted. 60 s: a steady
/// trickle keeps them, a monitor that asks for no data does not.
const IDLE: Duration = Duration::from_secs(60);
/// How often statistics are logged while requests come.
const STATISTICS: Duration = Duration::from_secs(60);

/// Connections kept between requests, and a router in front of them.
///
/// A Durable Object of yours is a few lines around it, as the [crate's documentation](crate) shows. It looks after its
/// connections while requests come, logs their number once a minute, and gives them up after 60 s without a request, so
/// that the runtime can evict the object. What happens after a panic is the entry's, `entry.mjs`.
pub struct PoolObject {
    router: Router,
    kept: Option<Rc<Kept>>,
}

impl PoolObject {
    /// Reads the settings that [`Connections::from_env`](crate::Connections::from_env) reads, and `POOL_SIZE` (exclusive
    /// connections; default: 5, the most an object may have, less `DATABASE_SHARED`). It opens no connection yet.
    ///
    /// `router` is called once. An object can't refuse to start, so it is called with settings that are missing or wrong
    /// too: with all of them, each naming its setting. Let its router answer every request with them.
    pub fn new(
        env: &Env,
        router: impl FnOnce(std::result::Result<Database, Vec<Error>>) -> Router,
    ) -> PoolObject {
        match Kept::read(env) {
            Ok(kept) => PoolObject { router: router(Ok(kept.database.clone())), kept: Some(Rc::new(kept)) },
            Err(faults) => PoolObject { router: router(Err(faults)), kept: None },
        }
    }

    /// Lets the router answer a request, as [`respond`] does.
    ///
    /// # Errors
    ///
    /// Those of [`respond`], and when the runtime's request can't be read.
    ///
    /// # Cancel safety
    ///
    /// That of the router's handlers.
    pub async fn fetch(&self, request: Request) -> Result<Response> {
        if let Some(kept) = &self.kept {
            tend(kept);
        }
        respond(self.router.clone(), request).await
    }
}

impl fmt::Debug for PoolObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolObject").finish_non_exhaustive()
    }
}

/// What an object with good settings keeps.
struct Kept {
    database: Database,
    driver: PoolDriver,
    is_tended: Cell<bool>,
}

impl Kept {
    fn read(env: &Env) -> std::result::Result<Kept, Vec<Error>> {
        let (url, mut settings, opening) = settings::read(env)?;
        settings.shared_connections = settings.shared_connections.min(CONNECTIONS_MOST - 1);
        let size = match settings::lookup(env)("POOL_SIZE").map(|size| size.parse::<usize>()) {
            None => CONNECTIONS_MOST - settings.shared_connections,
            Some(Ok(size)) if size >= 1 && size + settings.shared_connections <= CONNECTIONS_MOST => size,
            Some(_) => {
                let text = format!(
                    "POOL_SIZE: must be at least 1, and with DATABASE_SHARED at most {CONNECTIONS_MOST}"
                );
                return Err(vec![Error::new(Kind::Config, text)]);
            }
        };
        let dialler = Dialler::new(url, settings.clone(), opening).patient();
        let driver = PoolDriver::new(dialler, size).map_err(|fault| vec![fault])?;
        let database = pgspan::connect_with(driver.clone(), settings);
        Ok(Kept { database, driver, is_tended: Cell::new(false) })
    }
}

/// Looks after the connections for as long as they are used, then closes them and stops: a waiting timer would keep the object.
fn tend(kept: &Rc<Kept>) {
    if kept.is_tended.replace(true) {
        return;
    }
    let kept = kept.clone();
    spawn_local(async move {
        let mut logged = now();
        let mut used = (kept.database.statistics().round_trips, now());
        loop {
            sleep(IDLE / 4).await;
            let [size, idle, sockets, waiting] = kept.driver.statistics();
            if now().saturating_sub(logged) >= STATISTICS {
                logged = now();
                tracing::info!(size, idle, sockets, waiting, "pool");
            }
            let round_trips = kept.database.statistics().round_trips;
            if round_trips != used.0 {
                used = (round_trips, now());
            }
            if now().saturating_sub(used.1) >= IDLE {
                kept.driver.close_idle();
                kept.database.close_shared();
                if sockets == 0 {
                    kept.is_tended.set(false);
                    return;
                }
            }
        }
    });
}
