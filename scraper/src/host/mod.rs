//! The host that this process runs on, read from `/proc` and `/sys`, under the names of node_exporter.
//!
//! It is written as a text exposition, so that it goes the way of any target: parser, cache, relabeling, store. What
//! cannot be read is left out; `node_scrape_collector_success` says so.

mod cpu;
mod disk;
mod filesystem;
mod memory;
mod network;
mod page;
mod system;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::options::TargetGroup;
use cpu::CpuCounters;
use filesystem::Mounts;
use page::{Kind, Page};

/// What the URL of the host's own target begins with.
pub(crate) const SCHEME: &str = "host:";

/// The host as a target.
pub(crate) fn target_group() -> TargetGroup {
    let labels = [("__scheme__", "host")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    TargetGroup { source: "host".to_owned(), targets: vec!["localhost".to_owned()], labels: labels.into() }
}

/// Where the system shows itself.
#[derive(Clone, Debug)]
struct Roots {
    proc: PathBuf,
    sys: PathBuf,
    etc: PathBuf,
}

impl Roots {
    fn proc(&self, path: &str) -> io::Result<String> {
        read(&self.proc.join(path))
    }

    fn sys(&self, path: &str) -> io::Result<String> {
        read(&self.sys.join(path))
    }
}

/// These files say what they say at the first read, and are small.
fn read(path: &Path) -> io::Result<String> {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads the host again and again.
#[derive(Debug)]
pub struct Collector {
    roots: Roots,
    cpu: CpuCounters,
    mounts: Mounts,
}

/// One subject of the page.
type Part = (&'static str, fn(&mut Collector, &mut Page, Duration) -> io::Result<()>);

/// The subjects, in the order of the page.
const PARTS: [Part; 17] = [
    ("conntrack", |c, page, _| network::conntrack(&c.roots, page)),
    ("cpu", |c, page, _| c.cpu.write(&c.roots, page)),
    ("diskstats", |c, page, _| disk::write(&c.roots, page)),
    ("entropy", |c, page, _| system::entropy(&c.roots, page)),
    ("filefd", |c, page, _| system::filefd(&c.roots, page)),
    ("filesystem", |c, page, patience| c.mounts.write(&c.roots, page, patience)),
    ("loadavg", |c, page, _| system::loadavg(&c.roots, page)),
    ("meminfo", |c, page, _| memory::meminfo(&c.roots, page)),
    ("netclass", |c, page, _| network::netclass(&c.roots, page)),
    ("netdev", |c, page, _| network::netdev(&c.roots, page)),
    ("netstat", |c, page, _| network::netstat(&c.roots, page)),
    ("os", |c, page, _| system::os(&c.roots, page)),
    ("pressure", |c, page, _| system::pressure(&c.roots, page)),
    ("sockstat", |c, page, _| network::sockstat(&c.roots, page)),
    ("stat", |c, page, _| system::stat(&c.roots, page)),
    ("uname", |_, page, _| system::uname(page)),
    ("vmstat", |c, page, _| memory::vmstat(&c.roots, page)),
];

impl Default for Collector {
    fn default() -> Self {
        Self::new(Roots { proc: "/proc".into(), sys: "/sys".into(), etc: "/etc".into() })
    }
}

impl Collector {
    fn new(roots: Roots) -> Self {
        Self { roots, cpu: CpuCounters::default(), mounts: Mounts::default() }
    }

    /// Writes the state of the host to `out`, which is cleared first. `now_seconds` is the time of day, in seconds
    /// since the Unix epoch.
    ///
    /// Waits for a file system that does not answer no longer than `patience`, and then never again until it does.
    #[expect(clippy::disallowed_methods, reason = "the page says how long each part took")]
    pub fn collect(&mut self, now_seconds: f64, patience: Duration, out: &mut Vec<u8>) {
        let mut page = Page::reusing(std::mem::take(out));
        let mut results = Vec::with_capacity(PARTS.len());
        for (name, part) in PARTS {
            let started = Instant::now();
            let result = part(self, &mut page, patience);
            if let Err(error) = &result {
                tracing::debug!(collector = name, %error, "part of the host not read");
            }
            results.push((name, started.elapsed().as_secs_f64(), result.is_ok()));
        }
        page.one("node_time_seconds", "System time in seconds since epoch (1970).", Kind::Gauge, now_seconds);
        let name = "node_scrape_collector_duration_seconds";
        page.head(name, "node_exporter: Duration of a collector scrape.", Kind::Gauge);
        for (part, took, _) in &results {
            page.line(name, &[("collector", part)], *took);
        }
        let name = "node_scrape_collector_success";
        page.head(name, "node_exporter: Whether a collector succeeded.", Kind::Gauge);
        for (part, _, good) in &results {
            page.line(name, &[("collector", part)], f64::from(u8::from(*good)));
        }
        *out = page.into_bytes();
    }
}

/// The error for a file that does not look as it should.
fn odd(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected contents of {file}"))
}

#[cfg(test)]
mod tests;
