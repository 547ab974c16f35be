//! One shard of the head as the log has it: what is to be done, in batches, and the thread that does it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::files::Stored;
use super::index::place;
use super::late::LateValue;
use super::recover::Recovering;
use super::series::{Closed, View};
use super::series_writer::{ApplyContext, Last, PlacedFloat, Placement, SeriesWriter, Verdict};
use super::slab::Slab;
use crate::chunk::{Column, HistogramValue, Sealer};
use crate::index::Symbol;
use crate::sample::TimeRange;
use crate::wal::{LoggedState, SeriesId};

/// Series and samples handed to a shard at once: what they take stays in the processor's cache.
const BATCH: usize = 2048;
/// Label pairs handed to a shard at once.
const BATCH_PAIRS: usize = 8 * BATCH;
/// Batches that may wait for a shard: bounds the memory of recovery.
const WAITING: usize = 4;

/// A name that the log gives to a series of a shard: the first, the second, and so on.
pub(super) type Nth = u32;

/// What a shard has to do, in order. What there is much of is in lists of its own.
#[derive(Debug, Default)]
pub(super) struct Batch {
    steps: Vec<Step>,
    series: Vec<NamedSeries>,
    pairs: Vec<(Symbol, Symbol)>,
    samples: Vec<Sample>,
    /// Times and starts of the samples of runs that say so.
    times: Vec<(i64, i64)>,
    /// Samples that a step speaks of.
    in_runs: usize,
}

#[derive(Debug)]
enum Step {
    /// The next so many series get the next names.
    Series(usize),
    /// The next so many samples.
    Samples(usize, Run),
    Histogram {
        series: Nth,
        at_ms: i64,
        start_ms: i64,
        value: Box<HistogramValue>,
    },
    State(Nth, LoggedState),
    Deletion(Nth, TimeRange),
}

#[derive(Clone, Copy, Debug)]
struct NamedSeries {
    id: SeriesId,
    hash: u64,
    pairs: u32,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    series: Nth,
    value: f64,
}

/// What samples have in common.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Their column of times and their ordinal on it, if they are on one.
    pub(super) column: Option<(Arc<Column>, usize)>,
    pub(super) at_ms: i64,
    /// Whether each has a time and a start of its own.
    pub(super) each: bool,
}

impl Batch {
    /// Gives a series of these labels the next name.
    pub(super) fn name(&mut self, id: SeriesId, pairs: &[(Symbol, Symbol)], hash: u64) {
        match self.steps.last_mut() {
            Some(Step::Series(count)) => *count += 1,
            _ => self.steps.push(Step::Series(1)),
        }
        self.series.push(NamedSeries { id, hash, pairs: pairs.len() as u32 });
        self.pairs.extend_from_slice(pairs);
    }

    /// Adds a sample to the run at hand, of `run.each` with its own time and start.
    #[inline]
    pub(super) fn sample(&mut self, series: Nth, value: f64, of_its_own: Option<(i64, i64)>) {
        self.samples.push(Sample { series, value });
        self.times.extend(of_its_own);
    }

    /// Ends the run at hand.
    pub(super) fn end_run(&mut self, run: &Run) {
        let count = self.samples.len() - self.in_runs;
        if count > 0 {
            self.steps.push(Step::Samples(count, run.clone()));
            self.in_runs = self.samples.len();
        }
    }

    pub(super) fn histogram(&mut self, series: Nth, at_ms: i64, start_ms: i64, value: Box<HistogramValue>) {
        self.steps.push(Step::Histogram { series, at_ms, start_ms, value });
    }

    pub(super) fn state(&mut self, series: Nth, state: LoggedState) {
        self.steps.push(Step::State(series, state));
    }

    pub(super) fn deletion(&mut self, series: Nth, range: TimeRange) {
        self.steps.push(Step::Deletion(series, range));
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.samples.len() + self.steps.len() + self.series.len() >= BATCH || self.pairs.len() >= BATCH_PAIRS
    }

    fn clear(&mut self) {
        let Self { steps, series, pairs, samples, times, in_runs } = self;
        steps.clear();
        series.clear();
        pairs.clear();
        samples.clear();
        times.clear();
        *in_runs = 0;
    }
}

/// What a shard made of its batches.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) writers: Slab<SeriesWriter>,
    pub(super) samples: u64,
    pub(super) sealed_bytes: usize,
}

/// A shard's thread, seen from the one that reads the log.
#[derive(Debug)]
pub(super) struct ShardWorker<'s> {
    pub(super) pending: Batch,
    /// Names given so far.
    named: Nth,
    batches: SyncSender<Batch>,
    /// Batches that have been applied, to be filled again.
    empty: Receiver<Batch>,
    thread: std::thread::ScopedJoinHandle<'s, Restored>,
}

impl<'s> ShardWorker<'s> {
    /// Starts the thread of shard `shard`.
    pub(super) fn start<'e: 's>(
        scope: &'s std::thread::Scope<'s, 'e>,
        shard: usize,
        into: Recovering<'e>,
        flushed_until_ms: i64,
    ) -> Self {
        let (batches, to_apply) = sync_channel(WAITING);
        // The one at hand and the one that is filled are on their way too.
        let (applied, empty) = sync_channel(WAITING + 2);
        let thread = std::thread::Builder::new()
            .name(format!("tsdb-replay-{shard}"))
            .spawn_scoped(scope, move || Shard::new(shard, into, flushed_until_ms).run(&to_apply, &applied))
            .expect("a thread can be started while the server starts");
        Self { pending: Batch::default(), named: 0, batches, empty, thread }
    }

    /// Adds a series, and answers its name.
    pub(super) fn name(&mut self, id: SeriesId, pairs: &[(Symbol, Symbol)], hash: u64) -> Nth {
        self.pending.name(id, pairs, hash);
        let nth = self.named;
        self.named = nth.checked_add(1).expect("a log names fewer than 2^32 series of a shard");
        nth
    }

    /// Hands over what there is to do, once it is worth it.
    #[inline]
    pub(super) fn flush_full(&mut self) {
        if self.pending.is_full() {
            self.flush();
        }
    }

    /// As [`flush_full`](Self::flush_full), within a run.
    #[inline]
    pub(super) fn flush_full_in(&mut self, run: &Run) {
        if self.pending.is_full() {
            self.pending.end_run(run);
            self.flush();
        }
    }

    /// Hands over what there is to do.
    pub(super) fn flush(&mut self) {
        let empty = self.empty.try_recv().unwrap_or_default();
        // A worker ends early only by panicking, which joining it will show.
        let _ = self.batches.send(std::mem::replace(&mut self.pending, empty));
    }

    /// Waits for the shard to do what it has been given.
    pub(super) fn finish(self) -> Restored {
        drop(self.batches);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// A shard as it is restored.
struct Shard<'e> {
    shard: usize,
    into: Recovering<'e>,
    flushed_until_ms: i64,
    writers: Slab<SeriesWriter>,
    /// The slot that each name stands for.
    slots: Vec<u32>,
    samples: u64,
    sealed_bytes: usize,
    closed: Vec<Closed>,
    sealer: Sealer,
}

impl<'e> Shard<'e> {
    fn new(shard: usize, into: Recovering<'e>, flushed_until_ms: i64) -> Self {
        Self {
            shard,
            into,
            flushed_until_ms,
            writers: Slab::default(),
            slots: Vec::new(),
            samples: 0,
            sealed_bytes: 0,
            closed: Vec::new(),
            sealer: Sealer::default(),
        }
    }

    fn run(mut self, batches: &Receiver<Batch>, applied: &SyncSender<Batch>) -> Restored {
        while let Ok(mut batch) = batches.recv() {
            self.apply(&mut batch);
            batch.clear();
            // There is room for all; if not, there is one batch less.
            let _ = applied.try_send(batch);
        }
        Restored { writers: self.writers, samples: self.samples, sealed_bytes: self.sealed_bytes }
    }

    fn apply(&mut self, batch: &mut Batch) {
        let Batch { steps, series, pairs, samples, times, .. } = batch;
        let (mut series, mut pairs, mut samples, mut times) = (&series[..], &pairs[..], &samples[..], &times[..]);
        for step in steps.drain(..) {
            match step {
                Step::Series(count) => pairs = self.make(take(&mut series, count), pairs),
                Step::Samples(count, run) => {
                    let own = take(&mut times, if run.each { count } else { 0 });
                    self.append(take(&mut samples, count), own, &run);
                }
                Step::Histogram { series, at_ms, start_ms, value } => {
                    self.append_histogram(series, at_ms, start_ms, &value);
                }
                Step::State(series, state) => {
                    let writer = self.writer(series);
                    writer.restore(Last { at_ms: state.last.0, bits: state.last.1 });
                    writer.series().restore(Stored::from_log(state.stored));
                }
                Step::Deletion(series, range) => {
                    self.delete(series, range);
                }
            }
        }
        self.sealed_bytes += self.closed.drain(..).map(|chunk| chunk.seal(&mut self.sealer)).sum::<usize>();
    }

    /// Deletes as it was done when the deletion was logged: what comes next follows what is left.
    fn delete(&mut self, series: Nth, range: TimeRange) {
        let mut sealer = std::mem::take(&mut self.sealer);
        let Recovering { history, files, .. } = self.into;
        let view = View { watermark: u64::MAX, history, files, flushed_until_ms: i64::MIN };
        let writer = self.writer(series);
        writer.series().delete(range, writer.last().at_ms);
        let bound = writer.end_without(range);
        // What cannot be read stays hidden.
        let grown = bound.and_then(|bound_ms| writer.rewind(view, bound_ms, &mut sealer).ok()).unwrap_or(0);
        self.sealed_bytes = self.sealed_bytes.saturating_add_signed(grown);
        self.sealer = sealer;
    }

    /// Makes series whose labels are the first of `pairs`, and answers the others.
    fn make<'p>(&mut self, series: &[NamedSeries], mut pairs: &'p [(Symbol, Symbol)]) -> &'p [(Symbol, Symbol)] {
        let sets = series.iter().map(|series| (take(&mut pairs, series.pairs as usize), series.hash));
        let mut ids = series.iter().map(|series| series.id);
        self.into.index.make_many(self.shard, sets, |series| {
            let slot = place(series.series_ref).1;
            let id = ids.next().expect("each set has an id");
            if series.id() == SeriesId(0) {
                series.set_id(id);
            }
            if slot as usize == self.writers.len() {
                self.writers.push(SeriesWriter::new(series.clone()));
            }
            self.slots.push(slot);
        });
        pairs
    }

    fn writer(&mut self, series: Nth) -> &mut SeriesWriter {
        self.writers.get_mut(self.slots[series as usize]).expect("a name stands for a series that was made")
    }

    /// Appends what a run holds. What the log repeats (it does where damage was mended by hand) is not taken twice.
    fn append(&mut self, samples: &[Sample], own: &[(i64, i64)], run: &Run) {
        let placement = match &run.column {
            Some((column, ordinal)) => Placement::OnColumn(column, *ordinal),
            None => Placement::Own,
        };
        let mut context = context(self.into, &mut self.closed);
        for (i, &Sample { series, value }) in samples.iter().enumerate() {
            let writer = self.writers.get_mut(self.slots[series as usize]);
            let writer = writer.expect("a name stands for a series that was made");
            let (own_ms, start_ms) = own.get(i).copied().unwrap_or((run.at_ms, 0));
            let at_ms = if run.column.is_some() { run.at_ms } else { own_ms };
            match replayed(writer, at_ms, value.to_bits(), self.flushed_until_ms) {
                Verdict::Append => writer.append(PlacedFloat { placement, at_ms, start_ms, value }, &mut context),
                Verdict::Late => writer.append_late(at_ms, start_ms, LateValue::Float(value), &context),
                Verdict::Known | Verdict::Refuse(_) => continue,
            }
            self.samples += 1;
        }
    }

    fn append_histogram(&mut self, series: Nth, at_ms: i64, start_ms: i64, value: &HistogramValue) {
        if crate::chunk::split(value).is_none() {
            return;
        }
        let (into, flushed_until_ms, mut closed) = (self.into, self.flushed_until_ms, std::mem::take(&mut self.closed));
        let mut context = context(into, &mut closed);
        let writer = self.writer(series);
        let taken = match replayed(writer, at_ms, value.sum().to_bits(), flushed_until_ms) {
            Verdict::Append => {
                writer.append_histogram(Placement::Own, at_ms, start_ms, value, &mut context);
                1
            }
            Verdict::Late => {
                writer.append_late(at_ms, start_ms, LateValue::from(value), &context);
                1
            }
            Verdict::Known | Verdict::Refuse(_) => 0,
        };
        self.closed = closed;
        self.samples += taken;
    }
}

/// Nobody reads yet, so nothing of the past is to be kept, and all belongs to commit 0, which all readers see.
fn context<'c>(into: Recovering<'c>, closed: &'c mut Vec<Closed>) -> ApplyContext<'c> {
    ApplyContext { commit: 0, watched: &[], history: into.history, closed }
}

/// Takes the first `n` off a list.
fn take<'l, T>(list: &mut &'l [T], n: usize) -> &'l [T] {
    let (taken, left) = list.split_at(n);
    *list = left;
    taken
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
