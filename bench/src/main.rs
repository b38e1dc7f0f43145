//! Measures pgspan beside others, on one machine and in one run. `cargo xtask bench` builds everything and starts this.
//!
//! * [`load`]: the clients, who check every answer
//! * [`stage`]: the database, and PgBouncer before it
//! * [`contestant`]: who is measured
//! * [`rounds`]: measuring them by turns
//! * [`edge`] and [`native`]: what is compared with what, and what must come out
//! * [`report`]: the table, the targets, JSON and a chart

mod answer;
mod contestant;
mod cpu;
mod crowd;
mod edge;
mod load;
mod native;
mod pgbench;
mod report;
mod round_trips;
mod rounds;
mod stage;
mod target;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

use crate::report::Report;

/// Measures pgspan beside others. `cargo xtask bench` is how to start it.
#[derive(Debug, Parser)]
struct Options {
    /// What is measured
    what: What,
    /// Shorter rounds, and only what the targets need
    #[arg(long)]
    quick: bool,
    /// Write all numbers to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure pgspan with this setting too, in a row of its own; may be repeated
    #[arg(long = "with", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Edge,
    Native,
}

impl Options {
    /// The row that `--with` asks for: its name, and these settings with those that were given.
    fn with<'s>(&'s self, settings: &[(&'s str, &'s str)]) -> Option<(String, Vec<(&'s str, &'s str)>)> {
        let extra = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let names: Vec<String> = extra.clone().map(|(name, value)| format!("{name}={value}")).collect();
        let name = format!("pgspan with {}", names.join(" "));
        (!names.is_empty()).then(|| (name, settings.iter().copied().chain(extra).collect()))
    }

    /// How long one measurement takes.
    fn pace(&self) -> Pace {
        let millis = Duration::from_millis;
        match self.quick {
            true => Pace { rounds: 3, warm_up: millis(300), measured: millis(1_200) },
            false => Pace { rounds: 5, warm_up: millis(1_000), measured: millis(5_000) },
        }
    }
}

/// How often and how long each is measured.
#[derive(Debug, Clone, Copy)]
struct Pace {
    rounds: usize,
    warm_up: Duration,
    measured: Duration,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("could not start the async runtime")?;
    runtime.block_on(async {
        let report: Report = match options.what {
            What::Edge => edge::run(options).await?,
            What::Native => native::run(options).await?,
        };
        report.print();
        report.write(options.json.as_deref())?;
        Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
