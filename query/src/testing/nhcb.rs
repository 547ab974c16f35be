//! Classic histograms of a `load_with_nhcb` block as native histograms with custom buckets.

use std::collections::BTreeMap;
use std::sync::Arc;

use tsdb::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Labels, METRIC_NAME, Span, Timestamp};

use super::{LoadedSample, LoadedValue};

/// What one histogram has at one moment.
#[derive(Default)]
struct Parts {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native series that belong to the classic ones of a block.
pub(super) fn convert(block: &[(Labels, Vec<LoadedSample>)]) -> Result<Vec<(Labels, Vec<LoadedSample>)>, String> {
    let mut groups: BTreeMap<Labels, BTreeMap<i64, Parts>> = BTreeMap::new();
    for (labels, samples) in block {
        let name = labels.metric_name().unwrap_or_default();
        let Some((base, suffix)) = name.rsplit_once('_') else { continue };
        let bound = labels.get("le").and_then(|le| le.parse::<f64>().ok()).filter(|le| !le.is_nan());
        if !matches!((suffix, bound), ("bucket", Some(_)) | ("count" | "sum", _)) {
            continue;
        }
        let key = Labels::from_pairs(
            labels
                .iter()
                .filter(|(name, _)| *name != "le")
                .map(|(name, value)| if name == METRIC_NAME { (name, base) } else { (name, value) }),
        );
        let group = groups.entry(key).or_default();
        for sample in samples {
            let LoadedValue::Float(value) = sample.value else { continue };
            let parts = group.entry(sample.timestamp.millis()).or_default();
            match (suffix, bound) {
                ("bucket", Some(bound)) => parts.buckets.push((bound, value)),
                ("count", _) => parts.count = Some(value),
                _ => parts.sum = value,
            }
        }
    }
    groups
        .into_iter()
        .map(|(labels, moments)| {
            let samples = moments.into_iter().map(|(at, parts)| {
                let histogram = parts.histogram().map_err(|reason| format!("{labels} at {at} ms: {reason}"))?;
                let value = LoadedValue::Histogram(Arc::new(histogram));
                Ok(LoadedSample { timestamp: Timestamp::from_millis(at), value, start_ms: 0 })
            });
            let samples: Result<Vec<_>, String> = samples.collect();
            Ok((labels.clone(), samples?))
        })
        .collect()
}

impl Parts {
    fn histogram(mut self) -> Result<FloatHistogram, String> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by_key(|bucket| bucket.0);
        let count = self.count.or(self.buckets.last().map(|bucket| bucket.1)).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|bucket| bucket.0 != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut before = 0.0;
        let mut counts = Vec::with_capacity(self.buckets.len());
        for (_, cumulative) in &self.buckets {
            if *cumulative < before {
                return Err("buckets are not cumulative".into());
            }
            counts.push(cumulative - before);
            before = *cumulative;
        }
        if before != count {
            return Err("the +Inf bucket differs from the count".into());
        }
        self.buckets.pop();
        let mut histogram = FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: counts.len() as u32 }],
            positive_buckets: counts,
            custom_values: self.buckets.iter().map(|bucket| bucket.0).collect(),
            ..FloatHistogram::default()
        };
        histogram.compact();
        Ok(histogram)
    }
}
