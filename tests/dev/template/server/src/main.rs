//! The service as an ordinary server: `serve`, `migrate`, `check`.

use std::process::ExitCode;

use pgspan_http::Writes;
use pgspan_server::migrations;
use pgspan_server::program::{Program, Setting};

const SETTINGS: &[Setting] = &[
    Setting::secret("API_TOKEN", "TOKEN", "The bearer token of writers; without it nobody may write"),
    Setting::new("ALLOW_ANONYMOUS_WRITES", "BOOLEAN", "Let everyone write, on a developer's machine"),
];

fn main() -> ExitCode {
    let program = Program::new("{{project-name}}-server").version(env!("CARGO_PKG_VERSION"));
    let program = program.migrations(migrations!("../migrations")).settings(SETTINGS, |given| {
        let anonymous = given.is_true("ALLOW_ANONYMOUS_WRITES");
        Writes::from_settings(given.secret("API_TOKEN")?.as_deref(), anonymous)
    });
    program.bare().run(async |host| {
        host.http.writes = host.settings.clone();
        Ok({{crate_name}}::router(host.database.clone(), host.http.clone()))
    })
}
