//! Prometheus' chunks: XOR-coded floats and native histograms. Source: its `tsdb/docs/format/chunks.md`.

use std::sync::Arc;

use super::bits::{BitReader, Xor};
use crate::chunk::HistogramValue;
use crate::codec::Malformed;
use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Histogram, InvalidHistogram, Span};
use crate::querier::Columns;
use crate::sample::{HistogramSample, Timestamp, is_stale};

const XOR: u8 = 1;
const HISTOGRAM: u8 = 2;
const FLOAT_HISTOGRAM: u8 = 3;

/// Buckets, and spans, that a histogram may claim to have; bounds what a damaged chunk can make a reader allocate.
const MAX_BUCKETS: u64 = 1 << 16;

/// Whether chunks of this encoding can be read.
pub(super) const fn is_known(encoding: u8) -> bool {
    matches!(encoding, XOR | HISTOGRAM | FLOAT_HISTOGRAM)
}

/// Appends the samples of a chunk to `columns`; histograms that contradict themselves go to `invalid` instead.
pub(super) fn decode(
    encoding: u8,
    bytes: &[u8],
    columns: &mut Columns,
    invalid: &mut dyn FnMut(Timestamp, InvalidHistogram),
) -> Result<(), Malformed> {
    let mut input = BitReader::new(bytes);
    let count = input.take(16)?;
    match encoding {
        XOR => floats(&mut input, count, columns),
        HISTOGRAM => histograms(&mut input, count, true, columns, invalid),
        FLOAT_HISTOGRAM => histograms(&mut input, count, false, columns, invalid),
        _ => Err(input.malformed("chunk of an encoding that is not known")),
    }
}

fn floats(input: &mut BitReader<'_>, count: u64, columns: &mut Columns) -> Result<(), Malformed> {
    if count == 0 {
        return Ok(());
    }
    let mut time = input.varint()?;
    let mut value = Xor::new(input.float()?);
    columns.push(time, value.value(), 0);
    let mut delta = 0i64;
    for place in 1..count {
        delta = match place {
            1 => input.uvarint()? as i64,
            _ => {
                let width = [0, 14, 17, 20, 64][input.ones(4)? as usize];
                delta.wrapping_add(input.signed(width)?)
            }
        };
        time = time.wrapping_add(delta);
        columns.push(time, value.next(input)?, 0);
    }
    Ok(())
}

/// What all histograms of a chunk have in common, and how many buckets that is.
struct Layout {
    gauge: bool,
    base: Histogram,
    positive: usize,
    negative: usize,
}

fn layout(input: &mut BitReader<'_>) -> Result<Layout, Malformed> {
    let gauge = input.take(8)? >> 6 == 3;
    let zero_threshold = match input.take(8)? {
        0 => 0.0,
        255 => input.float()?,
        power => 2f64.powi(power as i32 - 244),
    };
    let schema = i32::try_from(input.varbit_int()?).map_err(|_| input.malformed("histogram schema"))?;
    let (positive_spans, positive) = spans(input)?;
    let (negative_spans, negative) = spans(input)?;
    let mut custom_values = Vec::new();
    if schema == CUSTOM_BUCKETS_SCHEMA {
        for _ in 0..input.varbit_uint()? {
            custom_values.push(match input.varbit_uint()? {
                0 => input.float()?,
                n => (n - 1) as f64 / 1000.0,
            });
        }
    }
    let base =
        Histogram { schema, zero_threshold, positive_spans, negative_spans, custom_values, ..Histogram::default() };
    Ok(Layout { gauge, base, positive, negative })
}

fn spans(input: &mut BitReader<'_>) -> Result<(Vec<Span>, usize), Malformed> {
    let (mut spans, mut buckets) = (Vec::new(), 0u64);
    for _ in 0..input.varbit_uint()? {
        let length = input.varbit_uint()?;
        let offset = i32::try_from(input.varbit_int()?).map_err(|_| input.malformed("bucket offset"))?;
        buckets = buckets.saturating_add(length);
        if buckets > MAX_BUCKETS || spans.len() as u64 >= MAX_BUCKETS {
            return Err(input.malformed("too many buckets"));
        }
        spans.push(Span { offset, length: length as u32 });
    }
    Ok((spans, buckets as usize))
}

fn histograms(
    input: &mut BitReader<'_>,
    count: u64,
    integer: bool,
    columns: &mut Columns,
    invalid: &mut dyn FnMut(Timestamp, InvalidHistogram),
) -> Result<(), Malformed> {
    if count == 0 {
        return Ok(());
    }
    let layout = layout(input)?;
    let (mut time, mut delta) = (0i64, 0i64);
    let mut rows = if integer { Rows::Integer(IntegerRows::default()) } else { Rows::Float(Vec::new()) };
    let mut sum = Xor::new(0.0);
    for place in 0..count {
        let step = input.varbit_int()?;
        if place == 0 {
            time = step;
        } else {
            delta = delta.wrapping_add(step);
            time = time.wrapping_add(delta);
        }
        let histogram = match &mut rows {
            Rows::Integer(rows) => rows.next(input, &layout, place == 0, &mut sum)?.map(HistogramValue::Integer),
            Rows::Float(rows) => next_float(input, &layout, rows, place == 0)?.map(HistogramValue::Float),
        };
        let timestamp = Timestamp::from_millis(time);
        let mut histogram = match histogram.unwrap_or_else(HistogramValue::stale).validated() {
            Ok(value) => value.into_float(),
            Err(why) => {
                invalid(timestamp, why);
                continue;
            }
        };
        if !histogram.is_stale() {
            histogram.counter_reset_hint = match place {
                _ if layout.gauge => CounterResetHint::Gauge,
                0 => CounterResetHint::Unknown,
                _ => CounterResetHint::NotReset,
            };
        }
        columns.histograms.push(HistogramSample { timestamp, start: None, histogram: Arc::new(histogram) });
    }
    Ok(())
}

enum Rows {
    Integer(IntegerRows),
    Float(Vec<Xor>),
}

/// Count, zero count and buckets of the last histogram, and by how much they grew.
#[derive(Default)]
struct IntegerRows {
    cells: Vec<(i64, i64)>,
}

impl IntegerRows {
    /// The next histogram; none for a stale marker.
    fn next(
        &mut self,
        input: &mut BitReader<'_>,
        layout: &Layout,
        first: bool,
        sum: &mut Xor,
    ) -> Result<Option<Histogram>, Malformed> {
        let buckets = layout.positive + layout.negative;
        if first {
            for _ in 0..2 {
                self.cells.push((input.varbit_uint()? as i64, 0));
            }
            *sum = Xor::new(input.float()?);
        } else {
            self.cells[..2].iter_mut().try_for_each(|cell| advance(cell, input))?;
            sum.next(input)?;
        }
        if is_stale(sum.value()) {
            // Nothing but other stale markers can follow.
            return Ok(None);
        }
        if first {
            for _ in 0..buckets {
                self.cells.push((input.varbit_int()?, 0));
            }
        } else {
            let missing = input.malformed("buckets after a stale marker");
            let cells = self.cells.get_mut(2..2 + buckets).ok_or(missing)?;
            cells.iter_mut().try_for_each(|cell| advance(cell, input))?;
        }
        let cells: Vec<i64> = self.cells.iter().map(|&(cell, _)| cell).collect();
        let (positive, negative) = cells[2..].split_at(layout.positive);
        let histogram = Histogram {
            count: cells[0] as u64,
            zero_count: cells[1] as u64,
            sum: sum.value(),
            positive_buckets: positive.to_vec(),
            negative_buckets: negative.to_vec(),
            ..layout.base.clone()
        };
        Ok(Some(histogram))
    }
}

/// Takes by how much more a number grew than the last time.
fn advance((cell, delta): &mut (i64, i64), input: &mut BitReader<'_>) -> Result<(), Malformed> {
    *delta = delta.wrapping_add(input.varbit_int()?);
    *cell = cell.wrapping_add(*delta);
    Ok(())
}

/// The next histogram with float counts; `rows` are count, zero count, sum and buckets of the last one.
fn next_float(
    input: &mut BitReader<'_>,
    layout: &Layout,
    rows: &mut Vec<Xor>,
    first: bool,
) -> Result<Option<FloatHistogram>, Malformed> {
    const FIXED: usize = 3;
    let take = |from: usize, to: usize, rows: &mut Vec<Xor>, input: &mut BitReader<'_>| {
        if first {
            for _ in from..to {
                rows.push(Xor::new(input.float()?));
            }
            return Ok(());
        }
        let missing = input.malformed("buckets after a stale marker");
        rows.get_mut(from..to).ok_or(missing)?.iter_mut().try_for_each(|cell| cell.next(input).map(drop))
    };
    take(0, FIXED, rows, input)?;
    if is_stale(rows[2].value()) {
        return Ok(None);
    }
    take(FIXED, FIXED + layout.positive + layout.negative, rows, input)?;
    let cells: Vec<f64> = rows.iter().map(Xor::value).collect();
    let (positive, negative) = cells[FIXED..].split_at(layout.positive);
    Ok(Some(FloatHistogram {
        count: cells[0],
        zero_count: cells[1],
        sum: cells[2],
        positive_buckets: positive.to_vec(),
        negative_buckets: negative.to_vec(),
        ..layout.base.to_float()
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of bits that are written as text, filled up with zeros.
    fn bytes(bits: &str) -> Vec<u8> {
        let digits: Vec<char> = bits.chars().filter(|c| *c != ' ').collect();
        digits
            .chunks(8)
            .map(|byte| {
                let text: String = byte.iter().collect();
                u8::from_str_radix(&format!("{text:0<8}"), 2).unwrap()
            })
            .collect()
    }

    #[test]
    fn malformed_histograms_of_a_chunk_are_told_and_not_taken() {
        // One sample at time 0: no hint, zero threshold 0, schema 0, one positive span of one bucket at 0, none negative.
        let head = format!("{:016b} {:08b} {:08b} 0 10001 10001 0 0 0", 1, 0, 0);
        let float = |value: f64| format!("{:064b}", value.to_bits());
        let integers = |count: &str| bytes(&format!("{head} {count} 0 {} 10010", float(1.5)));
        let floats =
            |bucket: f64| bytes(&format!("{head} {} {} {} {}", float(2.0), float(0.0), float(1.5), float(bucket)));
        for (encoding, chunk, valid) in [
            (HISTOGRAM, integers("10010"), true),
            (HISTOGRAM, integers("10011"), false),
            (FLOAT_HISTOGRAM, floats(2.0), true),
            (FLOAT_HISTOGRAM, floats(-2.0), false),
        ] {
            let (mut columns, mut invalid) = (Columns::default(), Vec::new());
            decode(encoding, &chunk, &mut columns, &mut |at, why| invalid.push((at.millis(), why))).unwrap();
            assert_eq!(
                (columns.histograms.len(), invalid.len()),
                (usize::from(valid), usize::from(!valid)),
                "{invalid:?}"
            );
            for sample in columns.histograms {
                assert_eq!((sample.histogram.count, &sample.histogram.positive_buckets[..]), (2.0, &[2.0][..]));
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(encoding in 0u8..5, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(encoding, &bytes, &mut Columns::default(), &mut |_, _| ());
        }
    }
}
