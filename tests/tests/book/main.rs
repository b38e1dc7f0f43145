//! The examples of the book (`core/docs`), each against a database of its own. `tests/build.rs` reads them.

#![allow(unused, clippy::all, clippy::pedantic, reason = "an example is written for its reader")]

include!(concat!(env!("OUT_DIR"), "/book.rs"));
