//! The head as it was, from the log: one thread reads, one per shard applies.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::checkpoint::checkpoint_path;
use super::families::Families;
use super::files::ChunkFiles;
use super::id_table::IdTable;
use super::index::SeriesIndex;
use super::isolation::History;
use super::restore::{Batch, Nth, Run, ShardWorker};
use super::series_writer::SeriesWriter;
use super::slab::Slab;
use super::texts::Texts;
use super::{HeadStart, SharedColumn};
use crate::codec::Malformed;
use crate::error::Error;
use crate::exemplar::Exemplars;
use crate::fs::Fs;
use crate::matcher::Matcher;
use crate::sample::{TimeRange, Timestamp};
use crate::wal::{
    ColumnId, Frame, LogFound, LogTail, LoggedHead, LoggedLabels, LoggedSample, LoggedSamples, Record, Records,
    SeriesId, WAL_DIR, read_frames, replay,
};

/// What a checkpoint and the log are read into.
#[derive(Clone, Copy)]
pub(crate) struct Recovering<'a> {
    pub(crate) index: &'a SeriesIndex,
    pub(crate) history: &'a History,
    pub(crate) files: &'a ChunkFiles,
    pub(crate) part: Part<'a>,
}

/// How much of a head is recovered.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    All,
    /// Only the series that pass all matchers; the rest is passed over.
    Matching {
        matchers: &'a [Matcher],
        /// Once there are more series, recovery ends early. What is recovered is of no use then.
        most: u64,
        /// Likewise once this is set.
        over: &'a AtomicBool,
    },
}

impl Part<'_> {
    fn has(self, labels: &LoggedLabels<'_>) -> bool {
        let value = |name| labels.clone().find(|(n, _)| *n == name).map_or("", |(_, value)| value);
        match self {
            Self::All => true,
            Self::Matching { matchers, .. } => matchers.iter().all(|matcher| matcher.matches(value(matcher.name()))),
        }
    }

    /// Whether to end early.
    fn is_over(self, series: u64) -> bool {
        match self {
            Self::All => false,
            Self::Matching { most, over, .. } => series > most || over.load(Ordering::Relaxed),
        }
    }
}

/// Where a series that the log has named is: its shard, and one more than the place of the name there.
type Home = (u16, NonZeroU32);

/// What recovery found, to be told to the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Live blocks.
    pub blocks: usize,
    /// Log segments read.
    pub segments: usize,
    /// Bytes of the log read.
    pub wal_bytes: u64,
    /// Commits found.
    pub commits: u64,
    /// Series found.
    pub series: u64,
    /// Samples found.
    pub samples: u64,
    /// Deletions found, one for each series that they hit.
    pub deletions: u64,
    /// Samples whose series the log does not name, because it is damaged.
    pub orphans: u64,
    /// What was wrong with the log, in words: file, offset, what. Empty after a clean stop.
    pub damage: Vec<String>,
    /// What a crash has left at the end of the log of a commit that was never acknowledged, in words. It is cut off by whoever
    /// goes on with the log, and is no damage; a last commit that was damaged looks the same.
    pub unfinished: Option<String>,
}

/// Where the log ends, for whoever goes on with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogEnd {
    pub(crate) next_segment: u64,
    /// Bytes of the segments there are.
    pub(crate) bytes: u64,
    /// Where the good frames of each segment end.
    pub(crate) ends: BTreeMap<u64, u64>,
    pub(crate) tail: Option<LogTail>,
}

/// What the log leaves beside the series in the index.
pub(crate) struct Recovered {
    /// By shard.
    pub(crate) writers: Vec<Slab<SeriesWriter>>,
    pub(crate) metadata: Families,
    pub(crate) last_id: u64,
    pub(crate) last_column: u64,
    pub(crate) end: LogEnd,
    /// From the oldest sample to the newest; empty if there is none.
    pub(crate) span: TimeRange,
    pub(crate) found: Recovery,
    /// Bytes of sealed chunks in memory.
    pub(crate) sealed_bytes: usize,
    pub(crate) exemplars: Exemplars,
}

/// Fills the empty index with what the checkpoint and the log below `dir` say. Writes nothing.
pub(crate) fn recover(
    fs: &dyn Fs,
    dir: &Path,
    start: &HeadStart,
    into: Recovering<'_>,
    max_exemplars: usize,
    mut progress: impl FnMut(u64, u64),
) -> Result<Recovered, Error> {
    std::thread::scope(|scope| {
        let mut steps = Steps::start(scope, into, max_exemplars, start.flushed_until_ms);
        let mut damage = Vec::new();
        let checkpoint = match start.checkpoint {
            Some(number) => {
                let path = checkpoint_path(dir, number);
                let visit = |frame: Frame<'_>| steps.frame(frame);
                let end = read_frames(fs, &path, number, &mut damage, visit, |read| progress(read, read));
                end.map(|end| damage.extend(end.unfinished))
            }
            None => Ok(()),
        };
        let log = checkpoint.and_then(|()| {
            steps.after_checkpoint(start.checkpoint.is_some(), &mut damage);
            replay(fs, &dir.join(WAL_DIR), start.first_segment, |frame| steps.frame(frame), progress)
        });
        let mut recovered = steps.finish();
        let LogFound { segments, bytes, ends, damage: more, mut tail } = log?;
        damage.extend(more);
        let faults = start.log.faults(&dir.join(WAL_DIR), start.first_segment, &ends);
        damage.extend(faults.iter().map(ToString::to_string));
        let last = ends.keys().next_back().copied().max(start.log.last).unwrap_or(0);
        // One that had ended has no unfinished commit: what follows its good frames is damaged, and told of.
        tail = tail.filter(|tail| !start.log.ended.contains_key(&tail.number));
        recovered.end = LogEnd { next_segment: last.max(start.first_segment.saturating_sub(1)) + 1, bytes, ends, tail };
        recovered.found = Recovery { segments, wal_bytes: bytes, damage, ..recovered.found };
        Ok(recovered)
    })
}

/// Hands out to the shards what the log says, frame by frame.
struct Steps<'s> {
    into: Recovering<'s>,
    shards: Vec<ShardWorker<'s>>,
    texts: Texts,
    homes: IdTable<Home>,
    columns: HashMap<ColumnId, SharedColumn>,
    metadata: Families,
    exemplars: Exemplars,
    last_id: u64,
    last_column: u64,
    span: TimeRange,
    found: Recovery,
    /// Whether a checkpoint has said what it says of the head as a whole.
    head_known: bool,
}

impl<'s> Steps<'s> {
    /// Starts a thread per shard.
    fn start<'e: 's>(
        scope: &'s std::thread::Scope<'s, 'e>,
        into: Recovering<'e>,
        max_exemplars: usize,
        flushed_until_ms: i64,
    ) -> Self {
        let shards = 0..into.index.shards().len();
        Self {
            into,
            shards: shards.map(|shard| ShardWorker::start(scope, shard, into, flushed_until_ms)).collect(),
            texts: Texts::default(),
            homes: IdTable::default(),
            columns: HashMap::new(),
            metadata: Families::default(),
            exemplars: Exemplars::new(max_exemplars),
            last_id: 0,
            last_column: 0,
            span: TimeRange::NONE,
            found: Recovery::default(),
            head_known: false,
        }
    }

    /// Opens the chunk files that the checkpoint has named.
    fn after_checkpoint(&mut self, is_one: bool, damage: &mut Vec<String>) {
        // A checkpoint is not a commit.
        self.found.commits = 0;
        if is_one && !self.head_known {
            damage.push("the checkpoint does not say which chunk files it needs: all are opened".into());
            damage.extend(self.into.files.load_all().into_iter().map(|e| e.to_string()));
        }
    }

    /// Applies one frame: one commit.
    fn frame(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        if self.into.part.is_over(self.found.series) {
            return Ok(());
        }
        self.found.commits += 1;
        let corrupt = |malformed| frame.corrupt(malformed);
        for record in Records::new(frame.payload) {
            match record.map_err(corrupt)? {
                Record::Series { id, labels } => {
                    if !self.into.part.has(&labels) {
                        continue;
                    }
                    let (pairs, hash) = self.texts.intern(labels, self.into.index);
                    let shard = self.into.index.shard_of(hash);
                    let worker = &mut self.shards[shard];
                    let home = NonZeroU32::MIN.saturating_add(worker.name(id, pairs, hash));
                    worker.flush_full();
                    self.homes.insert(id, (shard as u16, home));
                    self.last_id = self.last_id.max(id.0);
                    self.found.series += 1;
                }
                Record::Samples { column, timestamp_ms, samples } => {
                    self.samples(column, timestamp_ms, samples).map_err(corrupt)?;
                }
                Record::Histogram { series, timestamp_ms, start_ms, value } => {
                    if self.step(series, |batch, nth| batch.histogram(nth, timestamp_ms, start_ms, value)) {
                        self.span.extend(timestamp_ms);
                    }
                }
                Record::Metadata { family, metadata } => {
                    self.metadata.insert(family.to_owned(), metadata);
                }
                Record::Exemplar { series, exemplar } => drop(self.exemplars.add(series, exemplar)),
                Record::ExemplarDeletion { series, range } => self.exemplars.delete(&series, range),
                Record::Deletion { series, range } => {
                    self.step(series, |batch, nth| batch.deletion(nth, range));
                    self.found.deletions += 1;
                }
                Record::State(state) => {
                    self.step(state.series, |batch, nth| batch.state(nth, state));
                }
                Record::Head(head) => self.head(head)?,
            }
        }
        Ok(())
    }

    /// Hands out the samples of one scrape or request.
    fn samples(&mut self, column: Option<ColumnId>, at_ms: i64, samples: LoggedSamples<'_>) -> Result<(), Malformed> {
        let column = column.map(|id| {
            self.last_column = self.last_column.max(id.0);
            let column = self.columns.entry(id).or_insert_with(|| SharedColumn::new(id));
            column.push(Timestamp::from_millis(at_ms), 0)
        });
        let run = Run { column, at_ms, each: samples.is_each() };
        let mut read = Ok(());
        for sample in samples {
            let LoggedSample { series, timestamp_ms, start_ms, value } = match sample {
                Ok(sample) => sample,
                Err(malformed) => {
                    read = Err(malformed);
                    break;
                }
            };
            let Some((shard, nth)) = self.homes.get(series) else {
                self.found.orphans += 1;
                continue;
            };
            self.span.extend(timestamp_ms);
            let worker = &mut self.shards[usize::from(shard)];
            worker.pending.sample(nth.get() - 1, value, run.each.then_some((timestamp_ms, start_ms)));
            worker.flush_full_in(&run);
        }
        self.shards.iter_mut().for_each(|worker| worker.pending.end_run(&run));
        read
    }

    /// Adds a step for the shard that a series is in. Answers whether the log has named the series.
    fn step(&mut self, series: SeriesId, add: impl FnOnce(&mut Batch, Nth)) -> bool {
        let Some((shard, nth)) = self.homes.get(series) else {
            self.found.orphans += 1;
            return false;
        };
        let worker = &mut self.shards[usize::from(shard)];
        add(&mut worker.pending, nth.get() - 1);
        worker.flush_full();
        true
    }

    /// Takes what a checkpoint says of the head as a whole.
    fn head(&mut self, head: LoggedHead) -> Result<(), Error> {
        self.head_known = true;
        self.last_id = self.last_id.max(head.last_id.0);
        self.last_column = self.last_column.max(head.last_column.0);
        self.span.start = self.span.start.min(head.span.start);
        self.span.end = self.span.end.max(head.span.end);
        let files = head.files.into_iter().filter_map(|(number, max_ms)| Some((NonZeroU32::new(number)?, max_ms)));
        files.map(|(number, max_ms)| self.into.files.load(number, max_ms)).fold(Ok(()), Result::and)
    }

    /// Waits for the shards.
    fn finish(mut self) -> Recovered {
        let (mut writers, mut sealed_bytes) = (Vec::new(), 0);
        self.shards.iter_mut().for_each(ShardWorker::flush);
        for worker in self.shards {
            let restored = worker.finish();
            self.found.samples += restored.samples;
            sealed_bytes += restored.sealed_bytes;
            writers.push(restored.writers);
        }
        let Self { metadata, exemplars, last_id, last_column, span, found, .. } = self;
        let end = LogEnd::default();
        Recovered { writers, metadata, last_id, last_column, end, span, found, sealed_bytes, exemplars }
    }
}
