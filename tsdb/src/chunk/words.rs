//! Streams of bits in 64-bit words that can be read while more is added.
//!
//! tsz writes to [`SampleBits`], which gathers the bits of one sample, and reads through [`WordReader`]: its own byte streams
//! are 3 to 6 times slower and cannot be read before they are closed. The bits of a sample are then put into the words of
//! its series. What a reader may look at is bounded by a count that the writer publishes afterwards.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tsz::Bit;
use tsz::stream::{Error, Read, Write};

/// Bits, most significant first. A writer that needs more words than there are copies them to a longer list; who reads
/// the old one finds there all that it held when it was replaced.
pub(crate) type Words = Arc<[AtomicU64]>;

/// How many words a list has: from one that holds 50 samples of a value that does not change to one that holds the worst
/// 120. Each is a third to a half longer than the one before, and fills a size class of the allocator with the list's head.
const LENGTHS: [u8; 12] = [4, 6, 8, 12, 18, 26, 38, 54, 78, 110, 158, 222];

/// Words without any bits.
pub(crate) fn new_words() -> Words {
    zeros(usize::from(LENGTHS[0]))
}

fn zeros(len: usize) -> Words {
    (0..len).map(|_| AtomicU64::new(0)).collect()
}

/// Bytes that words take.
pub(crate) fn bytes_of(words: &Words) -> usize {
    size_of_val::<[AtomicU64]>(words) + 2 * size_of::<usize>()
}

/// Adds `sample` after the first `taken` bits. Answers whether the words had to be replaced by more.
///
/// The caller is the only writer. Readers do not look at the bits yet, so no order is needed.
#[inline]
pub(crate) fn put(words: &mut Words, taken: usize, sample: Sample) -> bool {
    let (at, shift) = (taken / 64, taken % 64);
    let end = (taken + sample.len as usize).div_ceil(64);
    let grown = end > words.len();
    if grown {
        *words = longer(words, end);
    }
    if sample.len == 0 {
        return grown;
    }
    let bits = sample.bits << (128 - sample.len);
    let pieces = [(bits >> 64 >> shift) as u64, (bits << (64 - shift) >> 64) as u64, (bits << 64 >> shift) as u64];
    let slots = &words[at..end];
    // Of the word that has bits already the rest is zero.
    slots[0].store(slots[0].load(Ordering::Relaxed) | pieces[0], Ordering::Relaxed);
    slots[1..].iter().zip(&pieces[1..]).for_each(|(slot, &piece)| slot.store(piece, Ordering::Relaxed));
    grown
}

/// A copy with room for at least `len` words.
#[cold]
fn longer(words: &Words, len: usize) -> Words {
    let longer = LENGTHS.iter().map(|&n| usize::from(n)).find(|&n| n >= len).unwrap_or(len + len / 2);
    let copied = words.iter().map(|word| word.load(Ordering::Relaxed));
    // The length is known, so that it is allocated at once.
    let mut copied = copied.chain(std::iter::repeat(0));
    (0..longer).map(|_| AtomicU64::new(copied.next().unwrap_or(0))).collect()
}

/// The bits that tsz makes of one sample: at most 114.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    bits: u128,
    pub(crate) len: u32,
}

thread_local! {
    static SAMPLE: Cell<Sample> = const { Cell::new(Sample { bits: 0, len: 0 }) };
}

/// Takes the bits of one sample from tsz. It holds none itself, as an encoder that keeps its writer is kept for each series:
/// they are handed from [`begin`](Self::begin) to [`end`](Self::end) within a thread.
#[derive(Debug)]
pub(crate) struct SampleBits;

impl SampleBits {
    /// Forgets what was written.
    #[inline]
    pub(crate) fn begin() {
        SAMPLE.set(Sample { bits: 0, len: 0 });
    }

    /// What has been written since.
    #[inline]
    pub(crate) fn end() -> Sample {
        SAMPLE.get()
    }
}

impl Write for SampleBits {
    #[inline]
    fn write_bit(&mut self, bit: Bit) {
        self.write_bits(bit.to_u64(), 1);
    }

    fn write_byte(&mut self, byte: u8) {
        self.write_bits(u64::from(byte), 8);
    }

    #[inline]
    fn write_bits(&mut self, bits: u64, num: u32) {
        let Sample { bits: before, len } = SAMPLE.get();
        let bits = bits & u64::MAX >> (64 - num);
        SAMPLE.set(Sample { bits: before << num | u128::from(bits), len: len + num });
    }

    /// The bits are taken by [`SampleBits::end`]; there is nothing to hand out.
    fn close(self) -> Box<[u8]> {
        Box::default()
    }
}

/// Reads words from their beginning, as if tsz's header, the start time 0, came first.
#[derive(Debug)]
pub(crate) struct WordReader<'a> {
    words: &'a [AtomicU64],
    /// The next word to load.
    word: usize,
    /// Bits not yet handed out, at the top.
    current: u64,
    /// How many they are.
    left: u32,
    header: bool,
}

impl<'a> WordReader<'a> {
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self { words, word: 0, current: 0, left: 0, header: true }
    }

    #[inline]
    fn load(&mut self) -> Result<u64, Error> {
        let word = self.words.get(self.word).ok_or(Error::EOF)?.load(Ordering::Relaxed);
        self.word += 1;
        Ok(word)
    }
}

impl Read for WordReader<'_> {
    #[inline]
    fn read_bit(&mut self) -> Result<Bit, Error> {
        if self.left == 0 {
            self.current = self.load()?;
            self.left = 64;
        }
        let bit = if self.current >> 63 == 0 { Bit::Zero } else { Bit::One };
        self.current <<= 1;
        self.left -= 1;
        Ok(bit)
    }

    fn read_byte(&mut self) -> Result<u8, Error> {
        self.read_bits(8).map(|bits| bits as u8)
    }

    #[inline]
    fn read_bits(&mut self, num: u32) -> Result<u64, Error> {
        if num == 64 && std::mem::take(&mut self.header) {
            return Ok(0);
        }
        if num == 0 {
            return Ok(0);
        }
        if num <= self.left {
            let bits = self.current >> (64 - num);
            self.current = if num == 64 { 0 } else { self.current << num };
            self.left -= num;
            return Ok(bits);
        }
        let rest = num - self.left;
        // With nothing left `current` is 0, and so is what is kept of it.
        let high = if self.left == 0 { 0 } else { self.current >> (64 - self.left) };
        let word = self.load()?;
        let low = word >> (64 - rest);
        self.current = if rest == 64 { 0 } else { word << rest };
        self.left = 64 - rest;
        Ok(if rest == 64 { low } else { high << rest | low })
    }

    /// tsz looks one bit ahead, once, to tell an empty stream from one with samples.
    fn peak_bits(&mut self, num: u32) -> Result<u64, Error> {
        if self.left < num {
            if self.left > 0 {
                return Err(Error::EOF);
            }
            self.current = self.load()?;
            self.left = 64;
        }
        Ok(self.current >> (64 - num))
    }
}
