//! Float samples while they come in: Gorilla through the tsz crate.
//!
//! Pelkonen et al., "Gorilla: a fast, scalable, in-memory time series database", VLDB 2015, §4.1. tsz's time is the
//! scrape's ordinal where the chunk shares a column of times (one bit per sample), else milliseconds since the chunk's
//! first sample. Both stay clear of what tsz cannot take: a first difference over 14 bits, a difference of differences
//! over 32 bits, time running backwards. The bits never leave memory: what goes to disk is re-encoded (`decimal`).

use tsz::decode::Decode;
use tsz::encode::{Encode, std_encoder::StdEncoder};
use tsz::{DataPoint, StdDecoder};

use super::words::{HasWords, WordReader, WordWriter, Words};

/// The largest step in time within a chunk; twice as much would still fit tsz's 32 bits.
pub(crate) const MAX_STEP: u64 = 1 << 30;

/// The writing end of a chunk's floats.
#[derive(Debug)]
pub(crate) struct FloatWriter<O: HasWords>(StdEncoder<WordWriter<O>>);

impl<O: HasWords> FloatWriter<O> {
    /// Starts the stream in the empty words of `owner`.
    pub(crate) fn new(owner: O) -> Self {
        Self(StdEncoder::new(0, WordWriter::new(owner)))
    }

    /// Appends a sample. `time` is greater than the last one by at most [`MAX_STEP`], the first below 2^14. About 8 ns.
    #[inline]
    pub(crate) fn push(&mut self, time: u64, value: f64) {
        self.0.encode(DataPoint::new(time, value));
    }
}

/// The first `count` samples of `words`, which holds at least as many, as `(time, value)`. 12 to 17 ns each.
pub(crate) fn read(words: &Words, count: usize) -> impl Iterator<Item = (u64, f64)> {
    let mut decoder = StdDecoder::new(WordReader::new(words));
    (0..count).map_while(move |_| decoder.next().ok()).map(|point| (point.get_time(), point.get_value()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::sample::STALE_NAN;

    struct Stream(Words);

    impl HasWords for Arc<Stream> {
        fn words(&self) -> &Words {
            &self.0
        }
    }

    fn written(samples: &[(u64, f64)]) -> Arc<Stream> {
        let stream = Arc::new(Stream(Words::new()));
        let mut writer = FloatWriter::new(stream.clone());
        samples.iter().for_each(|&(time, value)| writer.push(time, value));
        stream
    }

    fn bits(samples: impl Iterator<Item = (u64, f64)>) -> Vec<(u64, u64)> {
        samples.map(|(time, value)| (time, value.to_bits())).collect()
    }

    #[test]
    fn a_value_that_stays_needs_no_second_piece() {
        let stream = written(&(0..120).map(|i| (i, 1.0)).collect::<Vec<_>>());
        assert_eq!(stream.0.linked_bytes(), 0);
    }

    #[test]
    fn every_prefix_can_be_read_while_the_writer_goes_on() {
        let samples: Vec<(u64, f64)> = (0..120).map(|i| (i, 1.0 / (i + 1) as f64)).collect();
        let stream = Arc::new(Stream(Words::new()));
        let mut writer = FloatWriter::new(stream.clone());
        for (n, &(time, value)) in samples.iter().enumerate() {
            writer.push(time, value);
            assert!(read(&stream.0, n + 1).eq(samples[..=n].iter().copied()));
        }
    }

    proptest! {
        #[test]
        fn any_samples_come_back_bit_for_bit(
            first in 0u64..1 << 14,
            steps in prop::collection::vec(
                (prop_oneof![5 => Just(1u64), 2 => 1..100_000u64, 1 => 1..=MAX_STEP],
                 prop_oneof![any::<f64>(), any::<i32>().prop_map(f64::from), Just(STALE_NAN), Just(1.5)]),
                0..120),
        ) {
            let mut time = first;
            let samples: Vec<(u64, f64)> = steps.into_iter().enumerate().map(|(i, (step, value))| {
                time += if i == 0 { 0 } else { step };
                (time, value)
            }).collect();
            let stream = written(&samples);
            prop_assert_eq!(bits(read(&stream.0, samples.len())), bits(samples.into_iter()));
        }
    }
}
