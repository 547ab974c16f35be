//! The exemplars of a block: the file `exemplars`. Bytes: `docs/format/block.md`.

use std::path::PathBuf;

use crate::codec::{Decoder, Encoder, Malformed};
use crate::error::Error;
use crate::exemplar::Exemplar;
use crate::fs::Fs;
use crate::labels::{Labels, METRIC_NAME};
use crate::matcher::{MatchOp, Matcher};
use crate::pages::{Cursor, FileKind, PageWriter, Pages};
use crate::sample::Timestamp;

pub(crate) const EXEMPLARS_FILE: &str = "exemplars";

pub(crate) const EXEMPLARS_KIND: FileKind = FileKind { magic: *b"SBex", version: 1 };

/// What an exemplar takes at least: its time, its value, how many labels it has.
const MIN_EXEMPLAR_BYTES: usize = 1 + 8 + 1;
/// What a label takes at least: two lengths, and a value that is not empty.
const MIN_LABEL_BYTES: usize = 3;
/// What the two lengths before a series take at most.
const MAX_LENGTHS_BYTES: u64 = 20;

/// Writes such a file.
#[derive(Debug)]
pub(super) struct ExemplarsWriter {
    out: PageWriter,
    last: Option<Labels>,
    count: u64,
    labels: Vec<u8>,
    exemplars: Vec<u8>,
}

impl ExemplarsWriter {
    pub(super) fn create(fs: &dyn Fs, path: PathBuf) -> Result<Self, Error> {
        let out = PageWriter::create(fs, path, EXEMPLARS_KIND)?;
        Ok(Self { out, last: None, count: 0, labels: Vec::new(), exemplars: Vec::new() })
    }

    /// Adds the exemplars of a series, at least one. Series come in the order of their labels, each once; exemplars in the
    /// order of their times, no time twice.
    pub(super) fn add(&mut self, labels: &Labels, exemplars: &[Exemplar]) -> Result<(), Error> {
        if self.last.as_ref().is_some_and(|last| last >= labels) {
            return Err(Error::Memory { what: "exemplars of series that are out of order" });
        }
        self.labels.clear();
        self.exemplars.clear();
        put_labels(&mut self.labels, labels);
        self.exemplars.put_uvarint(exemplars.len() as u64);
        let mut last: Option<i64> = None;
        for exemplar in exemplars {
            let at = exemplar.timestamp.millis();
            match last {
                None => self.exemplars.put_varint(at),
                Some(last) if last < at => self.exemplars.put_uvarint(at.wrapping_sub(last) as u64),
                Some(_) => return Err(Error::Memory { what: "exemplars of a series that are out of order" }),
            }
            self.exemplars.put_f64(exemplar.value);
            put_labels(&mut self.exemplars, &exemplar.labels);
            last = Some(at);
        }
        let body = self.out.body();
        body.put_uvarint(self.labels.len() as u64);
        body.put_uvarint(self.exemplars.len() as u64);
        body.extend_from_slice(&self.labels);
        body.extend_from_slice(&self.exemplars);
        self.count += exemplars.len() as u64;
        self.last = Some(labels.clone());
        self.out.flush()
    }

    /// Writes the rest and syncs the file. Gives how many exemplars are in it, and its size.
    pub(super) fn finish(self) -> Result<(u64, u64), Error> {
        Ok((self.count, self.out.finish()?))
    }
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.put_uvarint(labels.len() as u64);
    for (name, value) in labels {
        out.put_bytes(name.as_bytes());
        out.put_bytes(value.as_bytes());
    }
}

/// Takes labels off: sorted, no name twice, no value empty. They replace what is in `out`.
fn take_labels<'a>(input: &mut Decoder<'a>, out: &mut Vec<(&'a str, &'a str)>) -> Result<(), Malformed> {
    out.clear();
    for _ in 0..input.count(MIN_LABEL_BYTES)? {
        let at = *input;
        let (name, value) = (input.text()?, input.text()?);
        if value.is_empty() || out.last().is_some_and(|(last, _)| *last >= name) {
            return Err(at.malformed("labels out of order"));
        }
        out.push((name, value));
    }
    Ok(())
}

/// Such a file, open. Its pages are checked when they are first read.
#[derive(Debug)]
pub(super) struct ExemplarsFile(Pages);

impl ExemplarsFile {
    pub(super) fn open(fs: &dyn Fs, path: PathBuf) -> Result<Self, Error> {
        Pages::open(fs, path, EXEMPLARS_KIND).map(Self)
    }

    pub(super) fn pages(&self) -> &Pages {
        &self.0
    }

    /// Goes through its series.
    pub(super) fn series(&self) -> AllSeries<'_> {
        AllSeries { pages: &self.0, at: 0, number: 0 }
    }
}

/// Goes through the series of such a file, in the order of their labels.
#[derive(Debug)]
pub(super) struct AllSeries<'f> {
    pages: &'f Pages,
    at: u64,
    number: u32,
}

/// A series of such a file; nothing of it has been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeriesExemplars<'f> {
    pages: &'f Pages,
    /// Which one it is, from 0.
    pub(super) number: u32,
    /// Where it begins.
    pub(super) at: u64,
    labels_len: usize,
    len: usize,
}

impl<'f> AllSeries<'f> {
    /// The next series.
    pub(super) fn next(&mut self) -> Result<Option<SeriesExemplars<'f>>, Error> {
        let left = self.pages.len() - self.at;
        if left == 0 {
            return Ok(None);
        }
        let mut lengths = Cursor::exactly(self.pages, self.at, left.min(MAX_LENGTHS_BYTES) as usize)?;
        let before = lengths.input.remaining();
        let (labels_len, len) =
            lengths.take(|input| Ok((input.uvarint_as::<usize>()?, input.uvarint_as::<usize>()?)))?;
        let at = self.at + (before - lengths.input.remaining()) as u64;
        let end = labels_len.checked_add(len).and_then(|len| at.checked_add(len as u64));
        self.at = end.filter(|&end| end <= self.pages.len()).ok_or_else(|| lengths.corrupt("points beyond the end"))?;
        let number = self.number;
        self.number = number.saturating_add(1);
        Ok(Some(SeriesExemplars { pages: self.pages, number, at, labels_len, len }))
    }
}

impl<'f> SeriesExemplars<'f> {
    /// Puts its labels, sorted, in the place of what is in `out`.
    pub(super) fn labels(&self, out: &mut Vec<(&'f str, &'f str)>) -> Result<(), Error> {
        let mut cursor = Cursor::exactly(self.pages, self.at, self.labels_len)?;
        cursor.take(|input| take_labels(input, out))?;
        if cursor.input.is_empty() { Ok(()) } else { Err(cursor.corrupt("more than the labels of a series")) }
    }

    /// Hands the exemplars that are of a `wanted` time to `each`, in ascending time. Of the others no memory is taken.
    pub(super) fn read(
        &self,
        mut wanted: impl FnMut(Timestamp) -> bool,
        mut each: impl FnMut(Exemplar),
    ) -> Result<(), Error> {
        let mut cursor = Cursor::exactly(self.pages, self.at + self.labels_len as u64, self.len)?;
        let mut pairs = Vec::new();
        cursor.take(|input| {
            let count = input.count(MIN_EXEMPLAR_BYTES)?;
            if count == 0 {
                return Err(input.malformed("a series without exemplars"));
            }
            let mut last: Option<i64> = None;
            for _ in 0..count {
                let at = *input;
                let ms = match last {
                    None => input.varint()?,
                    Some(last) => {
                        let step = input.uvarint()?;
                        let next = last.checked_add_unsigned(step).filter(|_| step > 0);
                        next.ok_or(at.malformed("exemplars out of order"))?
                    }
                };
                last = Some(ms);
                let (timestamp, value) = (Timestamp::from_millis(ms), input.f64()?);
                take_labels(input, &mut pairs)?;
                if wanted(timestamp) {
                    each(Exemplar { labels: Labels::from_sorted(pairs.iter().copied()), value, timestamp });
                }
            }
            if input.is_empty() { Ok(()) } else { Err(input.malformed("more than the exemplars of a series")) }
        })
    }
}

/// Which series of such a file are looked for: those that pass all matchers of any selector.
pub(super) struct Wanted<'m, S> {
    selectors: &'m [S],
    /// If all of them name a metric: the last of these.
    last_metric: Option<&'m str>,
}

impl<'m, S: AsRef<[Matcher]>> Wanted<'m, S> {
    pub(super) fn new(selectors: &'m [S]) -> Self {
        let metric = |matchers: &'m S| {
            let named = |m: &&Matcher| m.op() == MatchOp::Equal && m.name() == METRIC_NAME && !m.value().is_empty();
            matchers.as_ref().iter().find(named).map(Matcher::value)
        };
        let metrics: Option<Vec<&str>> = selectors.iter().map(metric).collect();
        Self { selectors, last_metric: metrics.and_then(|metrics| metrics.into_iter().max()) }
    }

    /// Whether the series with these labels passes.
    pub(super) fn takes(&self, labels: &[(&str, &str)]) -> bool {
        let value = |name: &str| labels.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value);
        let passes = |matchers: &[Matcher]| matchers.iter().all(|matcher| matcher.matches(value(matcher.name())));
        self.selectors.iter().any(|matchers| passes(matchers.as_ref()))
    }

    /// Whether neither this series nor one behind it passes.
    pub(super) fn is_over(&self, labels: &[(&str, &str)]) -> bool {
        // The name of the metric comes first, but for what sorts before it.
        let behind = |last: &str| match labels.first() {
            Some(&(METRIC_NAME, metric)) => metric > last,
            Some(&(name, _)) => name > METRIC_NAME,
            None => false,
        };
        self.last_metric.is_some_and(behind)
    }
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests;
