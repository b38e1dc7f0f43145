//! `cargo xtask`: the tasks of a project, and what a task of your own is made of.

mod child;
mod new;
mod progress;
mod setup;
mod test;
mod up;
mod worker;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

pub use child::without_ours;
pub use new::{Options as NewOptions, run as new};
pub use progress::{Progress, follow, fresh_log, say, write};
pub use setup::{cargo, node, npm_packages, npm_program};
pub use worker::{Options as WorkerOptions, run as build_worker};

/// The tasks of a project on pgspan.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = AFTER_HELP)]
struct Cli<T: Subcommand> {
    #[command(subcommand)]
    task: Task<T>,
}

const AFTER_HELP: &str = "\
The first run of a task installs what this machine lacks, in the versions that the lock files
name: npm packages, the Rust target wasm32-unknown-unknown, and two tools that it compiles. That
takes some ten minutes on two cores; after that a task takes seconds. You need Rust 1.91 and Node.js
20.3, or newer.

Logs: target/xtask, and target/up for what `up` starts.";

#[derive(Debug, Subcommand)]
enum Task<T: Subcommand> {
    /// Start PostgreSQL, the native host and the Worker on this machine, until Ctrl-C
    ///
    /// The database is an embedded PostgreSQL whose data stay between runs, one database for each host; with DATABASE_URL set it
    /// is that one instead, for both. The hosts' settings come from the environment and from Cargo.toml.
    Up(up::Options),
    /// Run every test, against a real PostgreSQL and the real Workers runtime, and count
    ///
    /// Builds both hosts first, and starts a PostgreSQL that ends with the tests.
    Test(test::Options),
    /// Build the Worker, as `wrangler dev` and `wrangler deploy` do by themselves
    Worker(worker::Options),
    /// Install what the other tasks need, and do nothing else
    Setup,
    #[command(flatten)]
    More(T),
}

/// `cargo xtask` with the tasks that every project has: the `main` of a project's package `xtask`.
pub fn main() -> ExitCode {
    main_with(async |task: NoMore, _: &Progress| match task {})
}

/// No further tasks.
#[derive(Debug, Subcommand)]
enum NoMore {}

/// The same with tasks of your own.
///
/// A task runs while no other of this clone builds. When it is dropped, on Ctrl-C, whatever it has started has to end: a
/// [`Process`](crate::Process) does.
pub fn main_with<T: Subcommand>(more: impl AsyncFnOnce(T, &Progress) -> Result<ExitCode>) -> ExitCode {
    let task = Cli::<T>::parse().task;
    // Being stopped is how `up` ends well; anything else is unfinished then (128 + SIGINT, as a shell says it).
    let when_stopped = if matches!(task, Task::Up(_)) { ExitCode::SUCCESS } else { ExitCode::from(130) };
    match run(task, more) {
        Ok(Some(code)) => code,
        Ok(None) => when_stopped,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("because {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Runs the task; `None` when a signal stopped it. Whatever it had started has ended when this returns.
fn run<T: Subcommand>(
    task: Task<T>,
    more: impl AsyncFnOnce(T, &Progress) -> Result<ExitCode>,
) -> Result<Option<ExitCode>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("could not start the async runtime")?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate, mut hangup) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        );
        let progress = Progress::new();
        let work = async {
            if let Task::Up(options) = task {
                return up::run(&progress, options).await; // lets others build once it runs
            }
            let _turn = child::turn().await?;
            match task {
                Task::Up(options) => up::run(&progress, options).await,
                Task::Test(options) => test::run(&progress, options).await,
                Task::Worker(options) => worker::run(&progress, &options).await.map(|()| ExitCode::SUCCESS),
                Task::Setup => setup::all(&progress).await.map(|()| ExitCode::SUCCESS),
                Task::More(task) => more(task, &progress).await,
            }
        };
        // The branch not taken is dropped here, and with it every process that it started.
        let stopped = tokio::select! {
            result = work => return result.map(Some),
            _ = interrupt.recv() => "Ctrl-C",
            _ = terminate.recv() => "SIGTERM",
            _ = hangup.recv() => "SIGHUP",
        };
        say(&format!("\nstopped by {stopped}; nothing is left running"));
        Ok(None)
    })
}
