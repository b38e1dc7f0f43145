//! `cargo xtask test`: every test, and one closing line that counts.

use std::fs;
use std::process::ExitCode;

use crate::{Cluster, Native, Process, root, target_dir};
use anyhow::Result;
use clap::Args;

use super::progress::{Progress, follow, fresh_log, say, write};
use super::setup::{self, cargo};
use super::worker::Worker;
use crate::project::Project;
use crate::{server, skipped};

/// `cargo xtask test`'s arguments.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Passed on to `cargo test`: a filter, `-p PACKAGE`, `--test NAME`, …
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Runs them all; success only if some ran and none failed.
pub(super) async fn run(progress: &Progress, options: Options) -> Result<ExitCode> {
    setup::node()?;
    setup::npm_packages(progress, &root()).await?;
    let native = Project::here().native()?;
    progress.run("building the native host", cargo().args(["build", "--package", native])).await?;
    for worker in Worker::all()? {
        worker.build(progress).await?;
    }
    let start = Cluster::throwaway(&[("max_connections", "200")]);
    let cluster = progress.step("starting an embedded PostgreSQL", start).await?;

    let skipped = target_dir().join("xtask/skipped");
    let _ = fs::remove_file(&skipped);
    let _ = fs::remove_dir_all(target_dir().join("test-bed")); // the hosts' logs of the last run
    let mut command = cargo();
    command.args(["test", "--no-fail-fast"]);
    if !options.rest.iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package")) {
        command.arg("--workspace");
    }
    command.args(&options.rest).env(skipped::VARIABLE, &skipped).env("PGSPAN_SERVER", Native::program());
    command.env(server::VARIABLE, cluster.url("postgres")).env_remove("DATABASE_URL");
    say("running the tests");
    let log = fresh_log("cargo-test");
    let mut tests = Process::start("cargo test", &mut command, &log)?;
    let mut count = Count::default();
    let ended = follow(&mut tests, |text| {
        write(text);
        count.read(text);
    })
    .await?;
    drop(cluster);

    let skips = fs::read_to_string(&skipped).unwrap_or_default().lines().count();
    count.skipped_by_hand(skips);
    if !ended.success() && count.failed == 0 {
        say("cargo test failed before it could count: the lines above say why");
        count.failed = count.culprits.len().max(1);
    }
    for culprit in &count.culprits {
        say(&format!("failed: cargo test {culprit}"));
    }
    let Count { passed, failed, skipped, .. } = count;
    if passed + failed == 0 {
        say("no test ran");
    }
    say(&format!("{passed} passed, {failed} failed, {skipped} skipped"));
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the lines of `cargo test` add up to.
#[derive(Debug, Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// The targets that failed, as arguments to `cargo test`.
    culprits: Vec<String>,
    /// A line whose end has not been read yet.
    begun: String,
}

impl Count {
    fn read(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            self.begun.push_str(piece);
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut self.begun);
                self.line(line.trim());
            }
        }
    }

    fn line(&mut self, line: &str) {
        if let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) {
            for part in counts.split("; ") {
                let (number, what) = part.split_once(' ').unwrap_or_default();
                let number = number.parse().unwrap_or(0);
                match what {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    "ignored" => self.skipped += number,
                    _ => {}
                }
            }
        } else if let Some((_, target)) =
            line.strip_prefix("error: ").and_then(|rest| rest.split_once("to rerun pass `"))
        {
            self.culprits.push(target.trim_end_matches('`').to_owned());
        }
    }

    /// Tests that said themselves that they can't run here, and passed.
    fn skipped_by_hand(&mut self, count: usize) {
        self.passed = self.passed.saturating_sub(count);
        self.skipped += count;
    }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn the_result_lines_add_up_however_they_are_cut() {
        let text = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\n\
            error: test failed, to rerun pass `-p tests --test hosts`\n";
        let mut count = Count::default();
        for character in text.chars() {
            count.read(&character.to_string());
        }
        count.skipped_by_hand(4);
        assert_eq!((count.passed, count.failed, count.skipped), (11, 2, 5));
        assert_eq!(count.culprits, ["-p tests --test hosts"]);
    }
}
