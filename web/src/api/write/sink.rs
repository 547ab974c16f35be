//! Where the samples of a request go, and the count of what came of them.

use tsdb::{AppendError, Appender, Committed, Exemplar, HistogramValue, Labels, SeriesRef, Timestamp};

/// How far ahead of the clock a sample may be, in milliseconds.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// An appender that is being filled from a request.
#[derive(Debug)]
pub(crate) struct Sink<'d> {
    pub(crate) appender: Appender<'d>,
    pub(crate) tally: Tally,
    /// The latest moment that a sample may have.
    latest: Timestamp,
}

/// What a request brought.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Floats handed to the store.
    pub(crate) floats: usize,
    /// Histograms handed to the store.
    pub(crate) histograms: usize,
    /// Exemplars handed to the store.
    pub(crate) exemplars: usize,
    /// Samples that are too far in the future.
    pub(crate) ahead: usize,
    /// Series and histograms that cannot be stored, and why the first cannot.
    pub(crate) skipped: usize,
    pub(crate) first_skipped: Option<String>,
}

/// Characters that the labels of an exemplar may have, as OpenMetrics and Prometheus have it.
const MAX_EXEMPLAR_CHARS: usize = 128;

impl<'d> Sink<'d> {
    pub(crate) fn new(appender: Appender<'d>, now: Timestamp) -> Self {
        Self { appender, tally: Tally::default(), latest: now.plus_millis(MAX_AHEAD_MS) }
    }

    /// Finds or makes a series.
    pub(crate) fn series(&self, labels: &Labels) -> Result<SeriesRef, String> {
        self.appender.series(labels).map_err(|why: AppendError| format!("{labels}: {why}"))
    }

    #[inline]
    pub(crate) fn float(&mut self, series: SeriesRef, at: Timestamp, start: Option<Timestamp>, value: f64) {
        if at > self.latest {
            self.tally.ahead += 1;
            return;
        }
        self.tally.floats += 1;
        self.appender.append_at(series, at, start, value);
    }

    pub(crate) fn histogram(
        &mut self,
        series: SeriesRef,
        at: Timestamp,
        start: Option<Timestamp>,
        value: HistogramValue,
    ) {
        if at > self.latest {
            self.tally.ahead += 1;
            return;
        }
        match self.appender.append_histogram(series, Some(at), start, value) {
            Ok(()) => self.tally.histograms += 1,
            Err(why) => self.skip(|| why.to_string()),
        }
    }

    /// Takes an exemplar of a series, with its labels in any order. One whose labels are too long is left out, without a
    /// word to the sender: its sample is what counts.
    pub(crate) fn exemplar<'l>(
        &mut self,
        series: SeriesRef,
        labels: impl Iterator<Item = (&'l str, &'l str)> + Clone,
        value: f64,
        timestamp: Timestamp,
    ) {
        let chars: usize = labels.clone().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        if chars <= MAX_EXEMPLAR_CHARS {
            self.tally.exemplars += 1;
            self.appender.exemplar(series, Exemplar { labels: Labels::from_pairs(labels), value, timestamp });
        }
    }

    pub(crate) fn skip(&mut self, why: impl FnOnce() -> String) {
        self.tally.skipped += 1;
        self.tally.first_skipped.get_or_insert_with(why);
    }
}

/// What has been written, as the headers of version 2.0 say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) samples: usize,
    pub(crate) histograms: usize,
    pub(crate) exemplars: usize,
}

impl Written {
    /// The store does not say of which kind a refused sample was: floats are taken to be refused first, so that never
    /// more floats are claimed than were written.
    pub(crate) fn new(tally: &Tally, committed: &Committed) -> Self {
        let refused = committed.refused();
        Self {
            samples: tally.floats.saturating_sub(refused),
            histograms: tally.histograms.saturating_sub(refused.saturating_sub(tally.floats)),
            exemplars: committed.exemplars + committed.known_exemplars,
        }
    }
}
