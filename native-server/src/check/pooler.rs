//! What something between the program and PostgreSQL lets through.

use std::collections::HashSet;
use std::time::Duration;

use pgspan::{ConnectionUrl, Settings};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::finding::{Finding, bad, good};
use crate::dialler::Dialler;

/// Whether the limits that travelled as start-up options arrived.
pub(super) async fn limits(
    client: &Client,
    url: &ConnectionUrl,
    settings: &Settings,
) -> Result<Finding, tokio_postgres::Error> {
    let Some(options) = settings.startup_options() else {
        return Ok(good("pooler", "nothing is asked of the session"));
    };
    // what the URL asks for goes behind, and may say otherwise
    let theirs = url.postgres().get_options().unwrap_or_default();
    let asked = options.split_whitespace().filter_map(|option| option.split_once('='));
    let asked: Vec<(&str, &str)> = asked.filter(|(name, _)| !theirs.contains(name)).collect();
    let names: Vec<&str> = asked.iter().map(|(name, _)| *name).collect();
    let select = "SELECT name, setting FROM pg_settings WHERE name = ANY($1)";
    let mut found = HashSet::new();
    for row in client.query_typed(select, &[(&names, Type::TEXT_ARRAY)]).await? {
        found.insert((row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?));
    }
    let in_force = |name: &str, value: &str| found.contains(&(name.to_owned(), value.to_owned()));
    let dropped: Vec<&str> =
        asked.iter().filter(|(name, value)| !in_force(name, value)).map(|(name, _)| *name).collect();
    Ok(match dropped.is_empty() {
        true => good("pooler", "the limits reach the server"),
        false => bad(
            "pooler",
            format!(
                "not in force: {}; a pooler on the way drops start-up options: set DATABASE_POOLER=transaction, and the \
                 limits by ALTER ROLE … SET",
                dropped.join(", ")
            ),
        ),
    })
}

/// Longer than a wide area takes, and shorter than anyone minds.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

/// Whether statements can be written before those ahead of them are answered, each in autocommit. Some poolers lose what is behind the
/// first answer. It is tried on a connection of its own, which may be left without an answer.
pub(super) async fn pipelining(dialler: &Dialler, settings: &Settings, connect_timeout: Duration) -> Finding {
    let opened = match dialler.open(connect_timeout).await {
        Ok(opened) => opened,
        Err(error) => {
            return bad("connection", format!("a second one can't be had beside the first: {error}"));
        }
    };
    let client = &opened.client;
    // the first takes a moment, so that the second is there before its answer
    let (first, second) = ("SELECT FROM pg_sleep(0.2)", "SELECT 1");
    let both = async { tokio::join!(client.query_typed(first, &[]), client.query_typed(second, &[])) };
    let stood = matches!(timeout(ANSWERED_WITHIN, both).await, Ok((Ok(_), Ok(_))));
    opened.task.abort();
    match (stood, settings.pooler.is_some(), settings.pooler_pipelines) {
        (true, false, _) => good("pooler", "two statements at once are both answered"),
        (true, true, true) => {
            good("pooler", "it stands two statements at once, as DATABASE_POOLER_PIPELINES says")
        }
        (true, true, false) => good(
            "pooler",
            "it stood two statements at once: if it always does, as PgBouncer does, DATABASE_POOLER_PIPELINES=true saves \
             round trips",
        ),
        (false, true, false) => good(
            "pooler",
            "it loses a statement that is written before the one ahead is answered, and none will be",
        ),
        (false, true, true) => bad(
            "pooler",
            "it loses a statement that is written before the one ahead is answered: set DATABASE_POOLER_PIPELINES=false",
        ),
        (false, false, _) => bad(
            "pooler",
            "a statement that is written before the one ahead is answered gets no answer, as behind some transaction \
             poolers: set DATABASE_POOLER=transaction",
        ),
    }
}
