//! The writing end of a series of the head.

use std::sync::Arc;

use super::isolation::History;
use super::late::{LateSample, LateValue};
use super::series::{Closed, MemSeries, Rewound, View};
use crate::chunk::{ChunkWriter, Column, HistogramValue, MAX_SAMPLES, MAX_STEP, Sealer, Times, split};
use crate::error::Error;
use crate::histogram::CounterResetHint;
use crate::sample::{TimeRange, Timestamp};

/// Chunks of fewer samples that had to be closed count as a sign that two targets feed the series.
const SHORT_CHUNK: usize = 8;
/// So many of them in a row, and the series keeps its times itself from then on.
const MAX_SHORT_CHUNKS: u8 = 3;

/// Where the time of a sample is to be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Placement<'a> {
    /// As an ordinal of a target's column.
    OnColumn(&'a Arc<Column>, usize),
    /// In the chunk.
    Own,
}

/// Why a sample is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is older than the last sample of its series, and late samples are not taken.
    OutOfOrder,
    /// It is older than late samples may be.
    TooOld,
    /// It is so old that it may be in a block already, and late samples are not taken.
    OutOfBounds,
    /// There is a sample of the same time with another value.
    Duplicate,
    /// Its series is no longer known: resolve the labels again.
    UnknownRef,
}

/// What becomes of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the newest of its series.
    Append,
    /// It is older than the last one of its series.
    Late,
    /// The same sample is there already.
    Known,
    Refuse(Refusal),
}

/// The writing end of a series. Owned by the committer. 96 bytes.
#[derive(Debug)]
pub(crate) struct SeriesWriter {
    series: Arc<MemSeries>,
    /// Notes how many short chunks there were in a row, and [`LATER`].
    chunk: ChunkWriter,
    /// Time and value of the last sample, also of one that is about to be appended.
    last: Last,
}

/// Bit of a chunk's note: it is not the first of its series.
const LATER: u8 = 1 << 2;

/// The newest sample of a series: its time, and its value's bits (of a histogram, those of its sum).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) at_ms: i64,
    pub(crate) bits: u64,
}

impl Last {
    /// That of a series that has none in order: every sample follows it. No sample has this time, the commit refuses it.
    pub(crate) const NONE: Self = Self { at_ms: i64::MIN, bits: 0 };
}

impl SeriesWriter {
    pub(crate) fn new(series: Arc<MemSeries>) -> Self {
        Self { series, chunk: ChunkWriter::none(), last: Last::NONE }
    }

    /// Ends the chunks of the series at `bound_ms`; what it holds beyond that and is not deleted goes among its late samples.
    /// What follows `bound_ms` is in order again.
    ///
    /// Answers how many bytes of sealed chunks there are more than before.
    ///
    /// # Errors
    /// If a chunk cannot be read; nothing has changed then.
    pub(crate) fn rewind(&mut self, view: View<'_>, bound_ms: i64, sealer: &mut Sealer) -> Result<isize, Error> {
        let Rewound { last, grown } = self.series.rewind(view, bound_ms, sealer)?;
        self.chunk = ChunkWriter::none();
        self.chunk.set_note(LATER);
        self.last = last;
        Ok(grown)
    }

    /// Where [`rewind`](Self::rewind) ends the series once what lies within `range` has been deleted; `None` if nothing of that
    /// stands in the way of what comes.
    pub(crate) fn end_without(&self, range: TimeRange) -> Option<i64> {
        let at_ms = self.last.at_ms;
        if self.last != Last::NONE && range.contains(Timestamp::from_millis(at_ms)) {
            return Some(range.start.millis().saturating_sub(1));
        }
        self.series.may_have_late(range).then_some(at_ms)
    }

    /// Something of all the memory that the next append will need.
    #[inline]
    pub(crate) fn touch(&self) -> u64 {
        self.series.id().0 ^ self.chunk.touch()
    }

    /// Samples that a chunk with times of its own takes.
    fn capacity(&self) -> usize {
        if self.chunk.note() & LATER != 0 {
            return MAX_SAMPLES;
        }
        // Series that begin together shall not all be sealed together.
        let spread = (self.series.series_ref.0 as u32).wrapping_mul(0x9e37_79b9) >> 16;
        MAX_SAMPLES / 2 + spread as usize % (MAX_SAMPLES / 2) + 1
    }

    fn short_chunks(&self) -> u8 {
        self.chunk.note() & !LATER
    }

    pub(crate) fn series(&self) -> &Arc<MemSeries> {
        &self.series
    }

    /// Judges a sample against the last one and, if it is to be appended, makes it the last one. Gives the one before
    /// back, for [`restore`](Self::restore).
    #[inline]
    pub(crate) fn judge(&mut self, at_ms: i64, bits: u64) -> (Verdict, Last) {
        let before = self.last;
        let verdict = if at_ms > before.at_ms {
            self.last = Last { at_ms, bits };
            Verdict::Append
        } else if at_ms < before.at_ms {
            Verdict::Late
        } else if bits == before.bits {
            Verdict::Known
        } else {
            Verdict::Refuse(Refusal::Duplicate)
        };
        (verdict, before)
    }

    /// Takes back what [`judge`](Self::judge) did.
    pub(crate) fn restore(&mut self, before: Last) {
        self.last = before;
    }

    /// Appends a float that has been judged and logged. Readers see it when its commit is published.
    #[inline]
    pub(crate) fn append(&mut self, sample: PlacedFloat<'_>, context: &mut ApplyContext<'_>) {
        let PlacedFloat { placement, at_ms, start_ms, value } = sample;
        let time = if self.chunk.takes_floats() { self.time_in(placement, at_ms) } else { None };
        let time = match time {
            Some(time) => time,
            None => {
                let (times, time) = self.next_times(placement, at_ms);
                self.replace(ChunkWriter::floats(&times), times, context);
                time
            }
        };
        if let Some(words) = self.chunk.push(time, value) {
            self.series.moved(words);
        }
        self.publish(start_ms, context);
    }

    /// Appends a histogram that has been judged and logged.
    pub(crate) fn append_histogram(
        &mut self,
        placement: Placement<'_>,
        at_ms: i64,
        start_ms: i64,
        value: &HistogramValue,
        context: &mut ApplyContext<'_>,
    ) {
        let (layout, row) = split(value).expect("checked when it was put into the batch");
        let stale = value.is_stale();
        // Who exposes it may know of a reset that the counts do not show.
        let told = value.hint() == CounterResetHint::Reset;
        let time = if told { None } else { self.time_in(placement, at_ms) };
        if !time.is_some_and(|time| self.chunk.push_histogram(time, &layout, &row, stale)) {
            let (times, time) = self.next_times(placement, at_ms);
            self.replace(ChunkWriter::starting_with(&times, time, &layout, &row), times, context);
        }
        self.publish(start_ms, context);
    }

    /// What the chunk's stream takes as the time of a sample; `None` if the sample cannot go into this chunk.
    #[inline]
    fn time_in(&self, placement: Placement<'_>, at_ms: i64) -> Option<u64> {
        let chunk = &self.chunk;
        match (chunk.base_ms(), placement) {
            (None, Placement::OnColumn(column, ordinal)) => chunk.is_on(column).then_some(ordinal as u64),
            (Some(base_ms), placement) => {
                let keeps = matches!(placement, Placement::Own) || self.keeps_its_times();
                let time = at_ms.wrapping_sub(base_ms) as u64;
                let fits = keeps
                    && chunk.count() < self.capacity()
                    && time <= u64::from(u32::MAX)
                    && time.wrapping_sub(chunk.last_time()) <= MAX_STEP;
                fits.then_some(time)
            }
            (None, Placement::Own) => None,
        }
    }

    fn keeps_its_times(&self) -> bool {
        self.short_chunks() >= MAX_SHORT_CHUNKS
    }

    /// How a new chunk keeps its times, and the time of its first sample in its stream.
    fn next_times(&self, placement: Placement<'_>, at_ms: i64) -> (Times, u64) {
        match placement {
            Placement::OnColumn(column, ordinal) if !self.keeps_its_times() => {
                (Times::Shared(column.clone()), ordinal as u64)
            }
            _ => (Times::Own(at_ms), 0),
        }
    }

    /// Adds a sample that has been judged late, and logged.
    #[cold]
    pub(crate) fn append_late(&mut self, at_ms: i64, start_ms: i64, value: LateValue, context: &ApplyContext<'_>) {
        let settled = context.watched.first().copied().unwrap_or(context.commit);
        self.series.push_late(LateSample { at_ms, start_ms, commit: context.commit, value }, settled);
    }

    /// The newest sample; of the beginning of time if there is none.
    pub(crate) fn last(&self) -> Last {
        self.last
    }

    /// Begins a new chunk, its times as `times` says; the one before waits to be sealed.
    #[cold]
    fn replace(&mut self, mut chunk: ChunkWriter, times: Times, context: &mut ApplyContext<'_>) {
        let column = if let Times::Shared(column) = times { Some(column) } else { None };
        let switched = column.is_some() || self.chunk.base_ms().is_none();
        if let Some(closed) = self.series.begin(&chunk, column) {
            let short = if switched && self.chunk.count() < SHORT_CHUNK {
                (self.short_chunks() + 1).min(MAX_SHORT_CHUNKS)
            } else if self.keeps_its_times() {
                self.short_chunks()
            } else {
                0
            };
            chunk.set_note(short | LATER);
            context.closed.push(closed);
        }
        self.chunk = chunk;
    }

    /// Lets readers see what has been added to the chunk, of a count that began at `start_ms`.
    #[inline]
    fn publish(&mut self, start_ms: i64, context: &mut ApplyContext<'_>) {
        let count = self.chunk.count();
        if start_ms != 0 || self.chunk.is_started() {
            self.series.note_start(count - 1, start_ms);
            self.chunk.set_started();
        }
        self.series.publish(context.commit, count as u8, |old| {
            if let Some(base_ms) = self.chunk.base_ms() {
                context.history.keep(self.series.series_ref, base_ms, old, context.watched);
            }
        });
    }
}

/// A float and where its time is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacedFloat<'a> {
    pub(crate) placement: Placement<'a>,
    pub(crate) at_ms: i64,
    /// 0 if unknown.
    pub(crate) start_ms: i64,
    pub(crate) value: f64,
}

/// What applying the samples of a commit needs and leaves.
#[derive(Debug)]
pub(crate) struct ApplyContext<'a> {
    pub(crate) commit: u64,
    /// Watermarks that readers have, ascending.
    pub(crate) watched: &'a [u64],
    pub(crate) history: &'a History,
    pub(crate) closed: &'a mut Vec<Closed>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_takes_the_bytes_it_says() {
        assert_eq!(size_of::<Option<SeriesWriter>>(), 96);
    }
}
