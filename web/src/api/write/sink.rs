//! Where the samples of a request go, and the count of what came of them.

use tsdb::{AppendError, Appender, Committed, Exemplar, HistogramValue, Labels, Metadata, SeriesRef, Timestamp};

use super::admission::{Push, Rejection};

/// How far ahead of the clock a sample may be, in milliseconds.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// An appender that is being filled from a request.
#[derive(Debug)]
pub(crate) struct Sink<'d> {
    pub(crate) appender: Appender<'d>,
    pub(crate) tally: Tally,
    /// The latest moment that a sample may have.
    latest: Timestamp,
    /// The request, which counts the memory that its samples take.
    push: &'d mut Push,
    /// Bytes that the samples take, and how many of them have been counted.
    bytes: usize,
    counted: usize,
    /// Reason why the samples could not be held. What comes after is not taken.
    pub(crate) rejection: Option<Rejection>,
}

/// Bytes that a sample takes until it is committed: in the batch, in the frame of the log, and in what would undo it.
const SAMPLE_BYTES: usize = 96;

/// Bytes of a label of an exemplar beside its text, and of an exemplar beside its labels.
const EXEMPLAR_BYTES: usize = 128;

/// Bytes of a metric family beside its texts.
const FAMILY_BYTES: usize = 160;

/// Bytes of a native histogram in a message: no layout of buckets that is of use takes more.
const MAX_HISTOGRAM_BYTES: usize = 1 << 20;

/// Bytes of the labels of a series up to which taking them apart is not counted.
const SMALL_LABELS: usize = 1 << 12;

/// Bytes that taking labels apart needs for each of theirs: a label of two bytes is a pair of texts.
const LABEL_RATIO: usize = 40;

/// Bytes of samples that are counted at once.
const COUNTED_TOGETHER: usize = 1 << 18;

/// Characters of a reason that are told to the sender: it may hold labels of any length.
const MAX_REASON_CHARS: usize = 1000;

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
pub(crate) const MAX_EXEMPLAR_CHARS: usize = 128;

impl<'d> Sink<'d> {
    pub(crate) fn new(appender: Appender<'d>, now: Timestamp, push: &'d mut Push) -> Self {
        let latest = now.plus_millis(MAX_AHEAD_MS);
        Self { appender, tally: Tally::default(), latest, push, bytes: 0, counted: 0, rejection: None }
    }

    /// Bytes that have been counted; they are the request's until it gives them back.
    pub(crate) fn held(&self) -> usize {
        self.counted
    }

    /// Counts memory before it is taken; `false` if there is none, for this and for all that comes after.
    #[inline]
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.bytes <= self.counted || self.hold_more()
    }

    #[cold]
    fn hold_more(&mut self) -> bool {
        if self.rejection.is_some() {
            return false;
        }
        let more = (self.bytes - self.counted).next_multiple_of(COUNTED_TOGETHER);
        match self.push.hold(more) {
            Ok(()) => self.counted += more,
            Err(rejection) => self.rejection = Some(rejection),
        }
        self.rejection.is_none()
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
        if !self.hold(SAMPLE_BYTES) {
            return;
        }
        self.tally.floats += 1;
        self.appender.append_at(series, at, start, value);
    }

    /// Counts the memory for taking the labels of a series apart; `false` if there is none.
    #[inline]
    pub(crate) fn hold_labels(&mut self, bytes: usize) -> bool {
        bytes <= SMALL_LABELS || self.hold(bytes * LABEL_RATIO)
    }

    /// Adds what is known about a metric family.
    pub(crate) fn metadata(&mut self, family: &str, metadata: Metadata) {
        if self.hold(FAMILY_BYTES + 2 * (family.len() + metadata.help.len() + metadata.unit.len())) {
            self.appender.metadata(family, metadata);
        }
    }

    /// Says whether a histogram that is written in so many bytes is to be read; one that is not is refused.
    pub(crate) fn reads_histogram(&mut self, bytes: usize) -> bool {
        if bytes > MAX_HISTOGRAM_BYTES {
            self.skip(|| format!("a histogram of {bytes} bytes is over the limit of {MAX_HISTOGRAM_BYTES}"));
        }
        bytes <= MAX_HISTOGRAM_BYTES
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
        if !self.hold(SAMPLE_BYTES + 2 * value.size_bytes()) {
            return;
        }
        match self.appender.append_histogram(series, Some(at), start, value) {
            Ok(()) => self.tally.histograms += 1,
            Err(why) => self.skip(|| why.to_string()),
        }
    }

    /// Takes an exemplar of a series, with its labels in any order. One whose labels are too long, or that lies too far in the
    /// future, is left out, without a word to the sender: its sample is what counts.
    pub(crate) fn exemplar<'l>(
        &mut self,
        series: SeriesRef,
        labels: impl Iterator<Item = (&'l str, &'l str)> + Clone,
        value: f64,
        timestamp: Timestamp,
    ) {
        let chars: usize = labels.clone().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
        let fits = chars <= MAX_EXEMPLAR_CHARS && timestamp <= self.latest;
        if fits && self.hold(EXEMPLAR_BYTES + 4 * chars) {
            self.tally.exemplars += 1;
            self.appender.exemplar(series, Exemplar { labels: Labels::from_pairs(labels), value, timestamp });
        }
    }

    pub(crate) fn skip(&mut self, why: impl FnOnce() -> String) {
        self.tally.skipped += 1;
        self.tally.first_skipped.get_or_insert_with(|| {
            let mut why = why();
            if let Some((end, _)) = why.char_indices().nth(MAX_REASON_CHARS) {
                why.truncate(end);
                why.push('…');
            }
            why
        });
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
