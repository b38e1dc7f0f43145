//! What the user sees while something takes its time.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::{Process, last_lines, target_dir};

/// One line for every step: when it began, and how long it took.
#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Runs a step under its line.
    pub(crate) async fn step<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = Instant::now();
        write(&format!("[{:>3} s] {what} … ", self.start.elapsed().as_secs()));
        let result = work.await;
        let outcome = if result.is_ok() { "done in" } else { "failed after" };
        say(&format!("{outcome} {}", seconds(begun.elapsed())));
        result
    }

    /// Runs a program as a step; what it prints goes to a log, and its end into the message when it fails.
    pub(crate) async fn run(&self, what: &str, command: &mut Command) -> Result<()> {
        self.step(what, async {
            let name = what.split(' ').filter(|word| word.is_ascii()).collect::<Vec<_>>().join("-");
            let log = fresh_log(&name.replace(['/', '(', ')', ','], ""));
            let mut process = Process::start(what, command, &log)?;
            let ended = process.wait().await?;
            let log_name = log.display();
            ensure!(
                ended.success(),
                "{what} failed ({ended}); all it said is in {log_name}\n{}",
                last_lines(&log, 40)
            );
            Ok(())
        })
        .await
    }
}

/// Prints a line. Nobody listening any more is no reason to fail.
pub(crate) fn say(line: &str) {
    write(&format!("{line}\n"));
}

/// Prints without a line's end.
pub(crate) fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The path of a log file under `target/xtask`, emptied.
pub(crate) fn fresh_log(name: &str) -> PathBuf {
    let path = target_dir().join("xtask").join(format!("{name}.log"));
    let _ = std::fs::remove_file(&path);
    path
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}
