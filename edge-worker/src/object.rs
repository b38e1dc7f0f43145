//! The Durable Object: a pool, and a router in front of it.
//!
//! What the runtime does to an object: it is evicted when it has been idle, re-created on a deploy and after a panic, and
//! never told so. Nothing here needs to be told: the connections end with it, and PostgreSQL rolls back what was open.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use axum::Router;
use pgspan::{Database, Error, Kind};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use worker::{DurableObject, Env, Request, Response, Result, State, durable_object, js_sys};

use crate::connection::{Dialler, SOCKETS_MOST, now, sleep};
use crate::entry::options;
use crate::pool::PoolDriver;
use crate::{respond, settings};

/// Connections are given up when no request has come for so long, so that the object can be evicted. 60 s: a steady
/// trickle keeps them.
const IDLE: Duration = Duration::from_secs(60);
/// How often statistics are logged while requests come.
const STATISTICS: Duration = Duration::from_secs(60);

/// A pool of connections between requests.
#[durable_object]
pub struct Pool {
    served: std::result::Result<Rc<Served>, Router>,
}

struct Served {
    router: Router,
    database: Database,
    driver: PoolDriver,
    last_request: Cell<Duration>,
    is_tended: Cell<bool>,
}

impl DurableObject for Pool {
    fn new(state: State, env: Env) -> Self {
        abort_on_panic(state);
        let served = serve(&env).map(Rc::new);
        Pool { served: served.map_err(|faults| pgspan_app::misconfigured(&faults)) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let router = match &self.served {
            Err(misconfigured) => misconfigured,
            Ok(served) => {
                served.last_request.set(now());
                tend(served);
                &served.router
            }
        };
        respond(router.clone(), request).await
    }
}

fn serve(env: &Env) -> std::result::Result<Served, Vec<Error>> {
    let (url, mut settings, opening) = settings::read(env)?;
    let lookup = settings::lookup(env);
    settings.shared = settings.shared.min(SOCKETS_MOST - 1);
    let size = match lookup("POOL_SIZE").map(|size| size.parse::<usize>()) {
        None => SOCKETS_MOST - settings.shared,
        Some(Ok(size)) if size >= 1 && size + settings.shared <= SOCKETS_MOST => size,
        Some(_) => {
            let text =
                format!("POOL_SIZE: must be at least 1, and with DATABASE_SHARED at most {SOCKETS_MOST}");
            return Err(vec![Error::new(Kind::Config, text)]);
        }
    };
    let options = options(env)?;
    let dialler = Dialler::new(url, settings.clone(), opening);
    let driver = PoolDriver::new(dialler, size).map_err(|fault| vec![fault])?;
    let database = pgspan::connect_with(driver.clone(), settings);
    Ok(Served {
        router: pgspan_app::router(database.clone(), options),
        database,
        driver,
        last_request: Cell::new(now()),
        is_tended: Cell::new(false),
    })
}

/// Looks after the connections for as long as requests come, then closes them and stops: a waiting timer would keep the
/// object.
fn tend(served: &Rc<Served>) {
    if served.is_tended.replace(true) {
        return;
    }
    let served = served.clone();
    spawn_local(async move {
        let mut logged = now();
        loop {
            sleep(IDLE / 4).await;
            if now().saturating_sub(logged) >= STATISTICS {
                logged = now();
                let [size, idle, sockets, waiting] = served.driver.statistics();
                tracing::info!(size, idle, sockets, waiting, "pool");
            }
            if now().saturating_sub(served.last_request.get()) >= IDLE {
                served.driver.close_idle();
                served.database.close_shared();
                served.is_tended.set(false);
                return;
            }
        }
    });
}

thread_local! {
    /// The states of the objects in this isolate.
    static STATES: RefCell<Vec<JsValue>> = const { RefCell::new(Vec::new()) };
}

/// Ends an object whose program panicked: every request in flight is answered at once, its connections close, and the next
/// request gets a new one. Without it they would wait for ever.
fn abort_on_panic(state: State) {
    STATES.with_borrow_mut(|states| states.push(state._inner().into()));
    let log = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        log(panic);
        for state in STATES.take() {
            let abort = js_sys::Reflect::get(&state, &"abort".into()).ok();
            if let Some(abort) = abort.and_then(|abort| abort.dyn_into::<js_sys::Function>().ok()) {
                let _ = abort.call1(&state, &"pgspan: a panic".into());
            }
        }
    }));
}
