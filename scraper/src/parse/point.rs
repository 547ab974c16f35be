//! Samples that do not stand on a line of their own: what a body of protocol buffers, or a whole family of lines, says.

use std::borrow::Cow;

use tsdb::{HistogramValue, METRIC_NAME};
use xxhash_rust::xxh3::xxh3_128;

use super::labels::openmetrics_float;

/// A label as written.
pub(crate) type Pair<'p> = (Cow<'p, str>, Cow<'p, str>);

/// A sample and what it belongs to.
#[derive(Debug)]
pub(crate) struct Point<'p> {
    pub(crate) labels: PointLabels<'p>,
    pub(crate) value: PointValue,
    /// Milliseconds since the Unix epoch, if the target says.
    pub(crate) timestamp: Option<i64>,
    /// When its count began, likewise.
    pub(crate) start: Option<i64>,
    pub(crate) exemplars: &'p [PointExemplar<'p>],
}

/// A float or a whole distribution.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PointValue {
    Float(f64),
    Histogram(Box<HistogramValue>),
}

/// One example of what was counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PointExemplar<'p> {
    pub(crate) labels: Vec<Pair<'p>>,
    pub(crate) value: f64,
    /// Milliseconds since the Unix epoch, if the target says.
    pub(crate) timestamp: Option<i64>,
}

/// The labels of a sample, put together only when somebody asks for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PointLabels<'p> {
    metric: &'p Metric<'p>,
    suffix: &'static str,
    /// The `le` of a bucket, the `quantile` of a summary.
    bound: Option<(&'static str, f64)>,
}

/// Name and labels that the samples of a metric have in common.
#[derive(Debug, Default)]
pub(crate) struct Metric<'p> {
    name: Cow<'p, str>,
    labels: Vec<Pair<'p>>,
    hash: u128,
}

impl<'p> Metric<'p> {
    /// `scratch` is memory to work in.
    pub(crate) fn new(name: Cow<'p, str>, labels: Vec<Pair<'p>>, scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        let texts = std::iter::once(&name).chain(labels.iter().flat_map(|(name, value)| [name, value]));
        for text in texts {
            scratch.extend_from_slice(text.as_bytes());
            // In no text, which are UTF-8.
            scratch.push(0xff);
        }
        Self { hash: xxh3_128(scratch), name, labels }
    }

    pub(crate) const fn sample(&'p self, suffix: &'static str, bound: Option<(&'static str, f64)>) -> PointLabels<'p> {
        PointLabels { metric: self, suffix, bound }
    }

    /// Gives the memory of the labels back, to be filled again.
    pub(crate) fn into_labels(self) -> Vec<Pair<'p>> {
        self.labels
    }
}

impl<'p> PointLabels<'p> {
    /// What the series is known by from one scrape to the next: 128 bits of a hash over all that is written.
    pub(crate) fn key(&self) -> u128 {
        if self.suffix.is_empty() && self.bound.is_none() {
            return self.metric.hash;
        }
        let mut bytes = [0u8; 40];
        bytes[..16].copy_from_slice(&self.metric.hash.to_le_bytes());
        bytes[16..16 + self.suffix.len()].copy_from_slice(self.suffix.as_bytes());
        if let Some((label, value)) = self.bound {
            bytes[24..32].copy_from_slice(&value.to_bits().to_le_bytes());
            bytes[32] = label.as_bytes()[0];
        }
        xxh3_128(&bytes)
    }

    /// Name and value of every label, metric name first.
    pub(crate) fn pairs(self) -> impl Iterator<Item = Pair<'p>> {
        let name = match self.suffix {
            "" => Cow::Borrowed(&*self.metric.name),
            suffix => Cow::Owned(format!("{}{suffix}", self.metric.name)),
        };
        let bound = self.bound.map(|(label, value)| (Cow::Borrowed(label), Cow::Owned(openmetrics_float(value))));
        let labels = self.metric.labels.iter().map(|(name, value)| (Cow::Borrowed(&**name), Cow::Borrowed(&**value)));
        std::iter::once((Cow::Borrowed(METRIC_NAME), name)).chain(labels).chain(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_all_samples_of_a_metric_apart() {
        let mut scratch = Vec::new();
        let labels = || vec![(Cow::Borrowed("a"), Cow::Borrowed("b"))];
        let metric = Metric::new("m".into(), labels(), &mut scratch);
        let other = Metric::new("ma".into(), vec![("".into(), "b".into())], &mut scratch);
        let mut keys = vec![
            metric.sample("", None).key(),
            other.sample("", None).key(),
            metric.sample("_sum", None).key(),
            metric.sample("_count", None).key(),
            metric.sample("_bucket", Some(("le", 1.0))).key(),
            metric.sample("_bucket", Some(("le", f64::INFINITY))).key(),
            metric.sample("", Some(("quantile", 1.0))).key(),
        ];
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 7);
        let pairs: Vec<_> = metric.sample("_bucket", Some(("le", 1.0))).pairs().collect();
        let text: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(text, ["__name__=m_bucket", "a=b", "le=1.0"]);
    }
}
