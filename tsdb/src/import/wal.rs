//! The write-ahead log of Prometheus, and that of its late samples. Source: its `tsdb/docs/format/wal.md`.

use std::path::{Path, PathBuf};

use super::block::{be32, be64};
use crate::chunk::HistogramValue;
use crate::codec::{Decoder, Malformed, crc32c};
use crate::error::Error;
use crate::exemplar::Exemplar;
use crate::fs::{AtPath, Fs, Map};
use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Histogram, Span};
use crate::labels::Labels;
use crate::sample::Timestamp;

const PAGE_BYTES: usize = 32 << 10;
/// Kind and compression, length, checksum.
const FRAGMENT_HEADER: usize = 1 + 2 + 4;
const SNAPPY: u8 = 1 << 3;
const ZSTD: u8 = 1 << 4;

/// The greatest expansion of snappy: a copy of 64 bytes takes three.
const MAX_SNAPPY_RATIO: usize = 22;

/// Bytes that a record may unpack to.
const MAX_RECORD: usize = 512 << 20;

/// What the log says.
pub(super) enum Record {
    Series(u64, Labels),
    Float(u64, i64, f64),
    Histogram(u64, i64, HistogramValue),
    Exemplar(u64, Exemplar),
    /// Samples of a series are deleted between these times, both ends in it.
    Deleted(u64, i64, i64),
    /// What is known about the metrics of so many series.
    Metadata,
    /// A record of a kind that is not known.
    Unknown(u8),
}

/// The files of a log in the order in which they are read: those of the last checkpoint, then what came after it.
pub(super) fn segments(fs: &dyn Fs, dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let names = match fs.list(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at(dir)?,
    };
    let numbered = |prefix: &str| {
        let number = |name: &String| Some((name.strip_prefix(prefix)?.parse::<u64>().ok()?, dir.join(name)));
        let mut found: Vec<(u64, PathBuf)> = names.iter().filter_map(number).collect();
        found.sort_unstable();
        found
    };
    let mut files = Vec::new();
    let checkpoint = numbered("checkpoint.").pop();
    let first = checkpoint.as_ref().map_or(0, |(number, _)| number + 1);
    if let Some((_, checkpoint)) = checkpoint {
        files.extend(fs.list(&checkpoint).at(&checkpoint)?.iter().map(|name| checkpoint.join(name)));
    }
    files.extend(numbered("").into_iter().filter(|(number, _)| *number >= first).map(|(_, path)| path));
    Ok(files)
}

/// The files of a log before which one is missing. Without a checkpoint a log may begin anywhere.
pub(super) fn gaps(files: &[PathBuf]) -> impl Iterator<Item = Error> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let mut next: Option<u64> = None;
    files.iter().filter_map(move |path| {
        let number = name(path)?.parse::<u64>().ok()?;
        let checkpoint =
            path.parent().and_then(name).and_then(|dir| dir.strip_prefix("checkpoint.")?.parse::<u64>().ok());
        if let Some(covered) = checkpoint {
            next = Some(covered + 1);
            return None;
        }
        let is_gap = next.is_some_and(|next| next != number);
        next = Some(number + 1);
        is_gap.then(|| Error::Corrupt { path: path.clone(), offset: 0, what: "the segment before it is missing" })
    })
}

/// Hands the records of a segment to `visit`. A damaged one ends the segment: what is behind it is lost.
pub(super) fn read(fs: &dyn Fs, path: &Path, mut visit: impl FnMut(Record) -> Result<(), Error>) -> Result<(), Error> {
    let size = fs.open_read(path).and_then(|file| file.size()).at(path)?;
    let map = fs.map(path, size).at(path)?;
    let (mut at, mut pending, mut unpacked) = (0, Vec::new(), Vec::new());
    while let Some(fragment) = fragment(&map, &mut at).map_err(|e| e.at(path, 0))? {
        if fragment.begins() {
            pending.clear();
        }
        pending.extend_from_slice(fragment.bytes);
        if !fragment.ends() {
            continue;
        }
        let corrupt = |what| Error::Corrupt { path: path.to_owned(), offset: fragment.at as u64, what };
        let record = match fragment.kind & (SNAPPY | ZSTD) {
            0 => &pending,
            SNAPPY => {
                unpack_snappy(&pending, &mut unpacked).ok_or_else(|| corrupt("record cannot be unpacked"))?;
                &unpacked
            }
            _ => {
                unpack_zstd(&pending, &mut unpacked).ok_or_else(|| corrupt("record cannot be unpacked"))?;
                &unpacked
            }
        };
        let mut result = Ok(());
        let decoded = decode(record, &mut |record| {
            if result.is_ok() {
                result = visit(record);
            }
        });
        result?;
        decoded.map_err(|e| corrupt(e.what))?;
    }
    Ok(())
}

/// A part of a record.
struct Fragment<'a> {
    kind: u8,
    at: usize,
    bytes: &'a [u8],
}

impl Fragment<'_> {
    fn begins(&self) -> bool {
        matches!(self.kind & 7, 1 | 2)
    }

    fn ends(&self) -> bool {
        matches!(self.kind & 7, 1 | 4)
    }
}

/// The fragment at or behind `at`, which is moved behind it; `None` at the end.
fn fragment<'a>(map: &'a Map, at: &mut usize) -> Result<Option<Fragment<'a>>, Malformed> {
    loop {
        let left = PAGE_BYTES - *at % PAGE_BYTES;
        match map.get(*at) {
            None => return Ok(None),
            // The rest of the page is empty.
            Some(0) => *at += left,
            Some(_) if left < FRAGMENT_HEADER => *at += left,
            Some(&kind) => {
                let wrong = |what| Malformed { offset: *at, what };
                let mut input = Decoder::new(&map[*at..]);
                let header = input.take(FRAGMENT_HEADER).map_err(|e| wrong(e.what))?;
                let len = usize::from(u16::from_be_bytes([header[1], header[2]]));
                let checksum = be32(&mut Decoder::new(&header[3..]))?;
                let bytes = input.take(len).map_err(|e| wrong(e.what))?;
                if !(1..=4).contains(&(kind & 7)) || checksum != crc32c(bytes) {
                    return Err(wrong("checksum does not match"));
                }
                let fragment = Fragment { kind, at: *at, bytes };
                *at += FRAGMENT_HEADER + len;
                return Ok(Some(fragment));
            }
        }
    }
}

fn unpack_snappy(packed: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let len = snap::raw::decompress_len(packed).ok().filter(|&len| len <= MAX_RECORD)?;
    if len / MAX_SNAPPY_RATIO > packed.len() {
        return None;
    }
    out.clear();
    out.resize(len, 0);
    snap::raw::Decoder::new().decompress(packed, out).ok().filter(|&n| n == len).map(drop)
}

fn unpack_zstd(packed: &[u8], out: &mut Vec<u8>) -> Option<()> {
    use std::io::Read;
    out.clear();
    let decoder = ruzstd::decoding::StreamingDecoder::new(packed).ok()?;
    // A byte more than may be shows that there are too many.
    decoder.take(MAX_RECORD as u64 + 1).read_to_end(out).ok().filter(|&len| len <= MAX_RECORD).map(drop)
}

/// Takes a record apart.
fn decode(bytes: &[u8], visit: &mut dyn FnMut(Record)) -> Result<(), Malformed> {
    let mut input = Decoder::new(bytes);
    let kind = input.u8()?;
    match kind {
        1 => {
            while !input.is_empty() {
                let series = be64(&mut input)?;
                visit(Record::Series(series, labels(&mut input)?));
            }
        }
        2 => each(&mut input, |input, series, time| {
            visit(Record::Float(series, time, f64::from_bits(be64(input)?)));
            Ok(())
        })?,
        3 => {
            while !input.is_empty() {
                visit(Record::Deleted(be64(&mut input)?, input.varint()?, input.varint()?));
            }
        }
        4 => each(&mut input, |input, series, time| {
            let value = f64::from_bits(be64(input)?);
            let labels = labels(input)?;
            visit(Record::Exemplar(series, Exemplar { labels, value, timestamp: Timestamp::from_millis(time) }));
            Ok(())
        })?,
        // With and without bounds of their own; what is in them says which.
        7 | 9 => each(&mut input, |input, series, time| {
            visit(Record::Histogram(series, time, HistogramValue::Integer(integer_histogram(input)?)));
            Ok(())
        })?,
        8 | 10 => each(&mut input, |input, series, time| {
            visit(Record::Histogram(series, time, HistogramValue::Float(float_histogram(input)?)));
            Ok(())
        })?,
        // Marks of chunks that were mapped; their samples are in records, too.
        5 => {}
        6 => visit(Record::Metadata),
        kind => visit(Record::Unknown(kind)),
    }
    Ok(())
}

fn labels(input: &mut Decoder<'_>) -> Result<Labels, Malformed> {
    let pairs = (0..input.count(2)?).map(|_| Ok((input.text()?, input.text()?)));
    Ok(Labels::from_pairs(pairs.collect::<Result<Vec<_>, Malformed>>()?))
}

/// Samples or exemplars, each with its series and time less those of the first.
fn each(
    input: &mut Decoder<'_>,
    mut take: impl FnMut(&mut Decoder<'_>, u64, i64) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    if input.is_empty() {
        return Ok(());
    }
    let (first, base) = (be64(input)?, be64(input)? as i64);
    while !input.is_empty() {
        let series = first.wrapping_add(input.varint()? as u64);
        let time = base.wrapping_add(input.varint()?);
        take(input, series, time)?;
    }
    Ok(())
}

fn hint(input: &mut Decoder<'_>) -> Result<CounterResetHint, Malformed> {
    Ok(match input.u8()? {
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => CounterResetHint::Unknown,
    })
}

fn schema(input: &mut Decoder<'_>) -> Result<i32, Malformed> {
    i32::try_from(input.varint()?).map_err(|_| input.malformed("histogram schema"))
}

fn float(input: &mut Decoder<'_>) -> Result<f64, Malformed> {
    be64(input).map(f64::from_bits)
}

fn spans(input: &mut Decoder<'_>) -> Result<Vec<Span>, Malformed> {
    (0..input.count(2)?)
        .map(|_| {
            let offset = i32::try_from(input.varint()?).map_err(|_| input.malformed("bucket offset"))?;
            Ok(Span { offset, length: input.uvarint_as()? })
        })
        .collect()
}

fn bounds(schema: i32, input: &mut Decoder<'_>) -> Result<Vec<f64>, Malformed> {
    if schema != CUSTOM_BUCKETS_SCHEMA {
        return Ok(Vec::new());
    }
    (0..input.count(8)?).map(|_| float(input)).collect()
}

fn integer_histogram(input: &mut Decoder<'_>) -> Result<Histogram, Malformed> {
    let (counter_reset_hint, schema) = (hint(input)?, schema(input)?);
    let zero_threshold = float(input)?;
    let (zero_count, count, sum) = (input.uvarint()?, input.uvarint()?, float(input)?);
    let (positive_spans, negative_spans) = (spans(input)?, spans(input)?);
    let mut buckets = || (0..input.count(1)?).map(|_| input.varint()).collect::<Result<_, Malformed>>();
    let (positive_buckets, negative_buckets) = (buckets()?, buckets()?);
    let custom_values = bounds(schema, input)?;
    Ok(Histogram {
        counter_reset_hint,
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans,
        negative_spans,
        positive_buckets,
        negative_buckets,
        custom_values,
    })
}

fn float_histogram(input: &mut Decoder<'_>) -> Result<FloatHistogram, Malformed> {
    let (counter_reset_hint, schema) = (hint(input)?, schema(input)?);
    let (zero_threshold, zero_count, count, sum) = (float(input)?, float(input)?, float(input)?, float(input)?);
    let (positive_spans, negative_spans) = (spans(input)?, spans(input)?);
    let mut buckets = || (0..input.count(8)?).map(|_| float(input)).collect::<Result<_, Malformed>>();
    let (positive_buckets, negative_buckets) = (buckets()?, buckets()?);
    let custom_values = bounds(schema, input)?;
    Ok(FloatHistogram {
        counter_reset_hint,
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans,
        negative_spans,
        positive_buckets,
        negative_buckets,
        custom_values,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[cfg(feature = "testing")]
    /// A segment of one page with the record in two fragments.
    fn segment(record: &[u8], compression: u8) -> Vec<u8> {
        let mut out = Vec::new();
        let (first, last) = record.split_at(record.len() / 2);
        for (kind, bytes) in [(2, first), (4, last)] {
            out.push(kind | compression);
            out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
            out.extend_from_slice(&crc32c(bytes).to_be_bytes());
            out.extend_from_slice(bytes);
        }
        out.resize(PAGE_BYTES, 0);
        out
    }

    #[test]
    #[cfg(feature = "testing")]
    fn records_are_read_however_they_are_packed_up_to_what_is_damaged() {
        let mut record = vec![2];
        for n in [7u64, 1000] {
            record.extend_from_slice(&n.to_be_bytes());
        }
        for (series, time, value) in [(0i8, 0, 1.5f64), (2, 30, -2.0)] {
            record.extend([(series * 2) as u8, time * 2]);
            record.extend_from_slice(&value.to_bits().to_be_bytes());
        }
        let snappy = snap::raw::Encoder::new().compress_vec(&record).unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(&record[..], ruzstd::encoding::CompressionLevel::Fastest);
        let mut bytes = [segment(&record, 0), segment(&snappy, SNAPPY), segment(&zstd, ZSTD)].concat();
        bytes.extend(segment(&record, 0));
        bytes[3 * PAGE_BYTES + 9] ^= 1;
        let (fs, path) = (crate::testing::FaultFs::default(), Path::new("/wal/00000000"));
        fs.create(path).unwrap().write_at(0, &bytes).unwrap();
        let mut found = Vec::new();
        let read = read(&fs, path, |record| {
            if let Record::Float(series, time, value) = record {
                found.push((series, time, value));
            }
            Ok(())
        });
        assert_eq!(found, [(7, 1000, 1.5), (9, 1030, -2.0)].repeat(3));
        let damaged = 3 * PAGE_BYTES as u64;
        assert!(matches!(read, Err(Error::Corrupt { offset, .. }) if offset == damaged), "{read:?}");
    }

    #[test]
    fn exemplars_are_read_with_their_labels() {
        let mut record = vec![4];
        record.extend_from_slice(&7u64.to_be_bytes());
        record.extend_from_slice(&1000u64.to_be_bytes());
        for (series, time, value, labels) in [(0u8, 0u8, 1.5f64, &b"\x01\x08trace_id\x02ab"[..]), (2, 3, -2.0, b"\0")] {
            record.extend([series, time * 2]);
            record.extend_from_slice(&value.to_bits().to_be_bytes());
            record.extend_from_slice(labels);
        }
        let mut found = Vec::new();
        decode(&record, &mut |record| {
            if let Record::Exemplar(series, exemplar) = record {
                found.push((series, exemplar));
            }
        })
        .unwrap();
        let trace = Labels::from_pairs([("trace_id", "ab")]);
        let exemplar = |labels, value, ms| Exemplar { labels, value, timestamp: Timestamp::from_millis(ms) };
        assert_eq!(found, [(7, exemplar(trace, 1.5, 1000)), (8, exemplar(Labels::empty(), -2.0, 1003))]);
        assert!(decode(&record[..record.len() - 1], &mut |_| ()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(kind in 0u8..12, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut record = vec![kind];
            record.extend(bytes);
            let _ = decode(&record, &mut |_| ());
        }
    }
}
