//! Chunks of a block: up to about a thousand samples of one series, without their times. Bytes: `docs/format/block.md`.

use std::ops::Range;
use std::sync::Arc;

use crate::chunk::{HistogramValue, Layout, Row, decimal, floats, histogram};
use crate::codec::{Decoder, Encoder, Malformed};
use crate::error::Error;
use crate::histogram::{CounterResetHint, FloatHistogram};
use crate::querier::Columns;
use crate::sample::{HistogramSample, TimeRange, Timestamp};

/// Samples that a column of times may claim to hold; bounds what a damaged one can make a reader allocate.
pub(crate) const MAX_CLAIMED: usize = 1 << 16;

const FLOATS: u8 = 1;
const HISTOGRAMS: u8 = 2;
/// Bit of the first byte: when the counts began follows.
const STARTS: u8 = 1 << 4;
/// Bit of the first byte: hints that are not the usual ones follow.
const HINTS: u8 = 1 << 5;

/// Working memory of the encoders.
#[derive(Debug)]
pub(crate) struct Scratch {
    decimals: decimal::Scratch,
    rows: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        let mut decimals = decimal::Scratch::default();
        decimals.ints.classes = true;
        Self { decimals, rows: Vec::new() }
    }
}

/// Appends a chunk of floats; `starts` is empty if unknown for all.
pub(crate) fn encode_floats(values: &[f64], starts: &[i64], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let known = starts.iter().any(|&start| start != 0);
    out.put_u8(FLOATS | if known { STARTS } else { 0 });
    if known {
        put_runs(starts, out);
    }
    floats::encode(values, &mut scratch.decimals, out);
}

/// Histograms of one layout, ready to be made a chunk.
#[derive(Debug)]
pub(crate) struct Rows {
    layout: Layout,
    rows: Vec<Row>,
    hints: Vec<i64>,
    starts: Vec<i64>,
    pub(crate) times: Vec<i64>,
}

/// Takes histograms apart, those of one layout that follow each other together, at most `most` of them.
///
/// A stale marker goes with what is before it, whatever its layout.
pub(crate) fn split_histograms(samples: &[HistogramSample], most: usize) -> Result<Vec<Rows>, Error> {
    let mut all: Vec<Rows> = Vec::new();
    for sample in samples {
        let (time, start) = (sample.timestamp.millis(), sample.start.map_or(0, Timestamp::millis));
        let room = all.last_mut().filter(|rows| rows.times.len() < most);
        if sample.histogram.is_stale()
            && let Some(rows) = room
        {
            let row = histogram::stale_row(rows.rows.last().expect("rows begin with one"));
            rows.push(row, time, start, CounterResetHint::Unknown);
            continue;
        }
        // The layout knows of gauges alone; what else the hint says is kept beside it.
        let (layout, row) = histogram::split(&HistogramValue::Float((*sample.histogram).clone()))
            .ok_or(Error::Memory { what: "histogram whose buckets do not fit its spans" })?;
        let hint = sample.histogram.counter_reset_hint;
        match all.last_mut().filter(|rows| rows.times.len() < most && rows.layout == layout) {
            Some(rows) => rows.push(row, time, start, hint),
            None => {
                let mut rows =
                    Rows { layout, rows: Vec::new(), hints: Vec::new(), starts: Vec::new(), times: Vec::new() };
                rows.push(row, time, start, hint);
                all.push(rows);
            }
        }
    }
    Ok(all)
}

impl Rows {
    fn push(&mut self, row: Row, time: i64, start: i64, hint: CounterResetHint) {
        self.rows.push(row);
        self.times.push(time);
        self.starts.push(start);
        self.hints.push(hint as i64);
    }
}

/// The hint of a histogram at `position` of a chunk where nothing else is said.
fn usual_hint(position: usize, gauge: bool) -> CounterResetHint {
    match position {
        _ if gauge => CounterResetHint::Gauge,
        0 => CounterResetHint::Unknown,
        _ => CounterResetHint::NotReset,
    }
}

/// Appends a chunk of histograms.
pub(crate) fn encode_histograms(rows: &Rows, scratch: &mut Scratch, out: &mut Vec<u8>) {
    let Rows { layout, rows, hints, starts, .. } = rows;
    let known = starts.iter().any(|&start| start != 0);
    let unusual = hints
        .iter()
        .enumerate()
        .any(|(i, &hint)| hint != usual_hint(i, layout.is_gauge()) as i64 && !rows[i].is_stale());
    out.put_u8(HISTOGRAMS | if known { STARTS } else { 0 } | if unusual { HINTS } else { 0 });
    if known {
        put_runs(starts, out);
    }
    if unusual {
        put_runs(hints, out);
    }
    scratch.rows.clear();
    let mut last = None;
    for row in rows {
        histogram::push_row(layout, last, row, &mut scratch.rows);
        last = Some(row);
    }
    histogram::seal(layout, &scratch.rows, rows.len(), &mut scratch.decimals, out)
        .expect("rows that never left memory are as they were written");
}

/// When the samples of a chunk were taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ChunkTimes<'a> {
    /// Each so long after the one before.
    Even {
        first: i64,
        step: i64,
        count: usize,
    },
    Listed(&'a [i64]),
}

impl ChunkTimes<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Even { count, .. } => count,
            Self::Listed(times) => times.len(),
        }
    }

    fn at(self, place: usize) -> i64 {
        match self {
            Self::Even { first, step, .. } => first.wrapping_add(step.wrapping_mul(place as i64)),
            Self::Listed(times) => times[place],
        }
    }

    fn append(self, places: Range<usize>, out: &mut Vec<i64>) {
        match self {
            Self::Even { .. } => out.extend(places.map(|place| self.at(place))),
            Self::Listed(times) => out.extend_from_slice(&times[places]),
        }
    }

    /// The places of the times within `range`.
    pub(crate) fn within(self, range: TimeRange) -> Range<usize> {
        let (start, end) = (range.start.millis(), range.end.millis());
        let (from, to) = match self {
            Self::Even { first, step, count } => {
                // How many are below a moment.
                let below = |moment: i128| {
                    let ahead = moment - i128::from(first);
                    match step {
                        _ if ahead <= 0 => 0,
                        0 => count,
                        _ => (ahead as u128).div_ceil(step.unsigned_abs().into()).min(count as u128) as usize,
                    }
                };
                (below(start.into()), below(i128::from(end) + 1))
            }
            Self::Listed(times) => (times.partition_point(|&t| t < start), times.partition_point(|&t| t <= end)),
        };
        from..to.max(from)
    }
}

/// Takes a chunk with samples at `times` off `input` and appends those at the places `wanted`.
pub(crate) fn decode(
    input: &mut Decoder<'_>,
    times: ChunkTimes<'_>,
    wanted: Range<usize>,
    columns: &mut Columns,
) -> Result<(), Malformed> {
    let at = *input;
    let kind = input.u8()?;
    let mut starts = Vec::new();
    if kind & STARTS != 0 {
        take_runs(input, times.len(), &mut starts)?;
    }
    match kind & !(STARTS | HINTS) {
        FLOATS if kind & HINTS == 0 => {
            let old = columns.values.len();
            let mut scratch = std::mem::take(&mut columns.scratch);
            let decoded = floats::decode(input, times.len(), wanted.clone(), &mut scratch, &mut columns.values);
            columns.scratch = scratch;
            decoded.inspect_err(|_| columns.values.truncate(old))?;
            times.append(wanted.clone(), &mut columns.timestamps_ms);
            if !starts.is_empty() || !columns.starts_ms.is_empty() {
                columns.starts_ms.resize(old, 0);
                columns.starts_ms.extend_from_slice(starts.get(wanted).unwrap_or_default());
                columns.starts_ms.resize(columns.values.len(), 0);
            }
        }
        HISTOGRAMS => {
            let mut hints = Vec::new();
            if kind & HINTS != 0 {
                take_runs(input, times.len(), &mut hints)?;
            }
            let histograms = histogram::open(input, times.len())?;
            for (i, mut histogram) in histograms.into_iter().enumerate().take(wanted.end).skip(wanted.start) {
                if let Some(&hint) = hints.get(i)
                    && !histogram.is_stale()
                {
                    set_hint(&mut histogram, hint).ok_or(at.malformed("unknown hint of a histogram"))?;
                }
                columns.histograms.push(HistogramSample {
                    timestamp: Timestamp::from_millis(times.at(i)),
                    start: starts.get(i).filter(|&&start| start != 0).map(|&start| Timestamp::from_millis(start)),
                    histogram,
                });
            }
        }
        _ => return Err(at.malformed("unknown kind of chunk")),
    }
    if input.is_empty() { Ok(()) } else { Err(input.malformed("more than a chunk")) }
}

fn set_hint(histogram: &mut Arc<FloatHistogram>, hint: i64) -> Option<()> {
    let hints =
        [CounterResetHint::Unknown, CounterResetHint::Reset, CounterResetHint::NotReset, CounterResetHint::Gauge];
    let hint = *hints.iter().find(|&&known| known as i64 == hint)?;
    Arc::make_mut(histogram).counter_reset_hint = hint;
    Some(())
}

/// Appends numbers that repeat: how many runs, then for each its length less one and its difference to the one before.
fn put_runs(numbers: &[i64], out: &mut Vec<u8>) {
    out.put_uvarint(numbers.chunk_by(|a, b| a == b).count() as u64);
    let mut last = 0i64;
    for run in numbers.chunk_by(|a, b| a == b) {
        out.put_uvarint(run.len() as u64 - 1);
        out.put_varint(run[0].wrapping_sub(last));
        last = run[0];
    }
}

/// Takes `count` numbers off that [`put_runs`] wrote.
fn take_runs(input: &mut Decoder<'_>, count: usize, out: &mut Vec<i64>) -> Result<(), Malformed> {
    let mut last = 0i64;
    for _ in 0..input.count(2)? {
        let more: usize = input.uvarint_as()?;
        last = last.wrapping_add(input.varint()?);
        if more >= count - out.len() {
            return Err(input.malformed("more numbers than samples"));
        }
        out.resize(out.len() + more + 1, last);
    }
    if out.len() == count { Ok(()) } else { Err(input.malformed("fewer numbers than samples")) }
}
