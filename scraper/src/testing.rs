//! A store that remembers what it was given, and check bodies for fuzzing (feature `testing`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tsdb::{AppendError, Committed, HistogramValue, Labels, Metadata, SeriesRef, Timestamp, is_stale};

use crate::cache::{Scratch, TargetCache};
use crate::parse::{Entry, Exposition, Format, Histograms, Parser};
use crate::sample_rules::SampleRules;
use crate::store::{Batch, Exemplar, Store};

/// A store in memory. Clones share what they hold.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Recorded>>);

/// What a [`Recorder`] holds.
#[derive(Debug, Default)]
pub struct Recorded {
    refs: BTreeMap<Labels, SeriesRef>,
    labels: BTreeMap<SeriesRef, Labels>,
    last_ref: u64,
    /// Samples by series and milliseconds.
    pub samples: BTreeMap<Labels, BTreeMap<i64, f64>>,
    /// Native histograms, likewise.
    pub histograms: BTreeMap<Labels, BTreeMap<i64, HistogramValue>>,
    /// The last start of each series' count that was said, in milliseconds.
    pub starts: BTreeMap<Labels, i64>,
    /// Exemplars as `series {labels} value @milliseconds`.
    pub exemplars: Vec<String>,
    /// The last that was said about each family.
    pub families: BTreeMap<String, Metadata>,
    /// Batches committed.
    pub commits: u64,
    /// The most series that are taken; 0 is no limit.
    pub max_series: usize,
    /// Whether it lets go of all series after each commit.
    pub forgetful: bool,
}

/// A write in progress.
#[derive(Debug)]
pub struct RecorderBatch<'s> {
    store: &'s Recorder,
    at: i64,
    samples: Vec<(SeriesRef, i64, f64)>,
    histograms: Vec<(SeriesRef, i64, HistogramValue)>,
    starts: Vec<(SeriesRef, i64)>,
    exemplars: Vec<(SeriesRef, String)>,
    families: Vec<(String, Metadata)>,
}

impl Recorder {
    /// What is stored.
    pub fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The samples of the series that prints as `series`: milliseconds and value, `None` for a stale marker.
    #[must_use]
    pub fn samples_of(&self, series: &str) -> Vec<(i64, Option<f64>)> {
        let recorded = self.recorded();
        let samples = recorded.samples.iter().find(|(labels, _)| labels.to_string() == series);
        let samples = samples.into_iter().flat_map(|(_, samples)| samples);
        samples.map(|(at, value)| (*at, (!is_stale(*value)).then_some(*value))).collect()
    }

    /// Lets go of all series, as a store does with those that nobody has written to for a while.
    pub fn evict(&self) {
        self.recorded().evict();
    }
}

impl Recorded {
    fn evict(&mut self) {
        self.refs.clear();
        self.labels.clear();
    }
}

impl Store for Recorder {
    type Column = ();
    type Batch<'s> = RecorderBatch<'s>;

    fn column(&self) {}

    fn batch<'s>(&'s self, (): &'s (), at: Timestamp) -> RecorderBatch<'s> {
        RecorderBatch {
            store: self,
            at: at.millis(),
            samples: Vec::new(),
            histograms: Vec::new(),
            starts: Vec::new(),
            exemplars: Vec::new(),
            families: Vec::new(),
        }
    }
}

impl Batch for RecorderBatch<'_> {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, AppendError> {
        let mut recorded = self.store.recorded();
        if let Some(series) = recorded.refs.get(labels) {
            return Ok(*series);
        }
        if recorded.max_series > 0 && recorded.refs.len() >= recorded.max_series {
            return Err(AppendError::TooManySeries);
        }
        recorded.last_ref += 1;
        let series = SeriesRef(recorded.last_ref);
        recorded.refs.insert(labels.clone(), series);
        recorded.labels.insert(series, labels.clone());
        Ok(series)
    }

    fn append(&mut self, series: SeriesRef, value: f64) {
        self.samples.push((series, self.at, value));
    }

    fn append_at(&mut self, series: SeriesRef, at: Timestamp, value: f64) {
        self.samples.push((series, at.millis(), value));
    }

    fn append_started(&mut self, series: SeriesRef, at: Option<Timestamp>, start: Option<Timestamp>, value: f64) {
        self.samples.push((series, at.map_or(self.at, Timestamp::millis), value));
        self.starts.extend(start.map(|start| (series, start.millis())));
    }

    fn histogram(
        &mut self,
        series: SeriesRef,
        at: Option<Timestamp>,
        start: Option<Timestamp>,
        value: HistogramValue,
    ) -> Result<(), AppendError> {
        self.histograms.push((series, at.map_or(self.at, Timestamp::millis), value.validated()?));
        self.starts.extend(start.map(|start| (series, start.millis())));
        Ok(())
    }

    fn exemplar(&mut self, series: SeriesRef, exemplar: &Exemplar<'_>) {
        let labels: Vec<String> = exemplar.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let Exemplar { value, at, .. } = exemplar;
        self.exemplars.push((series, format!("{{{}}} {value} @{}", labels.join(","), at.millis())));
    }

    fn metadata(&mut self, family: &str, metadata: &Metadata) {
        self.families.push((family.to_owned(), metadata.clone()));
    }

    fn commit(self) -> Result<Committed, tsdb::Error> {
        let mut recorded = self.store.recorded();
        let mut committed = Committed::default();
        for (series, at, value) in self.samples {
            let Some(labels) = recorded.labels.get(&series).cloned() else {
                committed.unknown.push(series);
                continue;
            };
            let samples = recorded.samples.entry(labels).or_default();
            match samples.get(&at) {
                Some(old) if old.to_bits() != value.to_bits() => committed.duplicate += 1,
                Some(_) => {}
                None if samples.last_key_value().is_some_and(|(last, _)| *last > at) => committed.out_of_order += 1,
                None => {
                    samples.insert(at, value);
                    committed.appended += 1;
                }
            }
        }
        for (series, at, value) in self.histograms {
            match recorded.labels.get(&series).cloned() {
                Some(labels) => {
                    recorded.histograms.entry(labels).or_default().insert(at, value);
                    committed.appended += 1;
                }
                None => committed.unknown.push(series),
            }
        }
        for (series, start) in self.starts {
            if let Some(labels) = recorded.labels.get(&series).cloned() {
                recorded.starts.insert(labels, start);
            }
        }
        for (series, exemplar) in self.exemplars {
            if let Some(labels) = recorded.labels.get(&series).cloned() {
                recorded.exemplars.push(format!("{labels} {exemplar}"));
            }
        }
        recorded.families.extend(self.families);
        recorded.commits += 1;
        if recorded.forgetful {
            recorded.evict();
        }
        Ok(committed)
    }
}

/// Scrapes `bytes` as a body in protocol buffers, and as lines that are read as families: whatever they are, the scrape
/// ends, does not panic, and no sample is a stale marker.
pub fn check_points(bytes: &[u8]) {
    let histograms = Histograms { native: true, always_classic: true, convert_classic: true };
    let rules = SampleRules { histograms, honor_timestamps: true, start_timestamps: true, ..SampleRules::default() };
    for exposition in [Exposition::Protobuf, Exposition::Text(Format::Text), Exposition::Text(Format::OpenMetrics)] {
        let (store, mut cache) = (Recorder::default(), TargetCache::default());
        let at = Timestamp::from_millis(1_000_000);
        let mut batch = store.batch(&(), at);
        let body = bytes.to_vec();
        let (_, outcome) = cache.ingest(&body, exposition, &rules, at, &mut Scratch::default(), &mut batch);
        if outcome.is_ok() {
            assert!(batch.samples.iter().all(|(_, _, value)| !is_stale(*value)), "a target wrote a stale marker");
            assert!(batch.histograms.iter().all(|(_, _, value)| !value.is_stale()), "a target wrote a stale marker");
            let mut again = store.batch(&(), at);
            cache.mark_stale(&mut again);
        }
    }
}

/// Reads `bytes` as a body of each format: whatever they are, the parser ends, does not panic, and what it lends lies
/// within them.
pub fn check_exposition(bytes: &[u8]) {
    for format in [Format::Text, Format::OpenMetrics] {
        let mut parser = Parser::new(bytes, format);
        let mut entries = 0;
        while let Ok(Some(entry)) = parser.entry() {
            entries += 1;
            assert!(entries <= bytes.len(), "more entries than bytes");
            if let Entry::Sample(sample) = entry {
                assert!(!is_stale(sample.value), "a target cannot write a stale marker");
                assert!(parser.labels().count() >= 1, "a sample has a name");
                assert!(bytes.as_ptr_range().contains(&sample.series.as_ptr()));
            }
        }
    }
}
