//! Sessions, transactions and batches against a scripted server: what a real one does seldom, or only when it is killed.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

mod batches;
mod bed;
mod callers;
mod dropped;
mod errors;
mod hostile;
mod last_flight;
mod listening;
mod logs;
mod lost;
mod rows;
mod shared;
mod statistics;
mod timeouts;
mod transactions;
mod trust;
mod verdicts;
