//! Proves that a block is whole.

use super::chunk::{self, ChunkTimes};
use super::reader::Block;
use super::{BlockStats, META_FILE};
use crate::error::Error;
use crate::index::ColumnMeta;
use crate::labels::Labels;
use crate::pages::Cursor;
use crate::querier::Columns;

impl Block {
    /// Checks every checksum, label, list of series, column of times, chunk and exemplar, and that the counts in the block's
    /// description are right. Each fault goes to `each`. Cost: reads the whole block.
    pub(crate) fn verify(&self, mut each: impl FnMut(Error)) {
        let mut faults = 0u64;
        let mut report = |e| {
            faults += 1;
            each(e);
        };
        if let Err(e) = self.verify_description() {
            report(e);
        }
        self.index.verify(&mut report);
        self.chunks.verify(&mut report);
        if let Some(file) = &self.exemplars {
            file.pages().verify(&mut report);
        }
        if faults == 0
            && let Err(e) = self.verify_content()
        {
            each(e);
        }
    }

    fn verify_content(&self) -> Result<(), Error> {
        let mut stats = self.meta().stats;
        self.verify_chunks(&mut stats)?;
        self.verify_exemplars(&mut stats)?;
        stats.bytes = stats.bytes.wrapping_sub(self.size_bytes());
        if stats == BlockStats::default() {
            Ok(())
        } else {
            let path = self.dir().join(META_FILE);
            Err(Error::Corrupt { path, offset: 0, what: "counts are not those of the block" })
        }
    }

    /// Reads the description and the tombstones anew.
    fn verify_description(&self) -> Result<(), Error> {
        let blocks_dir = self.dir().parent().unwrap_or(self.dir());
        if Self::read_meta(self.fs(), blocks_dir, self.meta().ulid)? != *self.meta() {
            let path = self.dir().join(META_FILE);
            return Err(Error::Corrupt { path, offset: 0, what: "changed since the block was opened" });
        }
        self.read_tombstones().map(drop)
    }

    /// Takes what there is off `stats`.
    fn verify_chunks(&self, stats: &mut BlockStats) -> Result<(), Error> {
        let range = self.meta().range;
        let columns = (0..self.index.column_count()).map(|id| self.index.column(id)).collect::<Result<Vec<_>, _>>()?;
        let mut times = Vec::new();
        for column in &columns {
            self.times(column, &mut times)?;
            let ascend = times.windows(2).all(|pair| pair[0] < pair[1]);
            if !ascend || !range.contains(column.min_ms) || !range.contains(column.max_ms) {
                return Err(self.chunks.corrupt(column.offset, "times out of order or outside the block's range"));
            }
        }
        let mut read = Columns::default();
        let ids: Vec<u32> = (0..self.index.len()).collect();
        let take = |count: &mut u64, n: usize| *count = count.wrapping_sub(n as u64);
        self.index.entries_of(&ids, |_, mut entry| {
            entry.skip_values()?;
            read.clear();
            let mut last = (i64::MIN, i64::MIN);
            for chunk in entry.chunks()? {
                let (offset, meta) = chunk?;
                let column = columns.get(meta.column as usize).copied();
                let column: ColumnMeta =
                    column.ok_or_else(|| self.chunks.corrupt(offset, "no such column of times"))?;
                self.times(&column, &mut times)?;
                let floats = read.values.len();
                let mut cursor = Cursor::exactly(&self.chunks, offset, meta.len as usize)?;
                cursor.take(|input| chunk::decode(input, ChunkTimes::Listed(&times), 0..times.len(), &mut read))?;
                let last = if read.values.len() > floats { &mut last.0 } else { &mut last.1 };
                if *last != i64::MIN && *last >= column.min_ms {
                    return Err(self.chunks.corrupt(offset, "chunks of a series out of order"));
                }
                *last = column.max_ms;
                take(&mut stats.num_chunks, 1);
            }
            take(&mut stats.num_series, 1);
            take(&mut stats.num_float_samples, read.values.len());
            take(&mut stats.num_histogram_samples, read.histograms.len());
            take(&mut stats.num_samples, read.values.len() + read.histograms.len());
            Ok(())
        })
    }

    /// Takes what there is off `stats`.
    fn verify_exemplars(&self, stats: &mut BlockStats) -> Result<(), Error> {
        let Some(file) = &self.exemplars else { return Ok(()) };
        let (mut all, mut pairs, mut last) = (file.series(), Vec::new(), None);
        while let Some(series) = all.next()? {
            series.labels(&mut pairs)?;
            let labels = Labels::from_sorted(pairs.iter().copied());
            if last.is_some_and(|last| last >= labels) {
                return Err(file.pages().corrupt(series.at, "series out of order"));
            }
            last = Some(labels);
            let (mut count, mut outside) = (0, false);
            series.read(
                |at| {
                    count += 1;
                    outside |= !self.meta().range.contains(at.millis());
                    false
                },
                |_| (),
            )?;
            if outside {
                return Err(file.pages().corrupt(series.at, "exemplars outside the block's range"));
            }
            stats.num_exemplars = stats.num_exemplars.wrapping_sub(count);
        }
        Ok(())
    }
}
