//! The program `pgspan-server`: the sample, on the native host.

use std::process::ExitCode;

use pgspan::Result;
use pgspan_app::router;
use pgspan_http::Writes;
use pgspan_server::migrations;
use pgspan_server::program::{Given, Program, Setting};

/// A request allocates some fifty times, which costs half of what it does with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SETTINGS: &[Setting] = &[
    Setting::secret("API_TOKEN", "TOKEN", "The bearer token of writers; without it nobody may write"),
    Setting::new("ALLOW_ANONYMOUS_WRITES", "BOOLEAN", "Let all here write, to try it out [default: false]"),
];

fn main() -> ExitCode {
    let program = Program::new("pgspan-server").version(env!("CARGO_PKG_VERSION"));
    let program = program.about("PostgreSQL behind HTTP, natively").application_name("pgspan");
    let program = program.migrations(migrations!("migrations")).settings(SETTINGS, writes);
    program.bare().run(async |host| {
        let current = host.settings.clone();
        host.at_hangup(move |given| current.renew(&writes(given)?)); // API_TOKEN_FILE has another token
        host.http.writes = host.settings.clone();
        Ok(router(host.database.clone(), host.http.clone()))
    })
}

fn writes(given: &mut Given<'_>) -> Result<Writes> {
    let anonymous = given.is_true("ALLOW_ANONYMOUS_WRITES");
    let writes = Writes::from_settings(given.secret("API_TOKEN")?.as_deref(), anonymous)?;
    if writes == Writes::Forbidden {
        given.note("writes: nobody may write: set API_TOKEN");
    }
    Ok(writes)
}
