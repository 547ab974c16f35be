//! From a batch to logged, readable samples. One commit at a time.

use super::Head;
use super::appender::{Batch, BatchSample, Committed};
use super::column::SharedColumn;
use super::index::place;
use super::series::{ApplyContext, Closed, Last, PlacedFloat, Placement, Refusal, SeriesWriter, Verdict};
use super::slab::Slab;
use crate::chunk::Sealer;
use crate::error::Error;
use crate::sample::{SeriesRef, TimeRange, Timestamp};
use crate::wal::{
    FRAME_HEADER_BYTES, LogFile, LoggedSample, MAX_FRAME_BYTES, SamplesWriter, SeriesId, Wal, begin_frame,
    finish_frame, put_histogram, put_metadata, put_series,
};

/// The end of the log, and the writing end of every series. Behind one lock: commits are logged and applied in one
/// order, which is therefore the order of replay.
#[derive(Debug)]
pub(crate) struct Committer {
    wal: Wal,
    pub(super) shards: Vec<Slab<SeriesWriter>>,
    last_commit: u64,
    last_id: u64,
    /// From the oldest sample to the newest; empty if there is none.
    span: TimeRange,
    /// Why nothing can be committed any more.
    failed: Option<String>,
    /// Working memory: the frame, its samples before they are put behind the series, what to take back.
    frame: Vec<u8>,
    body: Vec<u8>,
    undo: Vec<(SeriesRef, Last)>,
    named: Vec<SeriesRef>,
    watched: Vec<u64>,
    closed: Vec<Closed>,
}

/// Marks an entry of a batch that is not to be applied.
const LEFT_OUT: SeriesRef = SeriesRef(u64::MAX);

impl Committer {
    pub(crate) fn new(wal: Wal, shards: Vec<Slab<SeriesWriter>>, last_id: u64, span: TimeRange) -> Self {
        Self {
            wal,
            shards,
            last_commit: 0,
            last_id,
            span,
            failed: None,
            frame: Vec::new(),
            body: Vec::new(),
            undo: Vec::new(),
            named: Vec::new(),
            watched: Vec::new(),
            closed: Vec::new(),
        }
    }

    pub(crate) fn wal(&mut self) -> &mut Wal {
        &mut self.wal
    }

    /// What has to be synced so that all commits up to the one named survive a power cut.
    pub(crate) fn unsynced(&mut self) -> (Vec<LogFile>, u64) {
        (self.wal.unsynced(), self.last_commit)
    }

    /// Lets nothing be committed any more.
    pub(crate) fn fail(&mut self, reason: String) {
        self.failed.get_or_insert(reason);
    }

    /// From the oldest sample to the newest; empty if there is none.
    pub(crate) fn span(&self) -> TimeRange {
        self.span
    }

    pub(crate) fn last_commit(&self) -> u64 {
        self.last_commit
    }
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
        committer.log(self, column, &mut batch, &mut committed)?;
        if committed.appended == 0 && batch.metadata.is_empty() {
            drop(guard);
            self.counters.add(&committed);
            self.recycle(batch);
            return Ok(committed);
        }
        let commit = committer.last_commit;
        committer.apply(self, column, &batch);
        for (family, metadata) in batch.metadata.drain(..) {
            self.metadata.write().insert(family, metadata);
        }
        let closed = std::mem::take(&mut committer.closed);
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
        closed.into_iter().for_each(|chunk| chunk.seal(&mut sealer));
        self.sealers.lock().push(sealer);
    }
}

impl Committer {
    /// Judges every sample and writes those that are accepted to the log as one frame. Marks the others in `batch`.
    fn log(
        &mut self,
        head: &Head,
        column: Option<(&SharedColumn, Timestamp)>,
        batch: &mut Batch,
        committed: &mut Committed,
    ) -> Result<(), Error> {
        self.frame.clear();
        self.body.clear();
        self.undo.clear();
        self.named.clear();
        begin_frame(&mut self.frame);
        if !batch.scraped.is_empty() {
            let (column, at) = column.expect("checked when the sample was added");
            let started = batch.scraped.iter().any(|s| s.start_ms != 0);
            let mut body = std::mem::take(&mut self.body);
            let mut record = SamplesWriter::begin(&mut body, Some(column.id), at.millis(), false, started);
            for sample in &mut batch.scraped {
                self.log_sample(head, sample, at.millis(), &mut record, &mut body, committed);
            }
            record.finish(&mut body);
            self.body = body;
        }
        let Batch { timed, histograms, .. } = batch;
        let mut done = 0;
        for histogram in histograms {
            self.log_timed(head, &mut timed[done..histogram.after], committed);
            done = histogram.after;
            let at_ms = *histogram.at_ms.get_or_insert_with(|| column.map_or(0, |(_, at)| at.millis()));
            let bits = histogram.value.sum().to_bits();
            match self.judge(head, histogram.series, at_ms, bits, committed) {
                Some(id) => put_histogram(&mut self.body, id, at_ms, histogram.start_ms, &histogram.value),
                None => histogram.series = LEFT_OUT,
            }
        }
        self.log_timed(head, &mut timed[done..], committed);
        if committed.appended == 0 && batch.metadata.is_empty() {
            return Ok(());
        }
        batch.metadata.iter().for_each(|(family, metadata)| put_metadata(&mut self.body, family, metadata));
        self.frame.extend_from_slice(&self.body);
        let written = if self.frame.len() - FRAME_HEADER_BYTES > MAX_FRAME_BYTES {
            Err(Error::TooLarge { bytes: self.frame.len(), limit: MAX_FRAME_BYTES })
        } else {
            finish_frame(&mut self.frame);
            self.wal.append(&self.frame)
        };
        if written.is_err() {
            self.take_back();
        } else {
            self.last_commit += 1;
        }
        written
    }

    /// Judges and writes floats with times of their own.
    fn log_timed(&mut self, head: &Head, timed: &mut [(BatchSample, i64)], committed: &mut Committed) {
        let Some(&(_, first_ms)) = timed.first() else { return };
        let each_its_own = timed.iter().any(|&(_, at_ms)| at_ms != first_ms);
        let started = timed.iter().any(|(s, _)| s.start_ms != 0);
        let mut body = std::mem::take(&mut self.body);
        let mut record = SamplesWriter::begin(&mut body, None, first_ms, each_its_own, started);
        for (sample, at_ms) in timed {
            self.log_sample(head, sample, *at_ms, &mut record, &mut body, committed);
        }
        record.finish(&mut body);
        self.body = body;
    }

    #[inline]
    fn log_sample(
        &mut self,
        head: &Head,
        sample: &mut BatchSample,
        at_ms: i64,
        record: &mut SamplesWriter,
        body: &mut Vec<u8>,
        committed: &mut Committed,
    ) {
        match self.judge(head, sample.series, at_ms, sample.value.to_bits(), committed) {
            Some(series) => {
                let logged =
                    LoggedSample { series, timestamp_ms: at_ms, start_ms: sample.start_ms, value: sample.value };
                record.put(body, logged);
            }
            None => sample.series = LEFT_OUT,
        }
    }

    /// The log's name of the series if the sample is accepted, and counts it.
    #[inline]
    fn judge(
        &mut self,
        head: &Head,
        series: SeriesRef,
        at_ms: i64,
        bits: u64,
        committed: &mut Committed,
    ) -> Option<SeriesId> {
        let Some(writer) = self.writer(head, series) else {
            committed.count(series, at_ms, Refusal::UnknownRef);
            return None;
        };
        let (verdict, before) = writer.judge(at_ms, bits);
        let id = writer.id;
        match verdict {
            Verdict::Append => {
                committed.appended += 1;
                self.undo.push((series, before));
                self.span.extend(at_ms);
                Some(if id == SeriesId(0) { self.name(head, series) } else { id })
            }
            Verdict::Known => {
                committed.known += 1;
                None
            }
            Verdict::Refuse(refusal) => {
                committed.count(series, at_ms, refusal);
                None
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
        for slot in writers.len() as u32..index.len() as u32 {
            let series = index.series(slot).expect("the slot is below the length");
            writers.push(SeriesWriter::new(series.clone()));
        }
    }

    /// Gives the series a name in the log and writes its labels there.
    #[cold]
    fn name(&mut self, head: &Head, series: SeriesRef) -> SeriesId {
        self.last_id += 1;
        let id = SeriesId(self.last_id);
        let writer = judged(&mut self.shards, series);
        writer.id = id;
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
            judged(&mut self.shards, series).id = SeriesId(0);
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
    /// Samples refused because they were older than the last one of their series.
    pub out_of_order: u64,
    /// Samples refused because there was another value at their time.
    pub duplicate: u64,
}

impl Counters {
    fn add(&self, committed: &Committed) {
        let mut totals = self.inner.lock();
        totals.commits += 1;
        totals.appended += committed.appended as u64;
        totals.out_of_order += committed.out_of_order as u64;
        totals.duplicate += committed.duplicate as u64;
    }

    pub(crate) fn totals(&self) -> CommitTotals {
        *self.inner.lock()
    }
}
