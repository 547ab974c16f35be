//! Samples of the future: those that came while a clock was ahead must not decide what becomes of the samples of now.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Head;
use super::commit::Committer;
use super::index::place;
use super::series::{MemSeries, View};
use super::series_writer::SeriesWriter;
use super::slab::Slab;
use crate::chunk::Sealer;
use crate::error::Error;
use crate::querier::Columns;
use crate::sample::{SeriesRef, TimeRange};

/// Series that are looked at while commits wait.
const AT_ONCE: u32 = 1024;

impl Head {
    /// Moves the samples after `bound_ms` aside, so that what comes before them is in order; with `flushed_until_ms`, what
    /// comes from that moment on is, though blocks reach beyond. Answers how many series had such samples.
    ///
    /// Cost: a look at every series, and about 10 µs for each that has such samples. Commits wait for a thousand of them at a
    /// time.
    ///
    /// # Errors
    /// If a chunk cannot be read. What was moved until then stays moved.
    pub(crate) fn rewind(&self, bound_ms: i64, flushed_until_ms: Option<i64>) -> Result<u64, Error> {
        let mut sealer = self.sealers.lock().pop().unwrap_or_default();
        let mut moved = 0;
        if let Some(until_ms) = flushed_until_ms {
            self.committer.lock().lower_flushed(until_ms);
        }
        for shard in 0..self.index.shards().len() {
            let mut from = 0u32;
            loop {
                let mut committer = self.committer.lock();
                let slots = committer.shards[shard].len() as u32;
                for slot in from..slots.min(from.saturating_add(AT_ONCE)) {
                    moved += self.rewind_one(&mut committer, (shard, slot), &mut sealer, |writer| {
                        (writer.last().at_ms > bound_ms).then_some(bound_ms)
                    })?;
                }
                from = from.saturating_add(AT_ONCE);
                if from >= slots {
                    break;
                }
            }
        }
        self.sealers.lock().push(sealer);
        Ok(moved)
    }

    /// Ends one series where `bound` says for its last sample. Answers how many that was.
    fn rewind_one(
        &self,
        committer: &mut Committer,
        (shard, slot): (usize, u32),
        sealer: &mut Sealer,
        bound: impl FnOnce(&SeriesWriter) -> Option<i64>,
    ) -> Result<u64, Error> {
        let Some(writer) = committer.shards[shard].get_mut(slot) else { return Ok(0) };
        let Some(bound_ms) = bound(writer) else { return Ok(0) };
        let grown = writer.rewind(self.whole_view(), bound_ms, sealer)?;
        if grown < 0 {
            self.sealed_bytes.fetch_sub(grown.unsigned_abs(), Ordering::Relaxed);
        } else {
            self.sealed_bytes.fetch_add(grown.unsigned_abs(), Ordering::Relaxed);
        }
        Ok(1)
    }

    fn whole_view(&self) -> View<'_> {
        self.view(u64::MAX, i64::MIN)
    }

    /// Takes what has been deleted within `range` out of a series, if its last sample is among that, or late samples are.
    pub(super) fn rewind_deleted(&self, committer: &mut Committer, series: &MemSeries, range: TimeRange) {
        let (shard, slot) = place(series.series_ref);
        // What cannot be read stays hidden, and in the way.
        let _ = self.rewind_one(committer, (shard, slot), &mut Sealer::default(), |writer| writer.end_without(range));
    }

    /// Evicts those of `series` of which nothing is left that can be read, so that their names are listed no more, and finds
    /// out anew which sample is the newest.
    pub(super) fn evict_deleted(&self, series: &[Arc<MemSeries>], flushed_until_ms: i64) {
        let holds_nothing = |series: &MemSeries| {
            let mut columns = Columns::default();
            let read = series.read(self.view(u64::MAX, flushed_until_ms), TimeRange::ALL, &mut columns);
            read.is_ok() && columns.is_empty()
        };
        let empty: Vec<SeriesRef> = series.iter().filter(|s| holds_nothing(s)).map(|s| s.series_ref).collect();
        self.evict(&empty, holds_nothing);
        let mut committer = self.committer.lock();
        let of_series = committer.shards.iter().flat_map(Slab::iter);
        let ends = of_series.flat_map(|writer| [writer.last().at_ms, writer.series().late_end().unwrap_or(i64::MIN)]);
        let end_ms = ends.max().unwrap_or(i64::MIN);
        committer.ends_at(end_ms);
    }

    /// Evicts the series that hold nothing: those that were deleted, and those that ended before the last checkpoint.
    pub(crate) fn settle_recovered(&self, deletions: u64, flushed_until_ms: i64) {
        let (mut deleted, mut ended): (Vec<Arc<MemSeries>>, _) = (Vec::new(), Vec::new());
        for shard in self.index.shards() {
            for series in shard.read().all() {
                if series.has_deleted() {
                    deleted.push(series.clone());
                } else if !series.may_overlap(TimeRange::ALL, flushed_until_ms) {
                    ended.push(series.series_ref);
                }
            }
        }
        self.evict(&ended, |series| !series.may_overlap(TimeRange::ALL, flushed_until_ms));
        if deletions > 0 {
            self.evict_deleted(&deleted, flushed_until_ms);
        }
    }
}
