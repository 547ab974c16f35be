//! What has been deleted from a block but is still in its other files: the file `tombstones`. Bytes: `docs/format/block.md`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::codec::{Decoder, Encoder, Malformed, crc32c};
use crate::error::Error;
use crate::fs::{AtPath, Fs};
use crate::querier::Columns;
use crate::sample::{TimeRange, Timestamp};

pub(super) const FILE: &str = "tombstones";
const MAGIC: &[u8; 4] = b"SBts";
/// Version that is written. Version 1, which is read too, has no generation.
const VERSION: u32 = 2;

/// Deleted spans of time by series: first those of the index, behind them those that have exemplars.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tombstones {
    /// Per series ascending, apart from each other; none is empty.
    series: BTreeMap<u32, Vec<TimeRange>>,
    /// Samples that they cover.
    samples: u64,
    /// Times that they have been written.
    generation: u64,
}

impl Tombstones {
    /// The spans of a series.
    pub(crate) fn of(&self, series: u32) -> &[TimeRange] {
        self.series.get(&series).map_or(&[], Vec::as_slice)
    }

    /// Whether a moment of a series is deleted.
    pub(crate) fn covers(&self, series: u32, at: Timestamp) -> bool {
        self.of(series).iter().any(|range| range.contains(at))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Times that they have been written; 0 if they never were.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Counts a time that they are written.
    pub(crate) fn renew(&mut self) {
        self.generation += 1;
    }

    /// Samples that are deleted.
    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// Adds `range` to those of a series; `samples` more are deleted by it.
    pub(crate) fn add(&mut self, series: u32, range: TimeRange, samples: u64) {
        self.samples += samples;
        let ranges = self.series.entry(series).or_default();
        let mut joined = range;
        ranges.retain(|other| {
            let apart = other.end.plus_millis(1) < joined.start || joined.end.plus_millis(1) < other.start;
            if !apart {
                joined = TimeRange { start: joined.start.min(other.start), end: joined.end.max(other.end) };
            }
            apart
        });
        let at = ranges.partition_point(|other| other.start < joined.start);
        ranges.insert(at, joined);
    }

    /// Reads those of the block in `dir`; none if there is no file.
    pub(crate) fn read(fs: &dyn Fs, dir: &Path, series: u32) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let file = match fs.open_read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.at(&path)?,
        };
        let map = fs.map(&path, file.size().at(&path)?).at(&path)?;
        Self::decode(&map, series).map_err(|e| e.at(&path, 0))
    }

    /// Replaces those of the block in `dir`, in one step that survives a power cut.
    pub(crate) fn write(&self, fs: &dyn Fs, dir: &Path) -> Result<(), Error> {
        let (path, temporary) = (dir.join(FILE), dir.join(format!("{FILE}.tmp")));
        match fs.remove(&temporary) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            other => other.at(&temporary)?,
        }
        let file = fs.create(&temporary).at(&temporary)?;
        file.write_at(0, &self.encode()).at(&temporary)?;
        file.sync().at(&temporary)?;
        fs.rename(&temporary, &path).at(&path)?;
        fs.sync_dir(dir).at(dir)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::from(MAGIC);
        out.put_u32(VERSION);
        out.put_uvarint(self.generation);
        out.put_uvarint(self.samples);
        out.put_uvarint(self.series.len() as u64);
        let mut last = 0;
        for (&series, ranges) in &self.series {
            out.put_uvarint(u64::from(series - last));
            out.put_uvarint(ranges.len() as u64);
            for range in ranges {
                out.put_varint(range.start.millis());
                out.put_varint(range.end.millis());
            }
            last = series;
        }
        let checksum = crc32c(&out);
        out.put_u32(checksum);
        out
    }

    fn decode(bytes: &[u8], series_count: u32) -> Result<Self, Malformed> {
        let mut input = Decoder::new(bytes);
        let covered = bytes.len().checked_sub(4).ok_or(input.malformed("ends too early"))?;
        let checksum = Decoder::new(&bytes[covered..]).u32()?;
        if crc32c(&bytes[..covered]) != checksum {
            return Err(input.malformed("checksum does not match"));
        }
        input = Decoder::new(&bytes[..covered]);
        let (magic, version) = (input.take(4)?, input.u32()?);
        if magic != MAGIC || !(1..=VERSION).contains(&version) {
            return Err(input.malformed("not tombstones of a known version"));
        }
        // Those of version 1 have been written at least once.
        let generation = if version == 1 { 1 } else { input.uvarint()? };
        let samples = input.uvarint()?;
        let mut all = BTreeMap::new();
        let mut series = 0u32;
        for _ in 0..input.count(2)? {
            series = series.saturating_add(input.uvarint_as()?);
            if series >= series_count {
                return Err(input.malformed("no such series"));
            }
            let ranges = (0..input.count(2)?)
                .map(|_| Ok(TimeRange::from_millis(input.varint()?, input.varint()?)))
                .collect::<Result<_, Malformed>>()?;
            all.insert(series, ranges);
        }
        if input.is_empty() {
            Ok(Self { series: all, samples, generation })
        } else {
            Err(input.malformed("more than the series"))
        }
    }
}

/// Removes from `columns` what was appended behind `floats` float samples and `histograms` histograms and lies in any of
/// `ranges`.
pub(super) fn apply(ranges: &[TimeRange], floats: usize, histograms: usize, columns: &mut Columns) {
    for range in ranges {
        let (start, end) = (range.start.millis(), range.end.millis());
        let times = &columns.timestamps_ms[floats..];
        let from = floats + times.partition_point(|&t| t < start);
        let to = (floats + times.partition_point(|&t| t <= end)).max(from);
        columns.timestamps_ms.drain(from..to);
        columns.values.drain(from..to);
        if !columns.starts_ms.is_empty() {
            columns.starts_ms.drain(from..to);
        }
        let new = &columns.histograms[histograms..];
        let from = histograms + new.partition_point(|h| h.timestamp < range.start);
        let to = (histograms + new.partition_point(|h| h.timestamp <= range.end)).max(from);
        columns.histograms.drain(from..to);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn spans_behave_as_a_set_of_moments(added in prop::collection::vec((0u32..3, 0i64..60, 0i64..9), 0..20)) {
            let mut tombstones = Tombstones::default();
            let mut model: BTreeSet<(u32, i64)> = BTreeSet::new();
            for &(series, start, len) in &added {
                tombstones.add(series, TimeRange::from_millis(start, start + len), 1);
                model.extend((start..=start + len).map(|t| (series, t)));
            }
            for series in 0..3 {
                let ranges = tombstones.of(series);
                prop_assert!(ranges.windows(2).all(|w| w[0].end.plus_millis(1) < w[1].start));
                let mut columns = Columns::default();
                (0..70).for_each(|t| columns.push(t, t as f64, 0));
                apply(ranges, 0, 0, &mut columns);
                let left: Vec<i64> = (0..70).filter(|&t| !model.contains(&(series, t))).collect();
                prop_assert_eq!(&columns.timestamps_ms, &left);
            }
            let bytes = tombstones.encode();
            prop_assert_eq!(&Tombstones::decode(&bytes, 3).unwrap(), &tombstones);
        }

        #[test]
        fn no_bytes_make_reading_panic(mut bytes: Vec<u8>) {
            let checksum = crc32c(&bytes);
            bytes.put_u32(checksum);
            let _ = Tombstones::decode(&bytes, 10);
        }
    }
}
