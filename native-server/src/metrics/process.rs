//! The process, by the names that Prometheus's own clients give (Prometheus documentation, "Writing client libraries").

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Read when it is asked for; nothing where there is no `/proc`.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(Found { cpu_seconds, start_seconds, virtual_bytes, resident_bytes, threads }) =
            Found::read()
        else {
            return Ok(());
        };
        let cpu = ConstCounter::new(cpu_seconds);
        let help = "User and system time spent";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let max_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        for (name, help, value) in [
            ("process_open_fds", "Files and connections that are open", number(files)),
            ("process_max_fds", "Files and connections that may be open", max_files),
            ("process_virtual_memory_bytes", "Virtual memory", virtual_bytes),
            ("process_resident_memory_bytes", "Resident memory", resident_bytes),
            ("process_start_time_seconds", "When the process began, since the epoch", start_seconds),
            ("process_threads", "Threads", threads),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

struct Found {
    cpu_seconds: f64,
    start_seconds: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
    threads: u64,
}

impl Found {
    /// From proc(5), `/proc/pid/stat`.
    fn read() -> Option<Found> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let (_, rest) = stat.rsplit_once(')')?; // the name may hold anything
        let fields: Vec<u64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        let field = |number: usize| fields.get(number - 3).copied(); // `rest` begins with the third
        let ticks = clock_ticks_per_second();
        let boot = std::fs::read_to_string("/proc/stat").ok()?;
        let boot: u64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(Found {
            cpu_seconds: (field(14)? + field(15)?) as f64 / ticks as f64,
            start_seconds: boot + field(22)? / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * u64::try_from(page_size()).unwrap_or_default(),
            threads: field(20)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_is_read() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let found = Found::read().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!((now - 3600..=now + 2).contains(&found.start_seconds), "{}", found.start_seconds);
        assert!(found.resident_bytes > 1_000_000 && found.virtual_bytes > found.resident_bytes);
        assert!(found.cpu_seconds < 3600.0 && found.threads > 0);
    }
}
