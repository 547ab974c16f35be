//! Native histograms: one sample that holds a whole distribution.
//!
//! Exponential schemas -4 to 8: bucket `i` holds observations in `(base^(i-1), base^i]` with `base = 2^(2^-schema)`.
//! Schema -53: the bounds are listed in `custom_values`. Source: the Prometheus native histogram specification.

mod arithmetic;
mod bounds;
mod buckets;
mod kahan;
mod layout;
mod reset;
mod resolution;
mod validate;

pub use arithmetic::{Combined, IncompatibleBuckets};
pub use buckets::{Bucket, BucketSide};
pub use kahan::KahanHistogram;
pub use validate::{HistogramPart, InvalidHistogram};

/// The schema of histograms whose bounds are listed.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// The coarsest exponential schema.
const MIN_SCHEMA: i32 = -4;
/// The finest exponential schema.
const MAX_SCHEMA: i32 = 8;

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Buckets left out since the end of the span before; for the first span, the index of its first bucket.
    pub offset: i32,
    /// Buckets in the span.
    pub length: u32,
}

/// What is known about a counter reset between a histogram and the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CounterResetHint {
    /// Nothing.
    #[default]
    Unknown,
    /// There was one.
    Reset,
    /// There was none.
    NotReset,
    /// It is a gauge: the question does not arise.
    Gauge,
}

/// A native histogram that counts in whole numbers, as targets expose it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// What is known about a counter reset.
    pub counter_reset_hint: CounterResetHint,
    /// -4 to 8, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Observations whose magnitude is at most this lie in the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// Observations in all.
    pub count: u64,
    /// Sum of the observations; [`STALE_NAN`](crate::STALE_NAN) makes the sample a stale marker.
    pub sum: f64,
    /// Where the positive buckets lie.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets lie.
    pub negative_spans: Vec<Span>,
    /// The first positive bucket's count, then differences.
    pub positive_buckets: Vec<i64>,
    /// The first negative bucket's count, then differences.
    pub negative_buckets: Vec<i64>,
    /// Upper bounds for [`CUSTOM_BUCKETS_SCHEMA`], ascending, without the final +Inf; else empty.
    pub custom_values: Vec<f64>,
}

/// A native histogram that counts in floats, as the engine computes with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloatHistogram {
    /// What is known about a counter reset.
    pub counter_reset_hint: CounterResetHint,
    /// -4 to 8, or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Observations whose magnitude is at most this lie in the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Observations in all.
    pub count: f64,
    /// Sum of the observations; [`STALE_NAN`](crate::STALE_NAN) makes the sample a stale marker.
    pub sum: f64,
    /// Where the positive buckets lie.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets lie.
    pub negative_spans: Vec<Span>,
    /// Counts of the positive buckets, each for itself.
    pub positive_buckets: Vec<f64>,
    /// Counts of the negative buckets, each for itself.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds for [`CUSTOM_BUCKETS_SCHEMA`], ascending, without the final +Inf; else empty.
    pub custom_values: Vec<f64>,
}

impl Histogram {
    /// Bytes that it takes in memory, buckets included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + (self.positive_spans.len() + self.negative_spans.len()) * size_of::<Span>()
            + (self.positive_buckets.len() + self.negative_buckets.len()) * size_of::<i64>()
            + self.custom_values.len() * size_of::<f64>()
    }

    /// The same histogram with float counts.
    #[must_use]
    pub fn to_float(&self) -> FloatHistogram {
        FloatHistogram {
            counter_reset_hint: self.counter_reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: self.sum,
            positive_spans: self.positive_spans.clone(),
            negative_spans: self.negative_spans.clone(),
            positive_buckets: absolute(&self.positive_buckets),
            negative_buckets: absolute(&self.negative_buckets),
            custom_values: self.custom_values.clone(),
        }
    }
}

impl FloatHistogram {
    /// Whether the bounds are listed in `custom_values`.
    #[must_use]
    pub const fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Whether it is a stale marker.
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        crate::is_stale(self.sum)
    }

    /// Bytes that it takes in memory, buckets included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + (self.positive_spans.len() + self.negative_spans.len()) * size_of::<Span>()
            + (self.positive_buckets.len() + self.negative_buckets.len() + self.custom_values.len()) * size_of::<f64>()
    }
}

/// Turns differences into counts.
fn absolute(deltas: &[i64]) -> Vec<f64> {
    let mut count = 0i64;
    deltas
        .iter()
        .map(|delta| {
            count = count.wrapping_add(*delta);
            count as f64
        })
        .collect()
}
