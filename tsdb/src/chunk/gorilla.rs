//! Float samples while they come in: Gorilla through the tsz crate.
//!
//! Pelkonen et al., "Gorilla: a fast, scalable, in-memory time series database", VLDB 2015, §4.1. tsz's time is the
//! scrape's ordinal where the chunk shares a column of times (one bit per sample), else milliseconds since the chunk's
//! first sample. Both stay clear of what tsz cannot take: a first difference over 14 bits, a difference of differences
//! over 32 bits, time running backwards. The bits never leave memory: what goes to disk is re-encoded (`decimal`).

use std::sync::atomic::AtomicU64;

use tsz::decode::Decode;
use tsz::encode::{Encode, std_encoder::StdEncoder};
use tsz::{DataPoint, StdDecoder};

use super::words::{Sample, SampleBits, WordReader};

/// The largest step in time within a chunk; twice as much would still fit tsz's 32 bits.
pub(crate) const MAX_STEP: u64 = 1 << 30;

/// What makes bits of a chunk's floats. 40 bytes; the bits are kept elsewhere.
#[derive(Debug)]
pub(crate) struct FloatEncoder(StdEncoder<SampleBits>);

impl FloatEncoder {
    pub(crate) fn new() -> Self {
        Self(StdEncoder::new(0, SampleBits))
    }

    /// The bits of the next sample. `time` is greater than the last one by at most [`MAX_STEP`], the first below 2^14.
    #[inline]
    pub(crate) fn encode(&mut self, time: u64, value: f64) -> Sample {
        SampleBits::begin();
        self.0.encode(DataPoint::new(time, value));
        SampleBits::end()
    }
}

/// The first `count` samples of `words`, which hold at least as many, as `(time, value)`. 12 to 17 ns each.
pub(crate) fn read(words: &[AtomicU64], count: usize) -> impl Iterator<Item = (u64, f64)> {
    let mut decoder = StdDecoder::new(WordReader::new(words));
    (0..count).map_while(move |_| decoder.next().ok()).map(|point| (point.get_time(), point.get_value()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::words::{Words, new_words, put};
    use crate::sample::STALE_NAN;

    struct Writer {
        encoder: FloatEncoder,
        words: Words,
        taken: usize,
    }

    impl Writer {
        fn new() -> Self {
            Self { encoder: FloatEncoder::new(), words: new_words(), taken: 0 }
        }

        fn push(&mut self, time: u64, value: f64) {
            let sample = self.encoder.encode(time, value);
            put(&mut self.words, self.taken, sample);
            self.taken += sample.len as usize;
        }
    }

    fn written(samples: &[(u64, f64)]) -> Words {
        let mut writer = Writer::new();
        samples.iter().for_each(|&(time, value)| writer.push(time, value));
        writer.words
    }

    fn bits(samples: impl Iterator<Item = (u64, f64)>) -> Vec<(u64, u64)> {
        samples.map(|(time, value)| (time, value.to_bits())).collect()
    }

    #[test]
    fn a_value_that_stays_takes_six_words() {
        assert_eq!(written(&(0..120).map(|i| (i, 1.0)).collect::<Vec<_>>()).len(), 6);
    }

    #[test]
    fn every_prefix_can_be_read_while_the_writer_goes_on_and_from_words_that_were_replaced() {
        let samples: Vec<(u64, f64)> = (0..120).map(|i| (i, 1.0 / (i + 1) as f64)).collect();
        let mut writer = Writer::new();
        let mut seen: Vec<(Words, usize)> = Vec::new();
        for (n, &(time, value)) in samples.iter().enumerate() {
            writer.push(time, value);
            seen.push((writer.words.clone(), n + 1));
        }
        for (words, n) in seen {
            assert!(read(&words, n).eq(samples[..n].iter().copied()), "{n}");
        }
    }

    #[test]
    fn the_worst_samples_fit_as_many_words_as_there_may_be() {
        // Each time a step of another length, each value with all bits changed.
        let value = |i: u64| {
            f64::from_bits(if i.is_multiple_of(2) { 0x3ff0_0000_0000_0001 } else { 0xbfe5_5555_5555_5554 ^ i << 20 })
        };
        let samples: Vec<(u64, f64)> = (0..120).map(|i| (i * i * 5000, value(i))).collect();
        let words = written(&samples);
        assert!(read(&words, 120).eq(samples), "all of them are there");
        assert!(words.len() <= 222, "{}", words.len());
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
            let words = written(&samples);
            prop_assert_eq!(bits(read(&words, samples.len())), bits(samples.into_iter()));
        }
    }
}
