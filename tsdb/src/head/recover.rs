//! The head as it was, from the log: one thread reads, one per shard applies.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hashbrown::HashMap as FastMap;
use rustc_hash::FxBuildHasher;

use super::SharedColumn;
use super::index::{SeriesIndex, place};
use super::isolation::History;
use super::series::{ApplyContext, Closed, PlacedFloat, Placement, SeriesWriter, Verdict};
use super::slab::Slab;
use crate::chunk::{Column, HistogramValue, Sealer};
use crate::error::Error;
use crate::fs::Fs;
use crate::labels::Labels;
use crate::metadata::Metadata;
use crate::sample::{TimeRange, Timestamp};
use crate::wal::{ColumnId, Frame, LogFound, LoggedLabels, Record, Records, SeriesId, replay};

/// Steps handed to a shard at once.
const BATCH: usize = 4096;
/// Batches that may wait for a shard: bounds the memory of recovery.
const WAITING: usize = 4;

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
}

/// What recovery found, to be told to the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
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

/// What the log leaves beside the series in the index.
pub(crate) struct Recovered {
    /// By shard.
    pub(crate) writers: Vec<Slab<SeriesWriter>>,
    pub(crate) metadata: BTreeMap<String, Metadata>,
    pub(crate) last_id: u64,
    pub(crate) last_column: u64,
    pub(crate) next_segment: u64,
    /// From the oldest sample to the newest; empty if there is none.
    pub(crate) span: TimeRange,
    pub(crate) found: Recovery,
}

/// Fills the empty `index` with what the log in `dir` says.
pub(crate) fn recover(
    fs: &dyn Fs,
    dir: &Path,
    index: &SeriesIndex,
    history: &History,
    progress: impl FnMut(u64, u64),
) -> Result<Recovered, Error> {
    std::thread::scope(|scope| {
        let mut steps = Steps::start(scope, index, history);
        let log = replay(fs, dir, |frame| steps.frame(frame), progress);
        let mut recovered = steps.finish();
        let LogFound { segments, bytes, last, damage } = log?;
        recovered.next_segment = last + 1;
        recovered.found = Recovery { segments, wal_bytes: bytes, damage, ..recovered.found };
        Ok(recovered)
    })
}

/// Hands out to the shards what the log says, frame by frame.
struct Steps<'s> {
    index: &'s SeriesIndex,
    senders: Vec<SyncSender<Vec<Step>>>,
    pending: Vec<Vec<Step>>,
    workers: Vec<std::thread::ScopedJoinHandle<'s, Applied>>,
    /// Shard of each series that the log has named.
    shards: FastMap<SeriesId, u16, FxBuildHasher>,
    columns: HashMap<ColumnId, SharedColumn>,
    metadata: BTreeMap<String, Metadata>,
    last_id: u64,
    last_column: u64,
    span: TimeRange,
    found: Recovery,
}

/// What a shard made of its steps.
struct Applied {
    writers: Slab<SeriesWriter>,
    samples: u64,
}

impl<'s> Steps<'s> {
    /// Starts a thread per shard.
    fn start<'e: 's>(scope: &'s std::thread::Scope<'s, 'e>, index: &'e SeriesIndex, history: &'e History) -> Self {
        let mut senders = Vec::new();
        let mut workers = Vec::new();
        for shard in 0..index.shards().len() {
            let (sender, receiver) = sync_channel(WAITING);
            let worker = std::thread::Builder::new()
                .name(format!("tsdb-replay-{shard}"))
                .spawn_scoped(scope, move || apply(index, history, &receiver))
                .expect("a thread can be started while the server starts");
            senders.push(sender);
            workers.push(worker);
        }
        Self {
            index,
            pending: senders.iter().map(|_| Vec::with_capacity(BATCH)).collect(),
            senders,
            workers,
            shards: FastMap::default(),
            columns: HashMap::new(),
            metadata: BTreeMap::new(),
            last_id: 0,
            last_column: 0,
            span: TimeRange::NONE,
            found: Recovery::default(),
        }
    }

    /// Applies one frame: one commit.
    fn frame(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        self.found.commits += 1;
        let corrupt = |malformed| frame.corrupt(malformed);
        for record in Records::new(frame.payload) {
            match record.map_err(corrupt)? {
                Record::Series { id, labels } => {
                    let labels = set_of(labels);
                    let shard = self.index.shard_of(labels.hash());
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
                        let Some(&shard) = self.shards.get(&sample.series) else {
                            self.found.orphans += 1;
                            continue;
                        };
                        self.span.extend(sample.timestamp_ms);
                        let (series, at_ms, start_ms) = (sample.series, sample.timestamp_ms, sample.start_ms);
                        self.send(shard.into(), Step::Sample { series, at_ms, start_ms, value: sample.value });
                    }
                }
                Record::Histogram { series, timestamp_ms, start_ms, value } => match self.shards.get(&series) {
                    Some(&shard) => {
                        self.span.extend(timestamp_ms);
                        self.send(shard.into(), Step::Histogram { series, at_ms: timestamp_ms, start_ms, value });
                    }
                    None => self.found.orphans += 1,
                },
                Record::Metadata { family, metadata } => {
                    self.metadata.insert(family.to_owned(), metadata);
                }
            }
        }
        Ok(())
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
        let mut writers = Vec::new();
        for worker in self.workers {
            let applied = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.found.samples += applied.samples;
            writers.push(applied.writers);
        }
        let Self { metadata, last_id, last_column, span, found, .. } = self;
        Recovered { writers, metadata, last_id, last_column, next_segment: 0, span, found }
    }
}

/// The labels as a set. They are sorted if this program wrote them.
fn set_of(labels: LoggedLabels<'_>) -> Labels {
    let mut last = None;
    let sorted =
        labels.clone().all(|(name, value)| last.replace(name).is_none_or(|last| last < name) && !value.is_empty());
    if sorted { Labels::from_sorted(labels) } else { Labels::from_pairs(labels) }
}

/// One shard's thread.
fn apply(index: &SeriesIndex, history: &History, steps: &Receiver<Vec<Step>>) -> Applied {
    let mut writers: Slab<SeriesWriter> = Slab::default();
    let mut slots: FastMap<SeriesId, u32, FxBuildHasher> = FastMap::default();
    let mut samples = 0;
    let mut column: Option<(Arc<Column>, usize, i64)> = None;
    let mut closed: Vec<Closed> = Vec::new();
    let mut sealer = Sealer::default();
    // Nobody reads yet, so nothing of the past is to be kept, and all belongs to commit 0, which all readers see.
    while let Ok(batch) = steps.recv() {
        let mut context = ApplyContext { commit: 0, watched: &[], history, closed: &mut closed };
        for step in batch {
            match step {
                Step::Series(id, labels) => {
                    let series = index.make_series(&labels, labels.hash());
                    let slot = place(series.series_ref).1;
                    if slot as usize == writers.len() {
                        writers.push(SeriesWriter::new(series));
                    }
                    writers.get_mut(slot).expect("slots are handed out one after the other").id = id;
                    slots.insert(id, slot);
                }
                Step::OnColumn(on, ordinal, at_ms) => column = Some((on, ordinal, at_ms)),
                Step::Own => column = None,
                Step::Sample { series, at_ms, start_ms, value } => {
                    let Some(writer) = slots.get(&series).and_then(|&slot| writers.get_mut(slot)) else { continue };
                    let (placement, at_ms) = match &column {
                        Some((column, ordinal, at_ms)) => (Placement::OnColumn(column, *ordinal), *at_ms),
                        None => (Placement::Own, at_ms),
                    };
                    // What the log repeats (it does where damage was mended by hand) is not taken twice.
                    if writer.judge(at_ms, value.to_bits()).0 == Verdict::Append {
                        writer.append(PlacedFloat { placement, at_ms, start_ms, value }, &mut context);
                        samples += 1;
                    }
                }
                Step::Histogram { series, at_ms, start_ms, value } => {
                    let Some(writer) = slots.get(&series).and_then(|&slot| writers.get_mut(slot)) else { continue };
                    let fits = crate::chunk::split(&value).is_some();
                    if fits && writer.judge(at_ms, value.sum().to_bits()).0 == Verdict::Append {
                        writer.append_histogram(Placement::Own, at_ms, start_ms, &value, &mut context);
                        samples += 1;
                    }
                }
            }
        }
        closed.drain(..).for_each(|chunk| chunk.seal(&mut sealer));
    }
    Applied { writers, samples }
}
