//! Lines read as families: where a sample means something only together with others of its family.
//!
//! - The `_created` line of OpenMetrics says when the counts of the other samples with the same labels began.
//! - The series of a classic histogram become one native histogram.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::target::FamilyLog;
use super::{IngestError, MAX_SAMPLES};
use crate::parse::{
    Classic, Entry, Format, Metric, MetricKind, Pair, Parser, Point, PointExemplar, PointValue, whole_number,
};
use crate::sample_rules::SampleRules;

/// Hands all samples of `body` to `each`; what it says of its families goes into `log`.
pub(super) fn read_lines(
    body: &[u8],
    format: Format,
    rules: &SampleRules,
    log: &mut FamilyLog,
    each: &mut impl FnMut(Point<'_>) -> Result<(), IngestError>,
) -> Result<(), IngestError> {
    let with_starts = rules.start_timestamps && format == Format::OpenMetrics;
    let starts = if with_starts { starts(body, format)? } else { HashMap::new() };
    let mut parser = Parser::new(body, format);
    let (mut scratch, mut histograms) = (Vec::new(), ClassicHistograms::default());
    while let Some(entry) = parser.entry()? {
        let sample = match entry {
            Entry::Type { family, kind } => {
                histograms.flush(&mut scratch, each)?;
                (family, kind as u8).hash(&mut log.hasher);
                log.entries += 1;
                continue;
            }
            Entry::Help { family, help } => {
                (family, help).hash(&mut log.hasher);
                log.entries += 1;
                continue;
            }
            Entry::Unit { family, unit } => {
                (family, unit).hash(&mut log.hasher);
                log.entries += 1;
                continue;
            }
            Entry::Comment => continue,
            Entry::Sample(sample) => sample,
        };
        if sample.created && with_starts {
            continue;
        }
        let mut labels: Vec<Pair<'_>> = parser.labels().collect();
        let name = labels.remove(0).1;
        let start = if starts.is_empty() { None } else { starts.get(&group(parser.family(), &labels)).copied() };
        let exemplar = parser.exemplar().filter(|exemplar| !exemplar.is_too_long()).map(|exemplar| PointExemplar {
            labels: exemplar.pairs(),
            value: exemplar.value,
            timestamp: exemplar.timestamp,
        });
        if rules.histograms.convert_classic
            && parser.kind() == MetricKind::Histogram
            && let Some(suffix) = name.strip_prefix(parser.family())
            && let Some(part) = Part::of(suffix)
        {
            let family = parser.family();
            histograms.take(family, part, &labels, sample.value, (sample.timestamp, start), exemplar.as_ref());
            if !rules.histograms.always_classic {
                continue;
            }
        }
        let metric = Metric::new(name, labels, &mut scratch);
        each(Point {
            labels: metric.sample("", None),
            value: PointValue::Float(sample.value),
            timestamp: sample.timestamp,
            start,
            exemplars: exemplar.as_slice(),
        })?;
    }
    histograms.flush(&mut scratch, each)
}

/// When counts began, in milliseconds, by family and labels.
fn starts(body: &[u8], format: Format) -> Result<HashMap<u64, i64>, IngestError> {
    let mut starts = HashMap::new();
    if memchr::memmem::find(body, b"_created").is_none() {
        return Ok(starts);
    }
    let mut parser = Parser::new(body, format);
    while let Some(entry) = parser.entry()? {
        if let Entry::Sample(sample) = entry
            && sample.created
        {
            let labels: Vec<Pair<'_>> = parser.labels().skip(1).collect();
            starts.insert(group(parser.family(), &labels), (sample.value * 1000.0) as i64);
            if starts.len() > MAX_SAMPLES {
                return Err(IngestError::TooManySamples(MAX_SAMPLES));
            }
        }
    }
    Ok(starts)
}

/// What the samples of a metric have in common: family and labels in any order, less those that tell them apart.
fn group(family: &str, labels: &[Pair<'_>]) -> u64 {
    let hasher = FixedState::default();
    let own = labels.iter().filter(|(name, _)| name != "le" && name != "quantile");
    own.fold(hasher.hash_one(family), |sum, pair| sum.wrapping_add(hasher.hash_one(pair)))
}

/// A part of a classic histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Bucket,
    Sum,
    Count,
}

impl Part {
    fn of(suffix: &str) -> Option<Self> {
        match suffix {
            "_bucket" => Some(Self::Bucket),
            "_sum" => Some(Self::Sum),
            "_count" => Some(Self::Count),
            _ => None,
        }
    }
}

/// The classic histograms of the family that is being read.
#[derive(Debug, Default)]
struct ClassicHistograms {
    family: String,
    /// In the order in which they came.
    all: Vec<Parts>,
    by_group: HashMap<u64, usize>,
}

#[derive(Debug, Default)]
struct Parts {
    labels: Vec<(String, String)>,
    classic: Classic,
    timestamp: Option<i64>,
    start: Option<i64>,
    exemplars: Vec<PointExemplar<'static>>,
}

impl ClassicHistograms {
    fn take(
        &mut self,
        family: &str,
        part: Part,
        labels: &[Pair<'_>],
        value: f64,
        (timestamp, start): (Option<i64>, Option<i64>),
        exemplar: Option<&PointExemplar<'_>>,
    ) {
        family.clone_into(&mut self.family);
        let at = *self.by_group.entry(group(family, labels)).or_insert_with(|| {
            let own = labels.iter().filter(|(name, _)| name != "le");
            let labels = own.map(|(name, value)| (name.clone().into_owned(), value.clone().into_owned())).collect();
            self.all.push(Parts { labels, ..Parts::default() });
            self.all.len() - 1
        });
        let parts = &mut self.all[at];
        match part {
            Part::Sum => parts.classic.sum = value,
            Part::Count => parts.classic.count = Some(value),
            Part::Bucket => {
                let bound = labels.iter().find(|(name, _)| name == "le");
                let bound = bound.and_then(|(_, text)| whole_number(text.as_bytes())).unwrap_or(f64::NAN);
                parts.classic.buckets.push((bound, value));
            }
        }
        parts.timestamp = timestamp.or(parts.timestamp);
        parts.start = start.or(parts.start);
        parts.exemplars.extend(exemplar.map(|exemplar| {
            let owned = |text: &Cow<'_, str>| Cow::Owned(text.clone().into_owned());
            PointExemplar {
                labels: exemplar.labels.iter().map(|(name, value)| (owned(name), owned(value))).collect(),
                value: exemplar.value,
                timestamp: exemplar.timestamp,
            }
        }));
    }

    /// Hands the histograms to `each`. What makes none is left out.
    fn flush(
        &mut self,
        scratch: &mut Vec<u8>,
        each: &mut impl FnMut(Point<'_>) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        self.by_group.clear();
        let family = std::mem::take(&mut self.family);
        for parts in self.all.drain(..) {
            let Some(histogram) = parts.classic.convert() else { continue };
            let labels = parts.labels.iter().map(|(name, value)| (name.into(), value.into())).collect();
            let metric = Metric::new(family.as_str().into(), labels, scratch);
            each(Point {
                labels: metric.sample("", None),
                value: PointValue::Histogram(Box::new(histogram)),
                timestamp: parts.timestamp,
                start: parts.start,
                exemplars: &parts.exemplars,
            })?;
        }
        Ok(())
    }
}
