//! What the macros expand to.

pub use crate::param::{Bind, Bound, bind, expect_param};
pub use pgspan_scan::*;
