//! Samples that came after newer ones of their series.

use std::sync::Arc;

use crate::chunk::{HistogramValue, MAX_SAMPLES, SealedChunk, Sealer};
use crate::codec::Malformed;
use crate::histogram::FloatHistogram;
use crate::querier::{Columns, Lengths};
use crate::sample::{HistogramSample, TimeRange, Timestamp};

/// Floats that wait in the buffer before the oldest of them are sealed as a chunk.
const BUFFERED: usize = 2 * MAX_SAMPLES;

/// The late samples of one series: few, as a rule. Chunks may overlap each other.
#[derive(Debug, Default)]
pub(crate) struct Late {
    /// Ascending in time, no two at the same.
    buffer: Vec<LateSample>,
    /// Seen by every reader.
    sealed: Vec<Arc<SealedChunk>>,
}

/// A late sample and the commit that brought it.
#[derive(Clone, Debug)]
pub(crate) struct LateSample {
    pub(crate) at_ms: i64,
    /// 0 if unknown.
    pub(crate) start_ms: i64,
    pub(crate) commit: u64,
    pub(crate) value: LateValue,
}

/// What a late sample holds.
#[derive(Clone, Debug)]
pub(crate) enum LateValue {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl From<&HistogramValue> for LateValue {
    fn from(value: &HistogramValue) -> Self {
        Self::Histogram(value.clone().into_float().into())
    }
}

impl Late {
    /// Adds a sample; of two at the same time the first stays. Seals what has piled up and every reader may see, those
    /// of commits up to `settled`, except within the ranges of `open`.
    pub(crate) fn add(&mut self, sample: LateSample, settled: u64, open: &[TimeRange]) {
        match self.buffer.binary_search_by_key(&sample.at_ms, |s| s.at_ms) {
            Ok(_) => return,
            Err(at) => self.buffer.insert(at, sample),
        }
        if self.buffer.len() >= BUFFERED {
            self.seal(settled, open);
        }
    }

    #[cold]
    fn seal(&mut self, settled: u64, open: &[TimeRange]) {
        let mut columns = Columns::default();
        self.buffer.retain(|sample| {
            let LateValue::Float(value) = sample.value else { return true };
            let at = Timestamp::from_millis(sample.at_ms);
            let full = columns.values.len() == MAX_SAMPLES;
            if full || sample.commit > settled || open.iter().any(|range| range.contains(at)) {
                return true;
            }
            columns.push(sample.at_ms, value, sample.start_ms);
            false
        });
        self.sealed.extend(SealedChunk::of_floats(&columns, &mut Sealer::default()).map(Arc::new));
    }

    /// Whether there may be samples within `range`.
    pub(crate) fn may_overlap(&self, range: TimeRange) -> bool {
        self.buffer.iter().any(|s| range.contains(Timestamp::from_millis(s.at_ms)))
            || self.sealed.iter().any(|chunk| chunk.range().overlaps(&range))
    }

    /// Puts the sealed samples within `range` among those that `columns` holds from `from` on, which win where there are
    /// two at the same time.
    pub(crate) fn read_sealed(&self, range: TimeRange, from: Lengths, columns: &mut Columns) -> Result<(), Malformed> {
        let mut part = Columns::default();
        for chunk in self.sealed.iter().filter(|chunk| chunk.range().overlaps(&range)) {
            part.clear();
            chunk.read(usize::MAX, range, &mut part)?;
            columns.absorb(from, &part);
        }
        Ok(())
    }

    /// The same with the samples in the buffer that came by commits up to `watermark`.
    pub(crate) fn read_buffer(&self, watermark: u64, range: TimeRange, from: Lengths, columns: &mut Columns) {
        let mut part = Columns::default();
        for sample in &self.buffer {
            let timestamp = Timestamp::from_millis(sample.at_ms);
            if sample.commit > watermark || !range.contains(timestamp) {
                continue;
            }
            match &sample.value {
                LateValue::Float(value) => part.push(sample.at_ms, *value, sample.start_ms),
                LateValue::Histogram(histogram) => part.histograms.push(HistogramSample {
                    timestamp,
                    start: Some(sample.start_ms).filter(|&s| s != 0).map(Timestamp::from_millis),
                    histogram: histogram.clone(),
                }),
            }
        }
        columns.absorb(from, &part);
    }

    /// Takes the samples within `range` out of the buffer. Answers the time of the last sample that is sealed.
    pub(crate) fn delete(&mut self, range: TimeRange) -> i64 {
        self.buffer.retain(|s| !range.contains(Timestamp::from_millis(s.at_ms)));
        self.sealed.iter().map(|chunk| chunk.range().end.millis()).max().unwrap_or(i64::MIN)
    }

    /// The time of the newest sample, if there is one.
    pub(crate) fn end_ms(&self) -> Option<i64> {
        let sealed = self.sealed.iter().map(|chunk| chunk.range().end.millis());
        sealed.chain(self.buffer.last().map(|sample| sample.at_ms)).max()
    }

    /// Whether a sealed chunk may have samples within `range`.
    pub(crate) fn may_have_sealed(&self, range: TimeRange) -> bool {
        self.sealed.iter().any(|chunk| chunk.range().overlaps(&range))
    }

    /// Puts `chunks` in the place of those that are sealed. Every reader sees them.
    pub(crate) fn set_sealed(&mut self, chunks: Vec<Arc<SealedChunk>>) {
        self.sealed = chunks;
    }

    /// Lets go of samples before `until_ms` that came by commits up to `settled`: a block holds them.
    pub(crate) fn truncate(&mut self, until_ms: i64, settled: u64) {
        self.buffer.retain(|s| s.at_ms >= until_ms || s.commit > settled);
        // A chunk that reaches beyond is kept whole: what it shares with the block is read once.
        self.sealed.retain(|chunk| chunk.range().end.millis() >= until_ms);
    }

    /// Whether no commit after `watermark` has added to it.
    pub(crate) fn untouched_since(&self, watermark: u64) -> bool {
        self.buffer.iter().all(|s| s.commit <= watermark)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.sealed.is_empty()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let sealed = self.sealed.iter().map(|chunk| chunk.heap_bytes()).sum::<usize>();
        size_of::<Self>() + self.buffer.capacity() * size_of::<LateSample>() + sealed
    }

    pub(crate) fn chunk_count(&self) -> usize {
        self.sealed.len()
    }
}
