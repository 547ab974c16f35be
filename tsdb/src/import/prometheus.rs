//! A data directory of Prometheus, read as it is; the server that wrote it does not run.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Importer;
use super::block::PrometheusBlock;
use super::left_out::Omission;
use super::order::Account;
use super::wal::{self, Record};
use crate::chunk::HistogramValue;
use crate::error::Error;
use crate::exemplar::Exemplar;
use crate::fs::{AtPath, Fs};
use crate::labels::Labels;
use crate::querier::Columns;
use crate::sample::Timestamp;

/// A data directory of Prometheus: its blocks, its log, and the log of its late samples.
#[derive(Debug)]
pub struct PrometheusDir {
    fs: Arc<dyn Fs>,
    blocks: Vec<PathBuf>,
    segments: Vec<PathBuf>,
    late_segments: Vec<PathBuf>,
}

/// Series of the log by the number they have there.
type Series = HashMap<u64, Labels>;
/// Deleted spans by that number.
type Deleted = HashMap<u64, Vec<(i64, i64)>>;
/// Exemplars of the log, which are in no block.
type Exemplars = BTreeMap<Labels, Vec<Exemplar>>;

impl PrometheusDir {
    /// Looks what is in `dir`.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn open(fs: &Arc<dyn Fs>, dir: &Path) -> Result<Self, Error> {
        let names = fs.list(dir).at(dir)?;
        let blocks = names.iter().filter(|name| name.parse::<crate::block::BlockId>().is_ok());
        Ok(Self {
            fs: fs.clone(),
            blocks: blocks.map(|name| dir.join(name)).collect(),
            segments: wal::segments(&**fs, &dir.join("wal"))?,
            late_segments: wal::segments(&**fs, &dir.join("wbl"))?,
        })
    }

    /// Whether there is nothing that Prometheus would have written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.segments.is_empty()
    }

    /// Hands all samples, and the exemplars of the log, to `importer`; a block becomes a block of the same span.
    /// `progress` gets the bytes read and the bytes there are. What is damaged is passed over and told of in what the importer gives.
    ///
    /// # Errors
    /// If the disk refuses what is written.
    pub fn import(&self, importer: &mut Importer, mut progress: impl FnMut(u64, u64)) -> Result<(), Error> {
        let mut opened = Vec::new();
        for dir in &self.blocks {
            match PrometheusBlock::open(&*self.fs, dir) {
                Ok(block) => opened.push(block),
                Err(e) => importer.imported.faults.push(e),
            }
        }
        let size = |path: &PathBuf| self.fs.open_read(path).and_then(|file| file.size()).unwrap_or(0);
        let logs = self.segments.iter().chain(&self.late_segments);
        let total = opened.iter().map(PrometheusBlock::size_bytes).sum::<u64>() + logs.clone().map(size).sum::<u64>();
        importer.imported.faults.extend(wal::gaps(&self.segments).chain(wal::gaps(&self.late_segments)));
        let (deleted, mut exemplars) = self.survey(logs);
        let mut done = 0;
        let mut flushed = i64::MIN;
        for block in &opened {
            let whole = self.import_block(block, &mut exemplars, importer, |read| progress(done + read, total))?;
            // What is in blocks has been taken from the log, though not always cut off it. Blocks of out-of-order samples
            // say nothing of those that came in order, and damaged ones may lack what the log still has.
            if whole && !block.is_out_of_order {
                flushed = flushed.max(block.range.end_ms);
            }
            done += block.size_bytes();
            progress(done, total);
        }
        for (labels, exemplars) in exemplars {
            exemplars.into_iter().try_for_each(|exemplar| importer.exemplar(&labels, exemplar))?;
        }
        let mut series = Series::new();
        let late = self.late_segments.iter().map(|path| (path, i64::MIN));
        for (path, since) in self.segments.iter().map(|path| (path, flushed)).chain(late) {
            self.import_segment(path, since, &deleted, &mut series, importer)?;
            done += size(path);
            progress(done, total);
        }
        Ok(())
    }

    /// Reads what must be known before samples are: what is deleted, and the exemplars that are not.
    fn survey<'p>(&self, segments: impl Iterator<Item = &'p PathBuf>) -> (Deleted, Exemplars) {
        let (mut deleted, mut series, mut found) = (Deleted::new(), Series::new(), Vec::new());
        for path in segments {
            // Damage, and exemplars of no series, are told of when samples are read.
            let _ = wal::read(&*self.fs, path, |record| {
                match record {
                    Record::Series(number, labels) => drop(series.insert(number, labels)),
                    Record::Deleted(number, from, to) => deleted.entry(number).or_default().push((from, to)),
                    Record::Exemplar(number, exemplar) => {
                        found.extend(series.get(&number).map(|labels| (number, labels.clone(), exemplar)));
                    }
                    _ => {}
                }
                Ok(())
            });
        }
        let mut exemplars = Exemplars::new();
        for (number, labels, exemplar) in found {
            if !is_deleted(&deleted, number, exemplar.timestamp.millis()) {
                exemplars.entry(labels).or_default().push(exemplar);
            }
        }
        (deleted, exemplars)
    }

    /// Imports a block with the exemplars of its time, which are taken; whether all of it could be read.
    fn import_block(
        &self,
        block: &PrometheusBlock,
        exemplars: &mut Exemplars,
        importer: &mut Importer,
        mut progress: impl FnMut(u64),
    ) -> Result<bool, Error> {
        let mut writer = importer.begin(block.range)?;
        let (mut account, mut refused, mut count) = (Account::default(), None, 0u64);
        let read = block.read(&mut account, |labels, columns, read| {
            count += 1;
            if count.is_multiple_of(1024) {
                progress(read);
            }
            let added = writer.add(labels, columns).and_then(|()| import_outside(block, labels, columns, importer));
            added.map_err(|e| {
                let source = Error::Memory { what: "an import that was stopped" };
                refused = Some(e);
                source
            })
        });
        if let Some(e) = refused {
            return Err(e);
        }
        let mut whole = account.left_out.is_empty();
        if let Err(e) = read.and_then(|()| block.whole()) {
            importer.imported.faults.push(e);
            whole = false;
        }
        let mut placed = Exemplars::new();
        for (labels, all) in &mut *exemplars {
            let mut here: Vec<_> =
                all.extract_if(.., |exemplar| block.range.contains(exemplar.timestamp.millis())).collect();
            account.put_exemplars_in_order(labels, &mut here);
            writer.add_exemplars(labels, &here)?;
            placed.insert(labels.clone(), here);
        }
        importer.imported.add(account);
        match writer.finish()? {
            Some(meta) => importer.imported.blocks.push(meta),
            // Without a sample there is no block; another may take them.
            None => placed.into_iter().for_each(|(labels, here)| exemplars.entry(labels).or_default().extend(here)),
        }
        Ok(whole)
    }

    fn import_segment(
        &self,
        path: &Path,
        since: i64,
        deleted: &Deleted,
        series: &mut Series,
        importer: &mut Importer,
    ) -> Result<(), Error> {
        let mut refused = None;
        let read = wal::read(&*self.fs, path, |record| {
            let taken = import_record(record, since, deleted, series, importer);
            taken.map_err(|e| {
                refused = Some(e);
                Error::Memory { what: "an import that was stopped" }
            })
        });
        match (refused, read) {
            (Some(e), _) => Err(e),
            (None, Err(e)) => {
                importer.imported.faults.push(e);
                Ok(())
            }
            (None, Ok(())) => Ok(()),
        }
    }
}

/// Imports samples that lie outside the range that their block names.
fn import_outside(
    block: &PrometheusBlock,
    labels: &Labels,
    columns: &Columns,
    importer: &mut Importer,
) -> Result<(), Error> {
    let is_outside = |ms: i64| !block.range.contains(ms);
    let ends = [columns.timestamps_ms.first(), columns.timestamps_ms.last()].into_iter().flatten().copied();
    let all = columns.histograms.first().into_iter().chain(columns.histograms.last());
    if !ends.chain(all.map(|h| h.timestamp.millis())).any(is_outside) {
        return Ok(());
    }
    for (&ms, &value) in columns.timestamps_ms.iter().zip(&columns.values).filter(|(ms, _)| is_outside(**ms)) {
        importer.float(labels, Timestamp::from_millis(ms), value, None)?;
    }
    for sample in columns.histograms.iter().filter(|sample| is_outside(sample.timestamp.millis())) {
        let value = HistogramValue::Float((*sample.histogram).clone());
        importer.histogram(labels, sample.timestamp, value)?;
    }
    Ok(())
}

/// Imports a record of a log; samples before `since` are in blocks.
fn import_record(
    record: Record,
    since: i64,
    deleted: &Deleted,
    series: &mut Series,
    importer: &mut Importer,
) -> Result<(), Error> {
    let is_wanted = |number: u64, ms: i64| ms >= since && !is_deleted(deleted, number, ms);
    let unknown = |number: u64, ms: i64| format!("series {number} at {}", Timestamp::from_millis(ms));
    match record {
        Record::Series(number, labels) => drop(series.insert(number, labels)),
        Record::Float(number, ms, value) if is_wanted(number, ms) => match series.get(&number) {
            Some(labels) => return importer.float(labels, Timestamp::from_millis(ms), value, None),
            None => importer.leave_out(Omission::UnknownSeries, || unknown(number, ms)),
        },
        Record::Histogram(number, ms, value) if is_wanted(number, ms) => match series.get(&number) {
            Some(labels) => return importer.histogram(labels, Timestamp::from_millis(ms), value),
            None => importer.leave_out(Omission::UnknownSeries, || unknown(number, ms)),
        },
        // Those of known series have been taken before.
        Record::Exemplar(number, exemplar) if !series.contains_key(&number) => {
            importer.leave_out(Omission::UnknownSeries, || unknown(number, exemplar.timestamp.millis()));
        }
        Record::Metadata => importer.imported.metadata_records += 1,
        Record::Unknown(kind) => importer.leave_out(Omission::UnknownRecord, || format!("kind {kind}")),
        Record::Float(..) | Record::Histogram(..) | Record::Exemplar(..) | Record::Deleted(..) => {}
    }
    Ok(())
}

fn is_deleted(deleted: &Deleted, number: u64, ms: i64) -> bool {
    deleted.get(&number).is_some_and(|spans| spans.iter().any(|&(from, to)| from <= ms && ms <= to))
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use super::*;
    use crate::block::{Block, BlockId};
    use crate::codec::{Encoder, crc32c};
    use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, Histogram, Span};
    use crate::import::{Imported, LeftOut};
    use crate::sample::TimeRange;
    use crate::testing::FaultFs;

    const DAY_MS: i64 = 86_400_000;

    /// A file of a log of Prometheus with these records, each in a fragment of its own.
    fn segment(records: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records {
            out.push(1);
            out.extend_from_slice(&(record.len() as u16).to_be_bytes());
            out.extend_from_slice(&crc32c(record).to_be_bytes());
            out.extend_from_slice(record);
        }
        out
    }

    /// The series of these numbers, named after them.
    fn series(numbers: std::ops::Range<u64>) -> Vec<u8> {
        let mut out = vec![1];
        for number in numbers {
            out.extend_from_slice(&number.to_be_bytes());
            out.put_uvarint(1);
            out.put_bytes(b"__name__");
            out.put_bytes(format!("s{number}").as_bytes());
        }
        out
    }

    /// Samples of a series at 1 s: the rest of a record of this kind.
    fn samples(kind: u8, number: u64, put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&1000u64.to_be_bytes());
        put(&mut out);
        out
    }

    fn put_float(out: &mut Vec<u8>, value: f64) {
        out.extend_from_slice(&value.to_bits().to_be_bytes());
    }

    fn put_spans(out: &mut Vec<u8>, spans: &[Span]) {
        out.put_uvarint(spans.len() as u64);
        for span in spans {
            out.put_varint(i64::from(span.offset));
            out.put_uvarint(u64::from(span.length));
        }
    }

    fn put_bounds(out: &mut Vec<u8>, schema: i32, bounds: &[f64]) {
        if schema == CUSTOM_BUCKETS_SCHEMA {
            out.put_uvarint(bounds.len() as u64);
            bounds.iter().for_each(|&bound| put_float(out, bound));
        }
    }

    fn integer(number: u64, h: &Histogram) -> Vec<u8> {
        samples(if h.schema == CUSTOM_BUCKETS_SCHEMA { 9 } else { 7 }, number, |out| {
            out.extend_from_slice(&[0, 0, 0]);
            out.put_varint(i64::from(h.schema));
            put_float(out, h.zero_threshold);
            out.put_uvarint(h.zero_count);
            out.put_uvarint(h.count);
            put_float(out, h.sum);
            put_spans(out, &h.positive_spans);
            put_spans(out, &h.negative_spans);
            for buckets in [&h.positive_buckets, &h.negative_buckets] {
                out.put_uvarint(buckets.len() as u64);
                buckets.iter().for_each(|&delta| out.put_varint(delta));
            }
            put_bounds(out, h.schema, &h.custom_values);
        })
    }

    fn float(number: u64, h: &FloatHistogram) -> Vec<u8> {
        samples(if h.schema == CUSTOM_BUCKETS_SCHEMA { 10 } else { 8 }, number, |out| {
            out.extend_from_slice(&[0, 0, 0]);
            out.put_varint(i64::from(h.schema));
            [h.zero_threshold, h.zero_count, h.count, h.sum].into_iter().for_each(|value| put_float(out, value));
            put_spans(out, &h.positive_spans);
            put_spans(out, &h.negative_spans);
            for buckets in [&h.positive_buckets, &h.negative_buckets] {
                out.put_uvarint(buckets.len() as u64);
                buckets.iter().for_each(|&count| put_float(out, count));
            }
            put_bounds(out, h.schema, &h.custom_values);
        })
    }

    /// Imports a log; gives the names of the series in the blocks with how many floats and histograms each has.
    fn import(segments: &[(&str, Vec<u8>)]) -> (Imported, Vec<(String, usize, usize)>) {
        let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
        for (name, bytes) in segments {
            let path = Path::new("/prometheus/wal").join(name);
            fs.create_dir_all(path.parent().unwrap()).unwrap();
            fs.create(&path).unwrap().write_at(0, bytes).unwrap();
        }
        let (blocks_dir, mut number) = (Path::new("/blocks"), 0);
        let mut importer = Importer::new(&fs, blocks_dir, DAY_MS, move || {
            number += 1;
            BlockId::new(Timestamp::from_millis(0), number)
        });
        let dir = PrometheusDir::open(&fs, Path::new("/prometheus")).unwrap();
        dir.import(&mut importer, |_, _| ()).unwrap();
        let imported = importer.finish().unwrap();
        let mut found = Vec::new();
        for meta in &imported.blocks {
            let block = Arc::new(Block::open(&fs, blocks_dir, meta.ulid).unwrap());
            let set = block.select(&[], TimeRange::ALL).unwrap();
            for i in 0..set.len() {
                let mut columns = Columns::default();
                set.read(i, TimeRange::ALL, &mut columns).unwrap();
                let name = set.labels(i).metric_name().unwrap().to_owned();
                found.push((name, columns.timestamps_ms.len(), columns.histograms.len()));
            }
        }
        (imported, found)
    }

    fn counts(left_out: &LeftOut) -> Vec<(Omission, u64)> {
        left_out.iter().map(|(omission, count, _)| (omission, count)).collect()
    }

    #[test]
    fn malformed_histograms_of_a_log_are_counted_and_not_imported() {
        let sound = Histogram {
            count: 6,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![1, 1, 1],
            ..Histogram::default()
        };
        let custom = Histogram { schema: CUSTOM_BUCKETS_SCHEMA, custom_values: vec![1.0, 2.0], ..sound.clone() };
        let spans = |offset, length| vec![Span { offset, length }];
        let bad = [
            Histogram { count: 7, ..sound.clone() },
            Histogram { zero_count: 1, ..sound.clone() },
            Histogram { count: 5, sum: f64::NAN, ..sound.clone() },
            Histogram { positive_buckets: vec![1, -2, 5], ..sound.clone() },
            Histogram { positive_spans: spans(0, 2), ..sound.clone() },
            Histogram { negative_spans: spans(0, 1), ..sound.clone() },
            Histogram { positive_spans: [spans(0, 2), spans(-1, 1)].concat(), ..sound.clone() },
            Histogram { schema: 99, ..sound.clone() },
            Histogram { schema: -7, ..sound.clone() },
            Histogram { custom_values: vec![2.0, 1.0], ..custom.clone() },
            Histogram { custom_values: vec![1.0, f64::INFINITY], ..custom.clone() },
            Histogram { custom_values: vec![f64::NAN, 1.0], ..custom.clone() },
            Histogram { custom_values: vec![1.0], ..custom.clone() },
            Histogram { zero_threshold: 1.0, ..custom.clone() },
            Histogram { negative_spans: spans(0, 0), ..custom.clone() },
        ];
        let mut records = vec![series(0..100)];
        records.extend(bad.iter().zip(0..).map(|(h, number)| integer(number, h)));
        let mut floats: Vec<FloatHistogram> = bad[3..].iter().map(Histogram::to_float).collect();
        floats.push(FloatHistogram { count: -1.0, ..sound.to_float() });
        records.extend(floats.iter().zip(30..).map(|(h, number)| float(number, h)));
        let finer = Histogram { schema: 12, ..sound.clone() };
        let stale = Histogram { sum: crate::STALE_NAN, ..Histogram::default() };
        for (h, number) in [&sound, &custom, &finer, &stale].into_iter().zip(90..) {
            records.push(integer(number, h));
            records.push(float(number + 5, &h.to_float()));
        }
        let (imported, found) = import(&[("00000000", segment(&records))]);
        assert_eq!(counts(&imported.left_out), [(Omission::InvalidHistogram, (bad.len() + floats.len()) as u64)]);
        assert!(imported.faults.is_empty(), "{:?}", imported.faults);
        let names: Vec<String> = (90..94).chain(95..99).map(|number| format!("s{number}")).collect();
        assert_eq!(found, names.into_iter().map(|name| (name, 0, 1)).collect::<Vec<_>>());
        let (_, _, first) = imported.left_out.iter().next().unwrap();
        assert!(first.contains("the Count field is 7"), "{first}");
    }

    #[test]
    fn what_a_log_holds_and_an_import_does_not_is_counted_and_named() {
        let value = |number: u64, ms_later: i64, value: f64| {
            samples(2, number, |out| {
                out.put_varint(0);
                out.put_varint(ms_later);
                put_float(out, value);
            })
        };
        let first = segment(&[series(0..2), value(0, 0, 1.0), value(0, 0, 1.0), value(0, 0, 2.0), value(7, 0, 3.0)]);
        let beyond = value(1, i64::MAX - 1000, 5.0);
        let second = segment(&[value(1, 5, 4.0), beyond, vec![11, 0, 0], vec![6, 0], vec![5, 0]]);
        let (imported, found) = import(&[("00000000", first.clone()), ("00000001", second.clone())]);
        let expected = [
            (Omission::ConflictingSample, 1),
            (Omission::TimeOutOfRange, 1),
            (Omission::UnknownSeries, 1),
            (Omission::UnknownRecord, 1),
        ];
        assert_eq!(counts(&imported.left_out), expected, "{:?}", imported.left_out);
        assert_eq!((imported.duplicates, imported.metadata_records), (1, 1));
        assert_eq!(found, [("s0".to_owned(), 1, 0), ("s1".to_owned(), 1, 0)]);
        assert!(!imported.is_complete() && imported.faults.is_empty());

        let (imported, found) = import(&[("00000000", first), ("00000002", second)]);
        assert_eq!((imported.faults.len(), found.len()), (1, 2));
        assert!(
            imported.faults[0].to_string().contains("00000002: corrupt at byte 0: the segment before it is missing")
        );
    }
}
