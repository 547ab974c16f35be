//! Series of samples that do not stand on lines: bodies of protocol buffers, and lines that must be read as families.
//!
//! Every sample has a key, a hash of 128 bits over all that is written of its series. Only a key that the last body did
//! not have is relabeled and looked up in the store. Cost: about 190 ns per sample, parsing included.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::{HashMap, HashSet};
use tsdb::{AppendError, STALE_NAN, SeriesRef, Timestamp};

use super::budget::Suspects;
use super::ingest::MAX_AHEAD_MS;
use super::learned::Learned;
use super::resolution::held;
use super::{Bounds, Counts, IngestError, ScrapeTime};
use crate::parse::{Point, PointValue};
use crate::sample_rules::SampleRules;
use crate::store::{Batch, Exemplar};

/// The series of a target's last good body, by key. About 50 bytes each.
#[derive(Debug, Default)]
pub(super) struct Points {
    known: HashMap<u128, Known, BuildHasherDefault<KeyHasher>>,
    /// Scrapes so far.
    scrape: u64,
    /// Whether the last scrape brought those of `known` that it has seen.
    live: bool,
    /// Series that bodies which were refused since the last good one have brought.
    learned: Learned<u128>,
}

/// Samples between two looks at the bounds; a power of two.
const POINTS: usize = 512;

/// Keys are hashes: half of one is a good hash of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let half = bytes.first_chunk().map_or(0, |half| u64::from_le_bytes(*half));
        self.0 = half;
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    series: SeriesRef,
    /// The scrapes that saw it first and last.
    born: u64,
    seen: u64,
    fate: Fate,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Appended; its series becomes stale when it vanishes.
    Tracked,
    /// Appended at a moment of its own, or not at all.
    Untracked,
    /// Relabeling drops it.
    Dropped,
    /// There was no place for its series in the budget.
    Refused,
}

/// A body being read.
pub(super) struct Reading<'r, B> {
    points: &'r mut Points,
    rules: &'r SampleRules,
    batch: &'r mut B,
    /// The moment of the scrape, and the latest that a target may name, in milliseconds.
    now: i64,
    latest: i64,
    bounds: Bounds,
    pub(super) counts: Counts,
    appended: usize,
    /// Whether a native histogram has had more buckets than allowed.
    over_buckets: bool,
    /// If not all, the keys that are read.
    only: Option<HashSet<u128>>,
    /// Places left in the budget for new series.
    places: usize,
    pub(super) suspects: Suspects,
}

impl Points {
    /// Begins to read a body; `now` is the moment of the scrape, `places` how many series may be new.
    pub(super) fn begin<'r, B: Batch>(
        &'r mut self,
        rules: &'r SampleRules,
        time: ScrapeTime,
        batch: &'r mut B,
        places: usize,
    ) -> Reading<'r, B> {
        self.scrape += 1;
        let latest = time.at.plus_millis(MAX_AHEAD_MS).millis();
        let (counts, suspects) = (Counts::default(), Suspects::default());
        let (now, bounds) = (time.at.millis(), Bounds::new(time, rules));
        Reading {
            points: self,
            rules,
            batch,
            now,
            latest,
            bounds,
            counts,
            appended: 0,
            over_buckets: false,
            only: None,
            places,
            suspects,
        }
    }

    /// Begins to read the last body again, for the series of these keys only.
    pub(super) fn again<'r, B: Batch>(
        &'r mut self,
        rules: &'r SampleRules,
        batch: &'r mut B,
        keys: HashSet<u128>,
    ) -> Reading<'r, B> {
        let (counts, suspects, places) = (Counts::default(), Suspects::default(), usize::MAX);
        // What was too far ahead has not been appended, so its series is not missed.
        let (now, latest, only) = (i64::MAX, i64::MAX, Some(keys));
        let bounds = Bounds::new(Timestamp::from_millis(now).into(), rules);
        Reading {
            points: self,
            rules,
            batch,
            now,
            latest,
            bounds,
            counts,
            appended: 0,
            over_buckets: false,
            only,
            places,
            suspects,
        }
    }

    /// Forgets what a body that was refused has changed.
    pub(super) fn undo(&mut self) {
        let scrape = self.scrape;
        let fresh = self.known.extract_if(|_, known| known.born >= scrape);
        let appended = fresh.filter(|(_, known)| matches!(known.fate, Fate::Tracked | Fate::Untracked));
        let appended: Vec<u128> = appended.map(|(key, _)| key).collect();
        self.learned.extend(appended.into_iter(), self.known.len());
        self.known.values_mut().for_each(|known| known.seen = known.seen.min(scrape - 1));
        // Those of the last good body carry its number still: it stays the last.
        self.scrape -= 1;
    }

    /// The series that get stale markers when the target cannot be scraped.
    pub(super) fn take_live(&mut self) -> Vec<SeriesRef> {
        if !std::mem::take(&mut self.live) {
            return Vec::new();
        }
        self.tracked().collect()
    }

    /// The series that the last good body brought.
    pub(super) fn tracked(&self) -> impl Iterator<Item = SeriesRef> {
        let last = self.scrape;
        self.known.values().filter(move |k| k.seen == last && k.fate == Fate::Tracked).map(|known| known.series)
    }

    /// Whether the series of this key was there before the body that is about to be read, and had a place.
    pub(super) fn has_place(&self, key: u128) -> bool {
        self.known.get(&key).is_some_and(|known| matches!(known.fate, Fate::Tracked | Fate::Untracked))
    }

    /// Whether no series is known.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Forgets all series.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.live = false;
    }

    /// The keys of series that the store has let go of; they are forgotten.
    pub(super) fn forget(&mut self, unknown: &[SeriesRef]) -> HashSet<u128> {
        let unknown: HashSet<SeriesRef> = unknown.iter().copied().collect();
        let nowhere = |fate| matches!(fate, Fate::Dropped | Fate::Refused);
        let gone = self.known.extract_if(|_, known| !nowhere(known.fate) && unknown.contains(&known.series));
        gone.map(|(key, _)| key).collect()
    }
}

impl<B: Batch> Reading<'_, B> {
    /// Takes a sample. One that fails the scrape counts as scraped only.
    pub(super) fn point(&mut self, point: Point<'_>) -> Result<(), IngestError> {
        let (kept, added) = (self.counts.kept, self.counts.added);
        self.take(point).inspect_err(|_| (self.counts.kept, self.counts.added) = (kept, added))
    }

    fn take(&mut self, point: Point<'_>) -> Result<(), IngestError> {
        let (key, scrape) = (point.labels.key(), self.points.scrape);
        if self.only.as_ref().is_some_and(|only| !only.contains(&key)) {
            return Ok(());
        }
        self.counts.scraped += 1;
        if self.counts.scraped.is_multiple_of(POINTS) {
            self.bounds.check(&self.counts)?;
        }
        let Some(point) = self.within_buckets(point)? else { return Ok(()) };
        let limit = self.rules.limits.samples;
        // What nearly every sample is: known, and here for the first time.
        if let Some(known) = self.points.known.get_mut(&key)
            && known.seen != scrape
            && limit == 0
            && matches!(known.fate, Fate::Tracked | Fate::Untracked)
        {
            known.seen = scrape;
            let (series, before) = (known.series, known.fate);
            self.counts.kept += 1;
            let at = point.timestamp.filter(|_| self.rules.honor_timestamps);
            let fate = self.append(series, at, point)?;
            if fate != before
                && let Some(known) = self.points.known.get_mut(&key)
            {
                known.fate = fate;
            }
            return Ok(());
        }
        let old = self.points.known.get(&key).copied();
        let (mut known, repeated) = match old {
            Some(known) if known.fate == Fate::Refused && (self.places == 0 || known.seen == scrape) => {
                self.points.known.insert(key, Known { seen: scrape, ..known });
                self.counts.kept += 1;
                self.counts.refused += 1;
                return Ok(());
            }
            Some(known) if known.fate != Fate::Refused => (known, known.seen == scrape),
            _ => {
                let fresh = Known { series: SeriesRef(0), born: scrape, seen: scrape, fate: Fate::Dropped };
                let resolved = self.rules.resolve(point.labels.pairs())?;
                match resolved {
                    None => (fresh, false),
                    // Above the limit nothing is made that would not be used.
                    Some(_) if limit > 0 && self.appended >= limit => {
                        self.appended += 1;
                        self.counts.kept += 1;
                        return Ok(());
                    }
                    Some(labels) if self.places == 0 => {
                        if !self.suspects.suffice() {
                            self.suspects.add(&labels);
                        }
                        self.points.known.insert(key, Known { fate: Fate::Refused, ..fresh });
                        self.counts.kept += 1;
                        self.counts.refused += 1;
                        return Ok(());
                    }
                    Some(labels) => match self.batch.series(&labels) {
                        // The store has no place for it either, nor for those that follow.
                        Err(AppendError::TooManySeries) => {
                            self.places = 0;
                            self.suspects.add(&labels);
                            self.points.known.insert(key, Known { fate: Fate::Refused, ..fresh });
                            self.counts.kept += 1;
                            self.counts.refused += 1;
                            return Ok(());
                        }
                        series => {
                            self.places -= 1;
                            let ahead =
                                point.timestamp.is_some_and(|ms| self.rules.honor_timestamps && ms > self.latest);
                            self.counts.added +=
                                usize::from(!ahead && !self.over_buckets && !self.points.learned.has(key));
                            (Known { series: series?, fate: Fate::Untracked, ..fresh }, false)
                        }
                    },
                }
            }
        };
        known.seen = scrape;
        if known.fate == Fate::Dropped {
            self.points.known.insert(key, known);
            return Ok(());
        }
        self.counts.kept += 1;
        let at = point.timestamp.filter(|_| self.rules.honor_timestamps);
        if repeated && at.is_none() {
            self.counts.duplicates += 1;
            return Ok(());
        }
        self.appended += 1;
        if limit == 0 || self.appended <= limit {
            let fate = self.append(known.series, at, point)?;
            known.fate = if repeated && known.fate == Fate::Tracked { Fate::Tracked } else { fate };
        }
        self.points.known.insert(key, known);
        Ok(())
    }

    /// The sample as it may be stored; `None` for a histogram with more buckets than allowed, which is only counted.
    fn within_buckets<'p>(&mut self, mut point: Point<'p>) -> Result<Option<Point<'p>>, IngestError> {
        let (finest, most) = (self.rules.finest_schema, self.rules.limits.buckets);
        if finest.is_none() && most == 0 {
            return Ok(Some(point));
        }
        let PointValue::Histogram(value) = point.value else { return Ok(Some(point)) };
        if let Some(value) = held(*value, finest, most) {
            point.value = PointValue::Histogram(Box::new(value));
            return Ok(Some(point));
        }
        let dropped = match self.points.known.get(&point.labels.key()) {
            Some(known) => known.fate == Fate::Dropped,
            None => self.rules.resolve(point.labels.pairs())?.is_none(),
        };
        if !dropped {
            self.counts.kept += 1;
            self.over_buckets = true;
        }
        Ok(None)
    }

    fn append(&mut self, series: SeriesRef, at: Option<i64>, point: Point<'_>) -> Result<Fate, IngestError> {
        if at.is_some_and(|ms| ms > self.latest) {
            self.counts.out_of_bounds += 1;
            return Ok(Fate::Untracked);
        }
        let start = point.start.filter(|ms| *ms != 0).map(Timestamp::from_millis);
        let moment = at.map(Timestamp::from_millis);
        match point.value {
            PointValue::Float(value) => self.batch.append_started(series, moment, start, value),
            PointValue::Histogram(value) => self.batch.histogram(series, moment, start, *value)?,
        }
        // A second reading has no time of its own; the first has handed them on.
        let exemplars = if self.only.is_some() { &[] } else { point.exemplars };
        for exemplar in exemplars {
            let at = exemplar.timestamp.or(at).unwrap_or(self.now);
            let at = Timestamp::from_millis(at);
            let exemplar = Exemplar { labels: &exemplar.labels, value: exemplar.value, at };
            if exemplar.fits() && at.millis() <= self.latest {
                self.batch.exemplar(series, &exemplar);
                self.counts.exemplars += 1;
            }
        }
        let tracked = at.is_none() || self.rules.track_timestamps_staleness;
        Ok(if tracked { Fate::Tracked } else { Fate::Untracked })
    }

    /// The body has been read to its end: appends stale markers for the series that the last one had and this one has
    /// not, and forgets them.
    pub(super) fn finish(self) -> Result<Counts, (Counts, IngestError)> {
        let limit = self.rules.limits.samples;
        if limit > 0 && self.appended > limit {
            return Err((self.counts, IngestError::SampleLimit));
        }
        if self.over_buckets {
            return Err((self.counts, IngestError::BucketLimit));
        }
        let points = &mut *self.points;
        points.learned.clear();
        let (scrape, live) = (points.scrape, std::mem::replace(&mut points.live, true));
        let gone = points.known.extract_if(|_, known| known.seen != scrape);
        let gone = gone.filter(|(_, known)| live && known.seen == scrape - 1 && known.fate == Fate::Tracked);
        let mut gone: HashSet<SeriesRef> = gone.map(|(_, known)| known.series).collect();
        if !gone.is_empty() {
            // Another text may stand for the same series.
            for series in points.tracked() {
                gone.remove(&series);
            }
            mark_stale(gone.into_iter(), self.batch);
        }
        Ok(self.counts)
    }
}

/// Appends a stale marker to each of these series, in order.
pub(super) fn mark_stale(series: impl Iterator<Item = SeriesRef>, batch: &mut impl Batch) {
    let mut series: Vec<SeriesRef> = series.collect();
    series.sort_unstable();
    series.dedup();
    for series in series {
        batch.append(series, STALE_NAN);
    }
}
