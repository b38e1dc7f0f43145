//! Whether the database is as the program needs it, looked at step by step.

use std::time::Duration;

use pgspan::{ConnectionUrl, Error, Result, Settings, Tls};
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

mod finding;
mod pooler;

use crate::dialler::Dialler;
use crate::migrate::{Migration, statuses};
pub use finding::Finding;
use finding::{bad, good};

/// Connects as the pool would, and looks at the server and at the schema. It changes nothing, and stops at the first thing
/// without which the others can't be looked at.
///
/// # Errors
///
/// [`Kind::Config`](pgspan::Kind::Config) if the URL's files (`sslrootcert` …) can't be used.
///
/// # Cancel safety
///
/// It only reads.
pub async fn check(
    url: &ConnectionUrl,
    settings: &Settings,
    connect_timeout: Duration,
    migrations: &[Migration],
) -> Result<Vec<Finding>> {
    let dialler = Dialler::new(url, url.configure(settings), None)?;
    let opened = match dialler.open(connect_timeout).await {
        Ok(opened) => opened,
        Err(error) => return Ok(vec![refused(&error)]),
    };
    let client = opened.client;
    let mut findings = vec![good(
        "connection",
        match url.tls() {
            Tls::Disable => "logged in, unencrypted",
            _ => "logged in, encrypted",
        },
    )];
    let looked = async {
        findings.push(pooler::limits(&client, url, settings).await?);
        findings.push(server(&client).await?);
        Ok::<(), tokio_postgres::Error>(())
    };
    match timeout(connect_timeout, looked).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => findings.push(bad("server", Error::connect(error).to_string())),
        Err(_) => findings.push(bad("server", "it does not answer a statement")),
    }
    findings.push(pooler::pipelining(&dialler, settings, connect_timeout).await);
    match timeout(connect_timeout, statuses(&client, migrations)).await {
        Ok(Ok(all)) => {
            let missing = all.iter().filter(|status| status.applied.is_none()).count();
            let half_done = all.iter().find(|status| !status.finished);
            findings.push(match (missing, all.iter().find(|status| status.altered)) {
                _ if let Some(status) = half_done => {
                    bad("schema", format!("migration {:04} was left half done", status.version))
                }
                (_, Some(status)) => {
                    bad("schema", format!("migration {:04} was altered after it was applied", status.version))
                }
                (0, None) => good("schema", "every migration is applied"),
                (missing, None) => {
                    bad("schema", format!("{missing} of the migrations not applied: run migrate"))
                }
            });
        }
        Ok(Err(error)) => findings.push(bad("schema", error.to_string())),
        Err(_) => findings.push(bad("schema", "it could not be looked at in time")),
    }
    Ok(findings)
}

/// What an attempt to connect says about its cause.
fn refused(error: &Error) -> Finding {
    let text = error.to_string();
    let Some(code) = error.sqlstate().map(|code| code.code()) else {
        let reason = text.strip_prefix("could not connect: ").unwrap_or(&text);
        let what = match () {
            () if reason.contains("TLS") || reason.contains("certificate") => "tls",
            () if reason.contains("password") || reason.contains("authentication") => "login",
            () => "connection",
        };
        return bad(what, reason);
    };
    match (code, code.get(..2).unwrap_or_default()) {
        (_, "28") => bad("login", format!("{text}: check user and password, and the server's pg_hba.conf")),
        ("3D000", _) => bad("database", format!("{text}: create it, or correct its name in DATABASE_URL")),
        ("42501", _) => bad("database", format!("{text}: this user may not connect to it")),
        ("08P01", _) if text.contains("DATABASE_POOLER") => bad("pooler", text),
        ("42704", _) => {
            bad("server", format!("{text}: a limit is unknown to it; PostgreSQL 14 is the oldest"))
        }
        _ => bad("connection", text),
    }
}

async fn server(client: &Client) -> Result<Finding, tokio_postgres::Error> {
    let select =
        "SELECT current_setting('server_version_num')::int4, current_setting('transaction_read_only') = $1";
    let on = "on";
    let row = client.query_typed_one(select, &[(&on, Type::TEXT)]).await?;
    let (version, read_only): (i32, bool) = (row.try_get(0)?, row.try_get(1)?);
    Ok(match (version / 10_000, read_only) {
        (major @ ..14, _) => bad("server", format!("PostgreSQL {major} is too old: 14 is the oldest")),
        (_, true) => bad("server", "it is read-only: reads will work, writes will not"),
        (major, false) => good("server", format!("PostgreSQL {major}, and it takes writes")),
    })
}
