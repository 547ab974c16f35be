//! A stream of bits in 64-bit words that can be read while it is being written.
//!
//! tsz reads and writes through these instead of through its own byte streams, which are 3 to 6 times slower and
//! cannot be read before they are closed. The words never move: when the last piece is full another is linked to it,
//! so a reader needs no lock. What a reader may look at is bounded by a count that the writer publishes afterwards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tsz::Bit;
use tsz::stream::{Error, Read, Write};

/// Words of the first piece: holds 120 samples of a value that does not change.
const FIRST_WORDS: usize = 6;

/// Bits, most significant first, in words that stay where they are.
#[derive(Debug)]
pub(crate) struct Words {
    first: [AtomicU64; FIRST_WORDS],
    next: OnceLock<Arc<Piece>>,
}

/// A continuation. The sizes grow so that a full chunk of noisy values takes four pieces.
#[derive(Debug)]
struct Piece<W: ?Sized = [AtomicU64]> {
    next: OnceLock<Arc<Piece>>,
    words: W,
}

impl Words {
    pub(crate) fn new() -> Self {
        Self { first: [const { AtomicU64::new(0) }; FIRST_WORDS], next: OnceLock::new() }
    }

    /// Bytes that the continuations take.
    pub(crate) fn linked_bytes(&self) -> usize {
        let mut bytes = 0;
        let mut next = self.next.get();
        while let Some(piece) = next {
            bytes += size_of_val::<Piece>(piece) + 2 * size_of::<usize>();
            next = piece.next.get();
        }
        bytes
    }
}

/// A piece that follows one of `words` words.
fn piece_after(words: usize) -> Arc<Piece> {
    fn piece<const N: usize>() -> Arc<Piece> {
        Arc::new(Piece { next: OnceLock::new(), words: [const { AtomicU64::new(0) }; N] })
    }
    match words {
        ..8 => piece::<11>(),
        8..16 => piece::<27>(),
        _ => piece::<59>(),
    }
}

/// Writes at the end of a [`Words`]. There is one per stream; it alone knows where the end is.
#[derive(Debug)]
pub(crate) struct WordWriter<O> {
    /// What holds the words; `O` is a handle so that one allocation can hold the words and what else belongs to them.
    owner: O,
    /// The piece written to; none for the first.
    piece: Option<Arc<Piece>>,
    /// The word written to.
    word: u16,
    /// Bits of it that are taken: 0 to 64.
    used: u8,
    /// Whether tsz's header, the start time, is still to come; it is always 0 here and is not stored.
    header: bool,
}

/// Something that holds the words of a stream.
pub(crate) trait HasWords {
    fn words(&self) -> &Words;
}

impl<O: HasWords> WordWriter<O> {
    pub(crate) fn new(owner: O) -> Self {
        Self { owner, piece: None, word: 0, used: 0, header: true }
    }

    fn slots(&self) -> &[AtomicU64] {
        match &self.piece {
            None => &self.owner.words().first,
            Some(piece) => &piece.words,
        }
    }

    /// Sets bits of the current word. Readers do not look at them yet, so no order is needed.
    #[inline]
    fn merge(&mut self, bits: u64) {
        let slot = &self.slots()[usize::from(self.word)];
        slot.store(slot.load(Ordering::Relaxed) | bits, Ordering::Relaxed);
    }

    #[inline]
    fn advance(&mut self) {
        self.word += 1;
        self.used = 0;
        if usize::from(self.word) == self.slots().len() {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let piece = piece_after(self.slots().len());
        let link = match &self.piece {
            None => &self.owner.words().next,
            Some(last) => &last.next,
        };
        link.set(piece.clone()).expect("only the writer links pieces, each once");
        self.piece = Some(piece);
        self.word = 0;
    }
}

impl<O: HasWords> Write for WordWriter<O> {
    #[inline]
    fn write_bit(&mut self, bit: Bit) {
        self.write_bits(bit.to_u64(), 1);
    }

    fn write_byte(&mut self, byte: u8) {
        self.write_bits(u64::from(byte), 8);
    }

    #[inline]
    fn write_bits(&mut self, bits: u64, num: u32) {
        let bits = if num == 64 {
            if std::mem::take(&mut self.header) {
                return;
            }
            bits
        } else {
            bits & ((1 << num) - 1)
        };
        let free = 64 - u32::from(self.used);
        if num < free {
            self.merge(bits << (free - num));
            self.used += num as u8;
            return;
        }
        self.merge(bits >> (num - free));
        self.advance();
        let rest = num - free;
        if rest > 0 {
            self.merge(bits << (64 - rest));
            self.used = rest as u8;
        }
    }

    /// The words stay with their owner; there is nothing to hand out.
    fn close(self) -> Box<[u8]> {
        Box::default()
    }
}

/// Reads a [`Words`] from its beginning.
#[derive(Debug)]
pub(crate) struct WordReader<'a> {
    slots: &'a [AtomicU64],
    next: &'a OnceLock<Arc<Piece>>,
    /// The next word to load.
    word: usize,
    /// Bits not yet handed out, at the top.
    current: u64,
    /// How many they are.
    left: u32,
    header: bool,
}

impl<'a> WordReader<'a> {
    pub(crate) fn new(words: &'a Words) -> Self {
        Self { slots: &words.first, next: &words.next, word: 0, current: 0, left: 0, header: true }
    }

    #[inline]
    fn load(&mut self) -> Result<u64, Error> {
        if self.word == self.slots.len() {
            let piece = self.next.get().ok_or(Error::EOF)?;
            (self.slots, self.next, self.word) = (&piece.words, &piece.next, 0);
        }
        let word = self.slots[self.word].load(Ordering::Relaxed);
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
