//! What the macros expand to.

pub use crate::param::{Bind, Bound, bind, expect_param, with_null_tests};
pub use crate::row::from_sql_exact;
pub use pgspan_scan::*;
