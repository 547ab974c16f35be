//! What a series costs in memory: fills a store with series as hosts have them, step by step, and prints after each the
//! bytes per series that the process has taken.
//!
//! Run: `cargo run --release --example head_memory -- [SERIES]`; 1,000,000 if not given.

use std::sync::Arc;

use tsdb::{Db, DiskFs, Fs, Labels, Options, SeriesRef, SyncPolicy, Timestamp};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Series of one host.
const PER_HOST: usize = 1000;
/// Time between samples.
const STEP_MS: i64 = 15_000;

/// Series `i` of a host: five labels on most, three on some.
fn labels(host: usize, i: usize) -> Labels {
    let (name, instance) = (format!("node_metric_{}_total", i / 8), format!("host-{host:04}.example.org:9100"));
    let (device, mode) = ((i % 8).to_string(), ["idle", "system", "user", "iowait"][i % 4]);
    let pairs = [("__name__", &*name), ("instance", &instance), ("job", "node"), ("device", &device), ("mode", mode)];
    Labels::from_pairs(pairs.into_iter().take(3 + i / 8 % 3))
}

/// One in two never changes, the others are counters and gauges.
fn value(step: i64, i: usize) -> f64 {
    let noise = (step as u64 + 1).wrapping_mul(i as u64 + 7).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
    match i % 4 {
        0 => (step as u64 * 900_000 + noise) as f64,
        1 => noise as f64 / 100.0,
        _ => i as f64,
    }
}

/// Bytes of the process that no file backs.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let series: usize = std::env::args().nth(1).map_or(Ok(1_000_000), |n| n.parse())?;
    let hosts = series.div_ceil(PER_HOST);
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    let dir = std::env::temp_dir().join(format!("head-memory-{}", std::process::id()));
    let db = Db::open(&fs, &dir, &Options { sync: SyncPolicy::Never, ..Options::default() }, |_, _| {})?;
    let mut refs: Vec<SeriesRef> = Vec::with_capacity(hosts * PER_HOST);
    refs.resize(hosts * PER_HOST, SeriesRef(0));
    let begun = anonymous();
    let mut before = begun;
    let mut tell = |what: &str| {
        let now = anonymous();
        let each = |bytes: u64| bytes as f64 / (hosts * PER_HOST) as f64;
        println!("{what:28} {:7.1} more, {:7.1} in all", each(now.saturating_sub(before)), each(now - begun));
        before = now;
    };
    for host in 0..hosts {
        let appender = db.appender();
        for i in 0..PER_HOST {
            refs[host * PER_HOST + i] = appender.series(&labels(host, i))?;
        }
    }
    tell("series, no sample");
    for step in 0..120 {
        for host in 0..hosts {
            let mut appender = db.appender();
            for i in 0..PER_HOST {
                let at = Timestamp::from_millis(1_790_000_000_000 + step * STEP_MS);
                appender.append_at(refs[host * PER_HOST + i], at, None, value(step, i));
            }
            appender.commit()?;
        }
        if [1, 2, 5, 10, 20, 60, 120].contains(&(step + 1)) {
            tell(&format!("{} samples", step + 1));
        }
    }
    let stats = db.head_stats();
    println!(
        "chunks {:.1}, index {:.1} by their own count",
        stats.chunk_bytes as f64 / stats.series as f64,
        stats.index_bytes as f64 / stats.series as f64,
    );
    db.close()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
