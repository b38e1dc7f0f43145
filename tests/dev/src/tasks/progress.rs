//! What the user sees while something takes its time.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::{Process, last_lines, target_dir};
use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

/// One line for every step: when it began, and how long it took.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Runs a step under its line.
    ///
    /// # Errors
    /// The step's.
    pub async fn step<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = Instant::now();
        write(&format!("[{:>3} s] {what} … ", self.start.elapsed().as_secs()));
        let result = work.await;
        tell_end(begun, result.is_ok());
        result
    }

    /// Runs a program as a step; what it prints goes to a log, and its end into the message when it fails.
    ///
    /// # Errors
    /// When it can't be started, or fails.
    pub async fn run(&self, what: &str, command: &mut Command) -> Result<()> {
        let log = log_of(what);
        let ended = self.end_of(what, command, &log).await?;
        let (name, lines) = (log.display(), last_lines(&log, 40));
        ensure!(ended.success(), "{what} failed ({ended}); all it said is in {name}\n{lines}");
        Ok(())
    }

    /// The same for a program that brings something from the network: its end says less than one sentence does.
    pub(crate) async fn fetch(&self, what: &str, command: &mut Command, advice: &str) -> Result<()> {
        let log = log_of(what);
        let ended = self.end_of(what, command, &log).await;
        let is_well = ended.as_ref().is_ok_and(ExitStatus::success);
        ensure!(is_well, "{what} failed: {advice} All that was said is in {}", log.display());
        Ok(())
    }

    async fn end_of(&self, what: &str, command: &mut Command, log: &Path) -> Result<ExitStatus> {
        let begun = Instant::now();
        write(&format!("[{:>3} s] {what} … ", self.start.elapsed().as_secs()));
        let ended = async { Process::start(what, command, log)?.wait().await }.await;
        tell_end(begun, ended.as_ref().is_ok_and(ExitStatus::success));
        ended
    }
}

/// Hands on what a process prints, as it comes, until its end.
///
/// # Errors
/// When its log can't be read.
pub async fn follow(process: &mut Process, mut heard: impl FnMut(&str)) -> Result<ExitStatus> {
    let name = process.name().to_owned();
    let mut output =
        File::open(process.log()).with_context(|| format!("could not read what {name} prints"))?;
    loop {
        let ended = process.ended()?; // before the look, so that nothing printed in between is missed
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes)?;
        if !bytes.is_empty() {
            heard(&String::from_utf8_lossy(&bytes));
        }
        if let Some(ended) = ended {
            return Ok(ended);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Prints a line. Nobody listening any more is no reason to fail.
pub fn say(line: &str) {
    write(&format!("{line}\n"));
}

/// Prints without a line's end.
pub fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The path of a log file under `target/xtask`, emptied.
pub fn fresh_log(name: &str) -> PathBuf {
    let path = target_dir().join("xtask").join(format!("{name}.log"));
    let _ = std::fs::remove_file(&path);
    path
}

fn tell_end(begun: Instant, is_well: bool) {
    let outcome = if is_well { "done in" } else { "failed after" };
    say(&format!("{outcome} {}", seconds(begun.elapsed())));
}

/// The log of a step.
fn log_of(what: &str) -> PathBuf {
    let name = what.split(' ').filter(|word| word.is_ascii()).collect::<Vec<_>>().join("-");
    fresh_log(&name.replace(['/', '(', ')', ','], ""))
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}
