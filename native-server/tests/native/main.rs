//! The native host against a real PostgreSQL: the one `PGSPAN_TEST_DATABASE_URL` names, else one of its own.

mod alpn;
mod app;
mod bed;
mod failover;
mod hosts;
mod migrate;
mod operations;
#[cfg(feature = "otlp")]
mod otlp;
mod overload;
mod own;
mod password;
mod pool;
mod program;
mod router;
mod serve;
mod stopping;
mod supply;
mod tls;
