//! Ending the chunks of a series earlier: what lies in the future, or has been deleted, shall not keep out what comes now.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Chunk, MemSeries, View};
use crate::chunk::{Extent, MAX_SAMPLES, SealedChunk, Sealer, Starts};
use crate::error::Error;
use crate::head::files::Stored;
use crate::head::series_writer::Last;
use crate::querier::{Columns, Lengths};
use crate::sample::{TimeRange, Timestamp};

/// What a series is after [`MemSeries::rewind`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rewound {
    /// Its newest sample up to the bound.
    pub(crate) last: Last,
    /// Bytes of sealed chunks that came less those that went; late ones aside.
    pub(crate) grown: isize,
}

/// What is in order of a series, up to the bound, and what lies beyond.
struct Parts {
    /// The newest stored chunk, and how many of the chunks in memory: none of them reaches beyond the bound.
    stored: Option<Stored>,
    kept: usize,
    /// The samples of all chunks after those, less what is deleted.
    rest: Columns,
}

impl MemSeries {
    /// Ends the chunks at `bound_ms` and puts what lies beyond among the late samples, less what is deleted. The caller lets
    /// nobody write to the series meanwhile.
    ///
    /// Readers find every sample before, after and meanwhile; one that is open may see samples that came after it.
    ///
    /// # Errors
    /// If a chunk cannot be read; nothing has changed then.
    pub(in crate::head) fn rewind(&self, view: View<'_>, bound_ms: i64, sealer: &mut Sealer) -> Result<Rewound, Error> {
        let parts = self.parts(view, bound_ms)?;
        let early = TimeRange::from_millis(i64::MIN, bound_ms);
        let beyond = TimeRange { start: Timestamp::from_millis(bound_ms).plus_millis(1), end: Timestamp::MAX };
        let chunks = pack(&within(&parts.rest, early), sealer);
        let late = pack(&self.late_beside(within(&parts.rest, beyond))?, sealer);
        let last = self.newest_of(&parts, early, view)?;
        Ok(self.replace(&parts, chunks, late, last))
    }

    fn parts(&self, view: View<'_>, bound_ms: i64) -> Result<Parts, Error> {
        let (mut stored, chunks, open, deleted) = {
            let data = self.data.read();
            let deleted = data.aside().map(|aside| aside.deleted.clone()).unwrap_or_default();
            (data.stored, SmallVec::<[Chunk; 1]>::from(data.chunks()), data.open(self.published()), deleted)
        };
        let mut rest = Columns::default();
        let newest_stored = stored;
        let id = self.id();
        while let Some(reaching) = stored.filter(|stored| stored.max_ms > bound_ms) {
            stored = view.files.get(reaching.place.file)?.chunk(reaching.place.offset, id)?.before;
        }
        if let Some(newest) = newest_stored.filter(|_| stored != newest_stored) {
            let from = stored.map_or(i64::MIN, |stored| stored.max_ms.saturating_add(1));
            let range = TimeRange { start: Timestamp::from_millis(from), end: Timestamp::MAX };
            self.read_stored(newest, view.files, range, &mut rest)?;
        }
        let ends_before = |chunk: &Chunk| matches!(chunk, Chunk::Sealed(c) if c.range().end.millis() <= bound_ms);
        let kept = match stored == newest_stored {
            true => chunks.iter().take_while(|chunk| ends_before(chunk)).count(),
            false => 0,
        };
        for chunk in &chunks[kept..] {
            self.read_chunk(chunk, view, TimeRange::ALL, &mut rest)?;
        }
        if let Some(open) = open {
            self.read_open(&open, view, TimeRange::ALL, &mut rest);
        }
        rest.leave_out(Lengths::default(), &deleted);
        Ok(Parts { stored, kept, rest })
    }

    /// What is sealed of the late samples, less what is deleted, together with `more`.
    fn late_beside(&self, mut more: Columns) -> Result<Columns, Error> {
        let data = self.data.read();
        let Some(aside) = data.aside() else { return Ok(more) };
        let mut sealed = Columns::default();
        let read = aside.late.read_sealed(TimeRange::ALL, Lengths::default(), &mut sealed);
        read.map_err(|e| Error::Memory { what: e.what })?;
        sealed.leave_out(Lengths::default(), &aside.deleted);
        more.absorb(Lengths::default(), &sealed);
        Ok(more)
    }

    /// The newest sample up to the bound, late ones included: one of its time is no news.
    fn newest_of(&self, parts: &Parts, early: TimeRange, view: View<'_>) -> Result<Last, Error> {
        let mut late = Columns::default();
        self.late(u64::MAX, early, &mut late)?;
        let mut columns = within(&parts.rest, early);
        if columns.is_empty() {
            let last_kept = parts.kept.checked_sub(1).and_then(|at| self.data.read().chunks().get(at).cloned());
            match (last_kept, parts.stored) {
                (Some(chunk), _) => self.read_chunk(&chunk, view, TimeRange::ALL, &mut columns)?,
                (None, Some(stored)) => {
                    let end = TimeRange::from_millis(stored.max_ms, stored.max_ms);
                    self.read_stored(stored, view.files, end, &mut columns)?;
                }
                (None, None) => {}
            }
        }
        Ok([newest(&columns), newest(&late)].into_iter().flatten().max_by_key(|last| last.at_ms).unwrap_or(Last::NONE))
    }

    fn replace(&self, parts: &Parts, chunks: Vec<SealedChunk>, late: Vec<SealedChunk>, last: Last) -> Rewound {
        let mut data = self.data.write();
        let bytes = |chunks: &[Chunk]| chunks.iter().map(Chunk::sealed_bytes).sum::<usize>() as isize;
        let before = bytes(data.chunks());
        data.stored = parts.stored;
        data.column = None;
        data.words = None;
        let rest = data.rest.get_or_insert_default();
        rest.histograms = None;
        rest.starts = Starts::new();
        rest.chunks.truncate(parts.kept);
        rest.chunks.extend(chunks.into_iter().map(|chunk| Chunk::Sealed(chunk.into())));
        let aside = data.aside_mut();
        aside.late.set_sealed(late.into_iter().map(Arc::new).collect());
        // Nothing that is deleted is left beyond the last sample, and what comes there is not.
        let last_at = Timestamp::from_millis(last.at_ms);
        aside.deleted.iter_mut().for_each(|range| range.end = range.end.min(last_at));
        aside.deleted.retain(|range| range.start <= range.end);
        self.extent.store(Extent::default().pack(), std::sync::atomic::Ordering::Release);
        data.tidy();
        Rewound { last, grown: bytes(data.chunks()) - before }
    }
}

/// The newest of these samples.
fn newest(columns: &Columns) -> Option<Last> {
    let float = columns.timestamps_ms.last().zip(columns.values.last());
    let float = float.map(|(&at_ms, value)| Last { at_ms, bits: value.to_bits() });
    let histogram = columns.histograms.last();
    let histogram = histogram.map(|s| Last { at_ms: s.timestamp.millis(), bits: s.histogram.sum.to_bits() });
    float.into_iter().chain(histogram).max_by_key(|last| last.at_ms)
}

/// The samples within `range`.
fn within(columns: &Columns, range: TimeRange) -> Columns {
    let mut found = Columns::default();
    for (i, (&at_ms, &value)) in columns.timestamps_ms.iter().zip(&columns.values).enumerate() {
        if range.contains(Timestamp::from_millis(at_ms)) {
            found.push(at_ms, value, columns.start(i));
        }
    }
    found.histograms.extend(columns.histograms.iter().filter(|sample| range.contains(sample.timestamp)).cloned());
    found
}

/// Sealed chunks of these samples, in ascending time: floats and histograms take turns as their times do.
fn pack(columns: &Columns, sealer: &mut Sealer) -> Vec<SealedChunk> {
    let (mut chunks, mut float, mut histogram) = (Vec::new(), 0, 0);
    let (times, histograms) = (&columns.timestamps_ms, &columns.histograms);
    while float < times.len() || histogram < histograms.len() {
        let next_histogram = histograms.get(histogram).map_or(i64::MAX, |sample| sample.timestamp.millis());
        let mut run = Columns::default();
        while float < times.len()
            && run.timestamps_ms.len() < MAX_SAMPLES
            && (times[float] <= next_histogram || histogram == histograms.len())
        {
            run.push(times[float], columns.values[float], columns.start(float));
            float += 1;
        }
        chunks.extend(SealedChunk::of_floats(&run, sealer));
        if run.is_empty() {
            let next_float = times.get(float).copied().unwrap_or(i64::MAX);
            let until = histograms[histogram..].iter().take_while(|sample| sample.timestamp.millis() < next_float);
            let count = until.count().max(1);
            chunks.extend(SealedChunk::of_histograms(&histograms[histogram..histogram + count], sealer));
            histogram += count;
        }
    }
    chunks
}
