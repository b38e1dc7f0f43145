//! What ARCHITECTURE.md says of the source, read from the source.

mod circles;
mod manifests;
