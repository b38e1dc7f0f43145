//! pgspan's own Worker: the application behind the fetch event, and in the Durable Object.

use std::cell::RefCell;

use axum::Router;
use pgspan::{Database, Error, Kind};
use pgspan_edge::{Connections, PoolObject, log_to_console, respond, variable};
use pgspan_http::{Options, Writes};
use worker::{
    Context, DurableObject, Env, Request, Response, Result, State, durable_object, event, wasm_bindgen,
};

#[event(fetch)]
async fn fetch(request: Request, env: Env, ctx: Context) -> Result<Response> {
    log_to_console();
    match (Connections::from_env(&env, &ctx), options(&env)) {
        (Ok(connections), Ok(options)) => {
            let router = router(connections.database(), options);
            connections.answer(router, request).await
        }
        (connections, options) => respond(misconfigured(connections.err(), options.err()), request).await,
    }
}

thread_local! {
    /// The router, and what it was built with: building it costs a request with a connection of its own a twentieth.
    static ROUTER: RefCell<Option<(Options, Router)>> = const { RefCell::new(None) };
}

/// One router for all requests with the same options; each brings its own database.
fn router(database: Database, options: Options) -> Router {
    ROUTER.with_borrow_mut(|kept| match kept {
        Some((with, router)) if *with == options => router.clone(),
        _ => {
            let router = pgspan_app::router(database, options.clone());
            *kept = Some((options, router.clone()));
            router
        }
    })
}

/// pgspan's own Durable Object.
#[durable_object(fetch)]
pub struct Pool(PoolObject);

impl DurableObject for Pool {
    fn new(state: State, env: Env) -> Pool {
        log_to_console();
        Pool(PoolObject::new(&state, &env, |database| application(&env, database)))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        self.0.fetch(request).await
    }
}

/// The application; or what answers with all that is wrong with the settings.
fn application(env: &Env, database: std::result::Result<Database, Vec<Error>>) -> Router {
    match (database, options(env)) {
        (Ok(database), Ok(options)) => pgspan_app::router(database, options),
        (database, options) => misconfigured(database.err(), options.err()),
    }
}

fn misconfigured(settings: Option<Vec<Error>>, options: Option<Error>) -> Router {
    let faults = settings.into_iter().flatten().chain(options);
    pgspan_http::misconfigured(&faults.collect::<Vec<_>>())
}

fn options(env: &Env) -> std::result::Result<Options, Error> {
    let anonymous = match variable(env, "ALLOW_ANONYMOUS_WRITES")?.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Error::new(Kind::Config, "ALLOW_ANONYMOUS_WRITES: must be true or false")),
    };
    let writes = Writes::from_settings(variable(env, "API_TOKEN")?.as_deref(), anonymous)?;
    Ok(Options { writes, ..Options::default() })
}
