//! What leaves memory: sealed chunks to files, samples that blocks hold, series that have ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Head;
use super::files::{ChunkFileWriter, Stored};
use super::index::place;
use super::series::MemSeries;
use super::series_writer::Last;
use crate::error::Error;
use crate::sample::{SeriesRef, is_stale};
use crate::wal::SeriesId;

/// Series that are taken out while commits wait.
const EVICTED_AT_ONCE: usize = 4096;

/// What may leave memory once nobody reads it there any more.
#[derive(Debug, Default)]
pub(crate) struct Truncation {
    /// Samples before this are in blocks, those of commits up to `settled`.
    pub(crate) until_ms: i64,
    pub(crate) settled: u64,
    /// Series all of whose samples are in blocks.
    pub(crate) ended: Vec<SeriesRef>,
}

impl Head {
    /// Moves sealed chunks from memory to a file, if they take at least `bytes` in all.
    ///
    /// Cost: about 0.3 µs per chunk. Readers go on meanwhile.
    pub(crate) fn spill(&self, bytes: usize) -> Result<(), Error> {
        if self.sealed_bytes.load(Ordering::Relaxed) < bytes {
            return Ok(());
        }
        let settled = self.isolation.settled();
        let mut file: Option<ChunkFileWriter<'_>> = None;
        let mut moved: Vec<(Arc<MemSeries>, usize, Stored)> = Vec::new();
        for shard in self.index.shards() {
            let all: Vec<Arc<MemSeries>> = shard.read().all().cloned().collect();
            for series in all {
                let (mut stored, chunks) = series.settled(settled);
                if chunks.is_empty() {
                    continue;
                }
                if let Some(full) = file.take_if(|file| file.is_full()) {
                    self.finish_spill(full, &mut moved)?;
                }
                let file = match &mut file {
                    Some(file) => file,
                    none => none.insert(self.files.begin()?),
                };
                for chunk in &chunks {
                    stored = Some(file.push(series.id(), stored, chunk)?);
                }
                if let Some(stored) = stored {
                    moved.push((series, chunks.len(), stored));
                }
            }
        }
        file.map_or(Ok(()), |last| self.finish_spill(last, &mut moved))
    }

    /// The chunks can be read in the file before they leave memory.
    fn finish_spill(
        &self,
        file: ChunkFileWriter<'_>,
        moved: &mut Vec<(Arc<MemSeries>, usize, Stored)>,
    ) -> Result<(), Error> {
        file.finish()?;
        for (series, chunks, stored) in moved.drain(..) {
            let freed = series.set_stored(chunks, stored);
            self.sealed_bytes.fetch_sub(freed, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The series that have ended: their last sample is a stale marker older than `stale_before_ms`, or any sample older
    /// than `idle_before_ms`. Those with samples of the future, from `until_ms` on, are left out.
    pub(crate) fn ended(&self, stale_before_ms: i64, idle_before_ms: i64, until_ms: i64) -> Vec<SeriesRef> {
        let mut committer = self.committer.lock();
        let mut ended = Vec::new();
        for shard in &mut committer.shards {
            for writer in shard.iter() {
                let last = writer.last();
                let stale = is_stale(f64::from_bits(last.bits)) && last.at_ms < stale_before_ms;
                let late_end = || writer.series().late_end();
                let is_over = match last {
                    // Of those without a sample `evict_unused` takes care.
                    Last::NONE => late_end().is_some_and(|end_ms| end_ms < idle_before_ms || until_ms == i64::MAX),
                    last => stale || last.at_ms < idle_before_ms,
                };
                if is_over && late_end().is_none_or(|end_ms| end_ms < until_ms) {
                    ended.push(writer.series().series_ref);
                }
            }
        }
        ended
    }

    /// Lets go of what blocks hold. The caller has seen to it that no reader looks for it here any more.
    /// Answers how many series are gone.
    pub(crate) fn truncate(&self, truncation: &Truncation) -> Result<u64, Error> {
        self.committer.lock().begins_at(truncation.until_ms);
        for shard in self.index.shards() {
            let all: Vec<Arc<MemSeries>> = shard.read().all().cloned().collect();
            for series in all {
                let freed = series.truncate(truncation.until_ms, truncation.settled);
                self.sealed_bytes.fetch_sub(freed, Ordering::Relaxed);
            }
        }
        let before = self.series_count();
        for ended in truncation.ended.chunks(EVICTED_AT_ONCE) {
            self.evict(ended, |series| series.untouched_since(truncation.settled));
        }
        self.files.delete(|_, max_ms| max_ms < truncation.until_ms)?;
        Ok(before.saturating_sub(self.series_count()))
    }

    /// Takes out the series that have never had a sample and had none either when this was called before: who made them
    /// has dropped its appender, or what it wrote was refused. Answers how many they were.
    pub(crate) fn evict_unused(&self) -> u64 {
        let mut before = self.unused.lock();
        let mut now = Vec::new();
        for shard in self.index.shards() {
            let shard = shard.read();
            now.extend(shard.all().filter(|series| is_unused(series)).map(|series| series.series_ref));
        }
        let (gone, new): (Vec<_>, Vec<_>) = now.into_iter().partition(|series| before.binary_search(series).is_ok());
        *before = new;
        gone.chunks(EVICTED_AT_ONCE).map(|gone| self.evict(gone, is_unused)).sum()
    }

    /// Lets go of the texts of series that have been taken out, once nobody reads any of these any more.
    pub(crate) fn sweep_symbols(&self) {
        if self.texts_left.lock().take_if(|mark| self.isolation.passed(*mark)).is_some() {
            self.index.sweep_symbols();
        }
    }

    /// Takes out those of `series` that are over, which is looked at while nobody can write to them. Answers how many.
    pub(super) fn evict(&self, series: &[SeriesRef], is_over: impl Fn(&MemSeries) -> bool) -> u64 {
        let mut committer = self.committer.lock();
        let mut gone: Vec<Vec<u32>> = vec![Vec::new(); committer.shards.len()];
        for &series in series {
            let (shard, slot) = place(series);
            let found = self.index.shards()[shard].read().series(slot).cloned();
            if let Some(found) = found.filter(|series| is_over(series)) {
                self.sealed_bytes.fetch_sub(found.sealed_bytes(), Ordering::Relaxed);
                // One that was never written to may have no writer.
                committer.shards[shard].remove(slot);
                gone[shard].push(slot);
            }
        }
        let mut count = 0;
        for (shard, mut slots) in gone.into_iter().enumerate() {
            slots.sort_unstable();
            if !slots.is_empty() {
                count += slots.len() as u64;
                self.index.remove(shard, &slots);
            }
        }
        if count > 0 {
            *self.texts_left.lock() = Some(self.isolation.mark());
        }
        count
    }
}

/// Whether it has never had a sample: with the first it gets a name in the log.
fn is_unused(series: &MemSeries) -> bool {
    series.id() == SeriesId(0)
}
