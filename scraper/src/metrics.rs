//! What the scraper counts about itself, under the names that Prometheus uses.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tsdb::Committed;

use crate::cache::Counts;
use crate::target::{ActiveTarget, OverBudget};
use model::format_duration;

/// Observations from which quantiles are taken: the latest.
const RECENT: usize = 512;

const QUANTILES: [f64; 5] = [0.01, 0.05, 0.5, 0.9, 0.99];

/// All counts. Shared by reference; nothing here waits for long.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) pools: AtomicU64,
    pub(crate) pools_failed: AtomicU64,
    pub(crate) pool_reloads: AtomicU64,
    pub(crate) pool_reloads_failed: AtomicU64,
    pub(crate) exceeded_target_limit: AtomicU64,
    pub(crate) exceeded_body_size_limit: AtomicU64,
    pub(crate) exceeded_sample_limit: AtomicU64,
    pub(crate) exceeded_label_limits: AtomicU64,
    pub(crate) exceeded_bucket_limit: AtomicU64,
    duplicate: AtomicU64,
    out_of_order: AtomicU64,
    out_of_bounds: AtomicU64,
    exemplars: AtomicU64,
    pub(crate) file_read_errors: AtomicU64,
    pub(crate) http_failures: AtomicU64,
    pub(crate) discovery_updates: AtomicU64,
    tables: Mutex<Tables>,
}

/// What is kept per label value.
#[derive(Debug, Default)]
struct Tables {
    /// By interval.
    interval_length: BTreeMap<String, Summary>,
    jobs: BTreeMap<String, Job>,
    file_scan: Summary,
    /// Seconds since the Unix epoch by file.
    file_mtime: BTreeMap<String, f64>,
}

#[derive(Debug, Default)]
struct Job {
    sync_length: Summary,
    syncs: u64,
    sync_failed: u64,
    targets: u64,
    target_limit: u64,
    discovered: u64,
}

/// Sum and count of all observations, quantiles of the latest.
#[derive(Debug, Default)]
struct Summary {
    recent: VecDeque<f64>,
    sum: f64,
    count: u64,
}

/// A family without labels: name, help, where it is counted.
type Plain = (&'static str, &'static str, fn(&Metrics) -> &AtomicU64);

/// A family per job: name, type, help, where it is counted.
type PerJob = (&'static str, &'static str, &'static str, fn(&Job) -> u64);

const PLAIN: [Plain; 16] = [
    ("prometheus_target_scrape_pools_total", "Scrape pools that were to be made.", |m| &m.pools),
    ("prometheus_target_scrape_pools_failed_total", "Scrape pools that could not be made.", |m| &m.pools_failed),
    ("prometheus_target_scrape_pool_reloads_total", "Scrape pool reloads.", |m| &m.pool_reloads),
    ("prometheus_target_scrape_pool_reloads_failed_total", "Failed scrape pool reloads.", |m| &m.pool_reloads_failed),
    (
        "prometheus_target_scrape_pool_exceeded_target_limit_total",
        "Times that a scrape pool had more targets than its limit.",
        |m| &m.exceeded_target_limit,
    ),
    (
        "prometheus_target_scrapes_exceeded_body_size_limit_total",
        "Scrapes that failed for the size of the body.",
        |m| &m.exceeded_body_size_limit,
    ),
    ("prometheus_target_scrapes_exceeded_sample_limit_total", "Scrapes that failed for the number of samples.", |m| {
        &m.exceeded_sample_limit
    }),
    (
        "prometheus_target_scrape_pool_exceeded_label_limits_total",
        "Scrapes that failed for the number or the length of labels.",
        |m| &m.exceeded_label_limits,
    ),
    (
        "prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total",
        "Scrapes that failed for the number of buckets of a native histogram.",
        |m| &m.exceeded_bucket_limit,
    ),
    (
        "prometheus_target_scrapes_sample_duplicate_timestamp_total",
        "Samples left out: another value at the same moment.",
        |m| &m.duplicate,
    ),
    (
        "prometheus_target_scrapes_sample_out_of_order_total",
        "Samples left out: older than the last of their series.",
        |m| &m.out_of_order,
    ),
    ("prometheus_target_scrapes_sample_out_of_bounds_total", "Samples left out: too old or too far ahead.", |m| {
        &m.out_of_bounds
    }),
    ("silverback_scrape_exemplars_total", "Exemplars that targets have exposed, old and new.", |m| &m.exemplars),
    ("prometheus_sd_file_read_errors_total", "Discovery files that could not be read.", |m| &m.file_read_errors),
    ("prometheus_sd_http_failures_total", "Discovery requests that failed.", |m| &m.http_failures),
    ("prometheus_sd_received_updates_total", "Updates received from discovery.", |m| &m.discovery_updates),
];

impl Metrics {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_samples(&self, counts: &Counts, committed: &Committed) {
        self.duplicate.fetch_add((counts.duplicates + committed.duplicate) as u64, Relaxed);
        self.out_of_order.fetch_add(committed.out_of_order as u64, Relaxed);
        self.out_of_bounds
            .fetch_add((counts.out_of_bounds + committed.too_old + committed.out_of_bounds) as u64, Relaxed);
        self.exemplars.fetch_add(counts.exemplars as u64, Relaxed);
    }

    pub(crate) fn observe_interval(&self, configured: Duration, actual: Duration) {
        let mut tables = self.lock();
        tables.interval_length.entry(format_duration(configured)).or_default().observe(actual.as_secs_f64());
    }

    pub(crate) fn observe_sync(&self, job: &str, took: Duration, failed: usize, targets: usize, limit: usize) {
        let mut tables = self.lock();
        let job = tables.jobs.entry(job.to_owned()).or_default();
        job.sync_length.observe(took.as_secs_f64());
        job.syncs += 1;
        job.sync_failed += failed as u64;
        job.targets = targets as u64;
        job.target_limit = limit as u64;
    }

    pub(crate) fn set_discovered(&self, job: &str, targets: usize) {
        self.lock().jobs.entry(job.to_owned()).or_default().discovered = targets as u64;
    }

    pub(crate) fn forget_job(&self, job: &str) {
        self.lock().jobs.remove(job);
    }

    /// A scan took that long and read these files, which were last changed so many seconds after the Unix epoch.
    pub(crate) fn observe_file_scan(&self, took: Duration, files: impl IntoIterator<Item = (String, f64)>) {
        let mut tables = self.lock();
        tables.file_scan.observe(took.as_secs_f64());
        tables.file_mtime.extend(files);
    }

    pub(crate) fn forget_file(&self, file: &str) {
        self.lock().file_mtime.remove(file);
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all families in the text format.
    pub(crate) fn render(&self, out: &mut String) {
        for (name, help, counter) in PLAIN {
            head(out, name, help, "counter");
            line(out, name, &[], counter(self).load(Relaxed) as f64);
        }
        let tables = self.lock();
        let name = "prometheus_target_interval_length_seconds";
        head(out, name, "Actual time between scrapes.", "summary");
        for (interval, summary) in &tables.interval_length {
            summary.render(out, name, &[("interval", interval)]);
        }
        let name = "prometheus_target_sync_length_seconds";
        head(out, name, "Time that it took to bring a scrape pool in step with discovery.", "summary");
        for (job, counts) in &tables.jobs {
            counts.sync_length.render(out, name, &[("scrape_job", job)]);
        }
        let per_job: [PerJob; 4] = [
            ("prometheus_target_scrape_pool_sync_total", "counter", "Syncs of a scrape pool.", |j| j.syncs),
            ("prometheus_target_sync_failed_total", "counter", "Targets that could not be made.", |j| j.sync_failed),
            ("prometheus_target_scrape_pool_targets", "gauge", "Targets in a scrape pool.", |j| j.targets),
            ("prometheus_target_scrape_pool_target_limit", "gauge", "Most targets allowed.", |j| j.target_limit),
        ];
        for (name, kind, help, value) in per_job {
            head(out, name, help, kind);
            for (job, counts) in &tables.jobs {
                line(out, name, &[("scrape_job", job)], value(counts) as f64);
            }
        }
        let name = "prometheus_sd_discovered_targets";
        head(out, name, "Targets that discovery knows.", "gauge");
        for (job, counts) in &tables.jobs {
            line(out, name, &[("config", job), ("name", "scrape")], counts.discovered as f64);
        }
        let name = "prometheus_sd_file_scan_duration_seconds";
        head(out, name, "Time that it took to read discovery files.", "summary");
        tables.file_scan.render(out, name, &[]);
        let name = "prometheus_sd_file_mtime_seconds";
        head(out, name, "When a discovery file was last changed.", "gauge");
        for (file, mtime) in &tables.file_mtime {
            line(out, name, &[("filename", file)], *mtime);
        }
    }
}

impl Summary {
    fn observe(&mut self, value: f64) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(value);
        self.sum += value;
        self.count += 1;
    }

    fn render(&self, out: &mut String, name: &str, labels: &[(&str, &str)]) {
        let mut sorted: Vec<f64> = self.recent.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        for quantile in QUANTILES {
            let text = quantile.to_string();
            let at = (quantile * sorted.len() as f64).ceil() as usize;
            let value = sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN);
            let labels: Vec<_> = labels.iter().copied().chain([("quantile", text.as_str())]).collect();
            line(out, name, &labels, value);
        }
        line(out, &format!("{name}_sum"), labels, self.sum);
        line(out, &format!("{name}_count"), labels, self.count as f64);
    }
}

/// Writes how much memory the bodies under way take.
pub(crate) fn render_bodies(out: &mut String, bytes: usize) {
    let name = "silverback_scrape_bodies_bytes";
    head(out, name, "Memory of the bodies that targets are sending or that are being parsed.", "gauge");
    line(out, name, &[], bytes as f64);
}

/// Writes how much is kept of what targets say about their families: entries and bytes by job.
pub(crate) fn render_metadata_sizes(out: &mut String, sizes: &BTreeMap<String, (usize, usize)>) {
    let name = "prometheus_target_metadata_cache_entries";
    head(out, name, "Metric families that targets have described.", "gauge");
    for (job, (entries, _)) in sizes {
        line(out, name, &[("scrape_job", job)], *entries as f64);
    }
    let name = "prometheus_target_metadata_cache_bytes";
    head(out, name, "Bytes of their names, help texts and units.", "gauge");
    for (job, (_, bytes)) in sizes {
        line(out, name, &[("scrape_job", job)], *bytes as f64);
    }
}

/// Writes which targets have more series than their budgets allow, and what is to blame.
pub(crate) fn render_over_budget(out: &mut String, targets: &[ActiveTarget]) {
    let name = "silverback_scrape_series_refused";
    let help = "Series of the last scrape that found no place in the target's budget; metric and label are what most of them have in common.";
    head(out, name, help, "gauge");
    for target in targets {
        if let Some(OverBudget { refused, culprit, .. }) = &target.last.over_budget {
            let labels = [
                ("scrape_job", target.pool.as_str()),
                ("target", &target.spec.url),
                ("metric", &culprit.metric),
                ("label", &culprit.label),
            ];
            line(out, name, &labels, *refused as f64);
        }
    }
}

/// Writes the comments before a family.
pub(crate) fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a string cannot fail.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

/// Writes a sample.
pub(crate) fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    out.push_str(name);
    for (at, (name, value)) in labels.iter().enumerate() {
        out.push(if at == 0 { '{' } else { ',' });
        out.push_str(name);
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    if !labels.is_empty() {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Entry, Format, Parser};

    #[test]
    fn what_is_rendered_can_be_scraped() {
        let metrics = Metrics::default();
        for ms in 1..=1000 {
            metrics.observe_interval(Duration::from_secs(15), Duration::from_millis(ms));
        }
        metrics.observe_sync("a \"job\"", Duration::from_millis(5), 1, 2, 3);
        metrics.observe_file_scan(Duration::ZERO, [("/x\\y.json".to_owned(), 1.5)]);
        Metrics::add(&metrics.exceeded_sample_limit);
        let mut page = String::new();
        metrics.render(&mut page);
        let mut parser = Parser::new(page.as_bytes(), Format::Text);
        let mut found = Vec::new();
        while let Some(entry) = parser.entry().unwrap() {
            if let Entry::Sample(sample) = entry {
                let labels: tsdb::Labels = parser.labels().collect();
                found.push(format!("{labels} {}", sample.value));
            }
        }
        for expected in [
            r#"prometheus_target_interval_length_seconds{interval="15s", quantile="0.5"} 0.744"#,
            r#"prometheus_target_interval_length_seconds_count{interval="15s"} 1000"#,
            r#"prometheus_target_scrape_pool_targets{scrape_job="a \"job\""} 2"#,
            r#"prometheus_target_sync_failed_total{scrape_job="a \"job\""} 1"#,
            r#"prometheus_sd_file_mtime_seconds{filename="/x\\y.json"} 1.5"#,
            "prometheus_target_scrapes_exceeded_sample_limit_total 1",
        ] {
            assert!(found.iter().any(|line| line == expected), "{expected} not in {found:#?}");
        }
    }
}
