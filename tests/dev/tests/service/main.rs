//! What a project's own tests are given, tried on pgspan's own service.

mod databases;
mod hosts;
