//! One series of the head, as readers see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use smallvec::SmallVec;

use super::files::{ChunkFiles, Stored};
use super::isolation::History;
use super::late::{Late, LateSample};
use crate::chunk::{Extent, OpenChunk, SealedChunk, Sealer, Times};
use crate::error::Error;
use crate::index::Symbol;
use crate::querier::Columns;
use crate::sample::{SeriesRef, TimeRange};
use crate::wal::SeriesId;

/// A series as readers see it.
#[derive(Debug)]
pub(crate) struct MemSeries {
    pub(crate) series_ref: SeriesRef,
    /// The log's name of it; 0 until it has one.
    id: AtomicU64,
    /// Sorted by the text of the names.
    pub(crate) labels: Box<[(Symbol, Symbol)]>,
    /// Locked to hand out or replace chunks, never while one is encoded or read.
    data: RwLock<Data>,
}

/// The samples of a series: stored chunks, then those in memory, both in ascending time, and beside them what came late.
#[derive(Debug, Default)]
struct Data {
    /// The newest chunk in the files; those before it are found from there.
    stored: Option<Stored>,
    /// In ascending time; the last may be open.
    chunks: SmallVec<[Chunk; 1]>,
    aside: Option<Box<Aside>>,
}

/// What few series have.
#[derive(Debug, Default)]
struct Aside {
    late: Late,
    /// What has been deleted of all but the buffer of late samples: what is there came afterwards.
    deleted: Vec<TimeRange>,
}

#[derive(Clone, Debug)]
pub(super) enum Chunk {
    Open(Arc<OpenChunk>),
    Sealed(Arc<SealedChunk>),
}

impl Chunk {
    fn sealed_bytes(&self) -> usize {
        match self {
            Self::Open(_) => 0,
            Self::Sealed(sealed) => sealed.heap_bytes(),
        }
    }
}

/// A chunk that gets no more samples and waits to be sealed.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(super) series: Arc<MemSeries>,
    pub(super) chunk: Arc<OpenChunk>,
}

impl Closed {
    /// Re-encodes the chunk and puts it in the open one's place. Answers its bytes.
    pub(crate) fn seal(self, sealer: &mut Sealer) -> usize {
        let sealed = SealedChunk::new(&self.chunk, sealer).map(Arc::new);
        let chunks = &mut self.series.data.write().chunks;
        let at = chunks.iter().position(|c| matches!(c, Chunk::Open(open) if Arc::ptr_eq(open, &self.chunk)));
        match (at, sealed) {
            (Some(at), Some(sealed)) => {
                let bytes = sealed.heap_bytes();
                chunks[at] = Chunk::Sealed(sealed);
                bytes
            }
            (Some(at), None) => {
                chunks.remove(at);
                0
            }
            (None, _) => 0,
        }
    }
}

/// What a reader of the head may see and where it finds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// Commits up to this one are seen.
    pub(crate) watermark: u64,
    pub(crate) history: &'a History,
    pub(crate) files: &'a ChunkFiles,
    /// What is older is in blocks; late samples aside.
    pub(crate) flushed_until_ms: i64,
}

impl MemSeries {
    pub(crate) fn new(series_ref: SeriesRef, labels: Box<[(Symbol, Symbol)]>) -> Self {
        Self { series_ref, id: AtomicU64::new(0), labels, data: RwLock::default() }
    }

    /// The log's name of the series; 0 if it has none.
    pub(crate) fn id(&self) -> SeriesId {
        SeriesId(self.id.load(Ordering::Relaxed))
    }

    pub(super) fn set_id(&self, id: SeriesId) {
        self.id.store(id.0, Ordering::Relaxed);
    }

    /// The value of the label `name`.
    pub(crate) fn label(&self, name: Symbol) -> Option<Symbol> {
        self.labels.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    /// Whether there may be samples within `range`; a series without samples has none.
    pub(crate) fn may_overlap(&self, range: TimeRange, flushed_until_ms: i64) -> bool {
        let data = self.data.read();
        let start = range.start.millis().max(flushed_until_ms);
        // Where the stored chunks begin is not known here; most often the heap's chunks decide.
        data.chunks.iter().any(|chunk| match chunk {
            Chunk::Sealed(sealed) => sealed.range().end.millis() >= start && sealed.range().start <= range.end,
            // Where an open chunk ends is known only to its writer and by decoding it.
            Chunk::Open(open) => open.begins_before(range.end),
        }) || data.stored.is_some_and(|stored| stored.max_ms >= start)
            || data.aside.as_ref().is_some_and(|aside| aside.late.may_overlap(range))
    }

    /// Appends the samples within `range` that the view allows to see.
    pub(crate) fn read(&self, view: View<'_>, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        let recent = TimeRange::from_millis(range.start.millis().max(view.flushed_until_ms), range.end.millis());
        let from = columns.lengths();
        let data = self.data.read();
        let chunks: SmallVec<[Chunk; 4]> = {
            let wanted = |chunk: &&Chunk| match chunk {
                Chunk::Sealed(sealed) => sealed.range().overlaps(&recent),
                Chunk::Open(_) => true,
            };
            data.chunks.iter().filter(wanted).cloned().collect()
        };
        let stored = data.stored.filter(|stored| stored.max_ms >= recent.start.millis());
        let aside = data.aside.is_some();
        drop(data);
        if let Some(stored) = stored {
            self.read_stored(stored, view.files, recent, columns)?;
        }
        for chunk in &chunks {
            self.read_chunk(chunk, view, recent, columns)?;
        }
        if aside && let Some(aside) = &self.data.read().aside {
            aside.late.read_sealed(range, from, columns).map_err(|e| Error::Memory { what: e.what })?;
            columns.leave_out(from, &aside.deleted);
            aside.late.read_buffer(view.watermark, range, from, columns);
        }
        Ok(())
    }

    /// Appends the end of what [`read`](Self::read) appends, at least its newest sample.
    pub(crate) fn read_newest(&self, view: View<'_>, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        let recent = TimeRange::from_millis(range.start.millis().max(view.flushed_until_ms), range.end.millis());
        let from = columns.lengths();
        let data = self.data.read();
        if data.aside.is_some() {
            drop(data);
            return self.read(view, range, columns);
        }
        let (chunks, stored) = (data.chunks.clone(), data.stored);
        drop(data);
        let may_hold = |chunk: &&Chunk| match chunk {
            Chunk::Sealed(sealed) => sealed.range().overlaps(&recent),
            Chunk::Open(_) => true,
        };
        for chunk in chunks.iter().rev().filter(may_hold) {
            self.read_chunk(chunk, view, recent, columns)?;
            if columns.first_after(from).is_some() {
                return Ok(());
            }
        }
        let id = self.id();
        let mut next = stored;
        while let Some(stored) = next.filter(|stored| stored.max_ms >= recent.start.millis()) {
            let file = view.files.get(stored.place.file)?;
            let chunk = file.chunk(stored.place.offset, id)?;
            next = chunk.before;
            if chunk.range.overlaps(&recent) {
                file.read(stored.place, &chunk, recent, columns)?;
            }
            if columns.first_after(from).is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Hands the visible samples of each chunk in memory to `each`, late ones aside, in ascending time; the newest stored
    /// chunk is the answer.
    pub(super) fn each_in_memory(
        &self,
        view: View<'_>,
        columns: &mut Columns,
        mut each: impl FnMut(&Columns) -> Result<(), Error>,
    ) -> Result<Option<Stored>, Error> {
        let (stored, chunks) = {
            let data = self.data.read();
            (data.stored, data.chunks.clone())
        };
        for chunk in chunks {
            columns.clear();
            self.read_chunk(&chunk, view, TimeRange::ALL, columns)?;
            if !columns.is_empty() {
                each(columns)?;
            }
        }
        Ok(stored)
    }

    fn read_chunk(&self, chunk: &Chunk, view: View<'_>, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        match chunk {
            Chunk::Open(open) => {
                let extent = open.extent();
                open.read(extent, self.visible(open.times(), extent, view), range, columns);
                Ok(())
            }
            Chunk::Sealed(sealed) => {
                let visible = match sealed.column() {
                    Some(column) => column.visible(view.watermark),
                    None => self.visible_own(sealed.range().start.millis(), sealed.extent(), view),
                };
                sealed.read(visible, range, columns).map_err(|e| Error::Memory { what: e.what })
            }
        }
    }

    /// Appends the samples within `range` of the chunk at `stored` and of those before it.
    pub(super) fn read_stored(
        &self,
        stored: Stored,
        files: &ChunkFiles,
        range: TimeRange,
        columns: &mut Columns,
    ) -> Result<(), Error> {
        let id = self.id();
        let mut wanted: SmallVec<[_; 8]> = SmallVec::new();
        let mut next = Some(stored);
        while let Some(stored) = next.filter(|stored| stored.max_ms >= range.start.millis()) {
            let file = files.get(stored.place.file)?;
            let chunk = file.chunk(stored.place.offset, id)?;
            next = chunk.before;
            if chunk.range.overlaps(&range) {
                wanted.push((file, stored.place, chunk));
            }
        }
        for (file, place, chunk) in wanted.into_iter().rev() {
            file.read(place, &chunk, range, columns)?;
        }
        Ok(())
    }

    /// How much of a chunk a view allows to see: ordinals on a column, else samples.
    fn visible(&self, times: &Times, extent: Extent, view: View<'_>) -> usize {
        match times {
            Times::Shared(column) => column.visible(view.watermark),
            Times::Own(base) => self.visible_own(*base, extent, view),
        }
    }

    fn visible_own(&self, base_ms: i64, extent: Extent, view: View<'_>) -> usize {
        if extent.commit <= view.watermark {
            return extent.count.into();
        }
        view.history.before(self.series_ref, base_ms, view.watermark).unwrap_or(extent.before).into()
    }

    /// Adds the open chunk that is written to from now on.
    pub(super) fn push_open(&self, chunk: Arc<OpenChunk>) {
        self.data.write().chunks.push(Chunk::Open(chunk));
    }

    /// Adds a late sample; `settled` is the newest commit that every reader may see.
    pub(super) fn push_late(&self, sample: LateSample, settled: u64) {
        let mut data = self.data.write();
        let Aside { late, deleted } = &mut **data.aside.get_or_insert_default();
        late.add(sample, settled, deleted);
    }

    /// Hides what it holds within `range`, given the time of its newest sample. What comes later is seen.
    pub(crate) fn delete(&self, range: TimeRange, last_ms: i64) {
        let mut data = self.data.write();
        let Aside { late, deleted } = &mut **data.aside.get_or_insert_default();
        let end_ms = late.delete(range).max(last_ms).min(range.end.millis());
        if range.start.millis() <= end_ms {
            deleted.push(TimeRange::from_millis(range.start.millis(), end_ms));
        }
    }

    /// What has been deleted.
    pub(crate) fn deleted(&self) -> Vec<TimeRange> {
        self.data.read().aside.as_ref().map(|aside| aside.deleted.clone()).unwrap_or_default()
    }

    /// The newest stored chunk, and the oldest chunks in memory that are sealed and that every reader may see whole,
    /// those of commits up to `settled`.
    pub(super) fn settled(&self, settled: u64) -> (Option<Stored>, SmallVec<[Arc<SealedChunk>; 2]>) {
        let data = self.data.read();
        let chunks = data.chunks.iter().map_while(|chunk| match chunk {
            Chunk::Sealed(sealed) if sealed.extent().commit <= settled => Some(sealed.clone()),
            _ => None,
        });
        (data.stored, chunks.collect())
    }

    /// Replaces the first `n` chunks in memory by stored ones, the newest of which is `stored`. Answers the bytes that
    /// they took.
    pub(super) fn set_stored(&self, n: usize, stored: Stored) -> usize {
        let mut data = self.data.write();
        let freed = data.chunks.drain(..n).map(|chunk| chunk.sealed_bytes()).sum();
        data.chunks.shrink_to_fit();
        data.stored = Some(stored);
        freed
    }

    /// Bytes of the sealed chunks in memory.
    pub(super) fn sealed_bytes(&self) -> usize {
        self.data.read().chunks.iter().map(Chunk::sealed_bytes).sum()
    }

    /// Makes what a checkpoint says of the series the beginning of it.
    pub(super) fn restore(&self, stored: Option<Stored>) {
        self.data.write().stored = stored;
    }

    /// The late samples of commits up to `watermark` within `range`.
    pub(super) fn late(&self, watermark: u64, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        if let Some(aside) = &self.data.read().aside {
            let from = columns.lengths();
            aside.late.read_sealed(range, from, columns).map_err(|e| Error::Memory { what: e.what })?;
            columns.leave_out(from, &aside.deleted);
            aside.late.read_buffer(watermark, range, from, columns);
        }
        Ok(())
    }

    /// Whether no commit after `watermark` has written to it.
    pub(super) fn untouched_since(&self, watermark: u64) -> bool {
        let data = self.data.read();
        let open = data.chunks.iter().all(|chunk| match chunk {
            Chunk::Open(open) => open.extent().commit <= watermark,
            Chunk::Sealed(sealed) => sealed.extent().commit <= watermark,
        });
        open && data.aside.as_ref().is_none_or(|aside| aside.late.untouched_since(watermark))
    }

    /// Lets go of samples before `until_ms` by commits up to `settled`: blocks hold them. Answers the bytes of sealed
    /// chunks that are gone from memory.
    pub(super) fn truncate(&self, until_ms: i64, settled: u64) -> usize {
        let mut data = self.data.write();
        let before = data.chunks.len();
        let mut freed = 0;
        data.chunks.retain(|chunk| match chunk {
            Chunk::Sealed(sealed) if sealed.range().end.millis() < until_ms => {
                freed += sealed.heap_bytes();
                false
            }
            _ => true,
        });
        if data.chunks.len() < before {
            data.chunks.shrink_to_fit();
        }
        data.stored = data.stored.filter(|stored| stored.max_ms >= until_ms);
        if let Some(aside) = &mut data.aside {
            aside.late.truncate(until_ms, settled);
            aside.deleted.retain(|range| range.end.millis() >= until_ms);
            if aside.late.is_empty() && aside.deleted.is_empty() {
                data.aside = None;
            }
        }
        freed
    }

    /// Bytes that the chunks take, about.
    pub(crate) fn chunk_bytes(&self) -> usize {
        let chunk_bytes = |chunk: &Chunk| match chunk {
            Chunk::Open(open) => size_of::<OpenChunk>() + open.heap_bytes(),
            Chunk::Sealed(sealed) => size_of::<SealedChunk>() + sealed.heap_bytes(),
        };
        let data = self.data.read();
        let late = data.aside.as_ref().map_or(0, |aside| aside.late.heap_bytes());
        data.chunks.iter().map(chunk_bytes).sum::<usize>() + late
    }

    /// How many chunks there are in memory.
    pub(crate) fn chunk_count(&self) -> usize {
        let data = self.data.read();
        data.chunks.len() + data.aside.as_ref().map_or(0, |aside| aside.late.chunk_count())
    }
}
