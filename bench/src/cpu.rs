//! What processes compute and hold, from Linux's `/proc`. Elsewhere nothing is known.

use std::collections::HashMap;
use std::fs;

use crate::load::to_f64;

/// Seconds that a process and everything it started have computed so far, children that have ended included.
pub(crate) fn tree(root: u32) -> Option<f64> {
    let mut processes = HashMap::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some(process) = Stat::read(&stat) {
            processes.insert(pid, process);
        }
    }
    processes.get(&root)?;
    let descends = |mut pid: u32| {
        while pid > 1 {
            if pid == root {
                return true;
            }
            pid = processes.get(&pid).map_or(0, |process| process.parent);
        }
        false
    };
    let ticks = processes.iter().filter(|(pid, _)| descends(**pid));
    let ticks = ticks.map(|(_, process)| process.ticks + process.children).sum();
    Some(seconds(ticks))
}

/// Seconds that this thread has computed so far.
pub(crate) fn own_thread() -> Option<f64> {
    let stat = fs::read_to_string("/proc/thread-self/stat").ok()?;
    Some(seconds(Stat::read(&stat)?.ticks))
}

/// The most memory a process has held so far, in MiB.
pub(crate) fn peak_memory(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()? / 1024.0)
}

fn seconds(ticks: u64) -> f64 {
    to_f64(ticks) / to_f64(rustix::param::clock_ticks_per_second())
}

struct Stat {
    parent: u32,
    ticks: u64,
    /// Of children that have ended.
    children: u64,
}

impl Stat {
    /// "pid (name) state ppid …": the name may hold anything; fields 14 to 17 are the times.
    fn read(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit(')').next()?.split_ascii_whitespace().collect();
        let parent = fields.get(1)?.parse().ok()?;
        let sum = |range: std::ops::Range<usize>| -> Option<u64> {
            fields.get(range)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum()
        };
        Some(Self { parent, ticks: sum(11..13)?, children: sum(13..15)? })
    }
}

#[cfg(test)]
mod tests {
    use super::Stat;

    #[test]
    fn the_times_of_a_process_are_added_up_whatever_its_name() {
        let stat = Stat::read("7 (a) b) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5").unwrap();
        assert_eq!((stat.parent, stat.ticks, stat.children), (3, 30, 70));
    }
}
