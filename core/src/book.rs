//! The book: how to use pgspan, chapter by chapter. Every example runs against a real server in the tests of the repository, where `url` is
//! a database's and `db` is connected to it.

// rustdoc can't run them without lines that a reader of the file would see: tests/tests/book does
#[cfg_attr(not(doctest), doc = include_str!("../docs/connect.md"))]
pub mod connect {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/session.md"))]
pub mod session {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/parameters.md"))]
pub mod parameters {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/types.md"))]
pub mod types {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/rows.md"))]
pub mod rows {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/transactions.md"))]
pub mod transactions {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/errors.md"))]
pub mod errors {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/drivers.md"))]
pub mod drivers {}

#[cfg_attr(not(doctest), doc = include_str!("../docs/coming_from.md"))]
pub mod coming_from {}
