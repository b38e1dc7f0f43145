//! What ARCHITECTURE.md says of the source, read from the source.

mod builds;
mod circles;
mod codes;
mod manifests;
mod security;
