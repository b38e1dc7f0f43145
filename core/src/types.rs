//! PostgreSQL's types as Rust has them, from `postgres-types`.

#[doc(inline)]
pub use tokio_postgres::types::*;
