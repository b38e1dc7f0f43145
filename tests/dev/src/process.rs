//! A child process that never outlives its owner.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// A child in a process group of its own, all of which is ended on drop, and also when its owner is killed.
///
/// What it and its children print goes straight to a log file, so that it never waits for a reader, and a message
/// about its end can quote the last lines. It gets no standard input.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    stop_signal: Signal,
    guard: Guard,
}

impl Process {
    /// Starts the command; `name` is what messages call it.
    ///
    /// # Errors
    /// When the log can't be written or the program can't be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        Self::start_stopped_by(Signal::TERM, name, command, log)
    }

    /// The same for a program that ends well on another signal than SIGTERM.
    pub(crate) fn start_stopped_by(
        stop_signal: Signal,
        name: &str,
        command: &mut Command,
        log: &Path,
    ) -> Result<Self> {
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
        }
        let output = OpenOptions::new().create(true).append(true).open(log);
        let output = output.with_context(|| format!("could not write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("could not start {name} ({program})"))?;
        match Guard::over(child.id(), stop_signal) {
            Ok(guard) => {
                Ok(Self { name: name.to_owned(), child, log: log.to_path_buf(), stop_signal, guard })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is its process group's too.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that holds what it printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines it printed, for a message.
    pub fn last_lines(&self) -> String {
        last_lines(&self.log, 20)
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("could not look after {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the system can't tell.
    ///
    /// # Cancel safety
    /// Nothing is lost; the process goes on until it is dropped.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(ended) = self.ended()? {
                return Ok(ended);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends it a signal, and not its children.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // Only while unreaped: afterwards the number may be someone else's.
        let running = self.ended()?.is_none();
        let pid = self.pid().filter(|_| running);
        let pid = pid.with_context(|| format!("{} has ended already", self.name))?;
        kill_process(pid, signal).with_context(|| format!("could not signal {}", self.name))
    }

    /// Ends it as on drop, and says how it ended.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.end();
        self.child.wait().with_context(|| format!("could not look after {}", self.name))
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Asks the group, waits, and kills what is left of it. The group may hold children after its leader has ended.
    fn end(&mut self) {
        let Some(group) = self.pid() else { return };
        end_group(group, self.stop_signal, GRACE, || {
            let _ = self.child.try_wait();
        });
        self.guard.dismiss();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        let _ = self.child.wait();
    }
}

/// Ends a process group when its owner dies without having done so, by whatever signal.
///
/// A shell that reads from a pipe whose other end only the owner holds: a line means that all is well, the end of the pipe
/// that the owner is gone. (Linux could send a signal on a parent's death, but on that of the *thread* that started it.)
#[derive(Debug)]
struct Guard(Child);

impl Guard {
    fn over(group: u32, signal: Signal) -> Result<Self> {
        const SCRIPT: &str = r#"read -r line && exit 0
            kill -"$1" -"$2" 2>/dev/null
            tries=0
            while kill -0 -"$2" 2>/dev/null && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
            kill -9 -"$2" 2>/dev/null"#;
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "guard"]).arg(signal.as_raw().to_string()).arg(group.to_string());
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        let shell = shell.process_group(0).spawn();
        shell.map(Self).context("could not start sh, which ends what this process leaves behind")
    }

    fn dismiss(&mut self) {
        if let Some(mut owner) = self.0.stdin.take() {
            let _ = owner.write_all(b"all is well\n");
        }
        let _ = self.0.wait();
    }
}

/// What a running process was started as, program and arguments; `None` when there is no such process.
pub fn command_line(pid: u32) -> Option<String> {
    if Path::new("/proc/self/cmdline").exists() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
        return Some(String::from_utf8_lossy(&line).replace('\0', " "));
    }
    let ps = Command::new("ps").args(["-o", "command=", "-p"]).arg(pid.to_string()).output().ok()?;
    ps.status.success().then(|| String::from_utf8_lossy(&ps.stdout).into_owned())
}

/// Ends a process group: `signal` first, SIGKILL when the grace is over. `reap` is called before each look.
pub(crate) fn end_group(group: Pid, signal: Signal, grace: Duration, mut reap: impl FnMut()) {
    for (signal, grace) in [(signal, grace), (Signal::KILL, GRACE)] {
        reap();
        if kill_process_group(group, signal).is_err() {
            return;
        }
        let end = Instant::now() + grace;
        while Instant::now() < end {
            reap();
            if !group_runs(group) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether any process of the group runs. One that has ended but was not reaped (in a container, often nobody reaps
/// orphans) still takes signals, so on Linux we look closer.
fn group_runs(group: Pid) -> bool {
    if test_kill_process_group(group).is_err() {
        return false;
    }
    let Ok(processes) = fs::read_dir("/proc") else { return true };
    let group = group.as_raw_nonzero().to_string();
    processes.flatten().filter_map(|process| fs::read_to_string(process.path().join("stat")).ok()).any(
        |stat| {
            // "pid (name) state ppid pgrp …", and the name may hold anything.
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
            fields.next().is_some_and(|state| state != "Z" && state != "X") && fields.nth(1) == Some(&group)
        },
    )
}

/// The last lines of a file, for a message.
pub fn last_lines(path: &Path, count: usize) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(16 * 1024)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;
    use std::time::Duration;

    use anyhow::Result;

    use super::{Process, command_line};
    use crate::target_dir;

    #[test]
    fn it_ends_with_its_children_when_its_owner_is_killed() -> Result<()> {
        let log = target_dir().join(format!("test-bed/orphans-{}.log", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 61 & echo $!; wait"]);
        let mut process = Process::start("a shell", &mut command, &log)?;
        while process.last_lines().is_empty() {
            thread::sleep(Duration::from_millis(10));
        }
        let child: u32 = process.last_lines().parse()?;
        assert!(command_line(child).is_some());
        // To the guard it looks like a killed owner: the pipe has no other end any more.
        drop(process.guard.0.stdin.take());
        for _ in 0..500 {
            if process.ended()?.is_some() && command_line(child).is_none() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("still running after 5 s: {:?} {:?}", process.ended()?, command_line(child))
    }
}
