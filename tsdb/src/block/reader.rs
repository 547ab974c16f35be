//! Reads a block, mapped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use super::chunk::{self, ChunkTimes, MAX_CLAIMED};
use super::exemplars::{EXEMPLARS_FILE, EXEMPLARS_KIND, ExemplarsFile};
use super::meta::{BlockId, BlockMeta};
use super::set::select_in;
use super::tombstones::{self, Tombstones};
use super::{CHUNKS_FILE, CHUNKS_KIND, INDEX_FILE, META_FILE, block_dir, temporary_dir};
use crate::chunk::ints;
use crate::error::Error;
use crate::fs::{AtPath, Fs};
use crate::index::{ColumnMeta, FILE_KIND, IndexReader};
use crate::matcher::Matcher;
use crate::merge::MergedSet;
use crate::pages::{Cursor, Pages};
use crate::querier::{Columns, SeriesSet};
use crate::sample::TimeRange;

/// A block that is open. In memory are its label names; the rest is mapped, and checked when it is first read.
///
/// Lock order: `deleting`, then `tombstones`, which is never held while a file is touched.
#[derive(Debug)]
pub(crate) struct Block {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    meta: BlockMeta,
    pub(super) index: IndexReader,
    pub(super) chunks: Pages,
    /// None if the block has none.
    pub(super) exemplars: Option<ExemplarsFile>,
    tombstones: RwLock<Arc<Tombstones>>,
    pub(super) deleting: Mutex<()>,
}

/// Series that are looked at, at least, before it is seen whether more are needed.
const ENTRIES_AT_ONCE: usize = 1024;

impl Block {
    /// Opens the block `id` below `blocks_dir`. Cost: reads the label names; see `docs/format/index.md`.
    ///
    /// # Errors
    /// If a file is missing, damaged in what is read at once, or of another version.
    pub(crate) fn open(fs: &Arc<dyn Fs>, blocks_dir: &Path, id: BlockId) -> Result<Self, Error> {
        let dir = block_dir(blocks_dir, id);
        let meta = Self::read_meta(&**fs, blocks_dir, id)?;
        let index = IndexReader::open(&**fs, dir.join(INDEX_FILE))?;
        let chunks = Pages::open(&**fs, dir.join(CHUNKS_FILE), CHUNKS_KIND)?;
        if u64::from(index.len()) != meta.stats.num_series {
            return Err(index.pages().corrupt(0, "other number of series than the block has"));
        }
        let exemplars =
            (meta.stats.num_exemplars > 0).then(|| ExemplarsFile::open(&**fs, dir.join(EXEMPLARS_FILE))).transpose()?;
        let tombstones = RwLock::default();
        let deleting = Mutex::default();
        let block = Self { fs: fs.clone(), dir, meta, index, chunks, exemplars, tombstones, deleting };
        *block.tombstones.write() = Arc::new(block.read_tombstones()?);
        Ok(block)
    }

    /// What the block `id` says of itself, without opening it.
    ///
    /// # Errors
    /// If the file is missing or damaged.
    pub(crate) fn read_meta(fs: &dyn Fs, blocks_dir: &Path, id: BlockId) -> Result<BlockMeta, Error> {
        let path = block_dir(blocks_dir, id).join(META_FILE);
        let size = fs.open_read(&path).and_then(|file| file.size()).at(&path)?;
        let meta = BlockMeta::from_json(&fs.map(&path, size).at(&path)?, &path)?;
        if meta.ulid != id {
            return Err(Error::Corrupt { path, offset: 0, what: "describes another block" });
        }
        Ok(meta)
    }

    /// Whether this program has written the block `id`, damaged or not: known by its description, or by the footer of one of
    /// its files. A block that is not there counts as ours.
    pub(crate) fn is_ours(fs: &dyn Fs, blocks_dir: &Path, id: BlockId) -> Result<bool, Error> {
        if Self::read_meta(fs, blocks_dir, id).is_ok() {
            return Ok(true);
        }
        let dir = block_dir(blocks_dir, id);
        let files = [(INDEX_FILE, FILE_KIND), (CHUNKS_FILE, CHUNKS_KIND), (EXEMPLARS_FILE, EXEMPLARS_KIND)];
        for (name, kind) in files {
            if kind.is_at_end_of(fs, &dir.join(name))? {
                return Ok(true);
            }
        }
        Ok(matches!(fs.list(&dir), Err(e) if e.kind() == std::io::ErrorKind::NotFound))
    }

    pub(crate) fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Gives the block a second place, below `blocks_dir`: whole or not at all. Takes no further space on the disk.
    ///
    /// # Errors
    /// If the other place cannot be written to, or is on another file system.
    pub(crate) fn link_to(&self, blocks_dir: &Path) -> Result<(), Error> {
        // Tombstones are replaced, not written to, so the copy keeps those of now.
        let _alone = self.deleting.lock();
        let temporary = temporary_dir(blocks_dir, self.meta.ulid);
        self.fs.create_dir_all(&temporary).at(&temporary)?;
        for name in self.fs.list(&self.dir).at(&self.dir)? {
            let to = temporary.join(&name);
            self.fs.link(&self.dir.join(&name), &to).at(&to)?;
        }
        self.fs.sync_dir(&temporary).at(&temporary)?;
        let dir = block_dir(blocks_dir, self.meta.ulid);
        self.fs.rename(&temporary, &dir).at(&dir)?;
        self.fs.sync_dir(blocks_dir).at(blocks_dir)
    }

    /// Bytes of the index, of the chunks and of the exemplars.
    pub(crate) fn size_bytes(&self) -> u64 {
        let exemplars = self.exemplars.as_ref().map_or(0, |file| file.pages().file_bytes());
        self.index.pages().file_bytes() + self.chunks.file_bytes() + exemplars
    }

    /// Bytes of the index.
    #[cfg(feature = "testing")]
    pub(crate) fn index_bytes(&self) -> u64 {
        self.index.pages().file_bytes()
    }

    /// Samples that are deleted but still on the disk.
    pub(crate) fn deleted_samples(&self) -> u64 {
        self.tombstones().samples()
    }

    /// How often something was deleted from the block: the generation of its tombstones, 0 if it has none.
    pub(crate) fn deletions(&self) -> u64 {
        self.tombstones().generation()
    }

    /// The error for tombstones that were there once.
    pub(crate) fn lost_tombstones(&self) -> Error {
        let path = self.dir.join(tombstones::FILE);
        Error::Corrupt {
            path,
            offset: 0,
            what: "tombstones are missing or older than they were: what was deleted is back",
        }
    }

    /// Whether anything is deleted but still on the disk.
    pub(crate) fn has_deleted(&self) -> bool {
        !self.tombstones().is_empty()
    }

    pub(super) fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    /// The tombstones as they are on the disk.
    pub(super) fn read_tombstones(&self) -> Result<Tombstones, Error> {
        let most = u32::try_from(self.meta.stats.num_exemplars).unwrap_or(u32::MAX);
        Tombstones::read(&*self.fs, &self.dir, self.exemplars_of(most))
    }

    /// The number that series `number` of the exemplars has among the tombstones: theirs come behind the series of the
    /// index.
    pub(super) fn exemplars_of(&self, number: u32) -> u32 {
        self.index.len().saturating_add(number)
    }

    pub(super) fn tombstones(&self) -> Arc<Tombstones> {
        self.tombstones.read().clone()
    }

    /// Puts `tombstones` in the place of those there are.
    pub(super) fn replace_tombstones(&self, mut tombstones: Tombstones) -> Result<(), Error> {
        tombstones.renew();
        tombstones.write(&*self.fs, &self.dir)?;
        *self.tombstones.write() = Arc::new(tombstones);
        Ok(())
    }

    /// What has been read so far of index and chunks is what they held when the block was opened.
    ///
    /// # Errors
    /// If somebody has made one of them shorter since, or the disk could not read it.
    #[inline]
    pub(super) fn whole(&self) -> Result<(), Error> {
        self.index.pages().whole()?;
        self.chunks.whole()
    }

    /// The series that pass all `matchers` and have chunks in `range`, in the order of their labels.
    ///
    /// # Errors
    /// If what is read of the index is damaged.
    pub(crate) fn select(
        self: &Arc<Self>,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Arc<dyn SeriesSet>, Error> {
        let mut sets = select_in(std::iter::once(self), matchers, range, usize::MAX)?;
        Ok(sets.pop().map_or_else(|| MergedSet::join(Vec::new()), |set| set as Arc<dyn SeriesSet>))
    }

    /// The numbers of the first `limit` of those series.
    pub(super) fn selected(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Vec<u32>, Error> {
        if !self.meta.range.touches(range) {
            return Ok(Vec::new());
        }
        let mut ids = self.index.select(matchers)?;
        let all = self.meta.range.closed();
        if range.start <= all.start && all.end <= range.end {
            ids.truncate(limit);
            return Ok(ids);
        }
        let mut found = Vec::with_capacity(ids.len().min(limit));
        let mut last: Option<(u32, bool)> = None;
        for ids in ids.chunks(limit.max(ENTRIES_AT_ONCE)) {
            self.index.entries_of(ids, |id, mut entry| {
                entry.skip_values()?;
                for chunk in entry.chunks()? {
                    let column = chunk?.1.column;
                    let overlaps = match last {
                        Some((same, overlaps)) if same == column => overlaps,
                        _ => {
                            let meta = self.index.column(column)?;
                            TimeRange::from_millis(meta.min_ms, meta.max_ms).overlaps(&range)
                        }
                    };
                    last = Some((column, overlaps));
                    if overlaps {
                        found.push(id);
                        break;
                    }
                }
                Ok(())
            })?;
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        Ok(found)
    }

    /// Hands the label names of those series to `each`, sorted.
    ///
    /// # Errors
    /// If what is read of the index is damaged.
    pub(crate) fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        each: impl FnMut(&str),
    ) -> Result<(), Error> {
        if matchers.is_empty() {
            self.index.names().filter(|_| self.meta.range.touches(range)).for_each(each);
            return Ok(());
        }
        let mut shapes = vec![false; self.index.shape_count()];
        self.index.entries_of(&self.selected(matchers, range, usize::MAX)?, |_, entry| {
            shapes[entry.shape() as usize] = true;
            Ok(())
        })?;
        self.index.pages().whole()?;
        self.index.names_of(&shapes).for_each(each);
        Ok(())
    }

    /// Hands the values that label `name` has in those series to `each`, sorted, at most `limit`.
    ///
    /// # Errors
    /// If what is read of the index is damaged.
    pub(crate) fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
        each: impl FnMut(&str),
    ) -> Result<(), Error> {
        let Some(name) = self.index.name(name).filter(|_| self.meta.range.touches(range)) else {
            return Ok(());
        };
        if matchers.is_empty() {
            self.index.all_values(name, limit, each)?;
            return self.index.pages().whole();
        }
        let mut ranks = Vec::new();
        self.index.entries_of(&self.selected(matchers, range, usize::MAX)?, |_, entry| {
            ranks.extend(entry.value(name as u32)?);
            Ok(())
        })?;
        ranks.sort_unstable();
        ranks.dedup();
        ranks.truncate(limit);
        self.index.texts(name, &ranks, each)?;
        self.index.pages().whole()
    }

    /// Appends the samples of a series within `range` to `columns`, in ascending time, without those that are deleted.
    pub(super) fn read(
        &self,
        id: u32,
        range: TimeRange,
        tombstones: &Tombstones,
        columns: &mut Columns,
    ) -> Result<(), Error> {
        let (floats, histograms) = (columns.timestamps_ms.len(), columns.histograms.len());
        self.chunks_in(id, range, |offset, len, column| self.read_chunk(offset, len, &column, range, columns))?;
        tombstones::apply(tombstones.of(id), floats, histograms, columns);
        self.whole()
    }

    /// Appends the end of what [`read`](Self::read) appends, at least its newest sample.
    pub(super) fn read_newest(
        &self,
        id: u32,
        range: TimeRange,
        tombstones: &Tombstones,
        columns: &mut Columns,
    ) -> Result<(), Error> {
        if !tombstones.of(id).is_empty() {
            return self.read(id, range, tombstones, columns);
        }
        let from = columns.lengths();
        let mut chunks: SmallVec<[(u64, usize, ColumnMeta); 8]> = SmallVec::new();
        self.chunks_in(id, range, |offset, len, column| {
            chunks.push((offset, len, column));
            Ok(())
        })?;
        while let Some((offset, len, column)) = chunks.pop() {
            self.read_chunk(offset, len, &column, range, columns)?;
            let Some(first) = columns.first_after(from) else { continue };
            // Floats and histograms of one series lie one after the other, whatever their times.
            if chunks.iter().any(|(_, _, column)| column.max_ms >= first) {
                columns.truncate(from);
                return self.read(id, range, tombstones, columns);
            }
            break;
        }
        self.whole()
    }

    /// Hands the chunks of a series that may have samples within `range` to `each`: where they begin, their bytes, their
    /// times.
    fn chunks_in(
        &self,
        id: u32,
        range: TimeRange,
        mut each: impl FnMut(u64, usize, ColumnMeta) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut entry = self.index.entry(id)?;
        entry.skip_values()?;
        for chunk in entry.chunks()? {
            let (offset, meta) = chunk?;
            let column = self.index.column(meta.column)?;
            if TimeRange::from_millis(column.min_ms, column.max_ms).overlaps(&range) {
                each(offset, meta.len as usize, column)?;
            }
        }
        Ok(())
    }

    /// Appends the samples of a chunk within `range`.
    fn read_chunk(
        &self,
        offset: u64,
        len: usize,
        column: &ColumnMeta,
        range: TimeRange,
        columns: &mut Columns,
    ) -> Result<(), Error> {
        let mut listed = std::mem::take(&mut columns.times);
        let times = match self.even(column) {
            Some(step) => ChunkTimes::Even { first: column.min_ms, step, count: column.count as usize },
            None => {
                self.times(column, &mut listed)?;
                ChunkTimes::Listed(&listed)
            }
        };
        let wanted = times.within(range);
        if !wanted.is_empty() {
            columns.count_chunk(len);
            let mut cursor = Cursor::exactly(&self.chunks, offset, len)?;
            cursor.take(|input| chunk::decode(input, times, wanted, columns))?;
        }
        columns.times = listed;
        Ok(())
    }

    /// How far the times of a column lie apart, if they are not listed, and are as the index says.
    fn even(&self, column: &ColumnMeta) -> Option<i64> {
        let ColumnMeta { min_ms, max_ms, count, len, .. } = *column;
        let intervals = i64::from(count.checked_sub(1).filter(|_| len == 0 && count as usize <= MAX_CLAIMED)?);
        let step = max_ms.checked_sub(min_ms)?.checked_div(intervals).unwrap_or(0);
        (step >= 0 && min_ms.checked_add(step.checked_mul(intervals)?)? == max_ms).then_some(step)
    }

    /// Replaces `out` by the times of a column.
    pub(super) fn times(&self, column: &ColumnMeta, out: &mut Vec<i64>) -> Result<(), Error> {
        let ColumnMeta { min_ms, max_ms, count, len, offset } = *column;
        let count = count as usize;
        if count == 0 || count > MAX_CLAIMED {
            return Err(self.chunks.corrupt(offset, "column of no or too many times"));
        }
        out.clear();
        if len == 0 {
            let step = if count == 1 { 0 } else { max_ms.wrapping_sub(min_ms) / (count as i64 - 1) };
            out.extend((0..count as i64).map(|i| min_ms.wrapping_add(i.wrapping_mul(step))));
        } else {
            let mut cursor = Cursor::exactly(&self.chunks, offset, len as usize)?;
            cursor.take(|input| ints::decode(input, count, out))?;
            if !cursor.input.is_empty() {
                return Err(cursor.corrupt("more than a column of times"));
            }
        }
        if out.first() == Some(&min_ms) && out.last() == Some(&max_ms) {
            Ok(())
        } else {
            Err(self.chunks.corrupt(offset, "times are not as the index says"))
        }
    }
}
