//! What an error of the database becomes: the table of SQLSTATEs.

use axum::http::StatusCode;
use pgspan::{Error, Kind};

use crate::problem::Problem;

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let kind = classify(&error);
        let (status, code, detail) = kind;
        let not_migrated = kind == NOT_MIGRATED;
        let cause = match not_migrated {
            true => format!("not migrated: apply the migrations ({error})"),
            false => error.to_string(),
        };
        let sqlstate = error.sqlstate().map(|code| code.code().to_owned());
        let constraint = error.constraint().map(str::to_owned);
        Problem::new(status, code, detail)
            .because(cause)
            .of_database(sqlstate, constraint)
            .retryable(not_migrated || error.is_retryable())
    }
}

/// The contract's table of errors.
fn classify(error: &Error) -> (StatusCode, &'static str, &'static str) {
    const UNAVAILABLE: (StatusCode, &str, &str) =
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the database can't be reached now");
    const TIMEOUT: (StatusCode, &str, &str) =
        (StatusCode::GATEWAY_TIMEOUT, "timeout", "it took too long and was ended; nothing was stored");
    const READ_ONLY: (StatusCode, &str, &str) =
        (StatusCode::SERVICE_UNAVAILABLE, "read_only", "the database accepts no writes now");
    let sqlstate = error.sqlstate().map(|code| code.code()).unwrap_or_default();
    match error.kind() {
        Kind::OutcomeUnknown => (
            StatusCode::SERVICE_UNAVAILABLE,
            "commit_outcome_unknown",
            "the answer of the database was lost: it may be stored or not. Look before you repeat it",
        ),
        Kind::Unavailable if sqlstate == "25006" => READ_ONLY,
        Kind::Unavailable => UNAVAILABLE,
        Kind::Timeout => TIMEOUT,
        Kind::RolledBack => ROLLED_BACK,
        Kind::Config => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "misconfigured",
            "a setting is missing or wrong; the log names it",
        ),
        Kind::Server => match (sqlstate, sqlstate.get(..2).unwrap_or_default()) {
            ("23505", _) => {
                (StatusCode::CONFLICT, "unique_violation", "it exists already; nothing was stored")
            }
            ("23503" | "23P01" | "23001", _) => {
                (StatusCode::CONFLICT, "conflict", "it contradicts what is stored; nothing was stored")
            }
            ("23514" | "23502", _) | (_, "22" | "54") => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_data",
                "the database refuses these values; nothing was stored",
            ),
            ("40001" | "40P01" | "55P03", _) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "contention",
                "others were working on the same; nothing was stored",
            ),
            ("42P01", _) => NOT_MIGRATED,
            ("57014", _) => TIMEOUT,
            ("25006", _) => READ_ONLY,
            ("25P02", _) => ROLLED_BACK,
            ("57P01" | "57P02" | "57P03" | "3D000", _) | (_, "08" | "53" | "28") => UNAVAILABLE,
            _ => INTERNAL,
        },
        _ => INTERNAL,
    }
}

const ROLLED_BACK: (StatusCode, &str, &str) =
    (StatusCode::INTERNAL_SERVER_ERROR, "rolled_back", "a part of it failed, so nothing was stored");
/// A table of the application is not there.
const NOT_MIGRATED: (StatusCode, &str, &str) =
    (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the database is not set up for this program yet");
const INTERNAL: (StatusCode, &str, &str) =
    (StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong here");
