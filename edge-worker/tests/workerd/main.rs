//! The built Worker, and somebody else's, in Cloudflare's runtime (`cargo xtask worker --tests` builds them), before a network that
//! fails: how they connect, and what becomes of their connections.
#![cfg(not(target_arch = "wasm32"))]

mod budget;
mod connecting;
mod dead;
mod listening;
mod long_lived;
mod moments;
mod support;
mod url;
