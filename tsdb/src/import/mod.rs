//! Samples from elsewhere, of any age, as blocks.

mod bits;
mod block;
mod chunks;
mod left_out;
mod order;
mod prometheus;
mod wal;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

pub use left_out::{LeftOut, Omission};
pub use prometheus::PrometheusDir;

use order::Account;

use crate::block::{Block, BlockId, BlockMeta, BlockRange, BlockSpec, BlockWriter};
use crate::chunk::HistogramValue;
use crate::error::Error;
use crate::exemplar::Exemplar;
use crate::fs::Fs;
use crate::labels::Labels;
use crate::querier::{Columns, Querier};
use crate::sample::{HistogramSample, TimeRange, Timestamp};

/// Bytes of samples that are held before they are written.
const MAX_BUFFERED: usize = 256 << 20;

/// What came of an import.
#[derive(Debug, Default)]
pub struct Imported {
    /// The blocks that were written. They may overlap each other and others: compaction makes one of them.
    pub blocks: Vec<BlockMeta>,
    /// Parts of the source that could not be read.
    pub faults: Vec<Error>,
    /// Samples and exemplars that were left out, and parts of the source that hold an unknown number of them.
    pub left_out: LeftOut,
    /// Samples and exemplars that came twice or were there already, equal.
    pub duplicates: u64,
    /// Records of metadata in a log of Prometheus. They are not imported: targets and senders tell them again.
    pub metadata_records: u64,
}

impl Imported {
    /// Whether everything of the source is in the blocks.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.faults.is_empty() && self.left_out.is_empty()
    }

    fn add(&mut self, account: Account) {
        self.left_out.merge(account.left_out);
        self.duplicates += account.duplicates;
    }

    /// Counts the samples at times at which `store`, or a block of this import before theirs, has samples of their series.
    pub(crate) fn compare(&mut self, fs: &Arc<dyn Fs>, blocks_dir: &Path, store: &dyn Querier) -> Result<(), Error> {
        let mut account = Account::default();
        let mut before: Vec<Arc<Block>> = Vec::new();
        for meta in &self.blocks {
            let range = TimeRange::from_millis(meta.range.start_ms, meta.range.end_ms.saturating_sub(1));
            let block = Arc::new(Block::open(fs, blocks_dir, meta.ulid)?);
            let new = block.select(&[], range)?;
            account.compare(&*new, &*store.select(&[], range)?, range)?;
            for other in before.iter().filter(|other| other.meta().range.overlaps(&meta.range)) {
                account.compare(&*new, &*other.select(&[], range)?, range)?;
            }
            before.push(block);
        }
        self.add(account);
        Ok(())
    }
}

/// Whether a block can hold a sample of this time: its range ends behind it, and the ends of time stand for what lies
/// beyond them.
fn is_keepable(at: Timestamp) -> bool {
    Timestamp::MIN < at && at < Timestamp::MAX
}

/// Takes samples and exemplars in any order and writes them as blocks. Memory: at most about 256 MiB of them, and their
/// labels.
pub struct Importer {
    fs: Arc<dyn Fs>,
    blocks_dir: PathBuf,
    width_ms: i64,
    ids: Box<dyn FnMut() -> BlockId + Send>,
    series: HashMap<Labels, Columns, FxBuildHasher>,
    exemplars: BTreeMap<Labels, Vec<Exemplar>>,
    buffered: usize,
    imported: Imported,
}

impl std::fmt::Debug for Importer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Importer").field("series", &self.series.len()).field("imported", &self.imported).finish()
    }
}

impl Importer {
    /// Writes below `blocks_dir` blocks that are `width_ms` long, named by `ids`, each name new.
    pub fn new(
        fs: &Arc<dyn Fs>,
        blocks_dir: &Path,
        width_ms: i64,
        ids: impl FnMut() -> BlockId + Send + 'static,
    ) -> Self {
        Self {
            fs: fs.clone(),
            blocks_dir: blocks_dir.to_owned(),
            width_ms: width_ms.max(1),
            ids: Box::new(ids),
            series: HashMap::default(),
            exemplars: BTreeMap::new(),
            buffered: 0,
            imported: Imported::default(),
        }
    }

    /// Adds a float sample; of two at one time the first stays. `start` is when its counts began, if known.
    ///
    /// # Errors
    /// If the disk refuses; what was added since the last block may be lost then.
    pub fn float(&mut self, labels: &Labels, at: Timestamp, value: f64, start: Option<Timestamp>) -> Result<(), Error> {
        if !is_keepable(at) {
            self.leave_out(Omission::TimeOutOfRange, || format!("{labels} {value} at {at}"));
            return Ok(());
        }
        let columns = self.series.entry_ref(labels).or_default();
        columns.push(at.millis(), value, start.map_or(0, Timestamp::millis));
        self.buffered += 16;
        self.flush_if_full()
    }

    /// Adds a native histogram, as [`float`](Self::float). One that contradicts itself is left out.
    ///
    /// # Errors
    /// If the disk refuses; what was added since the last block may be lost then.
    pub fn histogram(&mut self, labels: &Labels, at: Timestamp, value: HistogramValue) -> Result<(), Error> {
        if !is_keepable(at) {
            self.leave_out(Omission::TimeOutOfRange, || format!("{labels} at {at}"));
            return Ok(());
        }
        let histogram = match value.validated() {
            Ok(value) => Arc::new(value.into_float()),
            Err(why) => {
                self.leave_out(Omission::InvalidHistogram, || format!("{labels} at {at}: {why}"));
                return Ok(());
            }
        };
        self.put_histogram(labels, HistogramSample { timestamp: at, start: None, histogram })
    }

    /// Adds a histogram that has been checked.
    fn put_histogram(&mut self, labels: &Labels, sample: HistogramSample) -> Result<(), Error> {
        self.buffered += size_of::<HistogramSample>() + sample.histogram.size_bytes();
        self.series.entry_ref(labels).or_default().histograms.push(sample);
        self.flush_if_full()
    }

    /// Counts what the source holds but is not added; `example` names it.
    pub fn leave_out(&mut self, omission: Omission, example: impl FnOnce() -> String) {
        self.imported.left_out.add(omission, example);
    }

    /// Adds an exemplar of a series; of two of one time the first stays. It comes into a block that samples make.
    ///
    /// # Errors
    /// If the disk refuses; what was added since the last block may be lost then.
    pub fn exemplar(&mut self, labels: &Labels, exemplar: Exemplar) -> Result<(), Error> {
        if !is_keepable(exemplar.timestamp) {
            self.leave_out(Omission::TimeOutOfRange, || format!("exemplar of {labels} at {}", exemplar.timestamp));
            return Ok(());
        }
        self.buffered += size_of::<Exemplar>() + exemplar.labels.size_bytes();
        match self.exemplars.get_mut(labels) {
            Some(exemplars) => exemplars.push(exemplar),
            None => drop(self.exemplars.insert(labels.clone(), vec![exemplar])),
        }
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<(), Error> {
        if self.buffered >= MAX_BUFFERED { self.flush() } else { Ok(()) }
    }

    /// Writes what is held.
    fn flush(&mut self) -> Result<(), Error> {
        self.buffered = 0;
        let mut series: Vec<(Labels, Columns)> = self.series.drain().collect();
        series.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let (mut starts, mut account) = (BTreeSet::new(), Account::default());
        for (labels, columns) in &mut series {
            account.put_in_order(labels, columns);
            let times = columns.timestamps_ms.iter().copied();
            let times = times.chain(columns.histograms.iter().map(|h| h.timestamp.millis()));
            starts.extend(times.map(|ms| BlockRange::aligned(ms, self.width_ms).start_ms));
        }
        let mut exemplars = std::mem::take(&mut self.exemplars);
        for (labels, exemplars) in &mut exemplars {
            account.put_exemplars_in_order(labels, exemplars);
            let is_lost = |exemplar: &&Exemplar| {
                !starts.contains(&BlockRange::aligned(exemplar.timestamp.millis(), self.width_ms).start_ms)
            };
            for exemplar in exemplars.iter().filter(is_lost) {
                account
                    .left_out
                    .add(Omission::ExemplarWithoutSamples, || format!("{labels} at {}", exemplar.timestamp));
            }
        }
        self.imported.add(account);
        for start_ms in starts {
            let mut writer = self.begin(BlockRange::aligned(start_ms, self.width_ms))?;
            for (labels, columns) in &series {
                writer.add(labels, columns)?;
            }
            for (labels, exemplars) in &exemplars {
                writer.add_exemplars(labels, exemplars)?;
            }
            self.imported.blocks.extend(writer.finish()?);
        }
        Ok(())
    }

    fn begin(&mut self, range: BlockRange) -> Result<BlockWriter, Error> {
        BlockWriter::begin(&self.fs, &self.blocks_dir, BlockSpec::new((self.ids)(), range))
    }

    /// Writes the rest.
    ///
    /// # Errors
    /// If the disk refuses; blocks that have been written stay.
    pub fn finish(mut self) -> Result<Imported, Error> {
        self.flush()?;
        Ok(self.imported)
    }
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests {
    use super::*;
    use crate::block::Block;
    use crate::sample::TimeRange;
    use crate::testing::FaultFs;

    /// Of blocks of 100 ms.
    fn importer(fs: &Arc<dyn Fs>, dir: &Path) -> Importer {
        let mut number = 0;
        Importer::new(fs, dir, 100, move || {
            number += 1;
            BlockId::new(Timestamp::from_millis(0), number)
        })
    }

    #[test]
    fn samples_in_any_order_become_blocks_and_the_first_of_two_stays() {
        let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
        let dir = Path::new("/blocks");
        let mut importer = importer(&fs, dir);
        let labels = Labels::from_pairs([("a", "b")]);
        for (at, value) in [(250, 1.0), (-1, 2.0), (99, 3.0), (-100, 4.0), (99, 5.0), (0, 6.0)] {
            let start = (value == 6.0).then(|| Timestamp::from_millis(-7));
            importer.float(&labels, Timestamp::from_millis(at), value, start).unwrap();
        }
        let imported = importer.finish().unwrap();
        let mut found = Vec::new();
        for meta in &imported.blocks {
            let block = Arc::new(Block::open(&fs, dir, meta.ulid).unwrap());
            let (set, mut columns) = (block.select(&[], TimeRange::ALL).unwrap(), Columns::default());
            set.read(0, TimeRange::ALL, &mut columns).unwrap();
            found.push((meta.range.start_ms, columns.timestamps_ms, columns.values, columns.starts_ms));
        }
        let expected = [
            (-100, vec![-100, -1], vec![4.0, 2.0], vec![]),
            (0, vec![0, 99], vec![6.0, 3.0], vec![-7, 0]),
            (200, vec![250], vec![1.0], vec![]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn exemplars_come_into_the_blocks_of_their_times() {
        let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
        let dir = Path::new("/blocks");
        let mut importer = importer(&fs, dir);
        let series = |name: &str| Labels::from_pairs([("__name__", name)]);
        let exemplar = |ms, value| Exemplar { labels: series("x"), value, timestamp: Timestamp::from_millis(ms) };
        for (name, ms, value) in [("b", 99, 1.0), ("a", 250, 2.0), ("b", 7, 3.0), ("b", 99, 4.0), ("a", 100, 5.0)] {
            importer.exemplar(&series(name), exemplar(ms, value)).unwrap();
        }
        for ms in [5, 201] {
            importer.float(&series("b"), Timestamp::from_millis(ms), 1.0, None).unwrap();
        }
        let imported = importer.finish().unwrap();
        let left_out: Vec<_> = imported.left_out.iter().map(|(why, count, _)| (why, count)).collect();
        assert_eq!(left_out, [(Omission::ConflictingExemplar, 1), (Omission::ExemplarWithoutSamples, 1)]);
        let mut found = Vec::new();
        for meta in &imported.blocks {
            let block = Block::open(&fs, dir, meta.ulid).unwrap();
            block.verify(|e| panic!("{e}"));
            let each = |labels: &Labels, exemplar| found.push((meta.range.start_ms, labels.clone(), exemplar));
            block.find_exemplars(&[vec![]], TimeRange::ALL, &|| false, each).unwrap();
        }
        let of_b = [exemplar(7, 3.0), exemplar(99, 1.0)].map(|exemplar| (0, series("b"), exemplar));
        assert_eq!(found, [&of_b[..], &[(200, series("a"), exemplar(250, 2.0))]].concat());
    }
}
