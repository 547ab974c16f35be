//! One run over a body: same layout, else same text, else from scratch.

use hashbrown::HashSet;
use tsdb::{AppendError, STALE_NAN, SeriesRef, Timestamp};

use super::budget::Culprit;
use super::text::{Gap, Key, gaps_from};
use super::{Bounds, Counts, Fate, IngestError, Line, Matched, ScrapeTime, Scratch, SeriesCache};
use crate::parse::{Entry, Format, MetricKind, Parser, whole_number};
use crate::sample_rules::SampleRules;
use crate::store::{Batch, Exemplar};

/// Lines of known texts, and other lines, between two looks at the bounds; powers of two.
const KNOWN_LINES: usize = 4096;
const OTHER_LINES: usize = 512;

/// How far ahead of now a timestamp that the target writes may be.
pub(super) const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;

/// One run over a body.
pub(super) struct Ingest<'c, 'b, B> {
    cache: &'c SeriesCache,
    /// The lines of the last body whose texts still mean the same.
    old: &'c [Line],
    pub(super) rules: &'c SampleRules,
    /// The latest moment that a target may name, in milliseconds.
    latest: i64,
    bounds: Bounds,
    pub(super) scratch: &'c mut Scratch,
    pub(super) parser: Parser<'b>,
    body: &'b [u8],
    /// Where the last line ends.
    pub(super) end: usize,
    /// What follows it, once the body has been read.
    pub(super) tail: Option<Key>,
    pub(super) batch: &'c mut B,
    pub(super) counts: Counts,
    /// Samples that count against the limit.
    appended: usize,
    /// Whether the comments may be others than those of the last body.
    pub(super) comments_changed: bool,
    /// Lines whose series have a place in the budget.
    pub(super) placed: usize,
    /// Lines that wait for one, and where they begin.
    pub(super) waiting: Vec<(u32, u32)>,
    /// Whether one of those was not refused in the last body.
    pub(super) has_fresh_refusals: bool,
    /// What most of those have in common that found none.
    pub(super) culprit: Option<Culprit>,
}

/// A sample as the line says it.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Of the series as it is written.
    pub(super) key: Key,
    /// Where its text begins and ends, and where the next line begins.
    pub(super) text: usize,
    pub(super) text_end: usize,
    pub(super) end: usize,
    pub(super) number: f64,
    pub(super) timestamp: Option<i64>,
}

/// Which label's numbers are rewritten under a `TYPE`: the labels of a text depend on nothing else that is not in it.
pub(super) fn bound(kind: MetricKind) -> u8 {
    match kind {
        MetricKind::Histogram => 1,
        MetricKind::Summary => 2,
        _ => 0,
    }
}

impl<'c, 'b, B: Batch> Ingest<'c, 'b, B> {
    /// `scratch` is cleared.
    pub(super) fn new(
        cache: &'c SeriesCache,
        body: &'b [u8],
        format: Format,
        rules: &'c SampleRules,
        time: ScrapeTime,
        scratch: &'c mut Scratch,
        batch: &'c mut B,
    ) -> Self {
        let reusable = cache.format == Some(format);
        scratch.begin(cache.lines.len());
        Self {
            cache,
            old: if reusable { &cache.lines } else { &[] },
            rules,
            latest: time.at.plus_millis(MAX_AHEAD_MS).millis(),
            bounds: Bounds::new(time, rules),
            scratch,
            parser: Parser::new(body, format),
            body,
            end: 0,
            tail: None,
            batch,
            counts: Counts::default(),
            appended: 0,
            comments_changed: !reusable || cache.comments_unsettled,
            placed: 0,
            waiting: Vec::new(),
            has_fresh_refusals: false,
            culprit: None,
        }
    }

    /// Reads the body to its end, or to what makes it refusable.
    pub(super) fn run(&mut self) -> Result<(), IngestError> {
        let mut next = 0;
        loop {
            next = self.same_layout(next)?;
            if self.scratch.lines.len().is_multiple_of(OTHER_LINES) {
                self.bounds.check(&self.counts)?;
            }
            if !self.parser.skip_comments()? {
                break;
            }
            let after = self.by_text()?;
            self.hand_exemplar_on(self.scratch.lines.len() - 1, after.map(|after| after - 1));
            next = after.unwrap_or(next);
        }
        if !self.waiting.is_empty() {
            self.give_places()?;
        }
        self.tail = self.key_of_gap(self.body.len());
        self.comments_changed |= self.tail != self.cache.tail;
        if self.rules.limits.samples > 0 && self.appended > self.rules.limits.samples {
            return Err(IngestError::SampleLimit);
        }
        self.mark_vanished();
        Ok(())
    }

    /// Reads lines while they are those of the last body from `next` on, and returns the one that was not there. The
    /// parser stands where they end.
    fn same_layout(&mut self, mut next: usize) -> Result<usize, IngestError> {
        let (old, body, keys) = (self.old, self.body, &self.cache.keys);
        let mut gaps = gaps_from(&self.cache.gaps, next);
        let (mut at, mut kind) = (self.parser.at(), self.parser.kind());
        let mut old_kind = if next == 0 { MetricKind::Unknown } else { self.cache.lines[next - 1].kind };
        while let Some(&line) = old.get(next) {
            if old_kind != kind || line.fate.is_repeated() || self.scratch.matched[next] != Matched::No {
                break;
            }
            let gap = gaps.first().copied().filter(|gap| gap.line as usize == next);
            let text = match gap {
                None => at,
                Some(Gap { bytes, key, .. }) => match body.get(at..at + bytes as usize) {
                    Some(comments) if keys.of(comments) == key => at + bytes as usize,
                    _ => break,
                },
            };
            let text_end = text + line.bytes as usize;
            // With other white space before the value, the line is read with care.
            if body.get(text_end) != Some(&b' ') || keys.of(&body[text..text_end]) != line.key {
                break;
            }
            let Some((number, timestamp, end)) = self.parser.tail(text_end + 1) else { break };
            if let Some(gap) = gap {
                self.push_gap(at, gap.bytes, gap.key);
                gaps = &gaps[1..];
            }
            self.known(next, line, line.kind, Reading { key: line.key, text, text_end, end, number, timestamp });
            self.hand_exemplar_on(self.scratch.lines.len() - 1, Some(next));
            (at, kind, old_kind) = (end, line.kind, line.kind);
            next += 1;
            if next.is_multiple_of(KNOWN_LINES) {
                self.bounds.check(&self.counts)?;
            }
        }
        self.parser.seek(at, kind);
        Ok(next)
    }

    /// Reads the sample line at which the parser stands. Returns the line of the last body that should come next, if
    /// this one was in it.
    fn by_text(&mut self) -> Result<Option<usize>, IngestError> {
        let (text, kind) = (self.parser.at(), self.parser.kind());
        let gap = self.key_of_gap(text);
        if let Some(key) = gap {
            self.push_gap(self.end, (text - self.end) as u32, key);
        }
        self.fill_index();
        if let Some(reading) = self.split(text)
            && let Some(old) = self.find_old(reading.key)
            && let Some(next) = self.again(old, kind, reading)
        {
            self.parser.seek(reading.end, kind);
            self.comments_changed |= gap != self.old_gap(old);
            return Ok(Some(next));
        }
        let Some(Entry::Sample(sample)) = self.parser.entry()? else {
            unreachable!("the parser stands at a sample");
        };
        let reading = Reading {
            key: self.cache.keys.of(sample.series),
            text,
            text_end: text + sample.series.len(),
            end: self.parser.at(),
            number: sample.value,
            timestamp: sample.timestamp,
        };
        if let Some(old) = self.find_old(reading.key)
            && let Some(next) = self.again(old, kind, reading)
        {
            self.comments_changed |= gap != self.old_gap(old);
            return Ok(Some(next));
        }
        self.first_time(kind, reading)?;
        self.comments_changed |= gap.is_some();
        Ok(None)
    }

    /// Of what stands between the last line and `text`.
    fn key_of_gap(&self, text: usize) -> Option<Key> {
        (self.end < text).then(|| self.cache.keys.of(&self.body[self.end..text]))
    }

    /// The comments before the line that comes next.
    fn push_gap(&mut self, start: usize, bytes: u32, key: Key) {
        self.scratch.gaps.push(Gap { line: self.scratch.lines.len() as u32, bytes, key });
        self.scratch.gap_starts.push(start as u32);
    }

    /// The comments before line `at` of the last body.
    fn old_gap(&self, at: usize) -> Option<Key> {
        let gap = gaps_from(&self.cache.gaps, at).first()?;
        (gap.line as usize == at).then_some(gap.key)
    }

    /// Guesses that the line at `text` is a series, a space and a number, without looking at the series. Only a text
    /// that is known makes the guess true.
    fn split(&self, text: usize) -> Option<Reading> {
        let rest = &self.body[text..];
        let length = memchr::memchr(b'\n', rest)?;
        let space = memchr::memrchr(b' ', &rest[..length])?;
        let number = whole_number(&rest[space + 1..length])?;
        let key = self.cache.keys.of(&rest[..space]);
        Some(Reading { key, text, text_end: text + space, end: text + length + 1, number, timestamp: None })
    }

    fn fill_index(&mut self) {
        if std::mem::replace(&mut self.scratch.indexed, true) {
            return;
        }
        let (index, old) = (&mut self.scratch.index, self.old);
        let hash = |at: &u32| old[*at as usize].key.short();
        index.reserve(old.len(), hash);
        for at in (0..old.len() as u32).filter(|at| !old[*at as usize].fate.is_repeated()) {
            index.insert_unique(hash(&at), at, hash);
        }
    }

    /// The line of the last body with this series text.
    fn find_old(&self, key: Key) -> Option<usize> {
        let at = self.scratch.index.find(key.short(), |at| self.old[*at as usize].key == key)?;
        Some(*at as usize)
    }

    /// Takes line `at` of the last body out of the index.
    fn forget_old(&mut self, at: usize) {
        let hash = self.old[at].key.short();
        if let Ok(entry) = self.scratch.index.find_entry(hash, |other| *other as usize == at) {
            entry.remove();
        }
    }

    /// A line whose text is that of line `at` of the last body: returns the next one, or `None` if the text means
    /// another series now.
    fn again(&mut self, at: usize, kind: MetricKind, reading: Reading) -> Option<usize> {
        let line = self.old[at];
        if line.fate != Fate::Dropped && self.scratch.matched[at] != Matched::No {
            match line.fate {
                Fate::Refused => self.nowhere(kind, reading),
                _ => self.repeated(line.series, kind, reading),
            }
            return Some(at + 1);
        }
        if bound(line.kind) != bound(kind) {
            self.scratch.matched[at] = Matched::Seen;
            self.forget_old(at);
            return None;
        }
        self.known(at, line, kind, reading);
        Some(at + 1)
    }

    /// A line whose text is that of line `at` of the last body, for the first time in this one.
    #[inline]
    fn known(&mut self, at: usize, line: Line, kind: MetricKind, reading: Reading) {
        if line.fate == Fate::Dropped {
            self.counts.scraped += 1;
            self.push(reading, kind, Fate::Dropped, line.series);
            return;
        }
        if line.fate == Fate::Refused {
            let (fate, series) = self.wait(reading);
            self.count_kept();
            self.scratch.matched[at] = Matched::Seen;
            self.push(reading, kind, fate, series);
            return;
        }
        let fate = self.append(line.series, reading.number, reading.timestamp);
        self.count_kept();
        self.placed += 1;
        self.scratch.matched[at] = if fate == Fate::Tracked { Matched::Tracked } else { Matched::Seen };
        self.push(reading, kind, fate, line.series);
    }

    /// A text that this body already had.
    fn repeated(&mut self, series: SeriesRef, kind: MetricKind, reading: Reading) {
        let mut fate = Fate::Repeated;
        if reading.timestamp.is_some() && self.rules.honor_timestamps {
            if self.append(series, reading.number, reading.timestamp) == Fate::Tracked {
                fate = Fate::RepeatedTracked;
            }
        } else {
            self.counts.duplicates += 1;
        }
        self.count_kept();
        self.push(reading, kind, fate, series);
    }

    /// A text that this body already had, whose series has no place.
    fn nowhere(&mut self, kind: MetricKind, reading: Reading) {
        self.counts.duplicates += 1;
        self.count_kept();
        self.push(reading, kind, Fate::Dropped, SeriesRef(0));
    }

    /// A text that the last body did not have, or that means another series now. The parser has just read it.
    fn first_time(&mut self, kind: MetricKind, reading: Reading) -> Result<(), IngestError> {
        let Scratch { fresh, lines, .. } = &*self.scratch;
        let (key, hash) = (reading.key, reading.key.short());
        if let Some(&at) = fresh.find(hash, |at| lines[*at as usize].key == key) {
            let Line { fate, series, .. } = lines[at as usize];
            match fate {
                Fate::Dropped => {}
                Fate::Refused => {
                    self.nowhere(kind, reading);
                    return Ok(());
                }
                _ => {
                    self.repeated(series, kind, reading);
                    return Ok(());
                }
            }
        }
        let at = lines.len() as u32;
        // A sample that fails the scrape counts as scraped.
        let resolved = self.rules.resolve(self.parser.labels()).inspect_err(|_| self.counts.scraped += 1)?;
        match resolved {
            None => {
                self.counts.scraped += 1;
                self.push(reading, kind, Fate::Dropped, SeriesRef(0));
            }
            Some(_) if self.rules.limits.series > 0 => {
                let (fate, series) = self.wait(reading);
                self.has_fresh_refusals = true;
                self.count_kept();
                self.push(reading, kind, fate, series);
            }
            Some(labels) => {
                let over = self.rules.limits.samples > 0 && self.appended >= self.rules.limits.samples;
                let series = if over { Ok(SeriesRef(0)) } else { self.batch.series(&labels) };
                let (fate, series) = match series {
                    Err(AppendError::TooManySeries) => {
                        self.has_fresh_refusals = true;
                        self.wait(reading)
                    }
                    series => {
                        let series = series.inspect_err(|_| self.counts.scraped += 1)?;
                        let ahead = self.counts.out_of_bounds;
                        let fate = self.append(series, reading.number, reading.timestamp);
                        let appended = !over && self.counts.out_of_bounds == ahead;
                        self.counts.added += usize::from(appended && !self.cache.learned.has(key));
                        (fate, series)
                    }
                };
                self.count_kept();
                self.push(reading, kind, fate, series);
            }
        }
        let Scratch { fresh, lines, .. } = &mut *self.scratch;
        fresh.insert_unique(hash, at, |at| lines[*at as usize].key.short());
        Ok(())
    }

    /// Hands a sample to the batch. Above the sample limit nothing is handed over, only counted.
    #[inline]
    pub(super) fn append(&mut self, series: SeriesRef, number: f64, timestamp: Option<i64>) -> Fate {
        let limit = self.rules.limits.samples;
        self.appended += 1;
        if limit > 0 && self.appended > limit {
            return Fate::Untracked;
        }
        match timestamp.filter(|_| self.rules.honor_timestamps) {
            None => {
                self.batch.append(series, number);
                Fate::Tracked
            }
            Some(ms) if ms > self.latest => {
                self.counts.out_of_bounds += 1;
                Fate::Untracked
            }
            Some(ms) => {
                self.batch.append_at(series, Timestamp::from_millis(ms), number);
                if self.rules.track_timestamps_staleness { Fate::Tracked } else { Fate::Untracked }
            }
        }
    }

    /// Hands the exemplar that has just been read, that of line `at`, on with its series, if it was appended; not if
    /// line `old` of the last body, which is the same, had it already.
    #[inline]
    pub(super) fn hand_exemplar_on(&mut self, at: usize, old: Option<usize>) {
        let Some(written) = self.parser.take_exemplar() else { return };
        let line = self.scratch.lines[at];
        if line.fate.is_nowhere() {
            return;
        }
        let key = self.cache.keys.of_exemplar(&written);
        self.scratch.exemplars.push((at as u32, key));
        if old.is_some_and(|old| self.cache.exemplar_of(old) == Some(key)) {
            return;
        }
        if written.is_too_long() {
            return;
        }
        let at = Timestamp::from_millis(written.timestamp.unwrap_or(self.latest - MAX_AHEAD_MS));
        let exemplar = Exemplar { labels: &written.pairs(), value: written.value, at };
        if exemplar.fits() && at.millis() <= self.latest {
            self.batch.exemplar(line.series, &exemplar);
            self.counts.exemplars += 1;
        }
    }

    #[inline]
    fn count_kept(&mut self) {
        self.counts.scraped += 1;
        self.counts.kept += 1;
    }

    #[inline]
    fn push(&mut self, reading: Reading, kind: MetricKind, fate: Fate, series: SeriesRef) {
        let Reading { key, text, text_end, end, .. } = reading;
        self.scratch.lines.push(Line { key, series, bytes: (text_end - text) as u32, kind, fate });
        self.end = end;
    }

    /// Appends stale markers for the series that the last body had and this one has not.
    fn mark_vanished(&mut self) {
        if !self.cache.live {
            return;
        }
        let old = self.cache.lines.iter().zip(&self.scratch.matched);
        let gone = old.filter(|(line, matched)| line.fate.is_tracked() && **matched != Matched::Tracked);
        let mut gone: HashSet<SeriesRef> = gone.map(|(line, _)| line.series).collect();
        if gone.is_empty() {
            return;
        }
        // Another text may stand for the same series.
        for line in self.scratch.lines.iter().filter(|line| line.fate.is_tracked()) {
            gone.remove(&line.series);
        }
        let mut gone: Vec<SeriesRef> = gone.into_iter().collect();
        gone.sort_unstable();
        for series in gone {
            self.batch.append(series, STALE_NAN);
        }
    }
}
