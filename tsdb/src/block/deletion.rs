//! Deleting from a block.

use super::exemplars::Wanted;
use super::reader::Block;
use super::tombstones::Tombstones;
use crate::error::Error;
use crate::matcher::Matcher;
use crate::sample::TimeRange;

impl Block {
    /// Deletes the samples and exemplars within `range` of the series that pass all `matchers`: they are not read any more,
    /// and the next compaction drops them. Survives a power cut when it returns. Gives how many samples that is; with
    /// `dry_run` only counts them.
    ///
    /// # Errors
    /// If what is read is damaged, or the disk refuses; nothing is deleted then.
    pub(crate) fn delete(&self, matchers: &[Matcher], range: TimeRange, dry_run: bool) -> Result<u64, Error> {
        let _deleting = self.deleting.lock();
        let mut tombstones = Tombstones::clone(&self.tombstones());
        let ids = self.selected(matchers, range, usize::MAX)?;
        let (mut total, mut times) = (0, Vec::new());
        self.index.entries_of(&ids, |id, mut entry| {
            entry.skip_values()?;
            let mut count = 0u64;
            for chunk in entry.chunks()? {
                let column = self.index.column(chunk?.1.column)?;
                let span = TimeRange::from_millis(column.min_ms, column.max_ms);
                if !span.overlaps(&range) {
                    continue;
                }
                if range.contains(span.start) && range.contains(span.end) && tombstones.of(id).is_empty() {
                    count += u64::from(column.count);
                    continue;
                }
                self.times(&column, &mut times)?;
                times.retain(|&t| (range.start.millis()..=range.end.millis()).contains(&t));
                for deleted in tombstones.of(id) {
                    times.retain(|&t| !(deleted.start.millis()..=deleted.end.millis()).contains(&t));
                }
                count += times.len() as u64;
            }
            if count > 0 {
                tombstones.add(id, range, count);
                total += count;
            }
            Ok(())
        })?;
        if !dry_run {
            let exemplars = self.delete_exemplars(matchers, range, &mut tombstones)?;
            if total > 0 || exemplars {
                self.replace_tombstones(tombstones)?;
            }
        }
        Ok(total)
    }

    /// Adds the exemplars within `range` of the series that pass all `matchers` to `tombstones`. Answers whether there are
    /// any.
    fn delete_exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        tombstones: &mut Tombstones,
    ) -> Result<bool, Error> {
        let Some(file) = &self.exemplars else { return Ok(false) };
        let selectors = [matchers];
        let wanted = Wanted::new(&selectors);
        let (mut all, mut labels, mut deleted) = (file.series(), Vec::new(), false);
        while let Some(series) = all.next()? {
            series.labels(&mut labels)?;
            if wanted.is_over(&labels) {
                break;
            }
            if !wanted.takes(&labels) {
                continue;
            }
            let number = self.exemplars_of(series.number);
            let mut hit = false;
            series.read(
                |at| {
                    hit |= range.contains(at) && !tombstones.covers(number, at);
                    false
                },
                |_| (),
            )?;
            if hit {
                tombstones.add(number, range, 0);
                deleted = true;
            }
        }
        Ok(deleted)
    }
}
