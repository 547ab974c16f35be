//! What an expression evaluates to.

use std::sync::Arc;

use tsdb::{FloatHistogram, Labels, STALE_NAN, Timestamp, is_stale};

/// Marks a step without a value in a row of values: results never hold the stale marker, so it is free for this.
pub const ABSENT: f64 = STALE_NAN;

/// Whether a step of a row has no value.
#[must_use]
#[inline]
pub const fn is_absent(value: f64) -> bool {
    is_stale(value)
}

/// The result of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text (instant queries only).
    String(String),
    /// A number without labels (instant queries only; a range query makes it a series without labels).
    Scalar(f64),
    /// One sample per series, all at the time of the query (instant queries only).
    Vector(Vec<VectorSample>),
    /// Samples over time, series sorted by labels.
    Matrix(Vec<Series>),
}

/// One sample of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// The labels of the series.
    pub labels: Labels,
    /// Its value.
    pub point: Point,
}

/// A float or a histogram.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// One series of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The labels of the series.
    pub labels: Labels,
    /// The moments of `values`, ascending, in milliseconds since the Unix epoch. A range query's series share one.
    pub timestamps_ms: Arc<[i64]>,
    /// As long as `timestamps_ms`, [`ABSENT`] where there is no float.
    pub values: Vec<f64>,
    /// The steps that hold a native histogram, ascending.
    pub histograms: Vec<(Timestamp, Arc<FloatHistogram>)>,
}

impl VectorSample {
    /// Bytes that it takes in memory, a histogram not shared with others assumed.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let histogram = match &self.point {
            Point::Float(_) => 0,
            Point::Histogram(histogram) => histogram.size_bytes(),
        };
        (size_of::<Self>() + self.labels.size_bytes() + histogram) as u64
    }
}

impl Series {
    /// Bytes that it takes in memory less its moments, which it may share; histograms not shared assumed.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let histograms: usize = self.histograms.iter().map(|(_, h)| h.size_bytes() + 16).sum();
        (size_of::<Self>() + self.labels.size_bytes() + self.values.len() * 8 + histograms) as u64
    }
}

impl Value {
    /// Bytes that it takes in memory, histograms not shared with others assumed.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::String(text) => text.len() as u64,
            Self::Scalar(_) => 0,
            Self::Vector(samples) => samples.iter().map(VectorSample::size_bytes).sum(),
            Self::Matrix(series) => {
                // Series of a range query share their moments.
                let mut moments: Option<&Arc<[i64]>> = None;
                let mut bytes = 0;
                for one in series {
                    let shared =
                        moments.replace(&one.timestamps_ms).is_some_and(|m| Arc::ptr_eq(m, &one.timestamps_ms));
                    let times = if shared { 0 } else { one.timestamps_ms.len() as u64 * 8 };
                    bytes += one.size_bytes() + times;
                }
                bytes
            }
        }
    }
}
