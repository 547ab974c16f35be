//! What scraping costs: scrapes `targets` targets at `http://ADDRESS/t/<n>/metrics` every second and prints processor
//! time and memory, every ten seconds.
//!
//! `cargo run --release -p scraper --example scrape_load -- ADDRESS TARGETS SECONDS [DATA_DIRECTORY]`
//!
//! Without a directory the samples are counted and thrown away: what is left is the scraper's own cost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use scraper::store::{Batch, Exemplar, Store};
use scraper::{Action, Clock, Discovery, Relabel, ScrapeConfig, ScrapeManager, TargetGroup};
use tsdb::{AppendError, Committed, Db, DiskFs, Fs, HistogramValue, Labels, Metadata, SeriesRef, Timestamp};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Counts samples.
#[derive(Clone, Default)]
struct Counter(Arc<Counts>);

#[derive(Default)]
struct Counts {
    series: AtomicU64,
    samples: AtomicU64,
}

struct CounterBatch<'c>(&'c Counts, u64);

impl Store for Counter {
    type Column = ();
    type Batch<'s> = CounterBatch<'s>;

    fn column(&self) {}

    fn batch<'s>(&'s self, (): &'s (), _: Timestamp) -> CounterBatch<'s> {
        CounterBatch(&self.0, 0)
    }
}

impl Batch for CounterBatch<'_> {
    fn series(&mut self, _: &Labels) -> Result<SeriesRef, AppendError> {
        Ok(SeriesRef(self.0.series.fetch_add(1, Relaxed)))
    }

    fn append(&mut self, _: SeriesRef, _: f64) {
        self.1 += 1;
    }

    fn append_at(&mut self, _: SeriesRef, _: Timestamp, _: f64) {
        self.1 += 1;
    }

    fn append_started(&mut self, _: SeriesRef, _: Option<Timestamp>, _: Option<Timestamp>, _: f64) {
        self.1 += 1;
    }

    fn histogram(
        &mut self,
        _: SeriesRef,
        _: Option<Timestamp>,
        _: Option<Timestamp>,
        _: HistogramValue,
    ) -> Result<(), AppendError> {
        self.1 += 1;
        Ok(())
    }

    fn exemplar(&mut self, _: SeriesRef, _: &Exemplar<'_>) {}

    fn metadata(&mut self, _: &str, _: &Metadata) {}

    fn commit(self) -> Result<Committed, tsdb::Error> {
        self.0.samples.fetch_add(self.1, Relaxed);
        Ok(Committed::default())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, targets, seconds, directory @ ..] = &arguments[..] else {
        eprintln!("scrape_load ADDRESS TARGETS SECONDS [DATA_DIRECTORY]");
        return;
    };
    let targets: u64 = targets.parse().expect("TARGETS is a number");
    let seconds: u64 = seconds.parse().expect("SECONDS is a number");
    match directory {
        [] => {
            let store = Counter::default();
            let counts = Arc::clone(&store.0);
            run(store, address, targets, seconds, move || counts.samples.load(Relaxed)).await;
        }
        [directory, ..] => {
            let fs: Arc<dyn Fs> = Arc::new(DiskFs);
            let db = Db::open(&fs, Path::new(directory), &tsdb::Options::default(), |_, _| {}).expect("it opens");
            let db = Arc::new(db);
            let counted = Arc::clone(&db);
            run(db, address, targets, seconds, move || counted.head_stats().commits.appended).await;
        }
    }
}

async fn run<S: Store>(store: S, address: &str, targets: u64, seconds: u64, samples: impl Fn() -> u64) {
    let group = |n: u64| TargetGroup {
        source: n.to_string(),
        targets: vec![address.to_owned()],
        labels: [("__metrics_path__", format!("/t/{n}/metrics")), ("target", n.to_string())]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
    };
    let config = ScrapeConfig {
        job_name: "load".to_owned(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        relabel: vec![Relabel {
            action: Action::Replace,
            source_labels: vec!["target".to_owned()],
            regex: model::Regex::pasted("(.*)").expect("the expression is constant"),
            target_label: "instance".to_owned(),
            replacement: "t$1".to_owned(),
            ..Relabel::default()
        }],
        discovery: vec![Discovery::Static((0..targets).map(group).collect())],
        ..ScrapeConfig::default()
    };
    let manager = ScrapeManager::new(store, Clock::system(), 0);
    manager.apply(vec![config]).await.expect("the configuration is good");
    println!("second  samples/s  cpu-s/Msample  cores  rss-MiB  up");
    let (mut last_samples, mut last_cpu) = (0, cpu_seconds());
    for second in (10..=seconds).step_by(10) {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let (now_samples, now_cpu) = (samples(), cpu_seconds());
        let (new, cpu) = ((now_samples - last_samples) as f64, now_cpu - last_cpu);
        let active = manager.targets().active;
        let up = active.iter().filter(|target| target.last.error.is_empty() && target.last.at.is_some()).count();
        println!(
            "{second:>6}  {:>9.0}  {:>13.3}  {:>5.2}  {:>7.0}  {up}",
            new / 10.0,
            cpu / (new / 1e6),
            cpu / 10.0,
            resident_mib()
        );
        (last_samples, last_cpu) = (now_samples, now_cpu);
    }
    manager.stop().await;
}

/// Processor time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Vec<f64> = after_name.split_ascii_whitespace().skip(11).take(2).filter_map(|t| t.parse().ok()).collect();
    ticks.iter().sum::<f64>() / 100.0
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_ascii_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}
