//! The command `migrate`.

use std::process::ExitCode;

use pgspan::ConnectionUrl;

use super::command_line::Migrate;
use super::exit::{MISSING, code_of, code_of_migration, fail};
use super::facts::Facts;
use crate::migrate::{self, Status};
use crate::settings::Arguments;

pub(super) async fn migrate(program: &Facts, arguments: &Arguments, how: &Migrate) -> ExitCode {
    let url = match arguments.database(&format!("{} migrate", program.application_name)) {
        Ok(url) => url,
        Err(fault) => return fail(program.name, code_of(std::slice::from_ref(&fault)), &[fault]),
    };
    match how.status {
        true => show_status(program, &url).await,
        false => apply(program, &url, how).await,
    }
}

async fn apply(program: &Facts, url: &ConnectionUrl, how: &Migrate) -> ExitCode {
    let done = match (how.again, how.as_applied) {
        (Some(version), _) => migrate::again(url, version).await,
        (_, Some(version)) => migrate::as_applied(url, version).await,
        (None, None) => Ok(()),
    };
    let applied = match done {
        Ok(()) => migrate::migrate_to(url, program.migrations).await,
        Err(error) => Err(error),
    };
    match applied {
        Ok(applied) if applied.is_empty() => println!("nothing to apply"),
        Ok(applied) => applied.iter().for_each(|name| println!("applied {name}")),
        Err(error) => return fail(program.name, code_of_migration(&error), &[error]),
    }
    ExitCode::SUCCESS
}

async fn show_status(program: &Facts, url: &ConnectionUrl) -> ExitCode {
    let statuses = match migrate::status_of(url, program.migrations).await {
        Ok(statuses) => statuses,
        Err(error) => return fail(program.name, code_of_migration(&error), &[error]),
    };
    let is_complete = |status: &Status| status.applied.is_some() && status.finished && !status.altered;
    let code = if statuses.iter().all(is_complete) { ExitCode::SUCCESS } else { ExitCode::from(MISSING) };
    for Status { version, name, applied, finished, known, altered } in statuses {
        let applied = applied.map_or("not applied".to_owned(), |time| format!("applied {time} UTC"));
        let note = match (finished, known, altered) {
            (false, _, _) => ", LEFT HALF DONE",
            (true, false, _) => ", unknown to this program",
            (true, true, true) => ", ALTERED since",
            (true, true, false) => "",
        };
        println!("{version:04} {name}: {applied}{note}");
    }
    code
}
