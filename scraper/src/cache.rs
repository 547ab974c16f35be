//! From a body to appended samples, with as little parsing as possible.
//!
//! The cache holds, for each sample line of the last good body of a target, the key of its text, a hash of 128 bits,
//! and the series it stands for. The next body is read in two steps:
//!
//! 1. **Same layout.** While the bytes up to a line's value (comments before it included) have the keys of the next
//!    line of the last body, only the value is parsed.
//! 2. **Same text.** Else the text before the value is looked up among the lines of the last body, by key. The index
//!    is made when a scrape first needs it, so that a target whose layout does not change pays nothing for it.
//!
//! Only a text that the last body did not have is parsed, relabeled and looked up in the store. What comes out is what
//! parsing everything anew would give; a property test holds the two against each other.

mod budget;
mod ingest;
mod learned;
mod line_points;
mod points;
mod resolution;
mod target;
mod text;

use hashbrown::{HashSet, HashTable};
use tokio::time::Instant;
use tsdb::{AppendError, Metadata, STALE_NAN, SeriesRef, Timestamp};

pub use self::budget::Culprit;
use self::budget::Suspects;
use self::ingest::Ingest;
use self::learned::Learned;
pub use self::resolution::schema_of_factor;
pub use self::target::TargetCache;
use self::text::{Gap, Key, Keys};
use crate::metadata::FamilyTable;
use crate::parse::{Entry, Format, MetricKind, ParseError, Parser, ProtobufError};
use crate::sample_rules::{LabelError, SampleRules};
use crate::store::Batch;

/// A body larger than this is refused whatever the configuration says.
pub(crate) const MAX_BODY_BYTES: usize = 1 << 30;

/// Most samples of a body where the configuration gives no limit: the lines of [`DEFAULT_BODY_BYTES`], at the 64 bytes
/// that a short line has.
///
/// [`DEFAULT_BODY_BYTES`]: crate::fetch::DEFAULT_BODY_BYTES
pub(crate) const MAX_SAMPLES: usize = 1 << 20;

/// Most samples of a body whose series it already had, without a timestamp of their own.
const MAX_REPEATS: usize = 100_000;

/// The moment of a scrape, and the one by which its body must have been read.
#[derive(Clone, Copy, Debug)]
pub struct ScrapeTime {
    /// The moment that its samples are of.
    pub at: Timestamp,
    /// Reading is given up then.
    pub deadline: Option<Instant>,
}

impl From<Timestamp> for ScrapeTime {
    fn from(at: Timestamp) -> Self {
        Self { at, deadline: None }
    }
}

/// Bounds of the reading of one body.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    deadline: Option<Instant>,
    /// Most samples.
    samples: usize,
}

impl Bounds {
    fn new(time: ScrapeTime, rules: &SampleRules) -> Self {
        Self { deadline: time.deadline, samples: rules.limits.samples.max(MAX_SAMPLES) }
    }

    /// Checks that a body that is being read keeps within the bounds.
    fn check(&self, counts: &Counts) -> Result<(), IngestError> {
        if counts.scraped > self.samples {
            return Err(IngestError::TooManySamples(self.samples));
        }
        if counts.duplicates > MAX_REPEATS {
            return Err(IngestError::TooManyRepeats(MAX_REPEATS));
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(IngestError::Timeout),
            _ => Ok(()),
        }
    }
}

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
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
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
    /// A native histogram has more buckets than its limit, even at the coarsest resolution.
    #[error("histogram bucket limit exceeded")]
    BucketLimit,
    /// It is larger than any body may be.
    #[error("body size limit exceeded")]
    BodySize,
    /// It has more samples than any body may have without a limit of its own.
    #[error("the body has more than {0} samples")]
    TooManySamples(usize),
    /// It says too many series more than once.
    #[error("the body has more than {0} samples of series that it already had")]
    TooManyRepeats(usize),
    /// It has not been read by the deadline of the scrape.
    #[error("context deadline exceeded while parsing the body")]
    Timeout,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] AppendError),
}

/// What the lines of the last good body of a target stand for: 32 bytes per line, and 24 where comments come before it.
#[derive(Debug, Default)]
pub struct SeriesCache {
    keys: Keys,
    lines: Vec<Line>,
    gaps: Vec<Gap>,
    /// Exemplars of the last body, by line.
    exemplars: Vec<(u32, Key)>,
    /// What follows the last line, if anything does.
    tail: Option<Key>,
    body_bytes: usize,
    /// The grammar of the body, if the texts of its lines still mean the same series.
    format: Option<Format>,
    /// Whether the last scrape brought `lines`. If not, they have got their stale markers.
    live: bool,
    /// Scrapes so far.
    scrapes: u64,
    /// Of the comments of the body, whatever their order.
    comments_hash: u64,
    families: FamilyTable,
    culprit: Option<Culprit>,
    /// Series that bodies which were refused since the last good one have brought.
    learned: Learned<Key>,
    /// Whether a body that was refused has been the last to say something of its families.
    comments_unsettled: bool,
    /// Families that a refused body has described, for the store.
    undelivered: Vec<(String, Metadata)>,
}

/// A sample line of a body.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// Of the series as the body writes it.
    key: Key,
    series: SeriesRef,
    /// Bytes of that text.
    bytes: u32,
    /// What the last `TYPE` before it said.
    kind: MetricKind,
    fate: Fate,
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
    gaps: Vec<Gap>,
    /// Where each of `gaps` begins.
    gap_starts: Vec<u32>,
    exemplars: Vec<(u32, Key)>,
    /// Per line of the last body: whether this body has it, and tracks it.
    matched: Vec<Matched>,
    /// Lines of the last body by text, if `indexed`.
    index: HashTable<u32>,
    indexed: bool,
    /// Lines of this body whose text the last one did not have.
    fresh: HashTable<u32>,
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
    /// Cost: about 30 ns per sample while the layout stays, 80 ns where it does not, and the store's.
    ///
    /// # Errors
    /// If the body as a whole must be refused. `batch` is then half filled and must be dropped; the cache is as it was.
    /// The counts are right up to the place of the error; for a sample limit they are those of the whole body.
    pub fn ingest(
        &mut self,
        body: &[u8],
        format: Format,
        rules: &SampleRules,
        now: impl Into<ScrapeTime>,
        scratch: &mut Scratch,
        batch: &mut impl Batch,
    ) -> (Counts, Result<(), IngestError>) {
        if body.len() > MAX_BODY_BYTES {
            return (Counts::default(), Err(IngestError::BodySize));
        }
        if self.format.is_some_and(|last| last != format) {
            // Its texts may mean other series now, but are not new.
            let kept = self.lines.iter().filter(|line| !line.fate.is_nowhere());
            self.learned.extend(kept.map(|line| line.key), self.lines.len());
        }
        let mut ingest = Ingest::new(self, body, format, rules, now.into(), scratch, batch);
        let result = ingest.run();
        let (counts, comments_changed, culprit) = (ingest.counts, ingest.comments_changed, ingest.culprit.take());
        let (end, tail) = (ingest.end, ingest.tail);
        if let Err(error) = result {
            self.learn(body, format, scratch, end);
            return (counts, Err(error));
        }
        self.learned.clear();
        self.blame(counts.refused, culprit);
        self.scrapes += 1;
        keep(&mut self.lines, &scratch.lines);
        keep(&mut self.gaps, &scratch.gaps);
        keep(&mut self.exemplars, &scratch.exemplars);
        (self.tail, self.body_bytes) = (tail, body.len());
        self.format = Some(format);
        self.live = true;
        self.comments_unsettled = false;
        if comments_changed {
            let hash = self.hash_comments();
            if std::mem::replace(&mut self.comments_hash, hash) != hash {
                self.update_families(body, format, scratch, end, batch);
            }
        }
        (counts, Ok(()))
    }

    /// Keeps what Prometheus keeps of a body that is refused: the series and the families that it has shown before the
    /// place of the error.
    fn learn(&mut self, body: &[u8], format: Format, scratch: &Scratch, end: usize) {
        let fresh = scratch.fresh.iter().map(|at| &scratch.lines[*at as usize]);
        let appended = fresh.filter(|line| !line.fate.is_nowhere() && line.series != SeriesRef(0));
        self.learned.extend(appended.map(|line| line.key), self.lines.len());
        let mut undelivered = std::mem::take(&mut self.undelivered);
        let entries = comments(body, format, scratch, end);
        self.families.update_partly(entries, |name, metadata| undelivered.push((name.to_owned(), metadata.clone())));
        self.undelivered = undelivered;
        // The next good body has its comments read, whatever they are.
        self.comments_hash = self.comments_hash.wrapping_add(1);
        self.comments_unsettled = true;
    }

    /// Keeps what is to blame for refused series: `culprit`, or, if there are no new ones, what was before.
    fn blame(&mut self, refused: usize, culprit: Option<Culprit>) {
        if refused == 0 || culprit.is_some() {
            self.culprit = culprit;
        }
    }

    /// Appends stale markers for all series of the last body, if they have not got them yet: the target cannot be
    /// scraped, or goes away.
    pub fn mark_stale(&mut self, batch: &mut impl Batch) {
        self.scrapes += 1;
        for (family, metadata) in self.undelivered.drain(..) {
            batch.metadata(&family, &metadata);
        }
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

    /// Appends once more what the store has not taken from `body`, the last one, because it had let go of the series
    /// `unknown`, which are found anew. A stale marker is not missed. Gives how many samples are left out because the
    /// store has no place for their series any more; these wait for one from the next scrape on.
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
        let Some(format) = self.format.filter(|_| self.live && !unknown.is_empty()) else { return Ok(0) };
        let unknown: HashSet<SeriesRef> = unknown.iter().copied().collect();
        let mut parser = Parser::new(body, format);
        let (mut refused, mut suspects) = (0, Suspects::default());
        let mut lines = self.lines.iter_mut();
        while let Some(entry) = parser.entry()? {
            let Entry::Sample(sample) = entry else { continue };
            let Some(line) = lines.next() else { break };
            if line.fate.is_nowhere() || !unknown.contains(&line.series) {
                continue;
            }
            let Some(labels) = rules.resolve(parser.labels())? else { continue };
            match batch.series(&labels) {
                Ok(series) => line.series = series,
                Err(AppendError::TooManySeries) => {
                    refused += usize::from(!line.fate.is_repeated() || sample.timestamp.is_some());
                    line.fate = if line.fate.is_repeated() { Fate::Dropped } else { Fate::Refused };
                    line.series = SeriesRef(0);
                    if !suspects.suffice() {
                        suspects.add(&labels);
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            match sample.timestamp.filter(|_| rules.honor_timestamps) {
                Some(ms) => batch.append_at(line.series, Timestamp::from_millis(ms), sample.value),
                None if line.fate.is_repeated() => {}
                None => batch.append(line.series, sample.value),
            }
        }
        if let Some(culprit) = suspects.worst() {
            self.culprit = Some(culprit);
        }
        Ok(refused)
    }

    /// The series that get stale markers when they vanish.
    fn tracked(&self) -> impl Iterator<Item = SeriesRef> {
        self.lines.iter().filter(|line| line.fate.is_tracked()).map(|line| line.series)
    }

    /// Forgets the last body; gives the series that it brought, if they have not got stale markers.
    fn let_go(&mut self) -> Vec<SeriesRef> {
        let series = if std::mem::take(&mut self.live) { self.tracked().collect() } else { Vec::new() };
        (self.lines, self.gaps, self.exemplars, self.tail) = Default::default();
        (self.body_bytes, self.format) = (0, None);
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
        self.body_bytes
    }

    /// Bytes that it takes, what the target says about its families aside.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let (lines, gaps) = (self.lines.capacity() * size_of::<Line>(), self.gaps.capacity() * size_of::<Gap>());
        size_of::<Self>() + lines + gaps + self.exemplars.capacity() * size_of::<(u32, Key)>()
    }

    /// The exemplar that line `at` of the last body had.
    fn exemplar_of(&self, at: usize) -> Option<Key> {
        let found = self.exemplars.binary_search_by_key(&at, |(line, _)| *line as usize).ok()?;
        Some(self.exemplars[found].1)
    }

    /// A hash of all that stands between the samples of the last body. Samples that change places within their family
    /// leave it as it is.
    fn hash_comments(&self) -> u64 {
        let keys = self.gaps.iter().map(|gap| gap.key).chain(self.tail);
        keys.fold(0, |hash, key| hash.wrapping_add(key.short()))
    }

    /// Takes what the body says of its families.
    fn update_families(&self, body: &[u8], format: Format, scratch: &Scratch, end: usize, batch: &mut impl Batch) {
        let entries = comments(body, format, scratch, end);
        self.families.update(self.scrapes, entries, |name, metadata| batch.metadata(name, metadata));
    }
}

/// Reads the comments of the body that `scratch` has just read again, those after the last line, which is at `end`, too.
/// Its samples are not looked at.
fn comments<'a>(
    body: &'a [u8],
    format: Format,
    scratch: &'a Scratch,
    end: usize,
) -> impl Iterator<Item = Entry<'a>> + use<'a> {
    let mut parser = Parser::new(body, format);
    let starts = scratch.gap_starts.iter().map(|start| *start as usize);
    let gaps = starts.zip(&scratch.gaps).map(|(start, gap)| (start, start + gap.bytes as usize));
    let mut gaps = gaps.chain(std::iter::once((end, body.len())));
    let mut gap_end = 0;
    std::iter::from_fn(move || {
        loop {
            if parser.at() < gap_end
                // A gap holds comments and white space only, and has been parsed before.
                && let Ok(Some(entry)) = parser.entry()
                && !matches!(entry, Entry::Sample(_))
            {
                return Some(entry);
            }
            let (start, next_end) = gaps.next()?;
            parser.seek(start, MetricKind::Unknown);
            gap_end = next_end;
        }
    })
}

/// Makes `kept` a copy of `new`, with hardly more room than that takes.
fn keep<T: Copy>(kept: &mut Vec<T>, new: &[T]) {
    kept.clear();
    if kept.capacity() > new.len() + new.len() / 8 {
        kept.shrink_to(new.len());
    }
    kept.reserve_exact(new.len());
    kept.extend_from_slice(new);
}

impl Scratch {
    /// Bytes that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
            + self.gaps.capacity() * size_of::<Gap>()
            + self.exemplars.capacity() * size_of::<(u32, Key)>()
            + (self.gap_starts.capacity() + self.index.capacity() + self.fresh.capacity()) * size_of::<u32>()
            + self.matched.capacity()
    }

    fn begin(&mut self, old_lines: usize) {
        self.lines.clear();
        self.gaps.clear();
        self.gap_starts.clear();
        self.exemplars.clear();
        self.matched.clear();
        self.matched.resize(old_lines, Matched::No);
        self.index.clear();
        self.indexed = false;
        self.fresh.clear();
    }
}

#[cfg(test)]
mod tests;
