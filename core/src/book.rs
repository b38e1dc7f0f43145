//! The book: how to use pgspan, chapter by chapter. Every example runs in the tests, against a real server.

#[doc = include_str!("../docs/connect.md")]
pub mod connect {}

#[doc = include_str!("../docs/session.md")]
pub mod session {}

#[doc = include_str!("../docs/parameters.md")]
pub mod parameters {}

#[doc = include_str!("../docs/rows.md")]
pub mod rows {}

#[doc = include_str!("../docs/transactions.md")]
pub mod transactions {}

#[doc = include_str!("../docs/errors.md")]
pub mod errors {}

#[doc = include_str!("../docs/drivers.md")]
pub mod drivers {}

#[doc = include_str!("../docs/coming_from.md")]
pub mod coming_from {}
