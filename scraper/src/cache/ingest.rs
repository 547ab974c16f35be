//! One run over a body: same layout, else same text, else from scratch.

use std::hash::BuildHasher;

use hashbrown::HashSet;
use tsdb::{AppendError, STALE_NAN, SeriesRef, Timestamp};

use super::budget::Culprit;
use super::{Counts, Fate, IngestError, Line, Matched, Scratch, SeriesCache};
use crate::parse::{Entry, Format, MetricKind, Parser, whole_number};
use crate::sample_rules::SampleRules;
use crate::store::{Batch, Exemplar};

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
    pub(super) scratch: &'c mut Scratch,
    pub(super) parser: Parser<'b>,
    body: &'b [u8],
    pub(super) batch: &'c mut B,
    pub(super) counts: Counts,
    /// Samples that count against the limit.
    appended: usize,
    /// Whether the comments may be others than those of the last body.
    pub(super) comments_changed: bool,
    /// Lines whose series have a place in the budget.
    pub(super) placed: usize,
    /// Lines that wait for one, by position.
    pub(super) waiting: Vec<u32>,
    /// Whether one of those was not refused in the last body.
    pub(super) has_fresh_refusals: bool,
    /// What most of those have in common that found none.
    pub(super) culprit: Option<Culprit>,
}

/// A sample as the line says it.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Where the name begins, the value begins, the next line begins.
    pub(super) text: usize,
    pub(super) value: usize,
    pub(super) end: usize,
    pub(super) number: f64,
    pub(super) timestamp: Option<i64>,
}

/// How many bytes `a` and `b` have in common at their beginning.
#[inline]
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 32;
    let (a_steps, b_steps) = (a.as_chunks::<STEP>().0, b.as_chunks::<STEP>().0);
    let equal = a_steps.iter().zip(b_steps).take_while(|(a, b)| a == b).count() * STEP;
    equal + a[equal..].iter().zip(&b[equal..]).take_while(|(a, b)| a == b).count()
}

/// What follows the last sample of a body.
fn after_last<'b>(lines: &[Line], body: &'b [u8]) -> &'b [u8] {
    &body[lines.last().map_or(0, |line| line.end as usize)..]
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
    /// `scratch` is cleared. `now` is the moment of the scrape.
    pub(super) fn new(
        cache: &'c SeriesCache,
        body: &'b [u8],
        format: Format,
        rules: &'c SampleRules,
        now: Timestamp,
        scratch: &'c mut Scratch,
        batch: &'c mut B,
    ) -> Self {
        let reusable = cache.format == Some(format);
        scratch.begin(cache.lines.len());
        Self {
            cache,
            old: if reusable { &cache.lines } else { &[] },
            rules,
            latest: now.plus_millis(MAX_AHEAD_MS).millis(),
            scratch,
            parser: Parser::new(body, format),
            body,
            batch,
            counts: Counts::default(),
            appended: 0,
            comments_changed: !reusable,
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
            next = self.same_layout(next);
            if !self.parser.skip_comments()? {
                break;
            }
            next = self.by_text()?.unwrap_or(next);
            self.hand_exemplar_on(self.scratch.lines.len() - 1);
        }
        if !self.waiting.is_empty() {
            self.give_places()?;
        }
        self.comments_changed |=
            after_last(&self.cache.lines, &self.cache.body) != after_last(&self.scratch.lines, self.body);
        if self.rules.limits.samples > 0 && self.appended > self.rules.limits.samples {
            return Err(IngestError::SampleLimit);
        }
        self.mark_vanished();
        Ok(())
    }

    /// Reads lines while they are those of the last body from `next` on, and returns the one that was not there. The
    /// parser stands where they end.
    fn same_layout(&mut self, mut next: usize) -> usize {
        let (old, old_body, body) = (self.old, self.cache.body.as_slice(), self.body);
        let (mut at, mut kind) = (self.parser.at(), self.parser.kind());
        let mut start = if next == 0 { 0 } else { self.cache.lines[next - 1].end as usize };
        // Up to here the bodies are known to agree, in bytes of the last one, if `start` there is `at` here.
        let mut agreed = start;
        while let Some(&line) = old.get(next) {
            if line.kind_before != kind || line.fate.is_repeated() || self.scratch.matched[next] != Matched::No {
                break;
            }
            let end = line.end as usize;
            if agreed < end {
                agreed += common_prefix(&old_body[agreed..], &body[at + (agreed - start)..]);
            }
            let moved = |old: u32| at + (old as usize - start);
            let value = moved(line.value);
            let reading = if end <= agreed && !line.timestamped && old_body[end - 1] == b'\n' {
                Reading { text: moved(line.text), value, end: moved(line.end), number: line.number, timestamp: None }
            } else if line.value as usize <= agreed
                && let Some((number, timestamp, end)) = self.parser.tail(value)
            {
                Reading { text: moved(line.text), value, end, number, timestamp }
            } else {
                break;
            };
            self.known(next, line, kind, line.kind, reading);
            self.hand_exemplar_on(self.scratch.lines.len() - 1);
            // A value of another length puts the bodies out of step: compare from the next line on.
            if reading.end != moved(line.end) || agreed < end {
                agreed = end;
            }
            (at, kind, start) = (reading.end, line.kind, end);
            next += 1;
        }
        self.parser.seek(at, kind);
        next
    }

    /// Reads the sample line at which the parser stands. Returns the line of the last body that should come next, if
    /// this one was in it.
    fn by_text(&mut self) -> Result<Option<usize>, IngestError> {
        let (text, kind) = (self.parser.at(), self.parser.kind());
        let gap = &self.body[self.scratch.lines.last().map_or(0, |line| line.end as usize)..text];
        self.fill_index();
        if let Some(reading) = self.split(text)
            && let Some(old) = self.find_old(&self.body[text..reading.value - 1])
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
            text,
            value: self.parser.value_at(),
            end: self.parser.at(),
            number: sample.value,
            timestamp: sample.timestamp,
        };
        if let Some(old) = self.find_old(sample.series)
            && let Some(next) = self.again(old, kind, reading)
        {
            self.comments_changed |= gap != self.old_gap(old);
            return Ok(Some(next));
        }
        self.first_time(sample.series, kind, reading)?;
        self.comments_changed |= !gap.is_empty();
        Ok(None)
    }

    /// The comments before line `at` of the last body.
    fn old_gap(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.old[at - 1].end };
        &self.cache.body[start as usize..self.old[at].text as usize]
    }

    /// Guesses that the line at `text` is a series, a space and a number, without looking at the series. Only a text
    /// that is known makes the guess true.
    fn split(&self, text: usize) -> Option<Reading> {
        let rest = &self.body[text..];
        let length = memchr::memchr(b'\n', rest)?;
        let value = memchr::memrchr(b' ', &rest[..length])? + 1;
        let number = whole_number(&rest[value..length])?;
        Some(Reading { text, value: text + value, end: text + length + 1, number, timestamp: None })
    }

    fn fill_index(&mut self) {
        if std::mem::replace(&mut self.scratch.indexed, true) {
            return;
        }
        let Scratch { index, hasher, .. } = &mut *self.scratch;
        let (body, old) = (self.cache.body.as_slice(), self.old);
        let hash = |at: &u32| hasher.hash_one(old[*at as usize].series_text(body));
        index.reserve(old.len(), hash);
        for at in (0..old.len() as u32).filter(|at| !old[*at as usize].fate.is_repeated()) {
            index.insert_unique(hash(&at), at, hash);
        }
    }

    /// The line of the last body with this series text.
    fn find_old(&self, text: &[u8]) -> Option<usize> {
        let Scratch { index, hasher, .. } = &*self.scratch;
        if index.is_empty() {
            return None;
        }
        let body = self.cache.body.as_slice();
        let at = index.find(hasher.hash_one(text), |at| self.old[*at as usize].series_text(body) == text)?;
        Some(*at as usize)
    }

    /// Takes line `at` of the last body out of the index.
    fn forget_old(&mut self, at: usize) {
        let Scratch { index, hasher, .. } = &mut *self.scratch;
        let hash = hasher.hash_one(self.old[at].series_text(&self.cache.body));
        if let Ok(entry) = index.find_entry(hash, |other| *other as usize == at) {
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
        let kind_before = self.kind_before();
        self.known(at, line, kind_before, kind, reading);
        Some(at + 1)
    }

    /// A line whose text is that of line `at` of the last body, for the first time in this one.
    #[inline]
    fn known(&mut self, at: usize, line: Line, kind_before: MetricKind, kind: MetricKind, reading: Reading) {
        if line.fate == Fate::Dropped {
            self.counts.scraped += 1;
            self.push(reading, kind_before, kind, Fate::Dropped, line.series);
            return;
        }
        if line.fate == Fate::Refused {
            let (fate, series) = self.wait();
            self.count_kept();
            self.scratch.matched[at] = Matched::Seen;
            self.push(reading, kind_before, kind, fate, series);
            return;
        }
        let fate = self.append(line.series, reading);
        self.count_kept();
        self.placed += 1;
        self.scratch.matched[at] = if fate == Fate::Tracked { Matched::Tracked } else { Matched::Seen };
        self.push(reading, kind_before, kind, fate, line.series);
    }

    /// A text that this body already had.
    fn repeated(&mut self, series: SeriesRef, kind: MetricKind, reading: Reading) {
        let mut fate = Fate::Repeated;
        if reading.timestamp.is_some() && self.rules.honor_timestamps {
            if self.append(series, reading) == Fate::Tracked {
                fate = Fate::RepeatedTracked;
            }
        } else {
            self.counts.duplicates += 1;
        }
        self.count_kept();
        let kind_before = self.kind_before();
        self.push(reading, kind_before, kind, fate, series);
    }

    /// A text that this body already had, whose series has no place.
    fn nowhere(&mut self, kind: MetricKind, reading: Reading) {
        self.counts.duplicates += 1;
        self.count_kept();
        let kind_before = self.kind_before();
        self.push(reading, kind_before, kind, Fate::Dropped, SeriesRef(0));
    }

    /// A text that the last body did not have, or that means another series now. The parser has just read it.
    fn first_time(&mut self, text: &[u8], kind: MetricKind, reading: Reading) -> Result<(), IngestError> {
        let Scratch { fresh, hasher, lines, .. } = &*self.scratch;
        let body = self.body;
        let hash = hasher.hash_one(text);
        if let Some(&at) = fresh.find(hash, |at| lines[*at as usize].series_text(body) == text) {
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
        let kind_before = self.kind_before();
        let at = lines.len() as u32;
        match self.rules.resolve(self.parser.labels())? {
            None => {
                self.counts.scraped += 1;
                self.push(reading, kind_before, kind, Fate::Dropped, SeriesRef(0));
            }
            Some(_) if self.rules.limits.series > 0 => {
                let (fate, series) = self.wait();
                self.has_fresh_refusals = true;
                self.count_kept();
                self.push(reading, kind_before, kind, fate, series);
            }
            Some(labels) => {
                let over = self.rules.limits.samples > 0 && self.appended >= self.rules.limits.samples;
                let series = if over { Ok(SeriesRef(0)) } else { self.batch.series(&labels) };
                let (fate, series) = match series {
                    Err(AppendError::TooManySeries) => {
                        self.has_fresh_refusals = true;
                        self.wait()
                    }
                    series => {
                        let series = series?;
                        self.counts.added += usize::from(!over);
                        (self.append(series, reading), series)
                    }
                };
                self.count_kept();
                self.push(reading, kind_before, kind, fate, series);
            }
        }
        let Scratch { fresh, hasher, lines, .. } = &mut *self.scratch;
        fresh.insert_unique(hash, at, |at| hasher.hash_one(lines[*at as usize].series_text(body)));
        Ok(())
    }

    /// Hands a sample to the batch. Above the sample limit nothing is handed over, only counted.
    #[inline]
    pub(super) fn append(&mut self, series: SeriesRef, reading: Reading) -> Fate {
        let limit = self.rules.limits.samples;
        self.appended += 1;
        if limit > 0 && self.appended > limit {
            return Fate::Untracked;
        }
        match reading.timestamp.filter(|_| self.rules.honor_timestamps) {
            None => {
                self.batch.append(series, reading.number);
                Fate::Tracked
            }
            Some(ms) if ms > self.latest => {
                self.counts.out_of_bounds += 1;
                Fate::Untracked
            }
            Some(ms) => {
                self.batch.append_at(series, Timestamp::from_millis(ms), reading.number);
                if self.rules.track_timestamps_staleness { Fate::Tracked } else { Fate::Untracked }
            }
        }
    }

    /// Hands the exemplar that has just been read, that of line `at`, on with its series, if it was appended.
    #[inline]
    pub(super) fn hand_exemplar_on(&mut self, at: usize) {
        if let Some(written) = self.parser.take_exemplar()
            && let line = self.scratch.lines[at]
            && !matches!(line.fate, Fate::Dropped | Fate::Refused)
        {
            let at = Timestamp::from_millis(written.timestamp.unwrap_or(self.latest - MAX_AHEAD_MS));
            let exemplar = Exemplar { labels: &written.pairs(), value: written.value, at };
            if exemplar.fits() {
                self.batch.exemplar(line.series, &exemplar);
                self.counts.exemplars += 1;
            }
        }
    }

    #[inline]
    fn count_kept(&mut self) {
        self.counts.scraped += 1;
        self.counts.kept += 1;
    }

    /// What the last `TYPE` said before the comments of the line that comes next.
    fn kind_before(&self) -> MetricKind {
        self.scratch.lines.last().map_or(MetricKind::Unknown, |line| line.kind)
    }

    #[inline]
    fn push(&mut self, reading: Reading, kind_before: MetricKind, kind: MetricKind, fate: Fate, series: SeriesRef) {
        self.scratch.lines.push(Line {
            text: reading.text as u32,
            value: reading.value as u32,
            end: reading.end as u32,
            kind_before,
            kind,
            fate,
            timestamped: reading.timestamp.is_some(),
            number: reading.number,
            series,
        });
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
