//! Deleting what the head holds.

use super::Head;
use super::read::HeadQuerier;
use crate::error::Error;
use crate::matcher::Matcher;
use crate::sample::TimeRange;
use crate::wal::{SeriesId, begin_frame, finish_frame, put_deletion, put_exemplar_deletion};

impl Head {
    /// Deletes what the series that pass `matchers` hold within `range`, samples and exemplars; what comes afterwards stays.
    /// Logged before it holds.
    pub(crate) fn delete(&self, querier: &HeadQuerier, matchers: &[Matcher], range: TimeRange) -> Result<(), Error> {
        let series = querier.matching(matchers, range);
        // Exemplars outlive their series, so they are looked for among themselves.
        let with_exemplars = self.exemplars.lock().matching(matchers, range);
        if series.is_empty() && with_exemplars.is_empty() {
            return Ok(());
        }
        let mut committer = self.committer.lock();
        let mut frame = Vec::new();
        begin_frame(&mut frame);
        let logged = series.iter().filter(|series| series.id() != SeriesId(0));
        logged.for_each(|series| put_deletion(&mut frame, series.id(), range));
        with_exemplars.iter().for_each(|labels| put_exemplar_deletion(&mut frame, labels, range));
        finish_frame(&mut frame);
        let commit = match committer.log_frame(&frame) {
            Err(error @ Error::Deleted { .. }) => {
                let reason = committer.fail_for_good_files(&error);
                drop(committer);
                self.syncer.fail(reason.clone());
                return Err(Error::Paused { reason });
            }
            other => other?,
        };
        series.iter().for_each(|series| series.delete(range, committer.last_ms(series.series_ref)));
        for series in &series {
            self.rewind_deleted(&mut committer, series, range);
        }
        let mut exemplars = self.exemplars.lock();
        with_exemplars.iter().for_each(|labels| exemplars.delete(labels, range));
        drop(exemplars);
        drop(committer);
        self.syncer.finish(self, commit)?;
        self.evict_deleted(&series, querier.flushed_until_ms());
        Ok(())
    }
}
