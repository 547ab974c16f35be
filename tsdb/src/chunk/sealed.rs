//! A chunk that is complete: re-encoded for size and for fast reading. Bytes: `docs/format/chunks.md`.

use std::sync::Arc;

use super::floats::{self, Packing};
use super::histogram::{HistogramValue, split};
use super::open::{ChunkWriter, Contents, Extent, OpenChunk, Starts, Times, note_start, start_of};
use super::timestamps::Column;
use super::{MAX_SAMPLES, MAX_STEP, bits, decimal, histogram, ints};
use crate::codec::{Decoder, Encoder, Malformed};
use crate::querier::Columns;
use crate::sample::{HistogramSample, TimeRange, Timestamp};

/// Samples that a chunk may claim to hold; bounds what a damaged one can make a reader allocate.
const MAX_CLAIMED: usize = 1 << 16;

/// What the values of a chunk are and how they are packed: its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Decimals = 1,
    Bits = 2,
    Histograms = 3,
}

/// How the times of a chunk are kept: its second byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimesKind {
    Own = 0,
    /// Ordinals of a column, one after the other.
    Dense = 1,
    /// Ordinals of a column with gaps.
    Sparse = 2,
}

/// A complete chunk in the head.
#[derive(Debug)]
pub(crate) struct SealedChunk {
    range: TimeRange,
    extent: Extent,
    column: Option<Arc<Column>>,
    bytes: Box<[u8]>,
}

/// Working memory of [`SealedChunk::new`], to be used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sealer {
    contents: Contents,
    decimals: decimal::Scratch,
    ints: ints::Scratch,
    out: Vec<u8>,
}

impl SealedChunk {
    /// Re-encodes what is published of `open`; `None` if that is nothing. About 25 ns per sample, reading included.
    pub(crate) fn new(open: &OpenChunk, sealer: &mut Sealer) -> Option<Self> {
        open.contents(&mut sealer.contents);
        let Contents { times, .. } = &mut sealer.contents;
        let (&first, &last) = times.first().zip(times.last())?;
        let (column, range) = match open.times() {
            Times::Shared(column) => {
                (Some(column.clone()), TimeRange::from_millis(column.at(first as usize), column.at(last as usize)))
            }
            Times::Own(base) => {
                times.iter_mut().for_each(|time| *time = time.wrapping_add(*base));
                (None, TimeRange::from_millis(first.wrapping_add(*base), last.wrapping_add(*base)))
            }
        };
        encode(sealer, column.is_some());
        Some(Self { range, extent: open.extent(), column, bytes: sealer.out.as_slice().into() })
    }

    /// Packs floats that have been decoded, with times of their own; `None` if there is none. All readers see all of it.
    pub(crate) fn of_floats(columns: &Columns, sealer: &mut Sealer) -> Option<Self> {
        let (&first, &last) = columns.timestamps_ms.first().zip(columns.timestamps_ms.last())?;
        let contents = &mut sealer.contents;
        contents.clear();
        contents.times.extend_from_slice(&columns.timestamps_ms);
        contents.values.extend_from_slice(&columns.values);
        let mut start = 0;
        for (at, &next) in columns.starts_ms.iter().enumerate() {
            if next != start {
                contents.starts.push((at as u8, next));
                start = next;
            }
        }
        encode(sealer, false);
        let extent = Extent { commit: 0, before: 0, count: columns.timestamps_ms.len() as u8 };
        Some(Self {
            range: TimeRange::from_millis(first, last),
            extent,
            column: None,
            bytes: sealer.out.as_slice().into(),
        })
    }

    /// Packs histograms that have been decoded, with times of their own.
    pub(crate) fn of_histograms(samples: &[HistogramSample], sealer: &mut Sealer) -> Vec<Self> {
        let mut out = Vec::new();
        let mut begun: Option<(i64, ChunkWriter, Starts)> = None;
        let mut finish = |(base_ms, writer, starts): (i64, ChunkWriter, Starts)| {
            out.extend(writer.chunk(Times::Own(base_ms), starts).and_then(|chunk| Self::new(&chunk, sealer)));
        };
        for sample in samples {
            let value = HistogramValue::Float((*sample.histogram).clone());
            let (layout, row) = split(&value).expect("a histogram that came out of a chunk fits into one");
            let (at_ms, start_ms) = (sample.timestamp.millis(), sample.start.map_or(0, Timestamp::millis));
            let taken = begun.as_mut().is_some_and(|(base_ms, writer, starts)| {
                let time = at_ms.wrapping_sub(*base_ms) as u64;
                let taken = writer.count() < MAX_SAMPLES
                    && time.wrapping_sub(writer.last_time()) <= MAX_STEP
                    && writer.push_histogram(time, &layout, &row, value.is_stale());
                if taken {
                    note_start(starts, writer.count() - 1, start_ms);
                }
                taken
            });
            if !taken {
                let mut starts = Starts::new();
                note_start(&mut starts, 0, start_ms);
                let next = ChunkWriter::starting_with(&Times::Own(at_ms), 0, &layout, &row);
                begun.replace((at_ms, next, starts)).into_iter().for_each(&mut finish);
            }
        }
        begun.into_iter().for_each(finish);
        out
    }

    pub(crate) fn range(&self) -> TimeRange {
        self.range
    }

    pub(crate) fn extent(&self) -> Extent {
        self.extent
    }

    pub(crate) fn column(&self) -> Option<&Arc<Column>> {
        self.column.as_ref()
    }

    /// Bytes that it takes behind an `Arc`.
    pub(crate) fn heap_bytes(&self) -> usize {
        2 * size_of::<usize>() + size_of::<Self>() + self.bytes.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends the samples within `range` to `columns`: of a chunk with times of its own the first `count`, of one on
    /// a column those with an ordinal below `count`.
    pub(crate) fn read(&self, count: usize, range: TimeRange, columns: &mut Columns) -> Result<(), Malformed> {
        let times = self.column.as_deref().map_or(TimesOfColumn::None, TimesOfColumn::Open);
        decode(&self.bytes, times, count, range, columns)
    }
}

/// The times that a chunk's ordinals refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimesOfColumn<'a> {
    /// The chunk has its own.
    None,
    /// A column that scrapes may still be added to.
    Open(&'a Column),
    /// A column read from a file.
    Stored(&'a [i64]),
}

impl TimesOfColumn<'_> {
    fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::Open(column) => column.len(),
            Self::Stored(times) => times.len(),
        }
    }

    /// Appends the times of the ordinals from `from` up to `to`, which is not beyond the length.
    fn append(self, from: usize, to: usize, out: &mut Vec<i64>) {
        match self {
            Self::None => {}
            Self::Open(column) => out.extend((from..to).map(|ordinal| column.at(ordinal))),
            Self::Stored(times) => out.extend_from_slice(&times[from..to]),
        }
    }

    /// Puts times in the place of ordinals, all of them below the length.
    fn replace(self, ordinals: &mut [i64]) {
        match self {
            Self::None => {}
            Self::Open(column) => ordinals.iter_mut().for_each(|o| *o = column.at(*o as usize)),
            Self::Stored(times) => ordinals.iter_mut().for_each(|o| *o = times[*o as usize]),
        }
    }
}

/// Appends the times of a column: their count, then the integers.
pub(crate) fn encode_column(column: &Column, out: &mut Vec<u8>) {
    let times: Vec<i64> = (0..column.len()).map(|ordinal| column.at(ordinal)).collect();
    out.put_uvarint(times.len() as u64);
    ints::encode(&times, &mut ints::Scratch::default(), out);
}

/// Reads what [`encode_column`] wrote and appends it to `out`.
pub(crate) fn decode_column(bytes: &[u8], out: &mut Vec<i64>) -> Result<(), Malformed> {
    let mut input = Decoder::new(bytes);
    let count: usize = input.uvarint_as()?;
    if count > MAX_CLAIMED {
        return Err(input.malformed("column of too many times"));
    }
    ints::decode(&mut input, count, out)
}

fn encode(sealer: &mut Sealer, on_column: bool) {
    let Sealer { contents: Contents { times, values, rows, starts }, decimals, ints, out } = sealer;
    out.clear();
    out.put_u8(0);
    let dense = times.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == 1);
    let times_kind = match (on_column, dense) {
        (false, _) => TimesKind::Own,
        (true, true) => TimesKind::Dense,
        (true, false) => TimesKind::Sparse,
    };
    out.put_u8(times_kind as u8);
    out.put_uvarint(times.len() as u64);
    match times_kind {
        TimesKind::Dense => out.put_uvarint(times[0] as u64),
        TimesKind::Own | TimesKind::Sparse => ints::encode(times, ints, out),
    }
    out.put_uvarint(starts.len() as u64);
    let mut last = 0i64;
    for &(from, start) in starts.iter() {
        out.put_u8(from);
        out.put_varint(start.wrapping_sub(last));
        last = start;
    }
    out[0] = if let Some((layout, rows)) = rows {
        histogram::seal(layout, rows, times.len(), decimals, out)
            .expect("rows that never left memory are as they were written");
        Kind::Histograms
    } else {
        match floats::pack(values, decimals, out) {
            Packing::Decimals => Kind::Decimals,
            Packing::Bits => Kind::Bits,
        }
    } as u8;
}

/// Reads a chunk from its bytes: as [`SealedChunk::read`].
pub(crate) fn decode(
    bytes: &[u8],
    column: TimesOfColumn<'_>,
    visible: usize,
    range: TimeRange,
    columns: &mut Columns,
) -> Result<(), Malformed> {
    let mut input = Decoder::new(bytes);
    let kind = input.u8()?;
    let times_kind = input.u8()?;
    let count: usize = input.uvarint_as()?;
    if count > MAX_CLAIMED {
        return Err(input.malformed("chunk of too many samples"));
    }
    columns.count_chunk(bytes.len());
    let mut times = std::mem::take(&mut columns.times);
    times.clear();
    // All samples are decoded, then cut: a chunk is short, and unpacking it whole is what is fast.
    let n = match (times_kind, column) {
        (0, TimesOfColumn::None) => {
            ints::decode(&mut input, count, &mut times)?;
            visible.min(count)
        }
        (1, column @ (TimesOfColumn::Open(_) | TimesOfColumn::Stored(_))) => {
            let first: usize = input.uvarint_as()?;
            if first.checked_add(count).is_none_or(|end| end > column.len()) {
                return Err(input.malformed("chunk reaches beyond its column of times"));
            }
            column.append(first, first + count, &mut times);
            visible.saturating_sub(first).min(count)
        }
        (2, column @ (TimesOfColumn::Open(_) | TimesOfColumn::Stored(_))) => {
            ints::decode(&mut input, count, &mut times)?;
            let within = usize::try_from(times.last().copied().unwrap_or(0)).is_ok_and(|last| last < column.len());
            if !within || times.iter().any(|&t| t < 0) || times.windows(2).any(|pair| pair[0] >= pair[1]) {
                return Err(input.malformed("ordinals do not ascend"));
            }
            let n = times.partition_point(|&ordinal| (ordinal as usize) < visible);
            column.replace(&mut times);
            n
        }
        _ => return Err(input.malformed("unknown way of keeping times")),
    };
    let starts = starts(&mut input)?;
    let from = times[..n].partition_point(|&t| t < range.start.millis());
    let to = times[..n].partition_point(|&t| t <= range.end.millis()).max(from);
    if kind == Kind::Histograms as u8 {
        let histograms = histogram::open(&mut input, count)?;
        columns.histograms.extend((from..to).map(|i| HistogramSample {
            timestamp: Timestamp::from_millis(times[i]),
            start: Some(start_of(&starts, i)).filter(|&s| s != 0).map(Timestamp::from_millis),
            histogram: histograms[i].clone(),
        }));
        columns.times = times;
        return Ok(());
    }
    let old = columns.values.len();
    let mut scratch = std::mem::take(&mut columns.scratch);
    match kind {
        k if k == Kind::Decimals as u8 => {
            decimal::decode(&mut input, count, from..to, &mut scratch, &mut columns.values)?;
        }
        k if k == Kind::Bits as u8 => bits::decode(&mut input, count, from..to, &mut scratch, &mut columns.values)?,
        _ => return Err(input.malformed("unknown kind of chunk")),
    }
    columns.scratch = scratch;
    columns.timestamps_ms.extend_from_slice(&times[from..to]);
    if !starts.is_empty() || !columns.starts_ms.is_empty() {
        columns.starts_ms.resize(old, 0);
        columns.starts_ms.extend((from..to).map(|i| start_of(&starts, i)));
    }
    columns.times = times;
    Ok(())
}

fn starts(input: &mut Decoder<'_>) -> Result<Starts, Malformed> {
    let mut last = 0i64;
    (0..input.count(2)?)
        .map(|_| {
            let from = input.u8()?;
            last = last.wrapping_add(input.varint()?);
            Ok((from, last))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::MAX_SAMPLES;
    use crate::chunk::open::ChunkWriter;
    use crate::sample::STALE_NAN;

    fn read(chunk: &SealedChunk, count: usize, range: TimeRange) -> Vec<(i64, u64, i64)> {
        let mut columns = Columns::default();
        columns.push(-1, -1.0, 0);
        chunk.read(count, range, &mut columns).unwrap();
        let starts = |i: usize| columns.starts_ms.get(i).copied().unwrap_or(0);
        (1..columns.values.len()).map(|i| (columns.timestamps_ms[i], columns.values[i].to_bits(), starts(i))).collect()
    }

    proptest! {
        #[test]
        fn a_sealed_chunk_reads_as_the_open_one_did(
            samples in prop::collection::vec(
                (1u64..4, prop_oneof![any::<f64>(), Just(STALE_NAN), (0..50i32).prop_map(f64::from)], 0i64..3), 1..=MAX_SAMPLES / 4),
            shared: bool, visible in 0usize..MAX_SAMPLES, from in 0i64..200, len in 0i64..200,
        ) {
            let column = Column::new(MAX_SAMPLES);
            let times = if shared { Times::Shared(column.clone()) } else { Times::Own(50) };
            let mut writer = ChunkWriter::floats(&times);
            let mut starts = Starts::new();
            let mut time = 0;
            for (i, &(step, value, start)) in samples.iter().enumerate() {
                time += if i == 0 { 0 } else { step };
                while shared && column.len() as u64 <= time {
                    column.push(Timestamp::from_millis(50 + column.len() as i64), 1);
                }
                writer.push(time, value);
                note_start(&mut starts, i, start);
            }
            let chunk = writer.chunk(times, starts).unwrap();
            let sealed = SealedChunk::new(&chunk, &mut Sealer::default()).unwrap();
            let range = TimeRange::from_millis(from, from + len);
            let mut open = Columns::default();
            let visible = if shared { visible } else { visible.min(samples.len()) };
            chunk.read(visible, range, &mut open);
            let starts = |i: usize| open.starts_ms.get(i).copied().unwrap_or(0);
            let expected: Vec<_> = (0..open.values.len()).map(|i| (open.timestamps_ms[i], open.values[i].to_bits(), starts(i))).collect();
            prop_assert_eq!(read(&sealed, visible, range), expected);
            prop_assert_eq!(sealed.range().start.millis(), 50);
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes: Vec<u8>, kind in 0u8..4, times in 0u8..3, count in 0u8..130) {
            let mut chunk = vec![kind, times, count];
            chunk.extend(bytes);
            let column = Column::new(4);
            column.push(Timestamp::from_millis(1), 1);
            for column in [TimesOfColumn::None, TimesOfColumn::Open(&column), TimesOfColumn::Stored(&[1])] {
                let _ = decode(&chunk, column, 100, TimeRange::ALL, &mut Columns::default());
            }
        }
    }
}
