//! PostgreSQL from Rust, the same on a native server and on Cloudflare Workers.

// The derives and `sql!` name this crate as a user would.
extern crate self as pgspan;

mod batch;
mod config;
mod copy;
mod database;
mod deadline;
pub mod driver;
mod error;
mod listen;
mod param;
mod retry;
mod row;
mod session;
mod sql;
pub mod sqlstate;
mod transaction;

pub use batch::{Batch, Results};
pub use config::{ConnectionUrl, Pooler, Recycle, Settings, Tls};
pub use copy::{CopyIn, CopyOut};
pub use database::{Database, connect, connect_with};
pub use driver::Driver;
pub use error::{Error, Kind, Result, ServerError};
pub use listen::{Event, Listener};
pub use param::{ArrayElement, Bound, Json, Param, bind};
#[doc(hidden)]
pub use param::{Bind, expect_param};
#[doc(no_inline)]
pub use pgspan_macros::{Composite, Enum, FromRow, sql};
pub use retry::Retry;
pub use row::{ColumnIndex, FromColumn, FromRow, Row};
pub use session::{Rows, Session};
pub use sql::Sql;
pub use transaction::{Isolation, Transaction, TransactionId, TransactionOptions, TransactionStatus};

/// PostgreSQL's types as Rust has them, from `postgres-types`.
pub mod types {
    #[doc(inline)]
    pub use tokio_postgres::types::*;
}
