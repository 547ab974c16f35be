//! The exemplars of a block as they are read: without those that are deleted.

use std::sync::Arc;

use super::exemplars::{AllSeries, SeriesExemplars, Wanted};
use super::reader::Block;
use super::tombstones::Tombstones;
use crate::error::Error;
use crate::exemplar::Exemplar;
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::sample::TimeRange;

/// Goes through the exemplars of a block, series by series, in the order of labels.
pub(crate) struct ExemplarSet<'b> {
    block: &'b Block,
    tombstones: Arc<Tombstones>,
    /// None if the block has no exemplars.
    all: Option<AllSeries<'b>>,
    labels: Vec<(&'b str, &'b str)>,
    /// The series at hand.
    series: Option<SeriesExemplars<'b>>,
}

impl<'b> ExemplarSet<'b> {
    /// Goes to the next series and gives its labels; its exemplars may all be deleted.
    ///
    /// # Errors
    /// If what is read is damaged.
    pub(crate) fn next(&mut self) -> Result<Option<Labels>, Error> {
        self.series = self.all.as_mut().map_or(Ok(None), AllSeries::next)?;
        let Some(series) = &self.series else { return Ok(None) };
        series.labels(&mut self.labels)?;
        Ok(Some(Labels::from_sorted(self.labels.iter().copied())))
    }

    /// Hands the exemplars of the series at hand within `range` to `each`, in ascending time.
    ///
    /// # Errors
    /// If what is read is damaged.
    pub(crate) fn read(&self, range: TimeRange, each: impl FnMut(Exemplar)) -> Result<(), Error> {
        let Some(series) = &self.series else { return Ok(()) };
        let number = self.block.exemplars_of(series.number);
        series.read(|at| range.contains(at) && !self.tombstones.covers(number, at), each)
    }

    /// Goes to the next series that is wanted.
    fn next_of<S: AsRef<[Matcher]>>(
        &mut self,
        wanted: &Wanted<'_, S>,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<bool, Error> {
        let Some(all) = &mut self.all else { return Ok(false) };
        while let Some(series) = all.next()? {
            if is_stopped() {
                return Err(Error::Cancelled);
            }
            series.labels(&mut self.labels)?;
            if wanted.takes(&self.labels) {
                self.series = Some(series);
                return Ok(true);
            }
            if wanted.is_over(&self.labels) {
                break;
            }
        }
        Ok(false)
    }
}

impl Block {
    /// The exemplars as they are now.
    pub(crate) fn exemplars(&self) -> ExemplarSet<'_> {
        let all = self.exemplars.as_ref().map(|file| file.series());
        ExemplarSet { block: self, tombstones: self.tombstones(), all, labels: Vec::new(), series: None }
    }

    /// What has been read so far of the exemplars is what their file held when the block was opened.
    ///
    /// # Errors
    /// If somebody has made it shorter since, or the disk could not read it.
    pub(crate) fn exemplars_whole(&self) -> Result<(), Error> {
        self.exemplars.as_ref().map_or(Ok(()), |file| file.pages().whole())
    }

    /// Hands the exemplars within `range` of the series that pass all matchers of any of `selectors` to `each`: by series in
    /// label order, each series' in ascending time. Cost: looks at the labels of every series that has exemplars, or, if
    /// each selector names a metric, up to the last of these.
    ///
    /// # Errors
    /// If what is read is damaged, or once `is_stopped` says so.
    pub(crate) fn find_exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        is_stopped: &dyn Fn() -> bool,
        mut each: impl FnMut(&Labels, Exemplar),
    ) -> Result<(), Error> {
        if !self.meta().range.touches(range) {
            return Ok(());
        }
        let (wanted, mut set) = (Wanted::new(selectors), self.exemplars());
        while set.next_of(&wanted, is_stopped)? {
            let labels = Labels::from_sorted(set.labels.iter().copied());
            set.read(range, |exemplar| each(&labels, exemplar))?;
        }
        self.exemplars_whole()
    }
}
