//! The newest sample of a chunk's floats, without the others.
//!
//! What tsz has written has to be gone through from its beginning, as each value is kept as what changed. Here that takes a third
//! of the time: bits are looked at 64 at a time, runs of what does not change are counted by their zeros, and nothing is stored.
//! The bits are those of [`gorilla`](super::gorilla); the time 0 that tsz begins with is not among them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A sample, and how many there are before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Newest {
    pub(crate) index: usize,
    /// As the stream has it.
    pub(crate) time: u64,
    pub(crate) value: f64,
}

/// The first sample: a control bit, then this many bits of time, then the value.
const FIRST_TIME_BITS: u32 = 14;

/// The newest of the first `count` samples of `words`, which hold at least as many, that is not later than `latest`. Cost: 1 to
/// 5 ns for each sample before it.
pub(crate) fn newest(words: &[AtomicU64], count: usize, latest: u64) -> Option<Newest> {
    let mut bits = Bits { words, at: 0 };
    let mut time = bits.ahead() << 1 >> (64 - FIRST_TIME_BITS);
    if count == 0 || time > latest {
        return None;
    }
    bits.at = 1 + FIRST_TIME_BITS as usize;
    let mut value = bits.ahead();
    bits.at += 64;
    let (mut index, mut delta) = (0, time);
    // Which bits of a value the changes are of.
    let (mut size, mut shift) = (0, 0);
    while index + 1 < count {
        let mut ahead = bits.ahead();
        // The same step in time and the same value take two zeros.
        let same = (ahead.leading_zeros() as usize / 2).min(count - 1 - index);
        let then = time.wrapping_add(delta.wrapping_mul(same as u64));
        if same > 0 && then <= latest {
            index += same;
            time = then;
            bits.at += 2 * same;
            continue;
        }
        let (step, mut used) = step_in(ahead);
        let next = time.wrapping_add(delta.wrapping_add(step));
        if next > latest {
            break;
        }
        delta = delta.wrapping_add(step);
        time = next;
        index += 1;
        ahead <<= used;
        if used > 1 {
            bits.at += used as usize;
            (ahead, used) = (bits.ahead(), 0);
        }
        match ahead >> 62 {
            0b00 | 0b01 => {
                bits.at += used as usize + 1;
                continue;
            }
            0b10 => {
                ahead <<= 2;
                used += 2;
            }
            _ => {
                let (leading, significant) = ((ahead >> 56 & 0x3f) as u32, (ahead >> 50 & 0x3f) as u32 + 1);
                (size, shift) = (significant, 64 - leading - significant);
                ahead <<= 14;
                used += 14;
            }
        }
        bits.at += used as usize;
        if used + size > 64 {
            ahead = bits.ahead();
        }
        value ^= ahead >> (64 - size) << shift;
        bits.at += size as usize;
    }
    Some(Newest { index, time, value: f64::from_bits(value) })
}

/// By how much a step in time is longer than the one before, and the bits that say so.
#[inline]
fn step_in(ahead: u64) -> (u64, u32) {
    let (control, size) = match ahead.leading_ones() {
        0 => return (0, 1),
        1 => (2, 7),
        2 => (3, 9),
        3 => (4, 12),
        _ => (4, 32),
    };
    let bits = ahead << control >> (64 - size);
    // The largest of each size is positive, what is above it negative.
    let negative = bits > 1 << (size - 1);
    (if negative { bits | u64::MAX << size } else { bits }, control + size)
}

/// A place in a stream of bits.
struct Bits<'w> {
    words: &'w [AtomicU64],
    /// In bits from the beginning.
    at: usize,
}

impl Bits<'_> {
    /// The next 64 bits; zeros behind the end.
    #[inline]
    fn ahead(&self) -> u64 {
        let (word, shift) = (self.at / 64, self.at % 64);
        let load = |word: usize| self.words.get(word).map_or(0, |word| word.load(Ordering::Relaxed));
        load(word) << shift | load(word + 1) >> 1 >> (63 - shift)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chunk::gorilla::{self, FloatEncoder, MAX_STEP};
    use crate::chunk::words::{new_words, put};
    use crate::sample::STALE_NAN;

    proptest! {
        #[test]
        fn the_newest_sample_is_the_last_that_tsz_reads(
            first in 0u64..1 << 14,
            steps in prop::collection::vec(
                (prop_oneof![8 => Just(1u64), 2 => Just(15_000), 2 => 1..3000u64, 1 => 1..=MAX_STEP],
                 prop_oneof![2 => any::<f64>(), 2 => any::<i32>().prop_map(f64::from), 1 => Just(STALE_NAN), 4 => Just(1.5)]),
                0..120),
            latest in prop_oneof![Just(u64::MAX), 0..1u64 << 14, 0..4_000_000u64],
        ) {
            let (mut encoder, mut words, mut taken) = (FloatEncoder::new(), new_words(), 0);
            let mut time = first;
            for (i, &(step, value)) in steps.iter().enumerate() {
                time += if i == 0 { 0 } else { step };
                let sample = encoder.encode(time, value);
                put(&mut words, taken, sample);
                taken += sample.len as usize;
            }
            let plain = |n: Newest| (n.index, n.time, n.value.to_bits());
            for count in 0..=steps.len() {
                let read = gorilla::read(&words, count).take_while(|&(time, _)| time <= latest).enumerate().last();
                let read = read.map(|(index, (time, value))| Newest { index, time, value });
                prop_assert_eq!(newest(&words, count, latest).map(plain), read.map(plain), "{} of {}", count, steps.len());
            }
        }
    }
}
