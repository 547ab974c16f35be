//! What the scraper itself says about each scrape: `up`, `scrape_duration_seconds`, …

use std::time::Duration;

use tsdb::{AppendError, Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricKind, STALE_NAN, SeriesRef};

use crate::cache::Counts;
use crate::sample_rules::{EXPORTED, SampleRules};
use crate::store::Batch;

/// Name, unit and help of the report series; those from [`PLAIN`] on are written on request only.
const SERIES: [(&str, &str, &str); 8] = [
    ("up", "targets", "Health of the scrape target: 1 if it answered well, 0 if the scrape failed."),
    ("scrape_duration_seconds", "seconds", "How long the last scrape took."),
    ("scrape_samples_scraped", "samples", "Samples in the last scrape."),
    ("scrape_samples_post_metric_relabeling", "samples", "Samples that metric relabeling left."),
    ("scrape_series_added", "series", "Series that the scrape before did not have."),
    ("scrape_timeout_seconds", "seconds", "The scrape timeout that is configured for the target."),
    ("scrape_sample_limit", "samples", "The sample limit that is configured for the target; 0 if none is."),
    (
        "scrape_body_size_bytes",
        "bytes",
        "Size of the last body, uncompressed; -1 if it exceeded body_size_limit, 0 if the scrape failed otherwise.",
    ),
];

/// How many of [`SERIES`] are always written.
const PLAIN: usize = 5;

/// What there is to say about one scrape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) healthy: bool,
    pub(crate) duration: Duration,
    pub(crate) counts: Counts,
    pub(crate) timeout: Duration,
    pub(crate) sample_limit: usize,
    /// As `scrape_body_size_bytes` says it.
    pub(crate) body_bytes: i64,
}

/// The report series of a target.
#[derive(Debug)]
pub(crate) struct ReportSeries {
    series: Vec<(Labels, Option<SeriesRef>)>,
    /// Whether the store has been told what the series mean.
    described: bool,
}

impl ReportSeries {
    pub(crate) fn new(rules: &SampleRules, extra: bool) -> Self {
        let count = if extra { SERIES.len() } else { PLAIN };
        let series = SERIES[..count].iter().map(|(name, ..)| (report_labels(rules, name), None)).collect();
        Self { series, described: false }
    }

    /// Appends one sample to each series.
    pub(crate) fn append(&mut self, report: &Report, batch: &mut impl Batch) -> Result<(), AppendError> {
        if !std::mem::replace(&mut self.described, true) {
            for (name, unit, help) in &SERIES[..self.series.len()] {
                let metadata = Metadata { kind: MetricKind::Gauge, help: (*help).to_owned(), unit: (*unit).to_owned() };
                batch.metadata(name, &metadata);
            }
        }
        self.append_values(&report.values(), batch, |_| true)
    }

    /// Ends all series: the target is gone.
    pub(crate) fn mark_stale(&mut self, batch: &mut impl Batch) -> Result<(), AppendError> {
        self.append_values(&[STALE_NAN; SERIES.len()], batch, |_| true)
    }

    /// Appends once more what the store has not taken because it had let go of the series `unknown`.
    pub(crate) fn append_again(
        &mut self,
        report: &Report,
        unknown: &[SeriesRef],
        batch: &mut impl Batch,
    ) -> Result<(), AppendError> {
        for (_, known) in &mut self.series {
            *known = known.filter(|series| !unknown.contains(series));
        }
        self.append_values(&report.values(), batch, |known| known.is_none())
    }

    fn append_values(
        &mut self,
        values: &[f64; SERIES.len()],
        batch: &mut impl Batch,
        wanted: impl Fn(Option<SeriesRef>) -> bool,
    ) -> Result<(), AppendError> {
        for ((labels, known), value) in self.series.iter_mut().zip(values).filter(|((_, known), _)| wanted(*known)) {
            let series = match *known {
                Some(series) => series,
                None => *known.insert(batch.series(labels)?),
            };
            batch.append(series, *value);
        }
        Ok(())
    }
}

impl Report {
    /// In the order of [`SERIES`].
    fn values(&self) -> [f64; SERIES.len()] {
        let counts = &self.counts;
        [
            f64::from(u8::from(self.healthy)),
            self.duration.as_secs_f64(),
            counts.scraped as f64,
            counts.kept as f64,
            counts.added as f64,
            self.timeout.as_secs_f64(),
            self.sample_limit as f64,
            self.body_bytes as f64,
        ]
    }
}

/// The labels of the series `metric` about the target: its own win, whatever `metric` says.
fn report_labels(rules: &SampleRules, metric: &str) -> Labels {
    let mut builder = LabelsBuilder::default();
    builder.set(METRIC_NAME, metric);
    for (name, value) in &rules.target {
        if let Some(old) = builder.get(name).map(str::to_owned) {
            builder.set(&format!("{EXPORTED}{name}"), &old);
        }
        builder.set(name, value);
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use tsdb::Timestamp;

    use super::*;
    use crate::store::Store;
    use crate::testing::Recorder;

    #[test]
    fn reports_survive_eviction_and_end_with_stale_markers() {
        let store = Recorder::default();
        let rules = SampleRules { target: Labels::from_pairs([("job", "j")]), ..SampleRules::default() };
        let mut series = ReportSeries::new(&rules, true);
        let report = Report {
            healthy: true,
            duration: Duration::from_millis(250),
            counts: Counts { scraped: 3, kept: 2, added: 1, ..Counts::default() },
            timeout: Duration::from_secs(10),
            sample_limit: 0,
            body_bytes: -1,
        };
        for at in [1000, 2000] {
            let mut batch = store.batch(&(), Timestamp::from_millis(at));
            series.append(&report, &mut batch).unwrap();
            let unknown = batch.commit().unwrap().unknown;
            let mut batch = store.batch(&(), Timestamp::from_millis(at));
            series.append_again(&report, &unknown, &mut batch).unwrap();
            batch.commit().unwrap();
            if at == 1000 {
                store.evict();
            }
        }
        let mut batch = store.batch(&(), Timestamp::from_millis(3000));
        series.mark_stale(&mut batch).unwrap();
        batch.commit().unwrap();
        let all = |value| vec![(1000, Some(value)), (2000, Some(value)), (3000, None)];
        for (name, value) in [
            ("up", 1.0),
            ("scrape_duration_seconds", 0.25),
            ("scrape_samples_scraped", 3.0),
            ("scrape_samples_post_metric_relabeling", 2.0),
            ("scrape_series_added", 1.0),
            ("scrape_timeout_seconds", 10.0),
            ("scrape_sample_limit", 0.0),
            ("scrape_body_size_bytes", -1.0),
        ] {
            assert_eq!(store.samples_of(&format!("{name}{{job=\"j\"}}")), all(value), "{name}");
        }
        assert_eq!(ReportSeries::new(&rules, false).series.len(), PLAIN);
    }
}
