//! pgspan against a real PostgreSQL: the one `PGSPAN_TEST_DATABASE_URL` names, else one of its own. A database per test.

#[macro_use]
mod support;

mod catalog;
mod commit;
mod compile_fail;
mod conflicts;
mod copy;
mod deadlines;
mod derived;
mod exact;
mod limits;
mod listen;
mod meddling;
mod model;
mod opaque;
mod open_strings;
mod pool;
mod prepared;
mod round_trips;
mod rows;
mod session_state;
mod shared;
mod sql;
mod state;
mod stream;
mod tenants;
mod transactions;
mod types;
mod unsent;
mod verdicts;
