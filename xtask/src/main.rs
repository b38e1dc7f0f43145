//! `cargo xtask`: the tasks that every project on pgspan has, and this repository's own.

mod bench;

use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Measure pgspan beside others on this machine; docs/performance.md says how and why
    Bench(bench::Options),
    /// Make a project of your own: a service on both hosts, with its tests
    New(pgspan_dev::tasks::NewOptions),
}

fn main() -> ExitCode {
    pgspan_dev::main_with(async |task, progress| match task {
        Task::Bench(options) => bench::run(progress, options).await,
        Task::New(options) => pgspan_dev::tasks::new(&options),
    })
}
