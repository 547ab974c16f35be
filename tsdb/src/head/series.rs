//! One series of the head, as readers see it.

mod rewind;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use smallvec::SmallVec;

use super::files::{ChunkFiles, Stored};
use super::isolation::History;
use super::late::{Late, LateSample};
use crate::chunk::{
    Body, ChunkWriter, Column, Extent, Histograms, OpenChunk, SealedChunk, Sealer, Starts, Times, Words, note_start,
};
use crate::error::Error;
use crate::index::Symbol;
use crate::querier::Columns;
use crate::sample::{SeriesRef, TimeRange, Timestamp};
use crate::wal::SeriesId;

pub(super) use rewind::Rewound;

/// A series as readers see it. 112 bytes with the counts of its `Arc`, which is what an allocator has a size class for.
#[derive(Debug)]
// In this order, so that what needs no lock lies at both ends; see `touch`.
#[repr(C)]
pub(crate) struct MemSeries {
    pub(crate) series_ref: SeriesRef,
    /// The log's name of it; 0 until it has one.
    id: AtomicU64,
    /// Sorted by the text of the names.
    pub(crate) labels: Box<[(Symbol, Symbol)]>,
    /// Locked to hand out or replace chunks, never while one is encoded or read.
    data: RwLock<Data>,
    /// A packed [`Extent`]: what is published of the open chunk. Set to another chunk's only while `data` is locked.
    extent: AtomicU64,
}

/// The samples of a series: stored chunks, then those in memory, the open one last, all in ascending time, and beside them
/// what came late.
#[derive(Debug, Default)]
struct Data {
    /// The newest chunk in the files; those before it are found from there.
    stored: Option<Stored>,
    /// The column that the times of the open chunk are on.
    column: Option<Arc<Column>>,
    /// The samples of the open chunk, if they are floats.
    words: Option<Words>,
    rest: Option<Box<Rest>>,
}

/// What few series have, or not for long.
#[derive(Debug, Default)]
struct Rest {
    /// Complete chunks, in ascending time.
    chunks: SmallVec<[Chunk; 1]>,
    /// The samples of the open chunk, if they are histograms.
    histograms: Option<Arc<Histograms>>,
    /// When the counts of the open chunk began.
    starts: Starts,
    aside: Option<Box<Aside>>,
}

/// What is beside the chunks.
#[derive(Debug, Default)]
struct Aside {
    late: Late,
    /// What has been deleted of all but the buffer of late samples: what is there came afterwards.
    deleted: Vec<TimeRange>,
}

/// A chunk that gets no more samples.
#[derive(Clone, Debug)]
enum Chunk {
    /// Waits to be sealed.
    Closed(Arc<OpenChunk>),
    Sealed(Arc<SealedChunk>),
}

impl Chunk {
    fn sealed_bytes(&self) -> usize {
        match self {
            Self::Closed(_) => 0,
            // Few have more than one, and something else for which the rest is there.
            Self::Sealed(sealed) => size_of::<Rest>() + sealed.heap_bytes(),
        }
    }

    /// Whether its first sample may lie at or before `at`.
    fn begins_before(&self, at: Timestamp) -> bool {
        match self {
            Self::Closed(closed) => closed.begins_before(at),
            Self::Sealed(sealed) => sealed.range().start <= at,
        }
    }

    fn extent(&self) -> Extent {
        match self {
            Self::Closed(closed) => closed.extent(),
            Self::Sealed(sealed) => sealed.extent(),
        }
    }
}

impl Data {
    fn chunks(&self) -> &[Chunk] {
        self.rest.as_ref().map_or(&[], |rest| &rest.chunks)
    }

    fn aside(&self) -> Option<&Aside> {
        self.rest.as_ref().and_then(|rest| rest.aside.as_deref())
    }

    fn aside_mut(&mut self) -> &mut Aside {
        self.rest.get_or_insert_default().aside.get_or_insert_default()
    }

    /// The samples of the open chunk, if there is one.
    fn body(&self) -> Option<Body> {
        let histograms = || self.rest.as_ref().and_then(|rest| rest.histograms.clone());
        self.words.clone().map(Body::Floats).or_else(|| histograms().map(Body::Histograms))
    }

    /// The open chunk as of `extent`.
    fn open(&self, extent: Extent) -> Option<OpenChunk> {
        let body = self.body()?;
        let starts = self.rest.as_ref().map(|rest| rest.starts.clone()).unwrap_or_default();
        Some(OpenChunk::new(body.times(self.column.as_ref()), extent, starts, body))
    }

    /// Gives back the memory of what is empty.
    fn tidy(&mut self) {
        if let Some(rest) = &mut self.rest {
            if rest.aside.as_ref().is_some_and(|aside| aside.late.is_empty() && aside.deleted.is_empty()) {
                rest.aside = None;
            }
            rest.chunks.shrink_to_fit();
            let Rest { chunks, histograms, starts, aside } = &**rest;
            if chunks.is_empty() && histograms.is_none() && starts.is_empty() && aside.is_none() {
                self.rest = None;
            }
        }
    }
}

/// A chunk that gets no more samples and waits to be sealed.
#[derive(Debug)]
pub(crate) struct Closed {
    series: Arc<MemSeries>,
    chunk: Arc<OpenChunk>,
}

impl Closed {
    /// Re-encodes the chunk and puts it in the closed one's place. Answers its bytes.
    pub(crate) fn seal(self, sealer: &mut Sealer) -> usize {
        let sealed = SealedChunk::new(&self.chunk, sealer).map(Arc::new);
        let mut data = self.series.data.write();
        let Some(rest) = &mut data.rest else { return 0 };
        let at = rest.chunks.iter().position(|c| matches!(c, Chunk::Closed(open) if Arc::ptr_eq(open, &self.chunk)));
        match (at, sealed) {
            (Some(at), Some(sealed)) => {
                rest.chunks[at] = Chunk::Sealed(sealed);
                rest.chunks[at].sealed_bytes()
            }
            (Some(at), None) => {
                rest.chunks.remove(at);
                data.tidy();
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

/// Series whose memory is fetched together.
pub(super) const TOGETHER: usize = 16;

/// What is going to be read of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// When its open chunk begins.
    Begin,
    /// Its newest sample.
    Newest,
}

/// Looks at what is going to be read of a few series. Where no cache holds it, the processor waits for all of it at once: what is
/// read one series after the other, each behind its lock, it waits for each time.
pub(super) fn touch<'s>(series: impl Iterator<Item = &'s Arc<MemSeries>> + Clone, wanted: Wanted) {
    let unlocked = series.clone().map(|s| s.series_ref.0 ^ s.labels.len() as u64 ^ s.extent.load(Ordering::Relaxed));
    let mut seen = unlocked.fold(0, |seen, some| seen ^ some);
    // Never waits for one while it holds another.
    let all: SmallVec<[_; TOGETHER]> = series.filter_map(|series| series.data.try_read()).collect();
    for data in &all {
        let lines = match wanted {
            Wanted::Begin => 1,
            Wanted::Newest => {
                seen ^= u64::from(data.aside().is_some());
                usize::MAX
            }
        };
        let words = data.words.iter().flat_map(|words| words.iter().step_by(WORDS_PER_LINE).take(lines));
        seen = words.fold(seen, |seen, word| seen ^ word.load(Ordering::Relaxed));
    }
    black_box(seen);
}

/// Words in a line of a processor's cache.
const WORDS_PER_LINE: usize = 8;

impl MemSeries {
    pub(crate) fn new(series_ref: SeriesRef, labels: Box<[(Symbol, Symbol)]>) -> Self {
        Self { series_ref, id: AtomicU64::new(0), labels, data: RwLock::default(), extent: AtomicU64::new(0) }
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
        self.published().count > 0
            && data.body().is_some_and(|body| body.begins_before(data.column.as_deref(), range.end))
            || data.chunks().iter().any(|chunk| match chunk {
                Chunk::Sealed(sealed) => sealed.range().end.millis() >= start && sealed.range().start <= range.end,
                Chunk::Closed(closed) => closed.begins_before(range.end),
            })
            || data.stored.is_some_and(|stored| stored.max_ms >= start)
            || data.aside().is_some_and(|aside| aside.late.may_overlap(range))
    }

    /// Appends the samples within `range` that the view allows to see.
    pub(crate) fn read(&self, view: View<'_>, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        let recent = TimeRange::from_millis(range.start.millis().max(view.flushed_until_ms), range.end.millis());
        let from = columns.lengths();
        let data = self.data.read();
        let chunks: SmallVec<[Chunk; 2]> = {
            let wanted = |chunk: &&Chunk| match chunk {
                Chunk::Sealed(sealed) => sealed.range().overlaps(&recent),
                Chunk::Closed(_) => true,
            };
            data.chunks().iter().filter(wanted).cloned().collect()
        };
        let open = data.open(self.published());
        let stored = data.stored.filter(|stored| stored.max_ms >= recent.start.millis());
        let aside = data.aside().is_some();
        drop(data);
        if let Some(stored) = stored {
            self.read_stored(stored, view.files, recent, columns)?;
        }
        for chunk in &chunks {
            self.read_chunk(chunk, view, recent, columns)?;
        }
        if let Some(open) = open {
            self.read_open(&open, view, recent, columns);
        }
        if aside && let Some(aside) = self.data.read().aside() {
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
        if data.aside().is_some() {
            drop(data);
            return self.read(view, range, columns);
        }
        let open = data.open(self.published());
        drop(data);
        if let Some(open) = open {
            open.read_newest(self.visible(open.times(), open.extent(), view), recent, columns);
            if columns.first_after(from).is_some() {
                return Ok(());
            }
        }
        // Whatever has happened meanwhile: what the view allows to see is the same.
        let data = self.data.read();
        if data.aside().is_some() {
            drop(data);
            return self.read(view, range, columns);
        }
        let (chunks, stored) = (SmallVec::<[Chunk; 1]>::from(data.chunks()), data.stored);
        drop(data);
        let may_hold = |chunk: &&Chunk| match chunk {
            Chunk::Sealed(sealed) => sealed.range().overlaps(&recent),
            Chunk::Closed(_) => true,
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
        let (stored, chunks, open) = {
            let data = self.data.read();
            (data.stored, SmallVec::<[Chunk; 1]>::from(data.chunks()), data.open(self.published()))
        };
        for chunk in chunks {
            columns.clear();
            self.read_chunk(&chunk, view, TimeRange::ALL, columns)?;
            if !columns.is_empty() {
                each(columns)?;
            }
        }
        if let Some(open) = open {
            columns.clear();
            self.read_open(&open, view, TimeRange::ALL, columns);
            if !columns.is_empty() {
                each(columns)?;
            }
        }
        Ok(stored)
    }

    fn read_chunk(&self, chunk: &Chunk, view: View<'_>, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        match chunk {
            Chunk::Closed(closed) => {
                self.read_open(closed, view, range, columns);
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

    fn read_open(&self, open: &OpenChunk, view: View<'_>, range: TimeRange, columns: &mut Columns) {
        open.read(self.visible(open.times(), open.extent(), view), range, columns);
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

    /// What is published of the open chunk.
    fn published(&self) -> Extent {
        Extent::unpack(self.extent.load(Ordering::Acquire))
    }

    /// Lets readers see the first `count` samples of the open chunk, the last of which `commit` has appended, once its
    /// watermark allows it. When that replaces the extent of another commit, `keep` gets it first: who sees the new one must
    /// find the old one kept.
    #[inline]
    pub(super) fn publish(&self, commit: u64, count: u8, keep: impl FnOnce(Extent)) {
        let old = Extent::unpack(self.extent.load(Ordering::Relaxed));
        let before = if old.commit == commit {
            old.before
        } else {
            keep(old);
            old.count
        };
        self.extent.store(Extent { commit, before, count }.pack(), Ordering::Release);
    }

    /// Begins another open chunk: what `writer` writes, its times on `column` if they are not its own. The one before is
    /// the answer.
    pub(super) fn begin(self: &Arc<Self>, writer: &ChunkWriter, column: Option<Arc<Column>>) -> Option<Closed> {
        let mut data = self.data.write();
        let before = data.open(self.published()).map(Arc::new);
        data.column = column;
        data.words = None;
        if let Some(rest) = &mut data.rest {
            rest.histograms = None;
            rest.starts = Starts::new();
        }
        match writer.body() {
            Some(Body::Floats(words)) => data.words = Some(words),
            Some(Body::Histograms(histograms)) => data.rest.get_or_insert_default().histograms = Some(histograms),
            None => {}
        }
        self.extent.store(Extent::default().pack(), Ordering::Release);
        let chunk = before?;
        data.rest.get_or_insert_default().chunks.push(Chunk::Closed(chunk.clone()));
        Some(Closed { series: self.clone(), chunk })
    }

    /// The samples of the open chunk are here from now on.
    #[cold]
    pub(super) fn moved(&self, words: &Words) {
        // The old ones are freed when the lock is not held any more.
        let _old = self.data.write().words.replace(words.clone());
    }

    /// Notes when the counts from the sample at `index` of the open chunk on began; 0 if that is unknown.
    pub(super) fn note_start(&self, index: usize, start_ms: i64) {
        let known = |data: &Data| data.rest.as_ref().and_then(|rest| rest.starts.last()).map_or(0, |&(_, start)| start);
        if known(&self.data.read()) != start_ms {
            note_start(&mut self.data.write().rest.get_or_insert_default().starts, index, start_ms);
        }
    }

    /// Adds a late sample; `settled` is the newest commit that every reader may see.
    pub(super) fn push_late(&self, sample: LateSample, settled: u64) {
        let mut data = self.data.write();
        let Aside { late, deleted } = data.aside_mut();
        late.add(sample, settled, deleted);
    }

    /// Hides what it holds within `range`, given the time of its newest sample. What comes later is seen.
    pub(crate) fn delete(&self, range: TimeRange, last_ms: i64) {
        let mut data = self.data.write();
        let Aside { late, deleted } = data.aside_mut();
        let end_ms = late.delete(range).max(last_ms).min(range.end.millis());
        if range.start.millis() <= end_ms {
            deleted.push(TimeRange::from_millis(range.start.millis(), end_ms));
        }
    }

    /// Whether anything that it holds in chunks has been deleted.
    pub(super) fn has_deleted(&self) -> bool {
        self.data.read().aside().is_some_and(|aside| !aside.deleted.is_empty())
    }

    /// Whether a sealed chunk of late samples may have some within `range`.
    pub(super) fn may_have_late(&self, range: TimeRange) -> bool {
        self.data.read().aside().is_some_and(|aside| aside.late.may_have_sealed(range))
    }

    /// The time of its newest late sample, if there is one.
    pub(super) fn late_end(&self) -> Option<i64> {
        self.data.read().aside().and_then(|aside| aside.late.end_ms())
    }

    /// What has been deleted.
    pub(crate) fn deleted(&self) -> Vec<TimeRange> {
        self.data.read().aside().map(|aside| aside.deleted.clone()).unwrap_or_default()
    }

    /// The newest stored chunk, and the oldest chunks in memory that are sealed and that every reader may see whole,
    /// those of commits up to `settled`.
    pub(super) fn settled(&self, settled: u64) -> (Option<Stored>, SmallVec<[Arc<SealedChunk>; 2]>) {
        let data = self.data.read();
        let chunks = data.chunks().iter().map_while(|chunk| match chunk {
            Chunk::Sealed(sealed) if sealed.extent().commit <= settled => Some(sealed.clone()),
            _ => None,
        });
        (data.stored, chunks.collect())
    }

    /// Replaces the first `n` chunks in memory by stored ones, the newest of which is `stored`. Answers the bytes that
    /// they took.
    pub(super) fn set_stored(&self, n: usize, stored: Stored) -> usize {
        let mut data = self.data.write();
        let drained = data.rest.as_mut().map(|rest| rest.chunks.drain(..n));
        let freed = drained.map_or(0, |chunks| chunks.map(|chunk| chunk.sealed_bytes()).sum());
        data.stored = Some(stored);
        data.tidy();
        freed
    }

    /// Bytes of the sealed chunks in memory.
    pub(super) fn sealed_bytes(&self) -> usize {
        self.data.read().chunks().iter().map(Chunk::sealed_bytes).sum()
    }

    /// Makes what a checkpoint says of the series the beginning of it.
    pub(super) fn restore(&self, stored: Option<Stored>) {
        self.data.write().stored = stored;
    }

    /// The late samples of commits up to `watermark` within `range`.
    pub(super) fn late(&self, watermark: u64, range: TimeRange, columns: &mut Columns) -> Result<(), Error> {
        if let Some(aside) = self.data.read().aside() {
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
        self.published().commit <= watermark
            && data.chunks().iter().all(|chunk| chunk.extent().commit <= watermark)
            && data.aside().is_none_or(|aside| aside.late.untouched_since(watermark))
    }

    /// Lets go of samples before `until_ms` by commits up to `settled`: blocks hold them. Answers the bytes of sealed
    /// chunks that are gone from memory.
    pub(super) fn truncate(&self, until_ms: i64, settled: u64) -> usize {
        let mut guard = self.data.write();
        let mut freed = 0;
        guard.stored = guard.stored.filter(|stored| stored.max_ms >= until_ms);
        let open = guard.body();
        let data = &mut *guard;
        let (stored, column) = (data.stored.is_some(), data.column.as_deref());
        if let Some(rest) = &mut data.rest {
            rest.chunks.retain(|chunk| match chunk {
                Chunk::Sealed(sealed) if sealed.range().end.millis() < until_ms => {
                    freed += chunk.sealed_bytes();
                    false
                }
                _ => true,
            });
            if let Some(aside) = &mut rest.aside {
                aside.late.truncate(until_ms, settled);
                // A chunk that is kept may begin before, and its deleted samples be read again should the head ever begin
                // earlier.
                let reach = |end| {
                    stored
                        || open.as_ref().is_some_and(|body| body.begins_before(column, end))
                        || rest.chunks.iter().any(|chunk| chunk.begins_before(end))
                };
                aside.deleted.retain(|range| range.end.millis() >= until_ms || reach(range.end));
            }
            data.tidy();
        }
        freed
    }

    /// Bytes that the chunks take, about.
    pub(crate) fn chunk_bytes(&self) -> usize {
        let chunk_bytes = |chunk: &Chunk| match chunk {
            Chunk::Closed(closed) => size_of::<OpenChunk>() + closed.heap_bytes(),
            Chunk::Sealed(_) => chunk.sealed_bytes(),
        };
        let data = self.data.read();
        let late = data.aside().map_or(0, |aside| aside.late.heap_bytes());
        let open = data.body().map_or(0, |body| body.heap_bytes());
        data.chunks().iter().map(chunk_bytes).sum::<usize>() + open + late
    }

    /// How many chunks there are in memory.
    pub(crate) fn chunk_count(&self) -> usize {
        let data = self.data.read();
        let open = usize::from(data.body().is_some());
        data.chunks().len() + open + data.aside().map_or(0, |aside| aside.late.chunk_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_takes_the_bytes_it_says() {
        assert_eq!(2 * size_of::<usize>() + size_of::<MemSeries>(), 112);
    }
}
