//! What a Durable Object is made of: a pool, and a router in front of it.
//!
//! What the runtime does to an object: it is evicted when it has been idle, re-created on a deploy and after a panic, and
//! never told so. Nothing here needs to be told: the connections end with it, and PostgreSQL rolls back what was open.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use pgspan::{Database, Error, Kind};
use wasm_bindgen_futures::spawn_local;
use worker::durable::State;
use worker::{Env, Request, Response, Result};

use crate::dialler::Dialler;
use crate::panic::{End, ends_with_a_panic};
use crate::pool::PoolDriver;
use crate::problem::Problem;
use crate::requests::Requests;
use crate::respond::{refuse, respond};
use crate::settings;
use crate::shards::Shards;
use crate::sockets::CONNECTIONS_MOST;
use crate::time::{now, sleep};
use crate::variables::{Variables, number, variable};

/// Connections are given up when no request has used one for so long, so that the object can be evicted. 60 s: a steady
/// trickle keeps them, a monitor that asks for no data does not.
const IDLE_MS: u32 = 60_000;
/// So many bodies of refused requests are drained at a time; a further one ends its connection. Each takes a tenth of a megabyte of the
/// runtime's while it is.
const REFUSED_MOST: u32 = 64;
/// How often statistics are logged while requests come.
const STATISTICS: Duration = Duration::from_secs(60);

/// Connections kept between requests, and a router in front of them.
///
/// A Durable Object of yours is a few lines around it, as the [crate's documentation](crate) shows. It looks after its
/// connections while requests come, logs their number once a minute, and gives them up after a minute without a request, so
/// that the runtime can evict the object. A panic ends the object: its connections close, its requests fail, and the next one gets a
/// new object.
pub struct PoolObject {
    router: Router,
    kept: Option<Rc<Kept>>,
    requests: Requests,
    /// Those that are refused, and whose bodies are being drained.
    refused: Requests,
    _end: Option<End>,
}

impl PoolObject {
    /// Reads the settings that [`Connections::from_env`](crate::Connections::from_env) reads, and those of the pool: `POOL_SIZE`
    /// (exclusive connections; default: 5, the most an object may have, less `DATABASE_SHARED`), `MAX_REQUESTS` (requests that are
    /// being answered; default: 128, whose bodies take 32 MiB of the 128 that an isolate has), `POOL_IDLE_TIMEOUT_MS` (when connections
    /// are given up; default: 60 s without a request), `POOL_SHARDS` and `POOL_LOCATION_HINT`, which say where requests go. It opens no connection yet.
    ///
    /// `router` is called once. An object can't refuse to start, so it is called with settings that are missing or wrong
    /// too: with all of them, each naming its setting. Let its router answer every request with them.
    pub fn new(
        state: &State,
        env: &Env,
        router: impl FnOnce(std::result::Result<Database, Vec<Error>>) -> Router,
    ) -> PoolObject {
        PoolObject::from_variables(state, env, |name| variable(env, name), router)
    }

    /// The same with settings from somewhere else: from code, or from a secret that was asked for before.
    ///
    /// ```no_run
    /// # use pgspan_edge::{PoolObject, variable};
    /// # fn object(state: &worker::State, env: &worker::Env, url: String, router: axum::Router) -> PoolObject {
    /// PoolObject::from_variables(
    ///     state,
    ///     env,
    ///     |name| match name {
    ///         "DATABASE_URL" => Ok(Some(url.clone())),
    ///         "DATABASE_SHARED" => Ok(Some("1".to_owned())),
    ///         _ => variable(env, name),
    ///     },
    ///     |database| router,
    /// )
    /// # }
    /// ```
    pub fn from_variables(
        state: &State,
        env: &Env,
        variables: impl Fn(&str) -> std::result::Result<Option<String>, Error>,
        router: impl FnOnce(std::result::Result<Database, Vec<Error>>) -> Router,
    ) -> PoolObject {
        let end = ends_with_a_panic(state);
        let refused = Requests::most(REFUSED_MOST);
        match Kept::read(env, &variables) {
            Ok((kept, requests)) => {
                let router = router(Ok(kept.database.clone()));
                PoolObject { router, kept: Some(Rc::new(kept)), requests, refused, _end: end }
            }
            Err(faults) => PoolObject {
                router: router(Err(faults)),
                kept: None,
                requests: Requests::default(),
                refused,
                _end: end,
            },
        }
    }

    /// The database, for what does not come as a request to the router: an alarm, a message on a WebSocket, a method that is called.
    /// None where the settings are missing or wrong. Ask for it each time: that is what keeps the pool looked after.
    pub fn database(&self) -> Option<Database> {
        self.kept.as_ref().map(|kept| {
            tend(kept);
            kept.database.clone()
        })
    }

    /// Lets the router answer a request, as [`respond`] does. Where as many as `MAX_REQUESTS` are being answered it is refused: 503
    /// `unavailable` with `Retry-After`, and nothing of its body is kept.
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
        if let Some(_place) = self.requests.enter() {
            return respond(self.router.clone(), request).await;
        }
        let place = self.refused.enter();
        let cause = "as many requests are being answered as may be (MAX_REQUESTS)";
        refuse(Problem::BUSY, cause, request, place.is_some()).await
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
    /// Connections are given up when no request has used one for so long.
    idle: Duration,
    is_tended: Cell<bool>,
}

impl Kept {
    fn read(env: &Env, variables: Variables<'_>) -> std::result::Result<(Kept, Requests), Vec<Error>> {
        let strange = RefCell::default();
        let lookup = settings::strict(variables, &strange);
        let mut faults = Vec::new();
        let read = settings::read(env, variables).map_err(|found| faults.extend(found)).ok();
        let requests = Requests::read(&lookup).map_err(|fault| faults.push(fault)).ok();
        let idle = number(&lookup, "POOL_IDLE_TIMEOUT_MS", IDLE_MS, 1_000..=86_400_000);
        let idle = idle.map_err(|fault| faults.push(fault)).ok();
        let size = lookup("POOL_SIZE");
        faults.extend(Shards::read(&lookup).err().into_iter().flatten()); // of whoever sends requests here
        faults.extend(strange.take());
        let (Some((url, mut settings, opening)), Some(requests), Some(idle), true) =
            (read, requests, idle, faults.is_empty())
        else {
            return Err(faults);
        };
        let idle = Duration::from_millis(idle.into());
        settings.shared_connections = settings.shared_connections.min(CONNECTIONS_MOST - 1);
        let size = match size.map(|size| size.parse::<usize>()) {
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
        Ok((Kept { database, driver, idle, is_tended: Cell::new(false) }, requests))
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
            sleep(kept.idle / 4).await;
            let [size, idle, sockets, waiting] = kept.driver.statistics();
            if now().saturating_sub(logged) >= STATISTICS {
                logged = now();
                tracing::info!(size, idle, sockets, waiting, "pool");
            }
            let round_trips = kept.database.statistics().round_trips;
            if round_trips != used.0 {
                used = (round_trips, now());
            }
            if now().saturating_sub(used.1) >= kept.idle {
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
