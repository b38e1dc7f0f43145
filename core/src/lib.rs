//! PostgreSQL from Rust, the same on a native server and on Cloudflare Workers.
//!
//! ```
//! use pgspan::{FromRow, sql};
//!
//! #[derive(FromRow)]
//! struct Sum { sum: i64 }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let example = tests::example().await?;
//! # let url = example.url();
//! let db = pgspan_server::connect(url).await?;             // once
//! let mut session = db.session().await?;                   // a connection of your own, in autocommit
//! let (a, b) = (1_i64, 2_i64);
//! let total: Sum = session.fetch_one(sql!("SELECT {a} + {b} AS sum")).await?;
//! assert_eq!(total.sum, 3);
//!
//! let mut tx = session.transaction();                      // sends nothing yet
//! for name in ["Thunder", "Bob"] {
//!     tx.execute(sql!("INSERT INTO users (name) VALUES ({name})")).await?;
//! }
//! tx.commit().await?;                                      // an error if any statement failed
//! # Ok(())
//! # }
//! ```
//!
//! # The book
//!
//! 1. [Connect](book::connect): once, with a limit for every wait
//! 2. [Session](book::session): a connection of your own, how long a statement may take, what becomes of the connection
//! 3. [Parameters](book::parameters): values by name, how strings are sent, enums, SQL at run time, what can't be sent
//! 4. [Types](book::types): every type of PostgreSQL, what it is read as and written from
//! 5. [Rows](book::rows): structs, tuples, values, types of a database's own; streams, COPY, LISTEN
//! 6. [Transactions](book::transactions): honest commits, savepoints, batches in one round trip, retries
//! 7. [Errors](book::errors): what may be tried again, what may have been stored, what is shown and logged
//! 8. [Drivers](book::drivers): another runtime; tests without a server, against deadlocks and lost answers
//! 9. [Coming from](book::coming_from) psycopg, sqlx or tokio-postgres
//!
//! # Features
//!
//! | | |
//! | --- | --- |
//! | `uuid`, `chrono`, `jiff`, `time` | their types as parameters and columns |
//! | `float_roundtrip`, on by default | a float of a JSON document comes back with the same bits |
//! | `rust_decimal` | `Decimal`, a `numeric` to calculate with |
//! | `testing` | a driver that speaks to a script, for tests without a server |
//!
//! Only `float_roundtrip` is on by default. Everything here compiles for `wasm32-unknown-unknown`.

// The derives and `sql!` name this crate as a user would.
extern crate self as pgspan;

mod batch;
pub mod book;
mod connection_url;
mod copy;
mod database;
#[cfg(feature = "rust_decimal")]
mod decimal;
pub mod driver;
mod error;
mod guard;
mod interval;
mod json;
mod listen;
#[doc(hidden)]
pub mod macros;
mod numeric;
mod oid;
mod param;
mod port;
mod prepared;
mod retry;
mod row;
mod scope;
mod session;
mod settings;
mod sql;
pub mod sqlstate;
mod statements;
mod statistics;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
mod transaction;
mod transaction_id;
mod transaction_options;
pub mod types;

pub use batch::{Batch, Results};
pub use connection_url::{ConnectionUrl, Tls};
pub use copy::{CopyIn, CopyOut};
pub use database::{Database, connect, connect_with};
#[cfg(feature = "rust_decimal")]
pub use decimal::Decimal;
pub use driver::Driver;
pub use error::{Error, ErrorDetail, Kind, Result, ServerError};
pub use interval::Interval;
pub use json::Json;
pub use listen::{Event, Listener};
pub use numeric::Numeric;
pub use oid::Oid;
pub use param::{ArrayElement, Param};
#[doc(no_inline)]
pub use pgspan_macros::{Composite, Enum, FromRow, sql};
pub use retry::Retry;
pub use row::{ColumnIndex, FromColumn, FromRow, Row};
pub use session::Session;
pub use settings::{Pooler, Recycle, Settings};
pub use sql::Sql;
pub use statements::Statements;
pub use statistics::Statistics;
pub use stream::Rows;
pub use transaction::Transaction;
pub use transaction_id::{TransactionId, TransactionStatus};
pub use transaction_options::{Isolation, TransactionOptions};
