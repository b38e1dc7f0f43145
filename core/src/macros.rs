//! What the macros expand to.

pub use crate::param::{Bind, Bound, bind, expect_param, null_test};
pub use pgspan_scan::*;
