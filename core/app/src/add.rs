//! Two numbers, added by PostgreSQL.

use pgspan::{FromRow, Result, Session, Sql, sql};
use serde::Serialize;

/// The row of [`sum`], and the body of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow, Serialize)]
pub struct Sum {
    /// a + b
    pub sum: i64,
}

/// The statement: `int8` plus `int8`, which is an error of the server beyond 64 bits (22003).
pub fn sum<'a>(a: &'a i64, b: &'a i64) -> Sql<'a> {
    sql!("SELECT {a} + {b} AS sum").reads_only()
}

/// Adds two numbers on a session.
///
/// # Errors
///
/// As [`Session::fetch_one`]; a sum beyond `i64` is 22003, "numeric value out of range".
///
/// # Cancel safety
///
/// As [`Session::fetch_one`].
pub async fn add(session: &mut Session, a: i64, b: i64) -> Result<i64> {
    let Sum { sum } = session.fetch_one(sum(&a, &b)).await?;
    Ok(sum)
}
