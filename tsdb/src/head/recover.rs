//! The head as it was, from the log: one thread reads, one per shard applies.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::checkpoint::checkpoint_path;
use super::files::{ChunkFiles, Stored};
use super::id_table::IdTable;
use super::index::{SeriesIndex, place};
use super::isolation::History;
use super::late::LateValue;
use super::series::Closed;
use super::series_writer::{ApplyContext, Last, PlacedFloat, Placement, SeriesWriter, Verdict};
use super::slab::Slab;
use super::{HeadStart, SharedColumn};
use crate::chunk::{Column, HistogramValue, Sealer};
use crate::error::Error;
use crate::exemplar::Exemplars;
use crate::fs::Fs;
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::metadata::Metadata;
use crate::sample::{TimeRange, Timestamp};
use crate::wal::{
    ColumnId, Frame, LogFound, LogTail, LoggedHead, LoggedLabels, LoggedState, Record, Records, SeriesId, WAL_DIR,
    read_frames, replay,
};

/// Steps handed to a shard at once.
const BATCH: usize = 4096;
/// Batches that may wait for a shard: bounds the memory of recovery.
const WAITING: usize = 4;

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

/// What a shard has to do.
enum Step {
    Series(SeriesId, Labels),
    /// The samples that follow are on this column, at this ordinal.
    OnColumn(Arc<Column>, usize, i64),
    /// The samples that follow have times of their own.
    Own,
    /// At the time of the column, or at this one.
    Sample {
        series: SeriesId,
        at_ms: i64,
        start_ms: i64,
        value: f64,
    },
    Histogram {
        series: SeriesId,
        at_ms: i64,
        start_ms: i64,
        value: Box<HistogramValue>,
    },
    State(LoggedState),
    Deletion(SeriesId, TimeRange),
}

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
    /// Samples whose series the log does not name, because it is damaged.
    pub orphans: u64,
    /// What was wrong with the log, in words: file, offset, what. Empty after a clean stop.
    pub damage: Vec<String>,
}

/// Where the log ends, for whoever goes on with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogEnd {
    pub(crate) next_segment: u64,
    /// Bytes of the segments there are.
    pub(crate) bytes: u64,
    pub(crate) tail: Option<LogTail>,
}

/// What the log leaves beside the series in the index.
pub(crate) struct Recovered {
    /// By shard.
    pub(crate) writers: Vec<Slab<SeriesWriter>>,
    pub(crate) metadata: BTreeMap<String, Metadata>,
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
    start: HeadStart,
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
        let LogFound { segments, bytes, last, damage: more, tail } = log?;
        damage.extend(more);
        recovered.end = LogEnd { next_segment: last + 1, bytes, tail };
        recovered.found = Recovery { segments, wal_bytes: bytes, damage, ..recovered.found };
        Ok(recovered)
    })
}

/// Hands out to the shards what the log says, frame by frame.
struct Steps<'s> {
    into: Recovering<'s>,
    senders: Vec<SyncSender<Vec<Step>>>,
    pending: Vec<Vec<Step>>,
    workers: Vec<std::thread::ScopedJoinHandle<'s, Applied>>,
    /// Shard of each series that the log has named.
    shards: IdTable<u16>,
    columns: HashMap<ColumnId, SharedColumn>,
    metadata: BTreeMap<String, Metadata>,
    exemplars: Exemplars,
    last_id: u64,
    last_column: u64,
    span: TimeRange,
    found: Recovery,
    /// Whether a checkpoint has said what it says of the head as a whole.
    head_known: bool,
}

/// What a shard made of its steps.
struct Applied {
    writers: Slab<SeriesWriter>,
    samples: u64,
    sealed_bytes: usize,
}

impl<'s> Steps<'s> {
    /// Starts a thread per shard.
    fn start<'e: 's>(
        scope: &'s std::thread::Scope<'s, 'e>,
        into: Recovering<'e>,
        max_exemplars: usize,
        flushed_until_ms: i64,
    ) -> Self {
        let mut senders = Vec::new();
        let mut workers = Vec::new();
        for shard in 0..into.index.shards().len() {
            let (sender, receiver) = sync_channel(WAITING);
            let worker = std::thread::Builder::new()
                .name(format!("tsdb-replay-{shard}"))
                .spawn_scoped(scope, move || apply(into, flushed_until_ms, &receiver))
                .expect("a thread can be started while the server starts");
            senders.push(sender);
            workers.push(worker);
        }
        Self {
            into,
            pending: senders.iter().map(|_| Vec::with_capacity(BATCH)).collect(),
            senders,
            workers,
            shards: IdTable::default(),
            columns: HashMap::new(),
            metadata: BTreeMap::new(),
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
                    let labels = set_of(labels);
                    let shard = self.into.index.shard_of(labels.hash());
                    self.shards.insert(id, shard as u16);
                    self.last_id = self.last_id.max(id.0);
                    self.found.series += 1;
                    self.send(shard, Step::Series(id, labels));
                }
                Record::Samples { column, timestamp_ms, samples } => {
                    let place = column.map(|id| {
                        self.last_column = self.last_column.max(id.0);
                        let column = self.columns.entry(id).or_insert_with(|| SharedColumn::new(id));
                        column.push(Timestamp::from_millis(timestamp_ms), 0)
                    });
                    for shard in 0..self.senders.len() {
                        let step = match &place {
                            Some((column, ordinal)) => Step::OnColumn(column.clone(), *ordinal, timestamp_ms),
                            None => Step::Own,
                        };
                        self.send(shard, step);
                    }
                    for sample in samples {
                        let sample = sample.map_err(corrupt)?;
                        let Some(shard) = self.shards.get(sample.series) else {
                            self.found.orphans += 1;
                            continue;
                        };
                        self.span.extend(sample.timestamp_ms);
                        let (series, at_ms, start_ms) = (sample.series, sample.timestamp_ms, sample.start_ms);
                        self.send(shard.into(), Step::Sample { series, at_ms, start_ms, value: sample.value });
                    }
                }
                Record::Histogram { series, timestamp_ms, start_ms, value } => match self.shards.get(series) {
                    Some(shard) => {
                        self.span.extend(timestamp_ms);
                        self.send(shard.into(), Step::Histogram { series, at_ms: timestamp_ms, start_ms, value });
                    }
                    None => self.found.orphans += 1,
                },
                Record::Metadata { family, metadata } => {
                    self.metadata.insert(family.to_owned(), metadata);
                }
                Record::Exemplar { series, exemplar } => drop(self.exemplars.add(series, exemplar)),
                Record::Deletion { series, range } => match self.shards.get(series) {
                    Some(shard) => self.send(shard.into(), Step::Deletion(series, range)),
                    None => self.found.orphans += 1,
                },
                Record::State(state) => match self.shards.get(state.series) {
                    Some(shard) => self.send(shard.into(), Step::State(state)),
                    None => self.found.orphans += 1,
                },
                Record::Head(head) => self.head(head)?,
            }
        }
        Ok(())
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

    fn send(&mut self, shard: usize, step: Step) {
        let pending = &mut self.pending[shard];
        pending.push(step);
        if pending.len() >= BATCH {
            let batch = std::mem::replace(pending, Vec::with_capacity(BATCH));
            // A worker ends early only by panicking, which joining it will show.
            let _ = self.senders[shard].send(batch);
        }
    }

    /// Waits for the shards.
    fn finish(mut self) -> Recovered {
        for (sender, pending) in self.senders.drain(..).zip(self.pending.drain(..)) {
            let _ = sender.send(pending);
        }
        let (mut writers, mut sealed_bytes) = (Vec::new(), 0);
        for worker in self.workers {
            let applied = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.found.samples += applied.samples;
            sealed_bytes += applied.sealed_bytes;
            writers.push(applied.writers);
        }
        let Self { metadata, exemplars, last_id, last_column, span, found, .. } = self;
        let end = LogEnd::default();
        Recovered { writers, metadata, last_id, last_column, end, span, found, sealed_bytes, exemplars }
    }
}

/// The labels as a set. They are sorted if this program wrote them.
fn set_of(labels: LoggedLabels<'_>) -> Labels {
    let mut last = None;
    let sorted =
        labels.clone().all(|(name, value)| last.replace(name).is_none_or(|last| last < name) && !value.is_empty());
    if sorted { Labels::from_sorted(labels) } else { Labels::from_pairs(labels) }
}

/// What becomes of a sample that the log has: as when it was committed.
fn replayed(writer: &mut SeriesWriter, at_ms: i64, bits: u64, flushed_until_ms: i64) -> Verdict {
    match writer.judge(at_ms, bits) {
        (Verdict::Append, before) if at_ms < flushed_until_ms => {
            writer.restore(before);
            Verdict::Late
        }
        (verdict, _) => verdict,
    }
}

/// One shard's thread.
fn apply(into: Recovering<'_>, flushed_until_ms: i64, steps: &Receiver<Vec<Step>>) -> Applied {
    let mut writers: Slab<SeriesWriter> = Slab::default();
    let mut slots: IdTable<u32> = IdTable::default();
    let (mut samples, mut sealed_bytes) = (0, 0);
    let mut column: Option<(Arc<Column>, usize, i64)> = None;
    let mut closed: Vec<Closed> = Vec::new();
    let mut sealer = Sealer::default();
    // Nobody reads yet, so nothing of the past is to be kept, and all belongs to commit 0, which all readers see.
    while let Ok(batch) = steps.recv() {
        let mut context = ApplyContext { commit: 0, watched: &[], history: into.history, closed: &mut closed };
        for step in batch {
            match step {
                Step::Series(id, labels) => {
                    let series = into.index.make_series(&labels, labels.hash());
                    let slot = place(series.series_ref).1;
                    if slot as usize == writers.len() {
                        writers.push(SeriesWriter::new(series));
                    }
                    let writer = writers.get_mut(slot).expect("slots are handed out one after the other");
                    if writer.series().id() == SeriesId(0) {
                        writer.series().set_id(id);
                    }
                    slots.insert(id, slot);
                }
                Step::State(state) => {
                    if let Some(writer) = slots.get(state.series).and_then(|slot| writers.get_mut(slot)) {
                        writer.restore(Last { at_ms: state.last.0, bits: state.last.1 });
                        writer.series().restore(Stored::from_log(state.stored));
                    }
                }
                Step::Deletion(series, range) => {
                    if let Some(writer) = slots.get(series).and_then(|slot| writers.get_mut(slot)) {
                        writer.series().delete(range, writer.last().at_ms);
                    }
                }
                Step::OnColumn(on, ordinal, at_ms) => column = Some((on, ordinal, at_ms)),
                Step::Own => column = None,
                Step::Sample { series, at_ms, start_ms, value } => {
                    let Some(writer) = slots.get(series).and_then(|slot| writers.get_mut(slot)) else { continue };
                    let (placement, at_ms) = match &column {
                        Some((column, ordinal, at_ms)) => (Placement::OnColumn(column, *ordinal), *at_ms),
                        None => (Placement::Own, at_ms),
                    };
                    // What the log repeats (it does where damage was mended by hand) is not taken twice.
                    match replayed(writer, at_ms, value.to_bits(), flushed_until_ms) {
                        Verdict::Append => {
                            writer.append(PlacedFloat { placement, at_ms, start_ms, value }, &mut context);
                        }
                        Verdict::Late => writer.append_late(at_ms, start_ms, LateValue::Float(value), &context),
                        Verdict::Known | Verdict::Refuse(_) => continue,
                    }
                    samples += 1;
                }
                Step::Histogram { series, at_ms, start_ms, value } => {
                    let Some(writer) = slots.get(series).and_then(|slot| writers.get_mut(slot)) else { continue };
                    if crate::chunk::split(&value).is_none() {
                        continue;
                    }
                    match replayed(writer, at_ms, value.sum().to_bits(), flushed_until_ms) {
                        Verdict::Append => {
                            writer.append_histogram(Placement::Own, at_ms, start_ms, &value, &mut context);
                        }
                        Verdict::Late => writer.append_late(at_ms, start_ms, LateValue::from(&*value), &context),
                        Verdict::Known | Verdict::Refuse(_) => continue,
                    }
                    samples += 1;
                }
            }
        }
        sealed_bytes += closed.drain(..).map(|chunk| chunk.seal(&mut sealer)).sum::<usize>();
    }
    Applied { writers, samples, sealed_bytes }
}
