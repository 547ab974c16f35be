//! Writes a block: aside, synced, then renamed into place.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use xxhash_rust::xxh3::xxh3_128;

use super::chunk::{self, Scratch};
use super::exemplars::{EXEMPLARS_FILE, ExemplarsWriter};
use super::meta::{BlockId, BlockMeta, BlockRange, BlockStats, Compaction, Parent};
use super::{CHUNKS_FILE, CHUNKS_KIND, INDEX_FILE, META_FILE, block_dir, temporary_dir};
use crate::chunk::ints;
use crate::codec::Encoder;
use crate::error::Error;
use crate::exemplar::Exemplar;
use crate::fs::{AtPath, Fs};
use crate::index::{ChunkMeta, ColumnMeta, FILE_KIND, IndexWriter};
use crate::labels::Labels;
use crate::pages::PageWriter;
use crate::querier::Columns;

/// Floats that a chunk holds at the most.
const MAX_FLOATS: usize = 1024;
/// Histograms that a chunk holds at the most: each is many numbers.
const MAX_HISTOGRAMS: usize = 240;

/// What a block is to be.
#[derive(Clone, Debug)]
pub(crate) struct BlockSpec {
    pub(crate) id: BlockId,
    /// Samples outside are left out.
    pub(crate) range: BlockRange,
    /// 1 for a block cut from the head.
    pub(crate) level: u32,
    /// The blocks cut from the head that it is made of; none for such a block itself.
    pub(crate) sources: Vec<BlockId>,
    pub(crate) parents: Vec<Parent>,
    /// Labels of this server.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) replica: String,
}

impl BlockSpec {
    /// Of samples that were in no block before.
    pub(crate) fn new(id: BlockId, range: BlockRange) -> Self {
        Self {
            id,
            range,
            level: 1,
            sources: Vec::new(),
            parents: Vec::new(),
            labels: BTreeMap::new(),
            replica: String::new(),
        }
    }
}

/// A block that is being written. Chunks go to the disk at once; of the index about 25 bytes per series and 4 per label
/// are kept, and each label value once. Dropping it removes what has been written.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    fs: Arc<dyn Fs>,
    blocks_dir: PathBuf,
    spec: BlockSpec,
    index: IndexWriter,
    /// None once finished.
    files: Option<Files>,
    columns: ColumnTable,
    stats: BlockStats,
    chunks: Vec<ChunkMeta>,
    scratch: Scratch,
}

#[derive(Debug)]
struct Files {
    chunks: PageWriter,
    index: PageWriter,
    /// Once there is one.
    exemplars: Option<ExemplarsWriter>,
}

/// The columns of times so far.
#[derive(Debug, Default)]
struct ColumnTable {
    columns: Vec<ColumnMeta>,
    by_content: HashMap<u128, u32, FxBuildHasher>,
    /// The column that a series' chunk of this number was last found on: mostly the next series' is on it too.
    recent: Vec<(Vec<i64>, u32)>,
    bytes: Vec<u8>,
    ints: ints::Scratch,
}

impl BlockWriter {
    /// Begins a block below `blocks_dir`, which is made if need be.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn begin(fs: &Arc<dyn Fs>, blocks_dir: &Path, spec: BlockSpec) -> Result<Self, Error> {
        let dir = temporary_dir(blocks_dir, spec.id);
        fs.remove_dir_all(&dir).at(&dir)?;
        fs.create_dir_all(&dir).at(&dir)?;
        let mut writer = Self {
            fs: fs.clone(),
            blocks_dir: blocks_dir.to_owned(),
            spec,
            index: IndexWriter::default(),
            files: None,
            columns: ColumnTable::default(),
            stats: BlockStats::default(),
            chunks: Vec::new(),
            scratch: Scratch::default(),
        };
        let created = (|| {
            let chunks = PageWriter::create(&**fs, dir.join(CHUNKS_FILE), CHUNKS_KIND)?;
            let index = PageWriter::create(&**fs, dir.join(INDEX_FILE), FILE_KIND)?;
            Ok(Files { chunks, index, exemplars: None })
        })();
        match created {
            Ok(files) => writer.files = Some(files),
            Err(e) => {
                writer.discard();
                return Err(e);
            }
        }
        Ok(writer)
    }

    /// Adds the samples of a series that lie in the block's range. Series come in the order of their labels, each once;
    /// samples in the order of their times, no time twice.
    ///
    /// # Errors
    /// If the disk refuses, if series are out of order, or if a histogram's buckets do not fit its spans.
    pub(crate) fn add(&mut self, labels: &Labels, columns: &Columns) -> Result<(), Error> {
        let Some(Files { chunks: out, .. }) = &mut self.files else { return Ok(()) };
        let range = self.spec.range;
        let times = &columns.timestamps_ms;
        let floats = within(times, range);
        let histograms = {
            let at = |ms| columns.histograms.partition_point(|h| h.timestamp.millis() < ms);
            &columns.histograms[at(range.start_ms)..at(range.end_ms).max(at(range.start_ms))]
        };
        if floats.is_empty() && histograms.is_empty() {
            return Ok(());
        }
        let mut slices = Vec::new();
        slice(&times[floats.clone()], floats.start, range, &mut slices);
        let rows = chunk::split_histograms(histograms, MAX_HISTOGRAMS)?;
        // Columns first: a series' chunks lie together.
        self.chunks.clear();
        let all_times = slices.iter().map(|slice| &times[slice.clone()]).chain(rows.iter().map(|rows| &*rows.times));
        for (number, times) in all_times.enumerate() {
            self.chunks.push(ChunkMeta { column: self.columns.find(number, times, out)?, len: 0 });
        }
        let first = out.len();
        for (slice, meta) in slices.iter().zip(&mut self.chunks) {
            let before = out.len();
            let starts = columns.starts_ms.get(slice.clone()).unwrap_or_default();
            chunk::encode_floats(&columns.values[slice.clone()], starts, &mut self.scratch, out.body());
            meta.len = (out.len() - before) as u32;
        }
        for (rows, meta) in rows.iter().zip(&mut self.chunks[slices.len()..]) {
            let before = out.len();
            chunk::encode_histograms(rows, &mut self.scratch, out.body());
            let len = out.len() - before;
            meta.len =
                u32::try_from(len).map_err(|_| Error::TooLarge { bytes: len as usize, limit: u32::MAX as usize })?;
        }
        out.flush()?;
        self.index.add(labels, first, &self.chunks)?;
        self.stats.num_series += 1;
        self.stats.num_chunks += self.chunks.len() as u64;
        self.stats.num_float_samples += floats.len() as u64;
        self.stats.num_histogram_samples += histograms.len() as u64;
        Ok(())
    }

    /// Adds the exemplars of a series that lie in the block's range; beside the samples, in an order of its own: series come
    /// in the order of their labels, each once, exemplars in the order of their times, no time twice. The series need not
    /// have samples here.
    ///
    /// # Errors
    /// If the disk refuses, or if series or exemplars are out of order.
    pub(crate) fn add_exemplars(&mut self, labels: &Labels, exemplars: &[Exemplar]) -> Result<(), Error> {
        let Some(files) = &mut self.files else { return Ok(()) };
        let before = |ms| exemplars.partition_point(|exemplar| exemplar.timestamp.millis() < ms);
        let within = before(self.spec.range.start_ms)..before(self.spec.range.end_ms);
        let Some(exemplars) = exemplars.get(within).filter(|within| !within.is_empty()) else { return Ok(()) };
        let out = match &mut files.exemplars {
            Some(out) => out,
            none => {
                let path = temporary_dir(&self.blocks_dir, self.spec.id).join(EXEMPLARS_FILE);
                none.insert(ExemplarsWriter::create(&*self.fs, path)?)
            }
        };
        out.add(labels, exemplars)
    }

    /// Writes the index and puts the block in its place; when it returns the block survives a power cut. `None`, and
    /// nothing is left behind, if no sample was added.
    ///
    /// # Errors
    /// If the disk refuses; nothing is left behind then, as far as the disk allows.
    pub(crate) fn finish(mut self) -> Result<Option<BlockMeta>, Error> {
        if self.stats.num_series == 0 {
            return Ok(None);
        }
        let Some(files) = self.files.take() else { return Ok(None) };
        let result = self.write_rest(files);
        if result.is_err() {
            self.discard();
        }
        result.map(Some)
    }

    fn write_rest(&mut self, files: Files) -> Result<BlockMeta, Error> {
        let dir = temporary_dir(&self.blocks_dir, self.spec.id);
        let Files { chunks, index, exemplars } = files;
        let bytes = chunks.finish()? + std::mem::take(&mut self.index).finish(index, &self.columns.columns)?;
        let (num_exemplars, of_exemplars) = exemplars.map_or(Ok((0, 0)), ExemplarsWriter::finish)?;
        let (bytes, stats) = (bytes + of_exemplars, &mut self.stats);
        stats.num_exemplars = num_exemplars;
        stats.num_samples = stats.num_float_samples + stats.num_histogram_samples;
        stats.bytes = bytes;
        let BlockSpec { id, range, level, sources, parents, labels, replica } = &self.spec;
        let sources = if sources.is_empty() { vec![*id] } else { sources.clone() };
        let compaction = Compaction { level: *level, sources, parents: parents.clone() };
        let mut meta = BlockMeta::new(*id, *range, *stats, compaction);
        meta.labels.clone_from(labels);
        meta.replica.clone_from(replica);
        let path = dir.join(META_FILE);
        let file = self.fs.create(&path).at(&path)?;
        file.write_at(0, meta.to_json().as_bytes()).at(&path)?;
        file.sync().at(&path)?;
        self.fs.sync_dir(&dir).at(&dir)?;
        let place = block_dir(&self.blocks_dir, *id);
        self.fs.rename(&dir, &place).at(&place)?;
        self.fs.sync_dir(&self.blocks_dir).at(&self.blocks_dir)?;
        Ok(meta)
    }

    /// Removes what has been written.
    fn discard(&mut self) {
        self.files = None;
        // What cannot be removed now goes at the next start.
        let _ = self.fs.remove_dir_all(&temporary_dir(&self.blocks_dir, self.spec.id));
    }
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        if self.files.is_some() {
            self.discard();
        }
    }
}

/// The positions of the times in `range`.
fn within(times: &[i64], range: BlockRange) -> Range<usize> {
    let from = times.partition_point(|&t| t < range.start_ms);
    from..times.partition_point(|&t| t < range.end_ms).max(from)
}

/// Cuts `times`, whose positions count from `base`, into slices of at most [`MAX_FLOATS`].
///
/// Cuts are made at even parts of the block's range, not of the series, so that series that were scraped together are
/// cut at the same moments and share their columns, also where one of them missed a scrape.
fn slice(times: &[i64], base: usize, range: BlockRange, out: &mut Vec<Range<usize>>) {
    if times.len() <= MAX_FLOATS {
        if !times.is_empty() {
            out.push(base..base + times.len());
        }
        return;
    }
    let (first, width) = (i128::from(range.start_ms), i128::from(range.end_ms) - i128::from(range.start_ms));
    let least = times.len().div_ceil(MAX_FLOATS);
    // A few more parts than needed may make them fit; samples that crowd together are cut by number instead.
    for parts in least..=least + 2 {
        out.clear();
        let mut from = 0;
        for part in 1..=parts {
            let end = first + width * part as i128 / parts as i128;
            let to = from + times[from..].partition_point(|&t| i128::from(t) < end);
            if to > from {
                out.push(base + from..base + to);
            }
            from = to;
        }
        if out.iter().all(|slice| slice.len() <= MAX_FLOATS) {
            return;
        }
    }
    out.clear();
    out.extend((0..least).map(|part| base + times.len() * part / least..base + times.len() * (part + 1) / least));
}

impl ColumnTable {
    /// The column of these times; it is written to `out` if it is new and not evenly spaced. `number` is that of the
    /// chunk within its series.
    fn find(&mut self, number: usize, times: &[i64], out: &mut PageWriter) -> Result<u32, Error> {
        if let Some((recent, id)) = self.recent.get(number)
            && recent == times
        {
            return Ok(*id);
        }
        let id = self.find_by_content(times, out)?;
        if self.recent.len() <= number {
            self.recent.resize(number + 1, (Vec::new(), 0));
        }
        let (recent, recent_id) = &mut self.recent[number];
        recent.clear();
        recent.extend_from_slice(times);
        *recent_id = id;
        Ok(id)
    }

    fn find_by_content(&mut self, times: &[i64], out: &mut PageWriter) -> Result<u32, Error> {
        let (min_ms, max_ms) = (times[0], times[times.len() - 1]);
        self.bytes.clear();
        if !even(times) {
            ints::encode(times, &mut self.ints, &mut self.bytes);
        }
        let len = self.bytes.len();
        self.bytes.put_u64(min_ms as u64);
        self.bytes.put_u64(max_ms as u64);
        self.bytes.put_u64(times.len() as u64);
        let hash = xxh3_128(&self.bytes);
        if let Some(&id) = self.by_content.get(&hash) {
            return Ok(id);
        }
        let id =
            u32::try_from(self.columns.len()).map_err(|_| Error::Memory { what: "more than 2^32 columns of times" })?;
        let offset = if len == 0 { 0 } else { out.len() };
        out.body().extend_from_slice(&self.bytes[..len]);
        self.columns.push(ColumnMeta { min_ms, max_ms, count: times.len() as u32, len: len as u32, offset });
        self.by_content.insert(hash, id);
        Ok(id)
    }
}

/// Whether `times` are evenly spaced.
fn even(times: &[i64]) -> bool {
    let Some(step) = times.get(1).map(|t| t.wrapping_sub(times[0])) else { return true };
    times.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sliced(times: &[i64], range: BlockRange) -> Vec<Range<usize>> {
        let mut out = Vec::new();
        slice(times, 0, range, &mut out);
        out
    }

    #[test]
    fn long_series_are_cut_at_even_parts_of_the_range() {
        let day = BlockRange { start_ms: 0, end_ms: 86_400_000 };
        let times: Vec<i64> = (0..5760).map(|i| i * 15_000).collect();
        assert_eq!(sliced(&times, day), (0..6).map(|i| i * 960..(i + 1) * 960).collect::<Vec<_>>());
        let (missed, late): (Vec<i64>, _) = (times.iter().copied().filter(|&t| t != 45_000).collect(), &times[2000..]);
        let cut = |times: &[i64]| sliced(times, day).iter().map(|s| times[s.start]).collect::<Vec<_>>();
        assert_eq!(cut(&missed), cut(&times));
        assert!(cut(late).iter().skip(1).all(|t| cut(&times).contains(t)));
        let crowded: Vec<i64> = (0..5000).collect();
        assert!(sliced(&crowded, day).iter().all(|s| (900..=MAX_FLOATS).contains(&s.len())));
        assert_eq!(sliced(&times[..480], day), vec![Range { start: 0, end: 480 }]);
        assert!(sliced(&[], day).is_empty());
    }
}
