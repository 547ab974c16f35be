//! This process in numbers, as the client libraries of Prometheus count them.

use std::fmt::Write;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Lets the process have as many files and connections open as the system allows it.
pub(crate) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, the old limit stays and is shown in the metrics.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// What this machine calls itself.
pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Series that fit half of the memory there is, at 1 KiB each: about twice what a series with a few hours of samples
/// takes. No limit where the memory is not known.
pub(crate) fn default_max_series() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<u64>().ok()).map(|bytes| bytes >> 10);
    machine.into_iter().chain(group).min().map_or(0, |kib| kib / 2)
}

/// Appends the metrics in the classic text format. What cannot be read is left out.
pub(crate) fn metrics(out: &mut String) {
    let Some(numbers) = read() else { return };
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n").expect("writing to a string");
    };
    put("process_cpu_seconds_total", "counter", "Processor time used, of all threads.", numbers.cpu.as_secs_f64());
    put("process_resident_memory_bytes", "gauge", "Memory in use.", numbers.resident_bytes as f64);
    put("process_virtual_memory_bytes", "gauge", "Address space in use.", numbers.virtual_bytes as f64);
    put("process_start_time_seconds", "gauge", "When the process began.", numbers.started);
    put("process_threads", "gauge", "Threads.", numbers.threads as f64);
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        put("process_open_fds", "gauge", "Files and connections open.", open.count() as f64);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        put("process_max_fds", "gauge", "Files and connections that may be open.", most as f64);
    }
}

struct Numbers {
    cpu: Duration,
    resident_bytes: u64,
    virtual_bytes: u64,
    /// Seconds since the Unix epoch.
    started: f64,
    threads: u64,
}

/// From `/proc/self/stat`; proc(5) numbers the fields.
fn read() -> Option<Numbers> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // The first field after the name is number 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let booted = std::fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 = booted.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Numbers {
        cpu: Duration::from_secs_f64((field(14)? + field(15)?) as f64 / ticks),
        threads: field(20)?,
        started: booted + field(22)? as f64 / ticks,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * rustix::param::page_size() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_sensible_numbers() {
        let numbers = read().unwrap();
        assert!(numbers.resident_bytes > 100_000 && numbers.virtual_bytes >= numbers.resident_bytes);
        assert!(numbers.threads >= 1 && numbers.started > 1.6e9);
        let mut text = String::new();
        metrics(&mut text);
        assert!(text.contains("\nprocess_open_fds ") && text.contains("# TYPE process_cpu_seconds_total counter\n"));
    }
}
