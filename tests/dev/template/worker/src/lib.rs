//! The service as a Worker: in a Durable Object, which holds the connections to PostgreSQL between requests.

use pgspan::Error;
use pgspan_edge::{PoolObject, forward, log_to_console, variable};
use pgspan_http::{Options, Writes, misconfigured};
use worker::{Context, DurableObject, Env, Request, Response, Result, State, durable_object, event};
use worker::{wasm_bindgen, web_sys};

/// Behind `entry.mjs` requests go to the object without coming here.
#[event(fetch)]
async fn fetch(request: Request, env: Env, _: Context) -> Result<web_sys::Response> {
    forward(request, &env).await.or_else(|unanswered| unanswered.answer())
}

#[durable_object(fetch)]
pub struct Pool(PoolObject);

impl DurableObject for Pool {
    fn new(state: State, env: Env) -> Pool {
        log_to_console();
        Pool(PoolObject::new(&state, &env, |database| match (database, writes(&env)) {
            (Ok(db), Ok(writes)) => {
                let options = Options { writes, ..Options::default() };
                {{crate_name}}::router(db, options)
            }
            (database, writes) => {
                let faults: Vec<Error> = database.err().into_iter().flatten().chain(writes.err()).collect();
                misconfigured(&faults)
            }
        }))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        self.0.fetch(request).await
    }
}

fn writes(env: &Env) -> std::result::Result<Writes, Error> {
    let anonymous = variable(env, "ALLOW_ANONYMOUS_WRITES")?.as_deref() == Some("true");
    Writes::from_settings(variable(env, "API_TOKEN")?.as_deref(), anonymous)
}
