//! From a batch to logged, readable samples. One commit at a time.

use std::sync::atomic::Ordering;

use rustc_hash::FxHashMap;

use super::Head;
use super::appender::{Batch, BatchExemplar, BatchSample, Committed};
use super::column::SharedColumn;
use super::index::place;
use super::late::LateValue;
use super::series::{Closed, TOGETHER};
use super::series_writer::{ApplyContext, Last, PlacedFloat, Placement, Refusal, SeriesWriter, Verdict};
use super::slab::Slab;
use crate::chunk::Sealer;
use crate::clock::{Clock, TOLERANCE_MS};
use crate::error::Error;
use crate::labels::Labels;
use crate::sample::{SeriesRef, TimeRange, Timestamp};
use crate::wal::{
    FRAME_HEADER_BYTES, LogFile, LoggedSample, MAX_FRAME_BYTES, SamplesWriter, SeriesId, Wal, begin_frame,
    finish_frame, put_exemplar, put_histogram, put_metadata, put_series,
};

/// The end of the log, and the writing end of every series. Behind one lock: commits are logged and applied in one
/// order, which is therefore the order of replay.
#[derive(Debug)]
pub(crate) struct Committer {
    /// None in a head that is only read.
    wal: Option<Wal>,
    pub(super) shards: Vec<Slab<SeriesWriter>>,
    last_commit: u64,
    last_id: u64,
    /// From the oldest sample to the newest; empty if there is none.
    span: TimeRange,
    /// What is older is in blocks, late samples aside.
    flushed_until_ms: i64,
    /// How much older than the newest sample a late one may be.
    late_window_ms: i64,
    /// The time as it was told last; `None` in a store that is told none, which goes by its newest sample alone.
    clock: Option<Clock>,
    /// Time of the oldest late sample since blocks were cut last.
    oldest_late_ms: i64,
    /// Samples logged since the last checkpoint.
    tail_samples: u64,
    /// Why nothing can be committed any more.
    failed: Option<String>,
    /// Working memory: the frame, its samples before they are put behind the series, what to take back.
    frame: Vec<u8>,
    body: Vec<u8>,
    undo: Vec<(SeriesRef, Last)>,
    pending: Pending,
    named: Vec<SeriesRef>,
    watched: Vec<u64>,
    closed: Vec<Closed>,
}

/// Samples of the commit at hand that readers cannot find yet, for late ones to be judged against. Empty unless there
/// are late ones.
#[derive(Debug, Default)]
struct Pending {
    bits: FxHashMap<(SeriesRef, i64), u64>,
    /// Entries of `undo` that have been taken over.
    taken: usize,
}

/// Bytes of working memory that are kept from one commit to the next, of each kind. More is rare and freed.
pub(super) const MAX_KEPT_BYTES: usize = 8 << 20;

/// Marks an entry of a batch that is not to be applied.
const LEFT_OUT: SeriesRef = SeriesRef(u64::MAX);
/// Bit of an entry's series that marks its sample as late. No reference has it.
const LATE: u64 = 1 << 63;

/// How much older than the newest sample the first of a series may be, as in Prometheus: half a block.
const IN_ORDER_MS: i64 = 3_600_000;

/// How far ahead of the wall clock the last sample of a series must lie for those of now to be taken beside it, though late ones
/// are not: clocks differ, and the store knows the time to half a second.
const AHEAD_MS: i64 = 30_000;

/// How old samples of one commit may be. Taken from what was there before it, so that what a request holds does not
/// depend on the order within it.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    in_order_ms: i64,
    late_ms: i64,
    takes_late: bool,
    /// The wall clock, if it is known.
    now_ms: Option<i64>,
}

impl Bounds {
    /// Whether a sample is of the present and only samples or blocks of the future stand in its way.
    fn is_blocked_by_future(self, at_ms: i64, last_ms: i64) -> bool {
        self.now_ms.is_some_and(|now_ms| {
            let is_ahead = last_ms > now_ms.saturating_add(AHEAD_MS);
            at_ms >= now_ms.saturating_sub(TOLERANCE_MS) && (at_ms > last_ms || is_ahead)
        })
    }

    /// Why a sample is refused that does not follow the last one of its series.
    fn reason(self, at_ms: i64) -> Refusal {
        match self.takes_late {
            true => Refusal::TooOld,
            false if at_ms < self.in_order_ms || at_ms == Last::NONE.at_ms => Refusal::OutOfBounds,
            false => Refusal::OutOfOrder,
        }
    }
}

impl Committer {
    pub(crate) fn new(shards: Vec<Slab<SeriesWriter>>, last_id: u64, state: CommitterState) -> Self {
        let CommitterState { span, flushed_until_ms, late_window_ms, clock, tail_samples } = state;
        Self {
            wal: None,
            shards,
            last_commit: 0,
            last_id,
            span,
            flushed_until_ms,
            late_window_ms,
            clock,
            // What recovery has found may be older than what is flushed.
            oldest_late_ms: i64::MIN,
            tail_samples,
            failed: None,
            frame: Vec::new(),
            body: Vec::new(),
            undo: Vec::new(),
            pending: Pending::default(),
            named: Vec::new(),
            watched: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// Lets commits be logged to `wal`.
    pub(crate) fn begin(&mut self, wal: Wal) {
        self.wal = Some(wal);
    }

    pub(crate) fn wal(&mut self) -> &mut Wal {
        self.wal.as_mut().expect("only a store that has begun to write hands out appenders")
    }

    /// What has to be synced so that all commits up to the one named survive a power cut.
    pub(crate) fn unsynced(&mut self) -> (Vec<LogFile>, u64) {
        (self.wal().unsynced(), self.last_commit)
    }

    /// Lets nothing be committed until [`resume`](Self::resume).
    pub(crate) fn fail(&mut self, reason: String) {
        self.failed = Some(reason);
    }

    /// The same where a file of the log is no good any more. Answers the reason.
    pub(super) fn fail_for_good_files(&mut self, error: &Error) -> String {
        let reason = format!("{error}; goes on once all of it could be written to other files");
        self.fail(reason.clone());
        reason
    }

    /// Lets commits be logged again, to the current segment, of which nothing has been written yet.
    pub(crate) fn resume(&mut self) {
        self.failed = None;
        self.wal().forget_unsynced();
    }

    /// Why nothing is committed.
    pub(crate) fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// From the oldest sample to the newest; empty if there is none.
    pub(crate) fn span(&self) -> TimeRange {
        self.span
    }

    pub(crate) fn last_commit(&self) -> u64 {
        self.last_commit
    }

    /// The time of the newest sample of a series.
    pub(crate) fn last_ms(&self, series: SeriesRef) -> i64 {
        let (shard, slot) = place(series);
        self.shards.get(shard).and_then(|writers| writers.get(slot)).map_or(i64::MIN, |writer| writer.last().at_ms)
    }

    pub(crate) fn last_id(&self) -> SeriesId {
        SeriesId(self.last_id)
    }

    /// Logs a finished frame that holds no samples, as a commit of its own.
    pub(crate) fn log_frame(&mut self, frame: &[u8]) -> Result<u64, Error> {
        if let Some(reason) = &self.failed {
            return Err(Error::Paused { reason: reason.clone() });
        }
        self.wal().append(frame)?;
        self.last_commit += 1;
        Ok(self.last_commit)
    }

    /// Samples logged since the last checkpoint.
    pub(crate) fn tail_samples(&self) -> u64 {
        self.tail_samples
    }

    /// A checkpoint covers the first `samples` of the tail.
    pub(crate) fn checkpointed(&mut self, samples: u64) {
        self.tail_samples -= samples;
    }

    /// What is older than `until_ms` is in blocks from now on.
    pub(crate) fn flushed(&mut self, until_ms: i64) {
        if until_ms > self.flushed_until_ms {
            self.flushed_until_ms = until_ms;
            self.oldest_late_ms = i64::MAX;
        }
    }

    /// Samples from `until_ms` on are taken in order again, though blocks reach beyond.
    pub(crate) fn lower_flushed(&mut self, until_ms: i64) {
        self.flushed_until_ms = self.flushed_until_ms.min(until_ms);
    }

    /// Forgets that there is anything older than `ms`, but for late samples that came since the last [`flushed`](Self::flushed).
    pub(crate) fn begins_at(&mut self, ms: i64) {
        self.span.start = self.span.start.max(Timestamp::from_millis(ms.min(self.oldest_late_ms)));
    }

    /// The newest sample is this one; there is none at the least moment.
    pub(crate) fn ends_at(&mut self, ms: i64) {
        self.span.end = Timestamp::from_millis(ms);
        if self.span.end < self.span.start {
            self.span = TimeRange::NONE;
        }
    }

    pub(crate) fn clock(&self) -> Option<Clock> {
        self.clock
    }

    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.clock = Some(clock);
    }

    /// The moment that the age of samples is counted from: the newest sample, unless that lies in the future.
    pub(crate) fn reference_ms(&self) -> i64 {
        let newest = self.span.end.millis();
        self.clock.map_or(newest, |clock| clock.reference_ms(newest))
    }

    pub(crate) fn late_window_ms(&self) -> i64 {
        self.late_window_ms
    }

    pub(crate) fn set_late_window(&mut self, ms: i64) {
        self.late_window_ms = ms;
    }

    fn bounds(&self) -> Bounds {
        let reference_ms = self.reference_ms();
        Bounds {
            in_order_ms: reference_ms.saturating_sub(IN_ORDER_MS).max(self.flushed_until_ms),
            late_ms: reference_ms.saturating_sub(self.late_window_ms),
            takes_late: self.late_window_ms > 0,
            now_ms: self.clock.map(|clock| clock.wall.millis()),
        }
    }
}

/// How a committer begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommitterState {
    pub(crate) span: TimeRange,
    pub(crate) flushed_until_ms: i64,
    pub(crate) late_window_ms: i64,
    pub(crate) clock: Option<Clock>,
    pub(crate) tail_samples: u64,
}

impl Head {
    /// Logs and applies `batch`; see [`Appender::commit`](super::Appender::commit).
    pub(crate) fn commit(
        &self,
        column: Option<(&SharedColumn, Timestamp)>,
        mut batch: Batch,
    ) -> Result<Committed, Error> {
        if batch.is_empty() {
            self.recycle(batch);
            return Ok(Committed::default());
        }
        let mut guard = self.committer.lock();
        let committer = &mut *guard;
        if let Some(reason) = &committer.failed {
            return Err(Error::Paused { reason: reason.clone() });
        }
        let mut committed = Committed::default();
        let bounds = committer.bounds();
        // What is left of a segment may do for a small commit where a large one was refused; it waits as well, so that
        // a pause is one pause.
        let room = if self.refused.lock().is_some() { committer.wal().roll().map(drop) } else { Ok(()) };
        let logged = room.and_then(|()| committer.log(self, column, bounds, &mut batch, &mut committed));
        *self.refused.lock() = logged.as_ref().err().filter(|e| matches!(e, Error::Io { .. })).map(ToString::to_string);
        if let Err(error @ Error::Deleted { .. }) = &logged {
            let reason = committer.fail_for_good_files(error);
            drop(guard);
            self.syncer.fail(reason.clone());
            return Err(Error::Paused { reason });
        }
        logged?;
        committer.tail_samples += committed.appended as u64;
        if committed.appended == 0 && batch.metadata.is_empty() && batch.exemplars.is_empty() {
            drop(guard);
            self.counters.add(&committed);
            self.recycle(batch);
            return Ok(committed);
        }
        let commit = committer.last_commit;
        committer.apply(self, column, &batch);
        if !batch.metadata.is_empty() {
            let mut families = self.metadata.write();
            batch.metadata.drain(..).for_each(|(family, metadata)| families.insert(family, metadata));
        }
        if !batch.exemplars.is_empty() {
            let mut exemplars = self.exemplars.lock();
            let latest_ms = committer.clock.map_or(i64::MAX, Clock::latest_ms);
            for BatchExemplar { labels, exemplar, .. } in batch.exemplars.drain(..) {
                // Of those of one commit, too, each must follow the one before.
                let is_next = exemplars.takes(&labels, &exemplar, latest_ms);
                committed.exemplars += usize::from(is_next && exemplars.add(labels, exemplar));
            }
        }
        let closed = std::mem::take(&mut committer.closed);
        committer.free_large_buffers();
        drop(guard);
        self.syncer.finish(self, commit)?;
        self.counters.add(&committed);
        self.recycle(batch);
        self.seal(closed);
        Ok(committed)
    }

    /// Re-encodes chunks that are complete. On the thread of the commit that completed them, after it is done, so that
    /// whoever makes the work waits for it, and nobody else.
    fn seal(&self, closed: Vec<Closed>) {
        if closed.is_empty() {
            return;
        }
        let mut sealer = self.sealers.lock().pop().unwrap_or_default();
        let bytes: usize = closed.into_iter().map(|chunk| chunk.seal(&mut sealer)).sum();
        self.sealed_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.sealers.lock().push(sealer);
    }
}

impl Committer {
    /// Frees working memory that an unusually large commit has left.
    fn free_large_buffers(&mut self) {
        for buffer in [&mut self.frame, &mut self.body] {
            if buffer.capacity() > MAX_KEPT_BYTES {
                *buffer = Vec::new();
            }
        }
        if self.undo.capacity() * size_of::<(SeriesRef, Last)>() > MAX_KEPT_BYTES {
            self.undo = Vec::new();
        }
    }

    /// Judges every sample and writes those that are accepted to the log as one frame. Marks the others in `batch`.
    fn log(
        &mut self,
        head: &Head,
        column: Option<(&SharedColumn, Timestamp)>,
        bounds: Bounds,
        batch: &mut Batch,
        committed: &mut Committed,
    ) -> Result<(), Error> {
        self.frame.clear();
        self.body.clear();
        self.undo.clear();
        self.pending.bits.clear();
        self.pending.taken = 0;
        self.named.clear();
        begin_frame(&mut self.frame);
        if !batch.scraped.is_empty() {
            let (column, at) = column.expect("checked when the sample was added");
            let started = batch.scraped.iter().any(|s| s.start_ms != 0);
            let mut body = std::mem::take(&mut self.body);
            let mut record = SamplesWriter::begin(&mut body, Some(column.id), at.millis(), false, started);
            for samples in batch.scraped.chunks_mut(TOGETHER) {
                self.touch(samples.iter().map(|sample| sample.series));
                for sample in samples {
                    self.log_sample(head, sample, at.millis(), bounds, &mut record, &mut body, committed);
                }
            }
            record.finish(&mut body);
            self.body = body;
        }
        let Batch { timed, histograms, .. } = batch;
        let mut done = 0;
        for histogram in histograms {
            self.log_timed(head, bounds, &mut timed[done..histogram.after], committed);
            done = histogram.after;
            let at_ms = *histogram.at_ms.get_or_insert_with(|| column.map_or(0, |(_, at)| at.millis()));
            let bits = histogram.value.sum().to_bits();
            if let Some(id) = self.judge(head, &mut histogram.series, at_ms, bits, bounds, committed) {
                put_histogram(&mut self.body, id, at_ms, histogram.start_ms, &histogram.value);
            }
        }
        self.log_timed(head, bounds, &mut timed[done..], committed);
        self.log_exemplars(head, batch, committed);
        if !batch.metadata.is_empty() {
            let mut families = head.metadata.write();
            batch.metadata.retain(|(family, metadata)| families.takes(family, metadata));
        }
        if committed.appended == 0 && batch.metadata.is_empty() && batch.exemplars.is_empty() {
            return Ok(());
        }
        batch.metadata.iter().for_each(|(family, metadata)| put_metadata(&mut self.body, family, metadata));
        self.frame.extend_from_slice(&self.body);
        let written = if self.frame.len() - FRAME_HEADER_BYTES > MAX_FRAME_BYTES {
            Err(Error::TooLarge { bytes: self.frame.len(), limit: MAX_FRAME_BYTES })
        } else {
            finish_frame(&mut self.frame);
            let frame = std::mem::take(&mut self.frame);
            let written = self.wal().append(&frame);
            self.frame = frame;
            written
        };
        if written.is_err() {
            self.take_back();
        } else {
            self.last_commit += 1;
        }
        written
    }

    /// Writes the exemplars that are newer than what is kept of their series, and takes the others out of the batch.
    fn log_exemplars(&mut self, head: &Head, batch: &mut Batch, committed: &mut Committed) {
        if batch.exemplars.is_empty() {
            return;
        }
        let kept = head.exemplars.lock();
        let latest_ms = self.clock.map_or(i64::MAX, Clock::latest_ms);
        let mut exemplars = std::mem::take(&mut batch.exemplars);
        exemplars.retain_mut(|BatchExemplar { series, labels, exemplar }| {
            // Without a sample that the log has, there is no series to name.
            let id = self.writer(head, *series).map_or(SeriesId(0), |writer| writer.series().id());
            if id == SeriesId(0) {
                return false;
            }
            *labels = head.labels_of(*series).unwrap_or_else(Labels::empty);
            if !kept.takes(labels, exemplar, latest_ms) {
                committed.known_exemplars += 1;
                return false;
            }
            put_exemplar(&mut self.body, labels, exemplar);
            true
        });
        batch.exemplars = exemplars;
    }

    /// Judges and writes floats with times of their own.
    fn log_timed(&mut self, head: &Head, bounds: Bounds, timed: &mut [(BatchSample, i64)], committed: &mut Committed) {
        let Some(&(_, first_ms)) = timed.first() else { return };
        let each_its_own = timed.iter().any(|&(_, at_ms)| at_ms != first_ms);
        let started = timed.iter().any(|(s, _)| s.start_ms != 0);
        let mut body = std::mem::take(&mut self.body);
        let mut record = SamplesWriter::begin(&mut body, None, first_ms, each_its_own, started);
        for samples in timed.chunks_mut(TOGETHER) {
            self.touch(samples.iter().map(|(sample, _)| sample.series));
            for (sample, at_ms) in samples {
                self.log_sample(head, sample, *at_ms, bounds, &mut record, &mut body, committed);
            }
        }
        record.finish(&mut body);
        self.body = body;
    }

    /// Looks at what appending to each of these series will need. With many series none of it is in the processor's cache;
    /// asked for together, it comes together.
    fn touch(&self, series: impl Iterator<Item = SeriesRef>) {
        let writers = series.filter_map(|series| {
            let (shard, slot) = place(series);
            self.shards.get(shard)?.get(slot)
        });
        std::hint::black_box(writers.fold(0, |seen, writer| seen ^ writer.touch()));
    }

    #[inline]
    #[expect(clippy::too_many_arguments, reason = "the sample, the bounds, and the three places it is noted in")]
    fn log_sample(
        &mut self,
        head: &Head,
        sample: &mut BatchSample,
        at_ms: i64,
        bounds: Bounds,
        record: &mut SamplesWriter,
        body: &mut Vec<u8>,
        committed: &mut Committed,
    ) {
        let bits = sample.value.to_bits();
        if let Some(series) = self.judge(head, &mut sample.series, at_ms, bits, bounds, committed) {
            record.put(
                body,
                LoggedSample { series, timestamp_ms: at_ms, start_ms: sample.start_ms, value: sample.value },
            );
        }
    }

    /// The log's name of the series if the sample is accepted, and counts it. Marks `series` if it is late or not to be
    /// applied.
    #[inline]
    fn judge(
        &mut self,
        head: &Head,
        series: &mut SeriesRef,
        at_ms: i64,
        bits: u64,
        bounds: Bounds,
        committed: &mut Committed,
    ) -> Option<SeriesId> {
        let reference = *series;
        let Some(writer) = self.writer(head, reference) else {
            committed.count(reference, at_ms, Refusal::UnknownRef);
            *series = LEFT_OUT;
            return None;
        };
        let (mut verdict, before) = writer.judge(at_ms, bits);
        let id = writer.series().id();
        if verdict == Verdict::Append && at_ms < bounds.in_order_ms {
            // Its time may be in a block already; so that readers find it, it goes where late samples are.
            writer.restore(before);
            verdict = Verdict::Late;
        }
        if verdict == Verdict::Late {
            verdict = self.judge_late(head, reference, before.at_ms, at_ms, bits, bounds);
        }
        match verdict {
            Verdict::Append | Verdict::Late => {
                committed.appended += 1;
                if verdict == Verdict::Late {
                    committed.late += 1;
                    self.oldest_late_ms = self.oldest_late_ms.min(at_ms);
                    series.0 |= LATE;
                } else {
                    self.undo.push((reference, before));
                }
                self.span.extend(at_ms);
                Some(if id == SeriesId(0) { self.name(head, reference) } else { id })
            }
            Verdict::Known if at_ms != Last::NONE.at_ms => {
                committed.known += 1;
                *series = LEFT_OUT;
                None
            }
            Verdict::Known => {
                committed.count(reference, at_ms, bounds.reason(at_ms));
                *series = LEFT_OUT;
                None
            }
            Verdict::Refuse(refusal) => {
                let refusal = if at_ms == Last::NONE.at_ms { bounds.reason(at_ms) } else { refusal };
                committed.count(reference, at_ms, refusal);
                *series = LEFT_OUT;
                None
            }
        }
    }

    /// Judges a sample that is older than the last one of its series, or than what is flushed, against what the head
    /// holds at its time.
    #[cold]
    fn judge_late(
        &mut self,
        head: &Head,
        series: SeriesRef,
        last_ms: i64,
        at_ms: i64,
        bits: u64,
        bounds: Bounds,
    ) -> Verdict {
        if at_ms == Last::NONE.at_ms {
            return Verdict::Refuse(bounds.reason(at_ms));
        }
        let is_old = !bounds.takes_late || at_ms < bounds.late_ms;
        if is_old && !bounds.is_blocked_by_future(at_ms, last_ms) {
            return Verdict::Refuse(bounds.reason(at_ms));
        }
        for &(series, before) in &self.undo[self.pending.taken..] {
            self.pending.bits.insert((series, before.at_ms), before.bits);
        }
        self.pending.taken = self.undo.len();
        let writer = judged(&mut self.shards, series);
        let pending = self.pending.bits.get(&(series, at_ms)).copied();
        match pending.or_else(|| head.bits_at(writer.series(), at_ms)) {
            Some(found) if found == bits => Verdict::Known,
            Some(_) => Verdict::Refuse(Refusal::Duplicate),
            None => {
                self.pending.bits.insert((series, at_ms), bits);
                Verdict::Late
            }
        }
    }

    /// The writing end of a series; made if this is the first that is written to it.
    #[inline]
    fn writer(&mut self, head: &Head, series: SeriesRef) -> Option<&mut SeriesWriter> {
        let (shard, slot) = place(series);
        if self.shards.get(shard)?.len() <= slot as usize {
            self.add_writers(head, shard);
        }
        self.shards.get_mut(shard)?.get_mut(slot)
    }

    #[cold]
    fn add_writers(&mut self, head: &Head, shard: usize) {
        let (writers, index) = (&mut self.shards[shard], head.index.shards()[shard].read());
        for slot in writers.len() as u32..index.slots() as u32 {
            // One that has been evicted meanwhile leaves a gap.
            writers.push_or_skip(index.series(slot).map(|series| SeriesWriter::new(series.clone())));
        }
    }

    /// Gives the series a name in the log and writes its labels there.
    #[cold]
    fn name(&mut self, head: &Head, series: SeriesRef) -> SeriesId {
        self.last_id += 1;
        let id = SeriesId(self.last_id);
        let writer = judged(&mut self.shards, series);
        writer.series().set_id(id);
        self.named.push(series);
        let symbols = head.index.symbols();
        let labels = writer.series().labels.iter().map(|&(n, v)| (symbols.text(n), symbols.text(v)));
        put_series(&mut self.frame, id, labels);
        id
    }

    /// Undoes what [`log`](Self::log) did to the writers.
    fn take_back(&mut self) {
        for (series, before) in self.undo.drain(..).rev() {
            judged(&mut self.shards, series).restore(before);
        }
        for series in self.named.drain(..) {
            judged(&mut self.shards, series).series().set_id(SeriesId(0));
        }
    }

    /// Puts the accepted samples into their chunks. Cannot fail.
    fn apply(&mut self, head: &Head, column: Option<(&SharedColumn, Timestamp)>, batch: &Batch) {
        head.isolation.watched(&mut self.watched);
        head.history.prune(&self.watched);
        let commit = self.last_commit;
        let Self { shards, watched, closed, .. } = self;
        let mut context = ApplyContext { commit, watched, history: &head.history, closed };
        if let Some((column, at)) = column.filter(|_| !batch.scraped.is_empty()) {
            let (column, ordinal) = column.push(at, commit);
            for sample in batch.scraped.iter().filter(|s| s.series != LEFT_OUT) {
                if sample.series.0 & LATE != 0 {
                    let value = LateValue::Float(sample.value);
                    late(shards, sample.series).append_late(at.millis(), sample.start_ms, value, &context);
                    continue;
                }
                let placed = PlacedFloat {
                    placement: Placement::OnColumn(&column, ordinal),
                    at_ms: at.millis(),
                    start_ms: sample.start_ms,
                    value: sample.value,
                };
                judged(shards, sample.series).append(placed, &mut context);
            }
        }
        let mut done = 0;
        for histogram in &batch.histograms {
            apply_timed(shards, &batch.timed[done..histogram.after], &mut context);
            done = histogram.after;
            if histogram.series != LEFT_OUT {
                let at_ms = histogram.at_ms.expect("filled in when it was logged");
                if histogram.series.0 & LATE != 0 {
                    let value = LateValue::from(&histogram.value);
                    late(shards, histogram.series).append_late(at_ms, histogram.start_ms, value, &context);
                    continue;
                }
                let writer = judged(shards, histogram.series);
                writer.append_histogram(Placement::Own, at_ms, histogram.start_ms, &histogram.value, &mut context);
            }
        }
        apply_timed(shards, &batch.timed[done..], &mut context);
    }
}

/// Puts the accepted of floats with times of their own into their chunks.
fn apply_timed(shards: &mut [Slab<SeriesWriter>], timed: &[(BatchSample, i64)], context: &mut ApplyContext<'_>) {
    for (sample, at_ms) in timed.iter().filter(|(s, _)| s.series != LEFT_OUT) {
        if sample.series.0 & LATE != 0 {
            let value = LateValue::Float(sample.value);
            late(shards, sample.series).append_late(*at_ms, sample.start_ms, value, context);
            continue;
        }
        let placed =
            PlacedFloat { placement: Placement::Own, at_ms: *at_ms, start_ms: sample.start_ms, value: sample.value };
        judged(shards, sample.series).append(placed, context);
    }
}

/// The writer of a series that has passed [`Committer::judge`].
#[inline]
fn judged(shards: &mut [Slab<SeriesWriter>], series: SeriesRef) -> &mut SeriesWriter {
    let (shard, slot) = place(series);
    shards[shard].get_mut(slot).expect("a judged series has a writer")
}

/// The writer of a series whose sample was judged late.
fn late(shards: &mut [Slab<SeriesWriter>], series: SeriesRef) -> &mut SeriesWriter {
    judged(shards, SeriesRef(series.0 & !LATE))
}

/// Sealers that wait for work.
pub(crate) type Sealers = Vec<Sealer>;

/// Counts what commits did, over all time.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    inner: parking_lot::Mutex<CommitTotals>,
}

/// What commits did since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitTotals {
    /// Commits that were logged.
    pub commits: u64,
    /// Samples appended.
    pub appended: u64,
    /// Those of them that came after newer ones of their series.
    pub late: u64,
    /// Samples refused because they were older than the last one of their series, and late ones are not taken.
    pub out_of_order: u64,
    /// Samples refused because they were older than late ones may be.
    pub too_old: u64,
    /// Samples refused because they were so old that they may be in a block, and late ones are not taken.
    pub out_of_bounds: u64,
    /// Samples refused because there was another value at their time.
    pub duplicate: u64,
}

impl Counters {
    fn add(&self, committed: &Committed) {
        let mut totals = self.inner.lock();
        totals.commits += 1;
        totals.appended += committed.appended as u64;
        totals.late += committed.late as u64;
        totals.out_of_order += committed.out_of_order as u64;
        totals.too_old += committed.too_old as u64;
        totals.out_of_bounds += committed.out_of_bounds as u64;
        totals.duplicate += committed.duplicate as u64;
    }

    pub(crate) fn totals(&self) -> CommitTotals {
        *self.inner.lock()
    }
}
