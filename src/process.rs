//! This process in numbers, as the client libraries of Prometheus count them.

use std::fmt::Write;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::memory;

/// Lets the process have as many files and connections open as the system allows it.
pub(crate) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused, the old limit stays and is shown in the metrics.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Connections that may be open at once: `asked`, or fewer where the limit of open files is so low that less than a quarter of
/// it, and less than 100 files, would be left for scraping, the log and blocks.
pub(crate) fn fitting_connections(asked: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(connections_within(files)).unwrap_or(usize::MAX).min(asked)
}

fn connections_within(files: u64) -> u64 {
    files.saturating_sub((files / 4).max(100)).max(8)
}

/// Takes memory in pages of 4 KiB only. The allocator asks for pages of 2 MiB where the system gives them; with what is free
/// within them a series takes 100 bytes more (of 640, a million of them pushed), and the processor time they save with
/// large tables is lost again by clearing them.
pub(crate) fn use_small_pages() {
    // Where that is refused, memory is what is lost.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// What this machine calls itself.
pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Series that fit half of the memory that may be used, at 1 KiB each: about twice what a series with a few hours of
/// samples takes.
pub(crate) fn default_max_series() -> u64 {
    usable_memory() >> 11
}

/// Bytes of memory that this process may use.
pub(crate) fn usable_memory() -> u64 {
    memory::limit().bytes
}

/// Appends the metrics in the classic text format. What cannot be read is left out.
pub(crate) fn metrics(out: &mut String) {
    let limit = memory::limit();
    let rule = limit.set_by.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    writeln!(
        out,
        "# HELP silverback_memory_limit_bytes Memory that the process may use, from which default limits follow, and the \
         rule that sets it.\n# TYPE silverback_memory_limit_bytes gauge\n\
         silverback_memory_limit_bytes{{set_by=\"{rule}\"}} {}",
        limit.bytes
    )
    .expect("writing to a string");
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

/// Niceness of the threads of queries: half of the time of others that want to run, all of it while none do. It counts
/// beside other programs as well, so more would starve queries on a busy machine.
#[cfg(target_os = "linux")]
const NICE: i32 = 3;

/// Gives the calling thread a lower priority, so that scrapes, pushes and connections run before queries.
pub(crate) fn yield_to_others() {
    // Elsewhere than on Linux this would concern the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the priority of a thread cannot be lowered");
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
    fn connections_leave_files_for_the_rest() {
        for (files, connections) in [(20, 8), (256, 156), (1024, 768), (u64::MAX, u64::MAX - u64::MAX / 4)] {
            assert_eq!(connections_within(files), connections);
        }
    }

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
