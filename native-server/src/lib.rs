//! The native host of pgspan: PostgreSQL through deadpool-postgres on tokio, and an HTTP server for an axum router.
//!
//! # A program that serves no HTTP
//!
//! It takes the driver alone, with `default-features = false`:
//!
//! ```no_run
//! use pgspan::sql;
//!
//! # async fn example() -> pgspan::Result<()> {
//! let db = pgspan_server::connect("postgres://alice:secret@127.0.0.1/shop").await?;
//! let (a, b) = (1_i64, 2_i64);
//! let sum: i64 = db.fetch_one(sql!("SELECT {a} + {b} AS sum")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`connect`] opens no connection: the first statement does. With limits of your own take [`connect_with`]; with a pool of
//! another size make a [`Driver`]:
//!
//! ```no_run
//! # fn example() -> pgspan::Result<()> {
//! let settings = pgspan::Settings::default();
//! let mut pool = pgspan_server::PoolSettings::default();
//! pool.size = 16;
//! let url = "postgres://alice:secret@db.example.com/shop".parse()?;
//! let driver = pgspan_server::Driver::new(&url, &settings, pool)?;
//! let db = pgspan::connect_with(driver, settings);
//! # Ok(())
//! # }
//! ```
//!
//! # A service of your own
//!
//! It is a router with a `State<Database>`, and a `main` that hands it to [`program::Program`] (feature `program`). That brings a
//! command line, settings, logs, signals, migrations, probes, metrics, an orderly end and exit codes: all that docs/operations.md
//! says of `pgspan-server`, whose `main.rs` is the first such program.
//!
#![cfg_attr(feature = "program", doc = "```no_run")]
#![cfg_attr(not(feature = "program"), doc = "```ignore")]
//! use std::process::ExitCode;
//!
//! use axum::Router;
//! use axum::extract::State;
//! use axum::routing::get;
//! use pgspan::{Database, sql};
//! use pgspan_server::program::Program;
//!
//! async fn notes(State(db): State<Database>) -> String {
//!     match db.fetch_one::<i64>(sql!("SELECT count(*) FROM notes").reads_only()).await {
//!         Ok(notes) => notes.to_string(),
//!         Err(error) => error.to_string(),
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     Program::new("notes").run(async |host| {
//!         Ok(Router::new().route("/notes", get(notes)).with_state(host.database.clone()))
//!     })
//! }
//! ```
//!
//! A program that has all of this already takes the HTTP server alone: `serve::serve` (feature `serve`).
//!
//! # What becomes of a connection
//!
//! * A session that is dropped idle gives its connection back. Any other ends it: the slot is free at once, the server is
//!   asked over a connection of its own (1 s) to cancel what may still run, then the connection is closed, and PostgreSQL
//!   rolls back.
//! * One that is lost, too old or unused for too long is never given out; one unused for 30 s is checked before.
//! * Every wait for a connection has one deadline over queueing, checking and opening, and the error says which it was.
//!
//! # TLS
//!
//! [`pgspan::ConnectionUrl`] decides; nothing falls back to plain text. Trusted are the authorities in `sslrootcert`, else (and
//! with `sslrootcert=system`) those the machine trusts. The login is bound to the TLS connection where the server offers it
//! (`channel_binding`).
//!
//! `sslcert` and `sslkey` are the certificate that is shown to the server.
//!
//! # Several hosts
//!
//! A URL may name several hosts. They and the addresses of each are tried in order (`load_balance_hosts=random`: in any), each with its
//! share of the connect timeout for everything up to the login, until one is what `target_session_attrs` asks for. A connection whose
//! server became read-only is not used again, so that the next one finds the server that is not.
//!
//! # What libpq reads
//!
//! The `PG…` variables are for programs to ask for, with [`complete()`]; `pgspan-server` does. A URL can name a password file
//! itself (`passfile`).
//!
//! # Migrations
//!
//! [`migrations!`] reads a folder of SQL files when the program is compiled, and [`migrate()`] applies them. A `Program` has a command
//! for it.
//!
//! # Features
//!
//! | | |
//! | --- | --- |
//! | none | the driver alone: no hyper, no axum, no clap |
//! | `serve` | the HTTP server, probes and metrics |
//! | `program` | `serve`, and the program around a router |
//! | `otlp` | `program`, and a span of each request, for an OpenTelemetry collector |
//! | `app` (default) | what the program `pgspan-server` is: the sample, on `program` |

mod backoff;
mod cancel;
pub mod check;
mod coalesced;
mod credentials;
mod dialler;
mod driver;
mod executor;
mod hosts;
mod libpq;
mod link;
#[cfg(feature = "program")]
pub mod logs;
#[cfg(feature = "serve")]
pub mod metrics;
pub mod migrate;
mod numbers;
mod opener;
#[cfg(feature = "serve")]
pub mod operations;
#[cfg(feature = "otlp")]
pub mod otlp;
mod passfile;
mod pool;
mod private_file;
#[cfg(feature = "program")]
pub mod program;
mod queue;
mod random;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(feature = "program")]
mod settings;
#[cfg(feature = "serve")]
pub mod signals;
mod statistics;
mod supply;
pub mod system;
mod tls;
#[cfg(feature = "serve")]
pub mod workers;

use pgspan::{ConnectionUrl, Database, Result, Settings};

pub use driver::{Connection, Driver};
pub use libpq::complete;
pub use migrate::migrate;
pub use pgspan_macros::migrations;
pub use pool::PoolSettings;
pub use statistics::PoolStatistics;

/// A database with the default settings: do it once, and clone what you get.
///
/// It opens no connection, so that a program starts whether or not its database is there; the first statement opens one.
///
/// # Errors
///
/// [`Kind::Config`](pgspan::Kind::Config) if the URL can't be used.
///
/// # Cancel safety
///
/// Nothing is lost.
pub async fn connect(url: &str) -> Result<Database> {
    connect_with(url, Settings::default()).await
}

/// A database with settings of your own.
///
/// # Errors
///
/// As [`connect`].
///
/// # Cancel safety
///
/// As [`connect`].
pub async fn connect_with(url: &str, settings: Settings) -> Result<Database> {
    let url: ConnectionUrl = url.parse()?;
    let driver = Driver::new(&url, &settings, PoolSettings::default())?;
    Ok(pgspan::connect_with(driver, settings))
}
