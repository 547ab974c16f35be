//! From a body to appended samples, with as little parsing as possible.
//!
//! The cache holds the last good body of a target and, for each of its sample lines, the series it stands for. The
//! next body is read in two steps:
//!
//! 1. **Same layout.** While the bytes up to a line's value (comments before it included) are those of the next line
//!    of the last body, only the value is parsed.
//! 2. **Same text.** Else the text before the value is looked up among the lines of the last body, by hash. The index
//!    is made when a scrape first needs it, so that a target whose layout does not change pays nothing for it.
//!
//! Only a text that the last body did not have is parsed, relabeled and looked up in the store. What comes out is what
//! parsing everything anew would give; a property test holds the two against each other.

mod budget;
mod ingest;
mod line_points;
mod points;
mod target;

use std::hash::BuildHasher;

use foldhash::fast::{FixedState, RandomState};
use hashbrown::{HashSet, HashTable};
use tsdb::{AppendError, STALE_NAN, SeriesRef, Timestamp};

pub use self::budget::Culprit;
use self::ingest::Ingest;
pub use self::target::TargetCache;
use crate::metadata::FamilyTable;
use crate::parse::{Entry, Format, MetricKind, ParseError, Parser, ProtobufError};
use crate::sample_rules::{LabelError, SampleRules};
use crate::store::Batch;

/// A body larger than this is refused whatever the configuration says.
pub(crate) const MAX_BODY_BYTES: usize = 1 << 30;

/// What a scrape brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples in the body.
    pub scraped: usize,
    /// Those that relabeling left.
    pub kept: usize,
    /// Series that the last body did not have.
    pub added: usize,
    /// Samples not appended: their line is in the body twice.
    pub duplicates: usize,
    /// Samples not appended: their timestamp is too far ahead.
    pub out_of_bounds: usize,
    /// Exemplars handed on.
    pub exemplars: usize,
    /// Samples not appended: there was no place for their series in the budget of the target.
    pub refused: usize,
}

/// Why a body was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// It is malformed.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It is malformed, in protocol buffers.
    #[error(transparent)]
    Protobuf(#[from] ProtobufError),
    /// A series cannot be stored.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// It has more samples than `sample_limit`.
    #[error("sample limit exceeded")]
    SampleLimit,
    /// It is larger than any body may be.
    #[error("body size limit exceeded")]
    BodySize,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] AppendError),
}

/// The last good body of a target and the series that its lines stand for. About 32 bytes per line beside the body.
#[derive(Debug, Default)]
pub struct SeriesCache {
    body: Vec<u8>,
    lines: Vec<Line>,
    /// The grammar of `body`, if the texts of its lines still mean the same series.
    format: Option<Format>,
    /// Whether the last scrape brought `lines`. If not, they have got their stale markers.
    live: bool,
    /// Scrapes so far.
    scrapes: u64,
    /// Of the comments of `body`, whatever their order.
    comments_hash: u64,
    families: FamilyTable,
    culprit: Option<Culprit>,
}

/// A sample line of a body, with the comments before it.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Where the name of the series begins.
    text: u32,
    /// Where the value begins.
    value: u32,
    /// Where the next line begins.
    end: u32,
    /// What the last `TYPE` said before the comments of this line, and after them.
    kind_before: MetricKind,
    kind: MetricKind,
    fate: Fate,
    /// Whether the target names the moment of the sample.
    timestamped: bool,
    number: f64,
    series: SeriesRef,
}

/// What became of a line.
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
    /// The same text was there before; not appended, or at a moment of its own.
    Repeated,
    /// As `Repeated`, but tracked.
    RepeatedTracked,
}

impl Fate {
    fn is_tracked(self) -> bool {
        matches!(self, Self::Tracked | Self::RepeatedTracked)
    }

    /// Whether no series stands behind it.
    fn is_nowhere(self) -> bool {
        matches!(self, Self::Dropped | Self::Refused)
    }

    fn is_repeated(self) -> bool {
        matches!(self, Self::Repeated | Self::RepeatedTracked)
    }
}

/// Memory that scrapes need while they run, lent from one to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    lines: Vec<Line>,
    /// Per line of the last body: whether this body has it, and tracks it.
    matched: Vec<Matched>,
    /// Lines of the last body by text, if `indexed`.
    index: HashTable<u32>,
    indexed: bool,
    /// Lines of this body whose text the last one did not have.
    fresh: HashTable<u32>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matched {
    No,
    Seen,
    Tracked,
}

impl SeriesCache {
    /// A cache that knows nothing, and keeps what the target says about its families in `families`.
    #[must_use]
    pub fn new(families: FamilyTable) -> Self {
        Self { families, ..Self::default() }
    }

    /// Appends the samples of `body` to `batch`, and stale markers for the series that the last body had and this one
    /// has not. `now` is the moment of the scrape, as `batch` knows it.
    ///
    /// On success `body` is taken, and the one before it left in its place. Cost: about 20 ns per sample while the
    /// layout stays, 50 ns where it does not, and the store's.
    ///
    /// # Errors
    /// If the body as a whole must be refused. `batch` is then half filled and must be dropped; the cache is as it was.
    /// The counts are right up to the place of the error; for a sample limit they are those of the whole body.
    pub fn ingest(
        &mut self,
        body: &mut Vec<u8>,
        format: Format,
        rules: &SampleRules,
        now: Timestamp,
        scratch: &mut Scratch,
        batch: &mut impl Batch,
    ) -> (Counts, Result<(), IngestError>) {
        if body.len() > MAX_BODY_BYTES {
            return (Counts::default(), Err(IngestError::BodySize));
        }
        let mut ingest = Ingest::new(self, body, format, rules, now, scratch, batch);
        let result = ingest.run();
        let (counts, comments_changed, culprit) = (ingest.counts, ingest.comments_changed, ingest.culprit.take());
        if let Err(error) = result {
            return (counts, Err(error));
        }
        self.blame(counts.refused, culprit);
        self.scrapes += 1;
        self.keep(body, &scratch.lines);
        self.format = Some(format);
        self.live = true;
        if comments_changed {
            let hash = self.hash_comments();
            if std::mem::replace(&mut self.comments_hash, hash) != hash {
                self.update_families(format, batch);
            }
        }
        (counts, Ok(()))
    }

    /// Keeps what is to blame for refused series: `culprit`, or, if there are no new ones, what was before.
    fn blame(&mut self, refused: usize, culprit: Option<Culprit>) {
        if refused == 0 || culprit.is_some() {
            self.culprit = culprit;
        }
    }

    /// Makes `body` and `lines` the last ones. A buffer much larger than its body is not taken but copied from: it
    /// has served another target.
    fn keep(&mut self, body: &mut Vec<u8>, lines: &[Line]) {
        if body.capacity() <= body.len() + body.len() / 4 + 4096 {
            std::mem::swap(&mut self.body, body);
        } else {
            self.body.clear();
            self.body.shrink_to(body.len() + body.len() / 2);
            self.body.reserve_exact(body.len());
            self.body.extend_from_slice(body);
        }
        self.lines.clear();
        self.lines.shrink_to(lines.len() * 2);
        self.lines.reserve_exact(lines.len());
        self.lines.extend_from_slice(lines);
    }

    /// Appends stale markers for all series of the last body, if they have not got them yet: the target cannot be
    /// scraped, or goes away.
    pub fn mark_stale(&mut self, batch: &mut impl Batch) {
        self.scrapes += 1;
        if !std::mem::take(&mut self.live) {
            return;
        }
        let mut series: Vec<SeriesRef> =
            self.lines.iter().filter(|line| line.fate.is_tracked()).map(|line| line.series).collect();
        series.sort_unstable();
        series.dedup();
        for series in series {
            batch.append(series, STALE_NAN);
        }
    }

    /// Appends once more what the store has not taken from the last body because it had let go of the series
    /// `unknown`, which are found anew. A stale marker is not missed.
    ///
    /// # Errors
    /// If the store refuses to make a series again.
    pub fn append_again(
        &mut self,
        unknown: &[SeriesRef],
        rules: &SampleRules,
        batch: &mut impl Batch,
    ) -> Result<(), IngestError> {
        let Some(format) = self.format.filter(|_| self.live && !unknown.is_empty()) else { return Ok(()) };
        let unknown: HashSet<SeriesRef> = unknown.iter().copied().collect();
        let mut parser = Parser::new(&self.body, format);
        for line in self.lines.iter_mut().filter(|line| unknown.contains(&line.series) && !line.fate.is_nowhere()) {
            parser.seek(line.text as usize, line.kind);
            let Some(Entry::Sample(sample)) = parser.entry()? else { continue };
            let Some(labels) = rules.resolve(parser.labels())? else { continue };
            line.series = batch.series(&labels)?;
            match sample.timestamp.filter(|_| rules.honor_timestamps) {
                Some(ms) => batch.append_at(line.series, Timestamp::from_millis(ms), sample.value),
                None if line.fate.is_repeated() => {}
                None => batch.append(line.series, sample.value),
            }
        }
        Ok(())
    }

    /// The series that get stale markers when they vanish.
    fn tracked(&self) -> impl Iterator<Item = SeriesRef> {
        self.lines.iter().filter(|line| line.fate.is_tracked()).map(|line| line.series)
    }

    /// Forgets the last body; gives the series that it brought, if they have not got stale markers.
    fn let_go(&mut self) -> Vec<SeriesRef> {
        let series = if std::mem::take(&mut self.live) { self.tracked().collect() } else { Vec::new() };
        (self.body, self.lines, self.format) = (Vec::new(), Vec::new(), None);
        series
    }

    /// Forgets what the lines of the last body mean, because the rules have changed. Which series were there is kept,
    /// so that those that the new rules no longer bring become stale.
    pub fn invalidate(&mut self) {
        self.format = None;
    }

    /// What the target says about its families.
    #[must_use]
    pub fn families(&self) -> &FamilyTable {
        &self.families
    }

    /// Bytes of the last good body.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// A hash of all that stands between the samples of the last body. Samples that change places within their family
    /// leave it as it is.
    fn hash_comments(&self) -> u64 {
        let hasher = FixedState::default();
        let (mut start, mut hash) = (0, 0u64);
        for (text, end) in self.lines.iter().map(|line| (line.text as usize, line.end as usize)) {
            if start < text {
                hash = hash.wrapping_add(hasher.hash_one(&self.body[start..text]));
            }
            start = end;
        }
        hash.wrapping_add(hasher.hash_one(&self.body[start..]))
    }

    /// Reads the comments of the last body again. Its samples are not looked at.
    fn update_families(&self, format: Format, batch: &mut impl Batch) {
        let mut parser = Parser::new(&self.body, format);
        let mut gaps = self.lines.iter().scan(0, |start, line| {
            let gap = (*start as usize, line.text as usize);
            *start = line.end;
            Some(gap)
        });
        let tail = (self.lines.last().map_or(0, |line| line.end as usize), self.body.len());
        let mut gap = gaps.next().unwrap_or(tail);
        let mut in_tail = gap == tail;
        parser.seek(gap.0, MetricKind::Unknown);
        let entries = std::iter::from_fn(|| {
            loop {
                if parser.at() < gap.1 {
                    // A gap holds comments and white space only, and has been parsed before.
                    if let Ok(Some(entry)) = parser.entry()
                        && !matches!(entry, Entry::Sample(_))
                    {
                        return Some(entry);
                    }
                }
                if in_tail {
                    return None;
                }
                gap = gaps.next().unwrap_or_else(|| {
                    in_tail = true;
                    tail
                });
                parser.seek(gap.0, MetricKind::Unknown);
            }
        });
        self.families.update(self.scrapes, entries, |name, metadata| batch.metadata(name, metadata));
    }
}

impl Line {
    /// Name and labels as the body writes them, without the white space before the value.
    fn series_text<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        body[self.text as usize..self.value as usize].trim_ascii_end()
    }
}

impl Scratch {
    fn begin(&mut self, old_lines: usize) {
        self.lines.clear();
        self.matched.clear();
        self.matched.resize(old_lines, Matched::No);
        self.index.clear();
        self.indexed = false;
        self.fresh.clear();
    }
}

#[cfg(test)]
mod tests;
