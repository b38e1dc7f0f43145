//! What both hosts promise over HTTP, run against each as the program it is.

mod answers;
mod both;
mod bytes;
mod edge_alone;
mod entries;
mod kept;
mod native_alone;
mod panics;
mod restart;
mod seed;
mod support;
