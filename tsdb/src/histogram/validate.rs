//! Checks that every native histogram passes before it is stored, wherever it comes from.
//!
//! The rules and the wording of the reasons follow Prometheus, so that senders and their operators recognise them.

use std::fmt;

use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, MAX_SCHEMA, MIN_SCHEMA, Span};
use crate::chunk::HistogramValue;

/// The finest exponential schema that is known; one above [`MAX_SCHEMA`] is reduced to it.
const MAX_RESERVED_SCHEMA: i32 = 52;

/// Reason why a histogram cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum InvalidHistogram {
    /// The schema is neither exponential nor the one of custom bounds.
    #[error(
        "histogram has an invalid schema, which must be between {MIN_SCHEMA} and {MAX_SCHEMA} for exponential buckets, \
         or {CUSTOM_BUCKETS_SCHEMA} for custom buckets, got schema {0}"
    )]
    Schema(i32),
    /// A span begins before the end of the one before it.
    #[error("{part}: span number {number} with offset {offset}: histogram has a span whose offset is negative")]
    NegativeOffset {
        /// Where the span is.
        part: HistogramPart,
        /// Its number, from 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// A bucket has an index that no histogram can have.
    #[error("{part}: histogram has spans that reach beyond the last bucket index")]
    IndexOverflow {
        /// Where the spans are.
        part: HistogramPart,
    },
    /// Spans cover more or fewer buckets than there are.
    #[error(
        "{part}: spans need {needed} buckets, have {found} buckets: histogram spans specify different number of buckets \
         than provided"
    )]
    BucketMismatch {
        /// Where the spans are.
        part: HistogramPart,
        /// Buckets that the spans cover.
        needed: u64,
        /// Buckets that there are.
        found: usize,
    },
    /// A bucket holds fewer than no observations.
    #[error(
        "{part}: bucket number {number} has observation count of {count}: histogram has a bucket whose observation count is \
         negative"
    )]
    NegativeBucket {
        /// Where the bucket is.
        part: HistogramPart,
        /// Its number, from 1.
        number: usize,
        /// Its count.
        count: f64,
    },
    /// The count of all observations, or that of the zero bucket, is negative.
    #[error("histogram's observation count is negative: {0}")]
    NegativeCount(f64),
    /// Buckets hold another number of observations than the histogram.
    #[error(
        "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's observation count should \
         equal the number of observations found in the buckets (in absence of NaN)"
    )]
    CountMismatch {
        /// Observations in all buckets; the largest number there is if they are more.
        in_buckets: u64,
        /// Observations of the histogram.
        count: u64,
    },
    /// Buckets hold more observations than the histogram, whose sum is NaN.
    #[error(
        "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's observation count should \
         be at least the number of observations found in the buckets"
    )]
    CountTooSmall {
        /// Observations in all buckets; the largest number there is if they are more.
        in_buckets: u64,
        /// Observations of the histogram.
        count: u64,
    },
    /// A custom bound is NaN.
    #[error("custom buckets: histogram custom bounds must not be NaN")]
    NanBound,
    /// A custom bound is infinite; the last bucket needs none.
    #[error("custom buckets: bound {0}: histogram custom bounds must be finite")]
    InfiniteBound(f64),
    /// A custom bound is not above the one before it.
    #[error(
        "custom buckets: previous bound is {previous} and current is {current}: histogram custom bounds must be in \
         strictly increasing order"
    )]
    BoundsOutOfOrder {
        /// The bound before.
        previous: f64,
        /// The bound that is not above it.
        current: f64,
    },
    /// Spans reach beyond the last custom bound.
    #[error(
        "custom buckets: only {bounds} custom bounds defined which is insufficient to cover total span length of \
         {covered}: histogram custom bounds are too few"
    )]
    TooFewBounds {
        /// Bounds that there are.
        bounds: usize,
        /// Buckets up to the end of the last span.
        covered: i64,
    },
    /// Custom buckets and a zero bucket.
    #[error("custom buckets: must have zero count of 0")]
    CustomZeroCount,
    /// Custom buckets and a width of the zero bucket.
    #[error("custom buckets: must have zero threshold of 0")]
    CustomZeroThreshold,
    /// Custom buckets and spans of negative ones.
    #[error("custom buckets: must not have negative spans")]
    CustomNegativeSpans,
    /// Custom buckets and negative ones.
    #[error("custom buckets: must not have negative buckets")]
    CustomNegativeBuckets,
    /// Bounds of an exponential schema.
    #[error("histogram with exponential schema must not have custom bounds")]
    BoundsOfExponentialSchema,
}

/// Part of a histogram that a fault lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistogramPart {
    /// The negative buckets.
    Negative,
    /// The positive buckets.
    Positive,
    /// The buckets with custom bounds.
    Custom,
}

impl fmt::Display for HistogramPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Negative => "negative side",
            Self::Positive => "positive side",
            Self::Custom => "custom buckets",
        })
    }
}

impl HistogramValue {
    /// The histogram as it may be stored: one that is finer than schema 8 is reduced to it, as in Prometheus.
    ///
    /// Cost: one pass over spans and buckets; does not allocate unless the resolution is reduced.
    ///
    /// # Errors
    /// If the histogram contradicts itself. A stale marker passes as any histogram without buckets does.
    pub fn validated(self) -> Result<Self, InvalidHistogram> {
        match self {
            Self::Integer(histogram) => histogram.validated().map(Self::Integer),
            Self::Float(histogram) => histogram.validated().map(Self::Float),
        }
    }
}

impl Histogram {
    /// As [`HistogramValue::validated`].
    ///
    /// # Errors
    /// If the histogram contradicts itself.
    pub fn validated(mut self) -> Result<Self, InvalidHistogram> {
        if is_reserved(self.schema) {
            let finer = self.schema.abs_diff(MAX_SCHEMA);
            Self { schema: MAX_SCHEMA, ..self.clone() }.validate()?;
            self.reduce_resolution(finer);
        }
        self.validate()?;
        Ok(self)
    }

    fn validate(&self) -> Result<(), InvalidHistogram> {
        let (positive, negative) = (&self.positive_spans, &self.negative_spans);
        let sizes = (self.positive_buckets.len(), self.negative_buckets.len());
        check_layout(self.schema, positive, negative, sizes, &self.custom_values)?;
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            check_no_zero_bucket(self.zero_count != 0, self.zero_threshold)?;
        }
        let in_buckets = sum_deltas(HistogramPart::Negative, &self.negative_buckets)?
            + sum_deltas(HistogramPart::Positive, &self.positive_buckets)?
            + u128::from(self.zero_count);
        let (count, order) = (self.count, in_buckets.cmp(&u128::from(self.count)));
        let in_buckets = u64::try_from(in_buckets).unwrap_or(u64::MAX);
        // Observations of NaN are in no bucket.
        match (self.sum.is_nan(), order) {
            (true, std::cmp::Ordering::Greater) => Err(InvalidHistogram::CountTooSmall { in_buckets, count }),
            (false, std::cmp::Ordering::Less | std::cmp::Ordering::Greater) => {
                Err(InvalidHistogram::CountMismatch { in_buckets, count })
            }
            _ => Ok(()),
        }
    }
}

impl FloatHistogram {
    /// As [`HistogramValue::validated`]. Counts are not compared with buckets, since floats round.
    ///
    /// # Errors
    /// If the histogram contradicts itself.
    pub fn validated(mut self) -> Result<Self, InvalidHistogram> {
        if is_reserved(self.schema) {
            let finer = self.schema.abs_diff(MAX_SCHEMA);
            self.schema = MAX_SCHEMA;
            self.validate()?;
            self.reduce_resolution(finer);
        }
        self.validate()?;
        Ok(self)
    }

    /// Checks a histogram that is not finer than [`MAX_SCHEMA`].
    pub(crate) fn validate(&self) -> Result<(), InvalidHistogram> {
        let (positive, negative) = (&self.positive_spans, &self.negative_spans);
        let sizes = (self.positive_buckets.len(), self.negative_buckets.len());
        check_layout(self.schema, positive, negative, sizes, &self.custom_values)?;
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            check_no_zero_bucket(self.zero_count != 0.0, self.zero_threshold)?;
        }
        for (part, buckets) in
            [(HistogramPart::Negative, &self.negative_buckets), (HistogramPart::Positive, &self.positive_buckets)]
        {
            if let Some((at, &count)) = buckets.iter().enumerate().find(|(_, count)| **count < 0.0) {
                return Err(InvalidHistogram::NegativeBucket { part, number: at + 1, count });
            }
        }
        match [self.count, self.zero_count].into_iter().find(|count| *count < 0.0) {
            Some(count) => Err(InvalidHistogram::NegativeCount(count)),
            None => Ok(()),
        }
    }
}

/// A schema that is known and finer than what is kept.
fn is_reserved(schema: i32) -> bool {
    MAX_SCHEMA < schema && schema <= MAX_RESERVED_SCHEMA
}

/// Checks schema, spans and custom bounds; `sizes` are the numbers of positive and negative buckets.
fn check_layout(
    schema: i32,
    positive: &[Span],
    negative: &[Span],
    sizes: (usize, usize),
    bounds: &[f64],
) -> Result<(), InvalidHistogram> {
    match schema {
        CUSTOM_BUCKETS_SCHEMA => {
            check_bounds(bounds)?;
            let covered = check_spans(HistogramPart::Custom, positive, sizes.0)?;
            if covered > bounds.len() as i64 + 1 {
                return Err(InvalidHistogram::TooFewBounds { bounds: bounds.len(), covered });
            }
            match (negative.is_empty(), sizes.1) {
                (false, _) => Err(InvalidHistogram::CustomNegativeSpans),
                (true, 1..) => Err(InvalidHistogram::CustomNegativeBuckets),
                (true, 0) => Ok(()),
            }
        }
        MIN_SCHEMA..=MAX_SCHEMA => {
            check_spans(HistogramPart::Positive, positive, sizes.0)?;
            check_spans(HistogramPart::Negative, negative, sizes.1)?;
            if bounds.is_empty() { Ok(()) } else { Err(InvalidHistogram::BoundsOfExponentialSchema) }
        }
        _ => Err(InvalidHistogram::Schema(schema)),
    }
}

fn check_bounds(bounds: &[f64]) -> Result<(), InvalidHistogram> {
    if bounds.iter().any(|bound| bound.is_nan()) {
        return Err(InvalidHistogram::NanBound);
    }
    if let Some(pair) = bounds.windows(2).find(|pair| pair[1] <= pair[0]) {
        return Err(InvalidHistogram::BoundsOutOfOrder { previous: pair[0], current: pair[1] });
    }
    // Bounds ascend, so only the ends can be infinite.
    match [bounds.first(), bounds.last()].into_iter().flatten().find(|bound| bound.is_infinite()) {
        Some(bound) => Err(InvalidHistogram::InfiniteBound(*bound)),
        None => Ok(()),
    }
}

/// Checks that spans ascend and cover `found` buckets; gives the index behind the last one.
fn check_spans(part: HistogramPart, spans: &[Span], found: usize) -> Result<i64, InvalidHistogram> {
    let (mut needed, mut end) = (0u64, 0i64);
    for (at, &Span { offset, length }) in spans.iter().enumerate() {
        // Exponential buckets begin at any index, custom ones at 0.
        if offset < 0 && (at > 0 || part == HistogramPart::Custom) {
            return Err(InvalidHistogram::NegativeOffset { part, number: at + 1, offset });
        }
        needed += u64::from(length);
        end += i64::from(offset) + i64::from(length);
    }
    if needed != found as u64 {
        return Err(InvalidHistogram::BucketMismatch { part, needed, found });
    }
    if end > i64::from(i32::MAX) {
        return Err(InvalidHistogram::IndexOverflow { part });
    }
    Ok(end)
}

fn check_no_zero_bucket(has_count: bool, threshold: f64) -> Result<(), InvalidHistogram> {
    match (has_count, threshold == 0.0) {
        (true, _) => Err(InvalidHistogram::CustomZeroCount),
        (false, false) => Err(InvalidHistogram::CustomZeroThreshold),
        (false, true) => Ok(()),
    }
}

/// Observations in buckets that are given as differences.
fn sum_deltas(part: HistogramPart, deltas: &[i64]) -> Result<u128, InvalidHistogram> {
    let (mut count, mut sum) = (0i128, 0u128);
    for (at, delta) in deltas.iter().enumerate() {
        count += i128::from(*delta);
        // Beyond 63 bits the count turns negative where it is stored.
        let stored = i64::try_from(count).ok().and_then(|count| u64::try_from(count).ok());
        let Some(stored) = stored else {
            return Err(InvalidHistogram::NegativeBucket { part, number: at + 1, count: (count as i64) as f64 });
        };
        sum += u128::from(stored);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests;
