//! `cargo xtask up`, `test`, `bench` and `worker`: the project's automation, which holds no logic of the product.

mod bench;
mod child;
mod progress;
mod setup;
mod test;
mod up;
mod worker;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::progress::Progress;

/// pgspan's automation.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Start both hosts on a PostgreSQL, from nothing but Rust and Node.js
    Up(up::Options),
    /// Set up the same, run every test, and count
    Test(test::Options),
    /// Measure pgspan beside others on this machine; docs/performance.md says how and why
    Bench(bench::Options),
    /// Build the Worker into edge-worker/build, as `wrangler dev` and `wrangler deploy` do by themselves
    Worker(worker::Options),
}

fn main() -> ExitCode {
    let task = Cli::parse().task;
    // Being stopped is how `up` ends well; anything else is unfinished then (128 + SIGINT, as a shell says it).
    let when_stopped = if matches!(task, Task::Up(_)) { ExitCode::SUCCESS } else { ExitCode::from(130) };
    match run(task) {
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
fn run(task: Task) -> Result<Option<ExitCode>> {
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
            match task {
                Task::Up(options) => up::run(&progress, options).await,
                Task::Test(options) => {
                    let _turn = child::turn().await?;
                    test::run(&progress, options).await
                }
                Task::Bench(options) => {
                    let _turn = child::turn().await?;
                    bench::run(&progress, options).await
                }
                Task::Worker(options) => {
                    let _turn = child::turn().await?;
                    worker::run(&progress, &options).await.map(|()| ExitCode::SUCCESS)
                }
            }
        };
        // The branch not taken is dropped here, and with it every process that it started.
        let stopped = tokio::select! {
            result = work => return result.map(Some),
            _ = interrupt.recv() => "Ctrl-C",
            _ = terminate.recv() => "SIGTERM",
            _ = hangup.recv() => "SIGHUP",
        };
        progress::say(&format!("\nstopped by {stopped}; nothing is left running"));
        Ok(None)
    })
}
