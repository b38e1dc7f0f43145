//! The entry of pgspan's own Worker: the application behind the fetch event.

use pgspan::Error;
use pgspan_app::{Options, Writes};
use worker::{Context, Env, Request, Response, Result, event};

use crate::settings::lookup;
use crate::{Connections, log, respond};

#[event(start)]
fn start() {
    log::install();
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, ctx: Context) -> Result<Response> {
    match (Connections::from_env(&env), options(&env)) {
        (Ok(connections), Ok(options)) => {
            let answer = respond(pgspan_app::router(connections.database(), options), request).await;
            connections.close_with(&ctx);
            answer
        }
        (connections, options) => {
            let faults = [connections.err(), options.err()].into_iter().flatten().flatten();
            respond(pgspan_app::misconfigured(&faults.collect::<Vec<_>>()), request).await
        }
    }
}

pub(crate) fn options(env: &Env) -> std::result::Result<Options, Vec<Error>> {
    let lookup = lookup(env);
    let anonymous = lookup("ALLOW_ANONYMOUS_WRITES").is_some_and(|value| value == "true");
    let writes =
        Writes::from_settings(lookup("API_TOKEN").as_deref(), anonymous).map_err(|fault| vec![fault])?;
    Ok(Options { writes, ..Options::default() })
}
