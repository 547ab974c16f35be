//! What replaying the log up to a moment would give, written down: with it the log before that moment is not needed.
//!
//! A checkpoint is frames of the log's own records, and a file of chunks for what was in memory. Bytes:
//! `docs/format/head.md`.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Head;
use super::files::{ChunkFileWriter, Stored};
use super::isolation::ReadTicket;
use super::series::MemSeries;
use crate::chunk::{HistogramValue, SealedChunk, Sealer};
use crate::error::Error;
use crate::fs::{AtPath, File, Fs, names_in, number_of};
use crate::index::SymbolsView;
use crate::querier::Columns;
use crate::sample::{TimeRange, Timestamp};
use crate::wal::{
    ColumnId, FRAME_HEADER_BYTES, Frame, LoggedHead, LoggedSample, LoggedState, Record, Records, SamplesWriter,
    SeriesId, begin_frame, finish_frame, put_deletion, put_exemplar, put_head, put_histogram, put_metadata, put_series,
    put_state, segment_header, walk_frames,
};

/// Directory of checkpoints within the data directory.
pub(crate) const CHECKPOINTS_DIR: &str = "checkpoints";

/// A frame that has reached this is written.
const FRAME_BYTES: usize = 1 << 18;

/// The file of checkpoint `number`.
pub(crate) fn checkpoint_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(CHECKPOINTS_DIR).join(format!("{number:08}"))
}

/// A moment between two commits. What was committed before is seen with the ticket; what comes after is in the log, from
/// segment `first_segment` on.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) ticket: Arc<ReadTicket>,
    pub(crate) first_segment: u64,
    last_id: SeriesId,
    span: TimeRange,
    /// Samples logged so far since the checkpoint before.
    tail_samples: u64,
}

/// A checkpoint that is on disk.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) number: u64,
    /// The files of the chunks that were in memory: nobody but the checkpoint needs them.
    partials: Vec<NonZeroU32>,
}

impl Snapshot {
    /// From the oldest sample of the head to the newest.
    pub(crate) fn span(&self) -> TimeRange {
        self.span
    }
}

impl Head {
    /// The present, and a new segment of the log for the future, in which samples before `flushed_until_ms` are late.
    pub(crate) fn snapshot(&self, flushed_until_ms: i64) -> Result<Snapshot, Error> {
        let mut committer = self.committer.lock();
        committer.flushed(flushed_until_ms);
        let first_segment = committer.wal().roll()?;
        let ticket = Arc::new(self.isolation.open_at(committer.last_commit()));
        Ok(Snapshot {
            ticket,
            first_segment,
            last_id: committer.last_id(),
            span: committer.span(),
            tail_samples: committer.tail_samples(),
        })
    }

    /// Writes checkpoint `number` of what `snapshot` sees, less what is older than `flushed_until_ms`.
    ///
    /// It survives a power cut once this returns, and is nothing until the manifest names it. Cost: about 1.5 µs per
    /// series, in bounded memory.
    pub(crate) fn write_checkpoint(
        &self,
        snapshot: &Snapshot,
        number: u64,
        flushed_until_ms: i64,
    ) -> Result<Checkpoint, Error> {
        let path = checkpoint_path(&self.dir, number);
        let dir = self.dir.join(CHECKPOINTS_DIR);
        self.fs.create_dir_all(&dir).at(&dir)?;
        // What a crash may have left of the same number is nothing.
        drop(self.fs.remove(&path));
        let file = self.fs.create(&path).at(&path)?;
        let mut out = Writer {
            head: self,
            snapshot,
            flushed_until_ms,
            path: &path,
            file,
            written: 0,
            frame: segment_header(number),
            chunks: None,
            partials: Vec::new(),
            columns: Columns::default(),
            sealer: Sealer::default(),
        };
        out.write_out()?;
        let partials = out.series()?;
        let superseded = self.partial.lock().clone();
        let files = self.files.list().into_iter();
        let files = files.filter(|(file, max_ms)| *max_ms >= flushed_until_ms && !superseded.contains(file));
        let mut span = snapshot.span;
        span.start = span.start.max(Timestamp::from_millis(flushed_until_ms));
        let head = LoggedHead {
            last_id: snapshot.last_id,
            last_column: ColumnId(self.last_column.load(Ordering::Relaxed)),
            span,
            files: files.map(|(number, max_ms)| (number.get(), max_ms)).collect(),
        };
        out.finish(&head)?;
        self.fs.sync_dir(&dir).at(&dir)?;
        Ok(Checkpoint { number, partials })
    }

    /// Makes `checkpoint`, which the manifest names by now, the one that counts: the log up to it and what belonged to
    /// the one before are removed.
    pub(crate) fn checkpointed(&self, snapshot: &Snapshot, checkpoint: Checkpoint) -> Result<(), Error> {
        let superseded = std::mem::replace(&mut *self.partial.lock(), checkpoint.partials);
        self.files.delete(|number, _| superseded.contains(&number))?;
        let wal = self.dir.join(crate::wal::WAL_DIR);
        let bytes = crate::wal::remove_before(&*self.fs, &wal, snapshot.first_segment)?;
        let mut committer = self.committer.lock();
        committer.wal().removed(bytes);
        committer.checkpointed(snapshot.tail_samples);
        drop(committer);
        sweep_checkpoints(&*self.fs, &self.dir, Some(checkpoint.number))
    }
}

/// The numbers of the checkpoints that are there, ascending.
pub(crate) fn checkpoints(fs: &dyn Fs, dir: &Path) -> Result<Vec<u64>, Error> {
    let names = names_in(fs, &dir.join(CHECKPOINTS_DIR))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The checkpoint to begin with where no manifest names one: the newest that was finished. If none was, the log holds all,
/// unless its beginning is gone: then the newest for what it has, or 0 if there is none. Tells of those that are passed over.
/// Cost: reads the checkpoints that it looks at.
pub(crate) fn finished_checkpoint(fs: &dyn Fs, dir: &Path, damage: &mut Vec<String>) -> Result<u64, Error> {
    let numbers = checkpoints(fs, dir)?;
    for &number in numbers.iter().rev() {
        let path = checkpoint_path(dir, number);
        let mut finished = false;
        let look = |frame: Frame<'_>| {
            finished |= Records::new(frame.payload).any(|record| matches!(record, Ok(Record::Head(_))));
        };
        match walk_frames(fs, &path, number, look, |_| ()) {
            Ok(_) if finished => return Ok(number),
            Ok(_) => damage.push(format!("{}: an unfinished checkpoint", path.display())),
            Err(error) => damage.push(error.to_string()),
        }
    }
    let log = crate::wal::segments(fs, &dir.join(crate::wal::WAL_DIR))?;
    let begins = log.first().is_none_or(|&first| first <= 1);
    Ok(numbers.last().copied().filter(|_| !begins).unwrap_or(0))
}

/// Removes all checkpoints but `kept`. Files that are not named like a checkpoint stay.
pub(crate) fn sweep_checkpoints(fs: &dyn Fs, dir: &Path, kept: Option<u64>) -> Result<(), Error> {
    for number in checkpoints(fs, dir)?.into_iter().filter(|&number| Some(number) != kept) {
        let path = checkpoint_path(dir, number);
        fs.remove(&path).at(&path)?;
    }
    Ok(())
}

struct Writer<'a> {
    head: &'a Head,
    snapshot: &'a Snapshot,
    flushed_until_ms: i64,
    path: &'a Path,
    file: Arc<dyn File>,
    written: u64,
    frame: Vec<u8>,
    /// For the chunks that are in memory.
    chunks: Option<ChunkFileWriter<'a>>,
    partials: Vec<NonZeroU32>,
    columns: Columns,
    sealer: Sealer,
}

impl Writer<'_> {
    /// Writes every series that the log has named. Answers the files that their chunks went into.
    fn series(&mut self) -> Result<Vec<NonZeroU32>, Error> {
        begin_frame(&mut self.frame);
        for shard in self.head.index.shards() {
            let (series, symbols) = {
                let index = shard.read();
                (index.all().cloned().collect::<Vec<_>>(), self.head.index.symbols_view())
            };
            for series in series.iter().filter(|series| series.id() != SeriesId(0)) {
                self.one(series, &symbols)?;
                if self.frame.len() >= FRAME_BYTES {
                    self.end_frame()?;
                }
            }
        }
        self.end_frame()?;
        if let Some(chunks) = self.chunks.take() {
            self.partials.push(chunks.finish()?);
        }
        Ok(std::mem::take(&mut self.partials))
    }

    fn one(&mut self, series: &MemSeries, symbols: &SymbolsView) -> Result<(), Error> {
        let id = series.id();
        put_series(&mut self.frame, id, series.labels.iter().map(|&(n, v)| (symbols.text(n), symbols.text(v))));
        let watermark = self.snapshot.ticket.watermark();
        let (mut stored, last) = self.in_memory(series, watermark)?;
        stored = stored.filter(|stored| stored.max_ms >= self.flushed_until_ms);
        let state = LoggedState {
            series: id,
            last,
            stored: stored.map_or((0, 0, i64::MIN), |s| (s.place.file.get(), s.place.offset, s.max_ms)),
        };
        put_state(&mut self.frame, &state);
        for range in series.deleted() {
            put_deletion(&mut self.frame, id, range);
        }
        self.columns.clear();
        let unflushed = TimeRange { start: Timestamp::from_millis(self.flushed_until_ms), end: Timestamp::MAX };
        series.late(watermark, unflushed, &mut self.columns)?;
        self.late(id);
        Ok(())
    }

    /// Stores what is in memory of a series. Answers its newest stored chunk and its newest sample.
    fn in_memory(&mut self, series: &MemSeries, watermark: u64) -> Result<(Option<Stored>, (i64, u64)), Error> {
        let id = series.id();
        let view = self.head.view(watermark, i64::MIN);
        let mut columns = std::mem::take(&mut self.columns);
        let mut parts = Vec::new();
        let mut last = (i64::MIN, 0);
        let sealer = &mut self.sealer;
        let mut stored = series.each_in_memory(view, &mut columns, |columns| {
            if let Some((&at_ms, value)) = columns.timestamps_ms.last().zip(columns.values.last()) {
                last = (at_ms, value.to_bits());
                parts.extend(SealedChunk::of_floats(columns, sealer));
            }
            if let Some(sample) = columns.histograms.last() {
                last = (sample.timestamp.millis(), sample.histogram.sum.to_bits());
                parts.extend(SealedChunk::of_histograms(&columns.histograms, sealer));
            }
            Ok(())
        })?;
        if let (None, Some(newest)) = (parts.last(), stored) {
            columns.clear();
            let end = TimeRange::from_millis(newest.max_ms, newest.max_ms);
            series.read_stored(newest, &self.head.files, end, &mut columns)?;
            let histogram = columns.histograms.last().map(|sample| sample.histogram.sum);
            let value = columns.values.last().copied().or(histogram);
            last = (newest.max_ms, value.unwrap_or_default().to_bits());
        }
        self.columns = columns;
        let needed_from_ms = self.flushed_until_ms;
        for part in parts.iter().filter(|part| part.range().end.millis() >= needed_from_ms) {
            stored = Some(self.push_chunk(id, stored, part)?);
        }
        Ok((stored, last))
    }

    fn push_chunk(&mut self, id: SeriesId, before: Option<Stored>, chunk: &SealedChunk) -> Result<Stored, Error> {
        if let Some(full) = self.chunks.take_if(|file| file.is_full()) {
            self.partials.push(full.finish()?);
        }
        if self.chunks.is_none() {
            self.chunks = Some(self.head.files.begin()?);
        }
        let before = before.filter(|before| before.max_ms >= self.flushed_until_ms);
        self.chunks.as_mut().expect("begun a moment ago").push(id, before, chunk)
    }

    /// Writes the late samples in `columns`.
    fn late(&mut self, id: SeriesId) {
        let Self { columns, frame, .. } = self;
        if let Some(&first_ms) = columns.timestamps_ms.first() {
            let mut record = SamplesWriter::begin(frame, None, first_ms, true, !columns.starts_ms.is_empty());
            for (i, (&timestamp_ms, &value)) in columns.timestamps_ms.iter().zip(&columns.values).enumerate() {
                record.put(frame, LoggedSample { series: id, timestamp_ms, start_ms: columns.start(i), value });
            }
            record.finish(frame);
        }
        for sample in &columns.histograms {
            let value = HistogramValue::Float((*sample.histogram).clone());
            let start_ms = sample.start.map_or(0, Timestamp::millis);
            put_histogram(frame, id, sample.timestamp.millis(), start_ms, &value);
        }
    }

    fn end_frame(&mut self) -> Result<(), Error> {
        if self.frame.len() > FRAME_HEADER_BYTES {
            finish_frame(&mut self.frame);
            self.write_out()?;
            begin_frame(&mut self.frame);
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), Error> {
        self.file.write_at(self.written, &self.frame).at(self.path)?;
        self.written += self.frame.len() as u64;
        self.frame.clear();
        Ok(())
    }

    /// Writes what is known of the head as a whole, and makes the file survive a power cut.
    fn finish(mut self, head: &LoggedHead) -> Result<(), Error> {
        self.frame.clear();
        begin_frame(&mut self.frame);
        put_head(&mut self.frame, head);
        for (labels, exemplar) in self.head.exemplars.lock().iter() {
            put_exemplar(&mut self.frame, labels, exemplar);
        }
        for (family, metadata) in self.head.metadata.read().iter() {
            put_metadata(&mut self.frame, family, metadata);
        }
        finish_frame(&mut self.frame);
        self.write_out()?;
        self.file.sync().at(self.path)
    }
}
