//! The command `check`.

use std::process::ExitCode;

use pgspan::Error;

use super::exit::{FAILED, code_of, fail};
use super::facts::Facts;
use super::read::AllSettings;
use crate::check::{self, Finding};

pub(super) async fn check<S>(program: &Facts, read: Result<AllSettings<S>, Vec<Error>>) -> ExitCode {
    let name = program.name;
    let settings = match read {
        Ok(read) => {
            println!("ok: settings: they can be used");
            read.settings.warnings.iter().chain(&read.notes).for_each(|note| println!("note: {note}"));
            read.settings
        }
        Err(faults) => return fail(name, code_of(&faults), &faults),
    };
    let timeout = settings.pool.connect_timeout;
    let found = check::check(&settings.database, &settings.limits, timeout, program.migrations).await;
    let findings = match found {
        Ok(findings) => findings,
        Err(fault) => return fail(name, code_of(std::slice::from_ref(&fault)), &[fault]),
    };
    for Finding { what, text, .. } in findings.iter().filter(|finding| finding.good) {
        println!("ok: {what}: {text}");
    }
    let bad = findings.iter().filter(|finding| !finding.good);
    let bad: Vec<String> = bad.map(|Finding { what, text, .. }| format!("{what}: {text}")).collect();
    match bad.is_empty() {
        true => ExitCode::SUCCESS,
        false => fail(name, FAILED, &bad),
    }
}
