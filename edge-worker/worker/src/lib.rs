//! pgspan's own Worker: the application behind the fetch event, and in the Durable Object.

use axum::Router;
use pgspan::{Database, Error};
use pgspan_app::{Options, Writes};
use pgspan_edge::{Connections, PoolObject, log_to_console, lookup, respond};
use worker::{
    Context, DurableObject, Env, Request, Response, Result, State, durable_object, event, wasm_bindgen,
};

#[event(fetch)]
async fn fetch(request: Request, env: Env, ctx: Context) -> Result<Response> {
    log_to_console();
    let (database, connections) = match Connections::from_env(&env) {
        Ok(connections) => (Ok(connections.database()), Some(connections)),
        Err(faults) => (Err(faults), None),
    };
    let answer = respond(application(&env, database), request).await;
    if let Some(connections) = connections {
        connections.close_with(&ctx);
    }
    answer
}

/// pgspan's own Durable Object.
#[durable_object(fetch)]
pub struct Pool(PoolObject);

impl DurableObject for Pool {
    fn new(_: State, env: Env) -> Pool {
        log_to_console();
        Pool(PoolObject::new(&env, |database| application(&env, database)))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        self.0.fetch(request).await
    }
}

/// The application; or what answers with all that is wrong with the settings.
fn application(env: &Env, database: std::result::Result<Database, Vec<Error>>) -> Router {
    match (database, options(env)) {
        (Ok(database), Ok(options)) => pgspan_app::router(database, options),
        (database, options) => {
            let faults = database.err().into_iter().flatten().chain(options.err());
            pgspan_app::misconfigured(&faults.collect::<Vec<_>>())
        }
    }
}

fn options(env: &Env) -> std::result::Result<Options, Error> {
    let lookup = lookup(env);
    let anonymous = lookup("ALLOW_ANONYMOUS_WRITES").is_some_and(|value| value == "true");
    let writes = Writes::from_settings(lookup("API_TOKEN").as_deref(), anonymous)?;
    Ok(Options { writes, ..Options::default() })
}
