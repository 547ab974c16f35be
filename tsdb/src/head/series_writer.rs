//! The writing end of a series of the head.

use std::sync::Arc;

use super::isolation::History;
use super::late::{LateSample, LateValue};
use super::series::{Closed, MemSeries};
use crate::chunk::{ChunkWriter, Column, HistogramValue, MAX_SAMPLES, MAX_STEP, Times, split};
use crate::histogram::CounterResetHint;
use crate::wal::SeriesId;

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

/// The writing end of a series. Owned by the committer.
#[derive(Debug)]
pub(crate) struct SeriesWriter {
    series: Arc<MemSeries>,
    /// 0 until the log knows the series.
    pub(crate) id: SeriesId,
    chunk: Option<ChunkWriter>,
    /// Time and value of the last sample, also of one that is about to be appended.
    last: Last,
    /// Samples that a chunk with times of its own takes.
    capacity: u8,
    short_chunks: u8,
}

/// The newest sample of a series: its time, and its value's bits (of a histogram, those of its sum).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(crate) at_ms: i64,
    pub(crate) bits: u64,
}

impl SeriesWriter {
    pub(crate) fn new(series: Arc<MemSeries>) -> Self {
        // Series that begin together shall not all be sealed together.
        let spread = (series.series_ref.0 as u32).wrapping_mul(0x9e37_79b9) >> 16;
        let capacity = MAX_SAMPLES / 2 + spread as usize % (MAX_SAMPLES / 2) + 1;
        let last = Last { at_ms: i64::MIN, bits: 0 };
        Self { series, id: SeriesId(0), chunk: None, last, capacity: capacity as u8, short_chunks: 0 }
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
        let time = match self.chunk.as_ref().filter(|chunk| chunk.takes_floats()) {
            Some(chunk) => self.time_in(chunk, placement, at_ms),
            None => None,
        };
        let time = match time {
            Some(time) => time,
            None => {
                let (times, time) = self.next_times(placement, at_ms);
                self.replace(ChunkWriter::floats(times), context);
                time
            }
        };
        let chunk = self.chunk.as_mut().expect("there is one now");
        chunk.push(time, value, start_ms);
        self.publish(context);
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
        if let Some(time) = self.chunk.as_ref().filter(|_| !told).and_then(|c| self.time_in(c, placement, at_ms)) {
            let chunk = self.chunk.as_mut().expect("it was there a moment ago");
            if chunk.push_histogram(time, &layout, &row, stale, start_ms) {
                return self.publish(context);
            }
        }
        let (times, time) = self.next_times(placement, at_ms);
        self.replace(ChunkWriter::starting_with(times, time, &layout, &row, start_ms), context);
        self.publish(context);
    }

    /// What the chunk's stream takes as the time of a sample; `None` if the sample cannot go into this chunk.
    #[inline]
    fn time_in(&self, chunk: &ChunkWriter, placement: Placement<'_>, at_ms: i64) -> Option<u64> {
        match (chunk.chunk().times(), placement) {
            (Times::Shared(mine), Placement::OnColumn(column, ordinal)) => {
                Arc::ptr_eq(mine, column).then_some(ordinal as u64)
            }
            (Times::Own(base), placement) => {
                let keeps = matches!(placement, Placement::Own) || self.keeps_its_times();
                let time = at_ms.wrapping_sub(*base) as u64;
                let fits = keeps
                    && chunk.count() < usize::from(self.capacity)
                    && time.wrapping_sub(chunk.last_time()) <= MAX_STEP;
                fits.then_some(time)
            }
            (Times::Shared(_), Placement::Own) => None,
        }
    }

    fn keeps_its_times(&self) -> bool {
        self.short_chunks >= MAX_SHORT_CHUNKS
    }

    /// How a new chunk keeps its times, and the time of its first sample in its stream.
    fn next_times(&mut self, placement: Placement<'_>, at_ms: i64) -> (Times, u64) {
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

    /// Names the series in the log.
    pub(crate) fn set_id(&mut self, id: SeriesId) {
        self.id = id;
        self.series.set_id(id);
    }

    /// The newest sample; of the beginning of time if there is none.
    pub(crate) fn last(&self) -> Last {
        self.last
    }

    /// Begins a new chunk; the one before waits to be sealed.
    #[cold]
    fn replace(&mut self, chunk: ChunkWriter, context: &mut ApplyContext<'_>) {
        self.series.push_open(chunk.chunk().clone());
        if let Some(old) = self.chunk.replace(chunk) {
            let switched = !matches!(
                (old.chunk().times(), self.chunk.as_ref().map(|c| c.chunk().times())),
                (Times::Own(_), Some(Times::Own(_)))
            );
            if switched && old.count() < SHORT_CHUNK {
                self.short_chunks = self.short_chunks.saturating_add(1);
            } else if !self.keeps_its_times() {
                self.short_chunks = 0;
            }
            self.capacity = MAX_SAMPLES as u8;
            context.closed.push(Closed { series: self.series.clone(), chunk: old.chunk().clone() });
        }
    }

    #[inline]
    fn publish(&mut self, context: &mut ApplyContext<'_>) {
        let chunk = self.chunk.as_ref().expect("only called after a sample went into it");
        chunk.publish(context.commit, |old| {
            if let Times::Own(base) = chunk.chunk().times() {
                context.history.keep(self.series.series_ref, *base, old, context.watched);
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
