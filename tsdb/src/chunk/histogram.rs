//! Native histogram samples: rows while they come in, columns once sealed.
//!
//! All histograms of a chunk have one [`Layout`], so a sealed chunk is a table of numbers: per moment the count, the zero
//! count, each bucket's count, and the sum. Each column is packed for itself. Bytes: `docs/format/chunks.md`.

use std::sync::Arc;

use super::{decimal, floats, ints};
use crate::codec::{Decoder, Encoder, Malformed, unzigzag};
use crate::histogram::{CounterResetHint, FloatHistogram, Histogram, Span};
use crate::sample::{STALE_NAN, is_stale};

/// Cells of a row before the buckets: count and zero count.
const FIXED_CELLS: usize = 2;

/// A native histogram as it was given: counted in whole numbers or in floats.
#[derive(Clone, Debug, PartialEq)]
pub enum HistogramValue {
    /// Counted in whole numbers.
    Integer(Histogram),
    /// Counted in floats.
    Float(FloatHistogram),
}

impl HistogramValue {
    /// The marker that says "this series ends here".
    #[must_use]
    pub fn stale() -> Self {
        Self::Float(FloatHistogram { sum: STALE_NAN, ..FloatHistogram::default() })
    }

    /// Whether it is that marker.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        is_stale(self.sum())
    }

    /// The sum of the observations.
    #[must_use]
    pub fn sum(&self) -> f64 {
        match self {
            Self::Integer(h) => h.sum,
            Self::Float(h) => h.sum,
        }
    }

    /// Bytes that it takes in memory, buckets included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Integer(h) => h.size_bytes(),
            Self::Float(h) => h.size_bytes(),
        }
    }

    /// The same histogram counted in floats.
    #[must_use]
    pub fn into_float(self) -> FloatHistogram {
        match self {
            Self::Integer(h) => h.to_float(),
            Self::Float(h) => h,
        }
    }

    /// What is known about a counter reset.
    #[must_use]
    pub fn hint(&self) -> CounterResetHint {
        match self {
            Self::Integer(h) => h.counter_reset_hint,
            Self::Float(h) => h.counter_reset_hint,
        }
    }
}

/// What all histograms of a chunk have in common.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    integer: bool,
    gauge: bool,
    schema: i32,
    zero_threshold: f64,
    positive_spans: Vec<Span>,
    negative_spans: Vec<Span>,
    custom_values: Vec<f64>,
}

impl PartialEq for Layout {
    fn eq(&self, other: &Self) -> bool {
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        (self.integer, self.gauge, self.schema) == (other.integer, other.gauge, other.schema)
            && self.zero_threshold.to_bits() == other.zero_threshold.to_bits()
            && self.positive_spans == other.positive_spans
            && self.negative_spans == other.negative_spans
            && bits(&self.custom_values) == bits(&other.custom_values)
    }
}

/// The numbers of one histogram: count, zero count and bucket counts as integers (or the bits of floats), and the sum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    cells: Vec<i64>,
    sum: f64,
}

impl Row {
    /// Whether it says "this series ends here".
    pub(crate) fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }
}

/// Takes a histogram apart. `None` if its spans and buckets do not fit together.
pub(crate) fn split(value: &HistogramValue) -> Option<(Layout, Row)> {
    let bits = |x: f64| x.to_bits() as i64;
    let (layout, cells) = match value {
        HistogramValue::Integer(h) => {
            let mut cells = vec![h.count as i64, h.zero_count as i64];
            for buckets in [&h.positive_buckets, &h.negative_buckets] {
                cells.extend(buckets.iter().scan(0i64, |count, delta| {
                    *count = count.wrapping_add(*delta);
                    Some(*count)
                }));
            }
            let layout = Layout {
                integer: true,
                gauge: h.counter_reset_hint == CounterResetHint::Gauge,
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                positive_spans: h.positive_spans.clone(),
                negative_spans: h.negative_spans.clone(),
                custom_values: h.custom_values.clone(),
            };
            (layout, cells)
        }
        HistogramValue::Float(h) => {
            let mut cells = vec![bits(h.count), bits(h.zero_count)];
            cells.extend(h.positive_buckets.iter().chain(&h.negative_buckets).map(|&x| bits(x)));
            let layout = Layout {
                integer: false,
                gauge: h.counter_reset_hint == CounterResetHint::Gauge,
                schema: h.schema,
                zero_threshold: h.zero_threshold,
                positive_spans: h.positive_spans.clone(),
                negative_spans: h.negative_spans.clone(),
                custom_values: h.custom_values.clone(),
            };
            (layout, cells)
        }
    };
    let positive = match value {
        HistogramValue::Integer(h) => h.positive_buckets.len(),
        HistogramValue::Float(h) => h.positive_buckets.len(),
    };
    let fits = buckets_of(&layout.positive_spans) == Some(positive) && layout.cells() == Some(cells.len());
    fits.then(|| (layout, Row { cells, sum: value.sum() }))
}

/// Buckets that `spans` cover.
fn buckets_of(spans: &[Span]) -> Option<usize> {
    spans.iter().try_fold(0usize, |n, span| n.checked_add(usize::try_from(span.length).ok()?))
}

impl Layout {
    /// Numbers per row, the sum aside.
    fn cells(&self) -> Option<usize> {
        buckets_of(&self.positive_spans)?.checked_add(buckets_of(&self.negative_spans)?)?.checked_add(FIXED_CELLS)
    }

    /// What is known about a counter reset at the histogram of this position. Of the first of a chunk nothing is: which
    /// one comes before it depends on which chunks are read. So it is in Prometheus, also after a reset.
    fn hint_at(&self, position: usize) -> CounterResetHint {
        match position {
            _ if self.gauge => CounterResetHint::Gauge,
            0 => CounterResetHint::Unknown,
            _ => CounterResetHint::NotReset,
        }
    }

    pub(crate) fn is_gauge(&self) -> bool {
        self.gauge
    }

    /// Whether any count of `next` is below that of `last`. Both have this layout.
    pub(crate) fn resets(&self, last: &Row, next: &Row) -> bool {
        last.cells.iter().zip(&next.cells).any(|(&a, &b)| {
            if self.integer { (b as u64) < a as u64 } else { f64::from_bits(b as u64) < f64::from_bits(a as u64) }
        })
    }

    /// Puts a histogram together.
    fn join(&self, row: &Row, hint: CounterResetHint) -> HistogramValue {
        if is_stale(row.sum) {
            return HistogramValue::stale();
        }
        let (fixed, buckets) = row.cells.split_at(FIXED_CELLS);
        let (positive, negative) = buckets.split_at(buckets_of(&self.positive_spans).expect("checked when made"));
        let float = |cell: i64| f64::from_bits(cell as u64);
        if self.integer {
            HistogramValue::Integer(Histogram {
                counter_reset_hint: hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                count: fixed[0] as u64,
                zero_count: fixed[1] as u64,
                sum: row.sum,
                positive_spans: self.positive_spans.clone(),
                negative_spans: self.negative_spans.clone(),
                positive_buckets: differences(positive),
                negative_buckets: differences(negative),
                custom_values: self.custom_values.clone(),
            })
        } else {
            HistogramValue::Float(FloatHistogram {
                counter_reset_hint: hint,
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                count: float(fixed[0]),
                zero_count: float(fixed[1]),
                sum: row.sum,
                positive_spans: self.positive_spans.clone(),
                negative_spans: self.negative_spans.clone(),
                positive_buckets: positive.iter().map(|&c| float(c)).collect(),
                negative_buckets: negative.iter().map(|&c| float(c)).collect(),
                custom_values: self.custom_values.clone(),
            })
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(u8::from(self.integer) | u8::from(self.gauge) << 1);
        out.put_varint(i64::from(self.schema));
        out.put_f64(self.zero_threshold);
        for spans in [&self.positive_spans, &self.negative_spans] {
            out.put_uvarint(spans.len() as u64);
            for span in spans {
                out.put_varint(i64::from(span.offset));
                out.put_uvarint(u64::from(span.length));
            }
        }
        out.put_uvarint(self.custom_values.len() as u64);
        self.custom_values.iter().for_each(|&v| out.put_f64(v));
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let flags = input.u8()?;
        let schema = input.varint()?.try_into().map_err(|_| input.malformed("histogram schema"))?;
        let zero_threshold = input.f64()?;
        let mut spans = || -> Result<Vec<Span>, Malformed> {
            (0..input.count(2)?)
                .map(|_| {
                    let offset = input.varint()?.try_into().map_err(|_| input.malformed("bucket offset"))?;
                    Ok(Span { offset, length: input.uvarint_as()? })
                })
                .collect()
        };
        let (positive_spans, negative_spans) = (spans()?, spans()?);
        let custom_values = (0..input.count(8)?).map(|_| input.f64()).collect::<Result<_, _>>()?;
        let (integer, gauge) = (flags & 1 != 0, flags & 2 != 0);
        Ok(Self { integer, gauge, schema, zero_threshold, positive_spans, negative_spans, custom_values })
    }
}

fn differences(counts: &[i64]) -> Vec<i64> {
    let mut last = 0i64;
    counts.iter().map(|&count| count.wrapping_sub(std::mem::replace(&mut last, count))).collect()
}

/// Appends a row to the rows of an open chunk: what changed since `last`.
pub(crate) fn push_row(layout: &Layout, last: Option<&Row>, row: &Row, out: &mut Vec<u8>) {
    out.put_u64(row.sum.to_bits());
    let zeros = Row::default();
    let before = last.unwrap_or(&zeros).cells.iter().copied().chain(std::iter::repeat(0));
    for (&cell, before) in row.cells.iter().zip(before) {
        if layout.integer {
            out.put_varint(cell.wrapping_sub(before));
        } else {
            out.put_uvarint(((cell ^ before) as u64).swap_bytes());
        }
    }
}

/// A row of the same shape as `last` that says "this series ends here".
pub(crate) fn stale_row(last: &Row) -> Row {
    Row { cells: last.cells.clone(), sum: STALE_NAN }
}

/// The first `count` rows that [`push_row`] wrote, put together.
pub(crate) fn read_rows(layout: &Layout, bytes: &[u8], count: usize) -> Result<Vec<HistogramValue>, Malformed> {
    let mut input = Decoder::new(bytes);
    let mut row = Row { cells: vec![0; layout.cells().ok_or(input.malformed("too many buckets"))?], sum: 0.0 };
    (0..count)
        .map(|i| {
            row.sum = input.f64()?;
            for cell in &mut row.cells {
                let n = input.uvarint()?;
                *cell = if layout.integer { cell.wrapping_add(unzigzag(n)) } else { *cell ^ n.swap_bytes() as i64 };
            }
            Ok(layout.join(&row, layout.hint_at(i)))
        })
        .collect()
}

/// Appends the rows that [`push_row`] wrote as packed columns.
pub(crate) fn seal(
    layout: &Layout,
    bytes: &[u8],
    count: usize,
    scratch: &mut decimal::Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    layout.encode(out);
    let mut input = Decoder::new(bytes);
    let cells = layout.cells().ok_or(input.malformed("too many buckets"))?;
    let mut columns = vec![Vec::with_capacity(count); cells];
    let mut sums = Vec::with_capacity(count);
    let mut row = vec![0i64; cells];
    for _ in 0..count {
        sums.push(input.f64()?);
        for (cell, column) in row.iter_mut().zip(&mut columns) {
            let n = input.uvarint()?;
            *cell = if layout.integer { cell.wrapping_add(unzigzag(n)) } else { *cell ^ n.swap_bytes() as i64 };
            column.push(*cell);
        }
    }
    floats::encode(&sums, scratch, out);
    for column in &columns {
        if layout.integer {
            ints::encode(column, &mut scratch.ints, out);
        } else {
            let floats: Vec<f64> = column.iter().map(|&cell| f64::from_bits(cell as u64)).collect();
            floats::encode(&floats, scratch, out);
        }
    }
    Ok(())
}

/// Takes `count` histograms off `input`, as [`seal`] wrote them.
pub(crate) fn open(input: &mut Decoder<'_>, count: usize) -> Result<Vec<Arc<FloatHistogram>>, Malformed> {
    Ok(open_values(input, count)?.into_iter().map(|h| Arc::new(h.into_float())).collect())
}

/// As [`open`], in the form in which they were given.
pub(crate) fn open_values(input: &mut Decoder<'_>, count: usize) -> Result<Vec<HistogramValue>, Malformed> {
    let layout = Layout::decode(input)?;
    // A column takes at least three bytes, so this bounds what is allocated.
    let cells = layout.cells().filter(|&n| n <= input.remaining()).ok_or(input.malformed("too many buckets"))?;
    let mut scratch = Vec::new();
    let mut sums = Vec::new();
    floats::decode(input, count, 0..count, &mut scratch, &mut sums)?;
    let mut columns = Vec::with_capacity(cells);
    for _ in 0..cells {
        let mut column = Vec::new();
        if layout.integer {
            ints::decode(input, count, &mut column)?;
        } else {
            let mut floats = Vec::new();
            floats::decode(input, count, 0..count, &mut scratch, &mut floats)?;
            column.extend(floats.iter().map(|x| x.to_bits() as i64));
        }
        columns.push(column);
    }
    Ok(sums
        .iter()
        .enumerate()
        .map(|(i, &sum)| {
            let row = Row { cells: columns.iter().map(|column| column[i]).collect(), sum };
            layout.join(&row, layout.hint_at(i))
        })
        .collect())
}
