//! Cutting blocks from what the head holds.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::Maintenance;
use crate::block::{BlockId, BlockRange, BlockSpec, BlockWriter};
use crate::compact::BASE_WIDTH_MS;
use crate::error::Error;
use crate::exemplar::Exemplar;
use crate::labels::Labels;
use crate::querier::{Columns, SeriesSet};
use crate::sample::TimeRange;

/// What blocks are made of.
pub(super) struct Contents<'a> {
    /// Series with samples.
    pub(super) set: &'a dyn SeriesSet,
    /// In the order of labels; each series' in ascending time.
    pub(super) exemplars: Vec<(Labels, Vec<Exemplar>)>,
    /// Samples outside of it are left out,
    pub(super) span: TimeRange,
    /// and these.
    pub(super) until_ms: i64,
}

/// Those of series that are in `set`, which is sorted too.
pub(super) fn of_series_in(
    set: &dyn SeriesSet,
    mut exemplars: Vec<(Labels, Vec<Exemplar>)>,
) -> Vec<(Labels, Vec<Exemplar>)> {
    if !exemplars.is_empty() {
        let mut all = (0..set.len()).map(|index| set.labels(index)).peekable();
        exemplars.retain(|(labels, _)| {
            while all.next_if(|other| other < labels).is_some() {}
            all.peek() == Some(labels)
        });
    }
    exemplars
}

impl Maintenance {
    /// Writes samples and exemplars: a block for each range of time that has any samples. An exemplar from a time without
    /// samples is in none. Answers the names of the blocks.
    pub(super) fn write_blocks(&self, dir: &Path, contents: &Contents<'_>) -> Result<Vec<BlockId>, Error> {
        let Contents { set, exemplars, span, until_ms } = contents;
        let mut blocks = Vec::new();
        let mut columns = Columns::default();
        let last_ms = span.end.millis().min(until_ms.saturating_sub(1));
        // Late samples may be older than the head is said to begin.
        let mut from_ms = i64::MIN;
        while let Some(first_ms) = first_from(*set, from_ms, last_ms, &mut columns)? {
            let range = BlockRange::aligned(first_ms, BASE_WIDTH_MS);
            let within = TimeRange::from_millis(range.start_ms, (range.end_ms - 1).min(last_ms));
            let id = self.name();
            let mut writer = BlockWriter::begin(&self.fs, dir, BlockSpec::new(id, range))?;
            for index in 0..set.len() {
                columns.clear();
                set.read(index, within, &mut columns)?;
                if !columns.is_empty() {
                    writer.add(&set.labels(index), &columns)?;
                }
                if self.cancel.load(Ordering::Relaxed) {
                    return Err(Error::Cancelled);
                }
            }
            exemplars.iter().try_for_each(|(labels, exemplars)| writer.add_exemplars(labels, exemplars))?;
            if writer.finish()?.is_some() {
                blocks.push(id);
                self.counters.flushes.fetch_add(1, Ordering::Relaxed);
            }
            from_ms = range.end_ms;
        }
        Ok(blocks)
    }
}

/// The time of the first sample of `set` from `from_ms` up to `last_ms`. Most often the first series has one near the
/// start of the first range, so that few are looked at.
fn first_from(set: &dyn SeriesSet, from_ms: i64, last_ms: i64, columns: &mut Columns) -> Result<Option<i64>, Error> {
    let mut first = None;
    let mut end_ms = last_ms;
    for index in 0..set.len() {
        if from_ms > end_ms {
            break;
        }
        columns.clear();
        set.read(index, TimeRange::from_millis(from_ms, end_ms), columns)?;
        let histogram = columns.histograms.first().map(|sample| sample.timestamp.millis());
        if let Some(found) = columns.timestamps_ms.first().copied().into_iter().chain(histogram).min() {
            first = Some(found);
            // Only an earlier range is of interest from here on.
            end_ms = BlockRange::aligned(found, BASE_WIDTH_MS).start_ms.saturating_sub(1);
        }
    }
    Ok(first)
}
