//! The series of a target, whatever it writes them in.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use tsdb::{Metadata, SeriesRef};

use super::line_points::read_lines;
use super::points::{Points, mark_stale};
use super::{Counts, Culprit, IngestError, MAX_BODY_BYTES, ScrapeTime, Scratch, SeriesCache};
use crate::metadata::FamilyTable;
use crate::parse::{Entry, Exposition, Families, Format, Parser, Point, PointScratch};
use crate::sample_rules::SampleRules;
use crate::store::Batch;

/// What the last good body of a target stands for. The body itself is not kept.
#[derive(Debug, Default)]
pub struct TargetCache {
    /// For bodies of lines.
    lines: SeriesCache,
    /// For all others.
    points: Points,
    body_bytes: usize,
    /// What the last of those was written in.
    exposition: Option<Exposition>,
    /// Which of the two the last good body went to.
    way: Way,
    /// Series that the last good body brought by other rules, or on the other way.
    orphans: Vec<SeriesRef>,
    families: FamilyTable,
    /// Of what the last of those said of its families.
    families_hash: u64,
    scrapes: u64,
    culprit: Option<Culprit>,
    /// Families that a refused body has described, for the store.
    undelivered: Vec<(String, Metadata)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Lines,
    Points,
}

/// Whether lines must be read as families, not one by one.
fn by_families(format: Format, rules: &SampleRules) -> bool {
    rules.histograms.convert_classic || rules.start_timestamps && format == Format::OpenMetrics
}

impl TargetCache {
    /// A cache that knows nothing, and keeps what the target says about its families in `families`.
    #[must_use]
    pub fn new(families: FamilyTable) -> Self {
        Self { lines: SeriesCache::new(families.clone()), families, ..Self::default() }
    }

    /// Appends the samples of `body`, and stale markers for the series that the last body had and this one has not; see
    /// [`SeriesCache::ingest`].
    ///
    /// # Errors
    /// If the body as a whole must be refused. `batch` is then half filled and must be dropped.
    pub fn ingest(
        &mut self,
        body: &[u8],
        exposition: Exposition,
        rules: &SampleRules,
        now: impl Into<ScrapeTime>,
        scratch: &mut Scratch,
        batch: &mut impl Batch,
    ) -> (Counts, Result<(), IngestError>) {
        let now = now.into();
        let (way, outcome) = match exposition {
            Exposition::Text(format) if !by_families(format, rules) => {
                (Way::Lines, self.lines.ingest(body, format, rules, now, scratch, batch))
            }
            _ => (Way::Points, self.ingest_points(body, exposition, rules, now, batch)),
        };
        if outcome.1.is_ok() {
            self.settle(way, batch);
        }
        outcome
    }

    fn ingest_points(
        &mut self,
        body: &[u8],
        exposition: Exposition,
        rules: &SampleRules,
        now: ScrapeTime,
        batch: &mut impl Batch,
    ) -> (Counts, Result<(), IngestError>) {
        if body.len() > MAX_BODY_BYTES {
            return (Counts::default(), Err(IngestError::BodySize));
        }
        let places = match self.places(body, exposition, rules) {
            Ok(places) => places,
            Err(error) => return (Counts::default(), Err(error)),
        };
        let mut reading = self.points.begin(rules, now, batch, places);
        let mut families = FamilyLog::default();
        let read = read(body, exposition, rules, &mut families, &mut |point| reading.point(point));
        let (counts, culprit) = (reading.counts, reading.suspects.worst());
        let families_hash = families.hasher.finish();
        let outcome = match read {
            Ok(()) => reading.finish(),
            Err(error) => Err((counts, error)),
        };
        match outcome {
            Ok(counts) => {
                self.body_bytes = body.len();
                self.exposition = Some(exposition);
                self.scrapes += 1;
                if counts.refused == 0 || culprit.is_some() {
                    self.culprit = culprit;
                }
                if std::mem::replace(&mut self.families_hash, families_hash) != families_hash {
                    let changed = |name: &str, metadata: &Metadata| batch.metadata(name, metadata);
                    describe(body, exposition, |entries| self.families.update(self.scrapes, entries, changed));
                }
                (counts, Ok(()))
            }
            Err((counts, error)) => {
                self.points.undo();
                self.learn_families(body, exposition, families.entries);
                (counts, Err(error))
            }
        }
    }

    /// How many series of `body` may be new: what those that are known leave of the budget.
    fn places(&self, body: &[u8], exposition: Exposition, rules: &SampleRules) -> Result<usize, IngestError> {
        let budget = rules.limits.series;
        if budget == 0 {
            return Ok(usize::MAX);
        }
        if self.points.is_empty() {
            return Ok(budget);
        }
        let mut there = HashSet::new();
        read(body, exposition, rules, &mut FamilyLog::default(), &mut |point| {
            let key = point.labels.key();
            if self.points.has_place(key) {
                there.insert(key);
            }
            Ok(())
        })?;
        Ok(budget.saturating_sub(there.len()))
    }

    /// What is to blame for the series that the last good body had and that found no place in the budget.
    #[must_use]
    pub fn culprit(&self) -> Option<&Culprit> {
        match self.way {
            Way::Lines => self.lines.culprit.as_ref(),
            Way::Points => self.culprit.as_ref(),
        }
    }

    /// Ends the series that only the other way, or other rules, have brought.
    fn settle(&mut self, way: Way, batch: &mut impl Batch) {
        if std::mem::replace(&mut self.way, way) != way {
            match way {
                Way::Lines => {
                    self.orphans.extend(self.points.take_live());
                    self.points.clear();
                    self.exposition = None;
                }
                Way::Points => self.orphans.extend(self.lines.let_go()),
            }
        }
        if !self.orphans.is_empty() {
            let mut gone: HashSet<SeriesRef> = std::mem::take(&mut self.orphans).into_iter().collect();
            let tracked: HashSet<SeriesRef> = match way {
                Way::Lines => self.lines.tracked().collect(),
                Way::Points => self.points.tracked().collect(),
            };
            gone.retain(|series| !tracked.contains(series));
            mark_stale(gone.into_iter(), batch);
        }
    }

    /// Appends stale markers for all series of the last body, if they have not got them yet: the target cannot be
    /// scraped, or goes away.
    pub fn mark_stale(&mut self, batch: &mut impl Batch) {
        self.lines.mark_stale(batch);
        for (family, metadata) in self.undelivered.drain(..) {
            batch.metadata(&family, &metadata);
        }
        let mut live = self.points.take_live();
        live.append(&mut self.orphans);
        mark_stale(live.into_iter(), batch);
    }

    /// Appends once more what the store has not taken from `body`, the last one, because it had let go of the series
    /// `unknown`, which are found anew. Gives how many samples are left out because the store has no place for their
    /// series any more.
    ///
    /// # Errors
    /// If the store refuses to make a series again for another reason.
    pub fn append_again(
        &mut self,
        body: &[u8],
        unknown: &[SeriesRef],
        rules: &SampleRules,
        batch: &mut impl Batch,
    ) -> Result<usize, IngestError> {
        let Some(exposition) = self.exposition.filter(|_| self.way == Way::Points) else {
            return self.lines.append_again(body, unknown, rules, batch);
        };
        let keys = self.points.forget(unknown);
        if keys.is_empty() {
            return Ok(0);
        }
        let mut reading = self.points.again(rules, batch, keys);
        read(body, exposition, rules, &mut FamilyLog::default(), &mut |point| reading.point(point))?;
        let (refused, culprit) = (reading.counts.refused, reading.suspects.worst());
        if culprit.is_some() {
            self.culprit = culprit;
        }
        Ok(refused)
    }

    /// Forgets what the last body means, because the rules have changed. Which series were there is kept, so that those
    /// that the new rules no longer bring become stale.
    pub fn invalidate(&mut self) {
        self.lines.invalidate();
        self.orphans.extend(self.points.take_live());
        self.points.clear();
    }

    /// Bytes of the last good body.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        match self.way {
            Way::Lines => self.lines.body_bytes(),
            Way::Points => self.body_bytes,
        }
    }

    /// Keeps what a body that was refused has said of its families before the place of the error: so many entries.
    fn learn_families(&mut self, body: &[u8], exposition: Exposition, entries: usize) {
        let (families, mut changed) = (self.families.clone(), Vec::new());
        describe(body, exposition, |all| {
            families
                .update_partly(all.take(entries), |name, metadata| changed.push((name.to_owned(), metadata.clone())));
        });
        self.undelivered.append(&mut changed);
        // The next good body has them read anew.
        self.families_hash = self.families_hash.wrapping_add(1);
    }
}

/// Hands what `body` says of its families to `take`. Its samples are not looked at.
fn describe(body: &[u8], exposition: Exposition, take: impl FnOnce(&mut dyn Iterator<Item = Entry<'_>>)) {
    match exposition {
        Exposition::Text(format) => {
            let mut parser = Parser::new(body, format);
            let entries = std::iter::from_fn(|| parser.entry().ok().flatten());
            let describing = |entry: &Entry<'_>| !matches!(entry, Entry::Comment | Entry::Sample(_));
            take(&mut entries.filter(describing));
        }
        Exposition::Protobuf => {
            let mut families = Families::new(body);
            let entries = std::iter::from_fn(|| families.next().ok().flatten()).flat_map(|family| {
                let name = || family.name.into();
                [
                    Entry::Help { family: name(), help: family.help.into() },
                    Entry::Type { family: name(), kind: family.kind },
                    Entry::Unit { family: name(), unit: family.unit },
                ]
            });
            take(&mut { entries });
        }
    }
}

/// What a body says of its families, as far as it has been read.
pub(super) struct FamilyLog {
    pub(super) hasher: <FixedState as BuildHasher>::Hasher,
    /// How many entries describe them.
    pub(super) entries: usize,
}

impl Default for FamilyLog {
    fn default() -> Self {
        Self { hasher: FixedState::default().build_hasher(), entries: 0 }
    }
}

/// Hands all samples of a body to `each`, and notes what it says of its families.
fn read(
    body: &[u8],
    exposition: Exposition,
    rules: &SampleRules,
    log: &mut FamilyLog,
    mut each: &mut impl FnMut(Point<'_>) -> Result<(), IngestError>,
) -> Result<(), IngestError> {
    match exposition {
        Exposition::Text(format) => read_lines(body, format, rules, log, each)?,
        Exposition::Protobuf => {
            let mut families = Families::new(body);
            let mut scratch = PointScratch::default();
            while let Some(family) = families.next()? {
                for text in [family.name, family.help, family.unit] {
                    log.hasher.write(text.as_bytes());
                    log.hasher.write_u8(0xff);
                }
                log.hasher.write_u8(family.kind as u8);
                log.entries += 3;
                family.points(rules.histograms, &mut scratch, &mut each)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
