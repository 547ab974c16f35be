//! Numbers by their size: a prefix code for how large each is, then its lower bits as they are.
//!
//! Where small numbers are common and large ones rare this takes a sixth less than a fixed width with patches, at twice
//! the time to decode. A class is the position of the highest bit and up to three bits below it; codes are canonical
//! Huffman codes (Huffman 1952) of at most ten bits. Four streams are decoded side by side. Bytes:
//! `docs/format/chunks.md`.

use crate::codec::{Decoder, Encoder, Malformed};

/// Bits of the longest code.
const MAX_CODE: u32 = 10;
/// Bits below the highest one that classes tell apart, at the most.
const MAX_DETAIL: u32 = 3;
/// Classes there are at the finest.
const MAX_CLASSES: usize = classes(MAX_DETAIL);
/// Numbers are cut into so many streams.
const STREAMS: usize = 4;

/// How often each class occurs, at the finest detail.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: [u32; MAX_CLASSES],
    total: u32,
}

/// A code that has been chosen: detail, and the length of each class's code, 0 if it does not occur.
#[derive(Clone, Debug)]
pub(super) struct Code {
    detail: u32,
    first: usize,
    lengths: Vec<u8>,
    /// Bits that code and numbers take.
    pub(super) bits: u64,
}

/// Classes there are.
const fn classes(detail: u32) -> usize {
    (2 << detail) + ((63 - detail as usize) << detail)
}

/// The class of `n`.
#[inline]
fn class(n: u64, detail: u32) -> usize {
    if n < 2 << detail {
        return n as usize;
    }
    let low = low_bits(n, detail);
    ((low as usize) << detail) + (n >> low) as usize
}

/// Bits of `n` that its class leaves open.
#[inline]
fn low_bits(n: u64, detail: u32) -> u32 {
    (63 - detail).saturating_sub((n | 1).leading_zeros())
}

/// The leading bits that all of a class have, and how many bits follow.
#[inline]
fn of_class(class: usize, detail: u32) -> (u64, u32) {
    let small = 2 << detail;
    if class < small {
        return (class as u64, 0);
    }
    let low = (class >> detail) - 1;
    ((class - (low << detail)) as u64, low as u32)
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; MAX_CLASSES], total: 0 }
    }
}

impl Histogram {
    /// Counts `numbers` instead of what was counted before.
    pub(super) fn set(&mut self, numbers: impl Iterator<Item = u64>) {
        self.counts.fill(0);
        self.total = 0;
        for n in numbers {
            self.counts[class(n, MAX_DETAIL)] += 1;
            self.total += 1;
        }
    }

    /// The same with less detail, as list of counts.
    fn coarse(&self, detail: u32) -> Vec<u32> {
        let mut counts = Vec::with_capacity(64);
        for (fine, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (lead, low) = of_class(fine, MAX_DETAIL);
            let at = class(lead << low, detail);
            if counts.len() <= at {
                counts.resize(at + 1, 0);
            }
            counts[at] += count;
        }
        counts
    }

    /// The bits that the numbers take at best with the finest classes, the code itself aside: a quick estimate.
    pub(super) fn estimate(&self) -> f32 {
        self.estimate_of(&self.counts, MAX_DETAIL)
    }

    fn estimate_of(&self, counts: &[u32], detail: u32) -> f32 {
        let total = (self.total as f32).log2();
        let each = |(class, &count): (usize, &u32)| {
            let (_, low) = of_class(class, detail);
            count as f32 * (total - (count as f32).log2() + low as f32)
        };
        counts.iter().enumerate().filter(|(_, count)| **count > 0).map(each).sum()
    }

    /// The detail with which all takes the fewest bits, and how many about.
    pub(super) fn best_detail(&self) -> (u32, f32) {
        let each = |detail| {
            let counts = self.coarse(detail);
            let first = counts.iter().position(|&count| count > 0).unwrap_or(0);
            (detail, self.estimate_of(&counts, detail) + 4.0 * (counts.len() - first) as f32)
        };
        (0..=MAX_DETAIL).map(each).min_by(|a, b| a.1.total_cmp(&b.1)).expect("there is a detail")
    }

    /// The code for this detail; `None` if there are fewer than two classes.
    pub(super) fn code(&self, detail: u32) -> Option<Code> {
        let counts = self.coarse(detail);
        let first = counts.iter().position(|&count| count > 0)?;
        let counts = &counts[first..];
        let lengths = code_lengths(counts)?;
        let bits = counts.iter().zip(&lengths).enumerate().map(|(at, (&count, &length))| {
            u64::from(count) * (u64::from(length) + u64::from(of_class(first + at, detail).1))
        });
        // Half a byte per length; the numbers of classes; the lengths of the streams and their last bytes.
        let bits = bits.sum::<u64>() + lengths.len() as u64 * 4 + 24 + 48 + 16;
        Some(Code { detail, first, lengths, bits })
    }
}

/// Lengths of Huffman codes for `counts`, at most [`MAX_CODE`]; `None` if fewer than two are not 0.
fn code_lengths(counts: &[u32]) -> Option<Vec<u8>> {
    let mut used: Vec<(u32, usize)> =
        counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(at, &count)| (count, at)).collect();
    if used.len() < 2 || used.len() > 1 << MAX_CODE {
        return None;
    }
    used.sort_unstable();
    loop {
        let depths = depths(&used);
        if depths.iter().all(|&depth| u32::from(depth) <= MAX_CODE) {
            let mut lengths = vec![0; counts.len()];
            used.iter().zip(&depths).for_each(|(&(_, at), &depth)| lengths[at] = depth);
            return Some(lengths);
        }
        // Flatter counts give shorter codes; the order stays.
        used.iter_mut().for_each(|(count, _)| *count = count.div_ceil(2));
    }
}

/// The depth of each leaf of the Huffman tree of ascending `counts`.
fn depths(counts: &[(u32, usize)]) -> Vec<u8> {
    let n = counts.len();
    // Leaves, then inner nodes in the order in which they are made, which is that of their weights.
    let mut weights: Vec<u32> = counts.iter().map(|&(count, _)| count).collect();
    let mut parents = vec![0; 2 * n - 1];
    let (mut leaf, mut inner) = (0, n);
    for node in n..2 * n - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            let take_leaf = leaf < n && (inner == node || weights[leaf] <= weights[inner]);
            let child = if take_leaf { &mut leaf } else { &mut inner };
            sum += weights[*child];
            parents[*child] = node;
            *child += 1;
        }
        weights.push(sum);
    }
    let mut depths = vec![0u8; 2 * n - 1];
    for node in (0..2 * n - 2).rev() {
        depths[node] = depths[parents[node]].saturating_add(1);
    }
    depths.truncate(n);
    depths
}

/// The code of each class, first bit lowest.
fn codes(lengths: &[u8]) -> Vec<u16> {
    let mut next = first_codes(lengths);
    lengths.iter().map(|&length| code(length, &mut next)).collect()
}

/// The first code of each length, first bit highest.
fn first_codes(lengths: &[u8]) -> [u16; MAX_CODE as usize + 2] {
    let mut next = [0u16; MAX_CODE as usize + 2];
    lengths.iter().for_each(|&length| next[usize::from(length) + 1] += 1);
    // A length of 0 is no code.
    next[1] = 0;
    for length in 1..next.len() {
        next[length] = (next[length] + next[length - 1]) << 1;
    }
    next
}

/// The next code of a length, first bit lowest.
#[inline]
fn code(length: u8, next: &mut [u16; MAX_CODE as usize + 2]) -> u16 {
    if length == 0 {
        return 0;
    }
    let code = &mut next[usize::from(length)];
    *code += 1;
    (*code - 1).reverse_bits() >> (16 - length)
}

/// Where the streams of `count` numbers begin and end.
fn stream(number: usize, count: usize) -> (usize, usize) {
    let each = count.div_ceil(STREAMS);
    ((number * each).min(count), ((number + 1) * each).min(count))
}

/// Appends the code and `numbers`.
pub(super) fn encode(numbers: impl ExactSizeIterator<Item = u64>, code: &Code, out: &mut Vec<u8>) {
    out.put_u8(code.detail as u8);
    out.put_uvarint(code.first as u64);
    out.put_uvarint(code.lengths.len() as u64);
    out.extend(code.lengths.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 4)));
    let codes = codes(&code.lengths);
    let count = numbers.len();
    let mut numbers = numbers;
    let (mut bytes, mut lengths) = (Vec::with_capacity(code.bits as usize / 8 + 16), [0; STREAMS]);
    for (number, length) in lengths.iter_mut().enumerate() {
        let start = bytes.len();
        let (from, to) = stream(number, count);
        let (mut word, mut used) = (0u128, 0u32);
        for n in numbers.by_ref().take(to - from) {
            let at = class(n, code.detail) - code.first;
            word |= u128::from(codes[at]) << used;
            used += u32::from(code.lengths[at]);
            let low = low_bits(n, code.detail);
            word |= u128::from(n & ((1u64 << low) - 1)) << used;
            used += low;
            // At most 47 + 10 + 63 bits at a time.
            while used >= 48 {
                bytes.extend_from_slice(&word.to_le_bytes()[..6]);
                word >>= 48;
                used -= 48;
            }
        }
        bytes.extend_from_slice(&word.to_le_bytes()[..used.div_ceil(8) as usize]);
        *length = bytes.len() - start;
    }
    lengths[..STREAMS - 1].iter().for_each(|&length| out.put_uvarint(length as u64));
    out.put_uvarint(bytes.len() as u64);
    out.extend_from_slice(&bytes);
}

/// A class in the table of codes: bits of its code, bits that follow, and the leading bits.
#[derive(Clone, Copy, Default)]
struct Slot(u32);

impl Slot {
    fn new(length: u8, low: u32, lead: u64) -> Self {
        Self(u32::from(length) | low << 8 | (lead as u32) << 16)
    }

    #[inline]
    fn length(self) -> u32 {
        self.0 & 0xff
    }

    #[inline]
    fn low(self) -> u32 {
        self.0 >> 8 & 0xff
    }

    #[inline]
    fn lead(self) -> u64 {
        u64::from(self.0 >> 16)
    }
}

/// Takes numbers off `input` until `out` is full. About 2 ns per number, and 1 µs for the table.
pub(super) fn decode(input: &mut Decoder<'_>, out: &mut [i64]) -> Result<(), Malformed> {
    let at = *input;
    let detail = u32::from(input.u8()?);
    let (first, count): (usize, usize) = (input.uvarint_as()?, input.uvarint_as()?);
    if detail > MAX_DETAIL || first.saturating_add(count) > classes(detail) || count < 2 {
        return Err(at.malformed("unknown classes of integers"));
    }
    let nibbles = input.take(count.div_ceil(2))?;
    let mut lengths = [0; MAX_CLASSES];
    let lengths = lengths.get_mut(..count).ok_or(at.malformed("unknown classes of integers"))?;
    lengths.iter_mut().enumerate().for_each(|(i, length)| *length = nibbles[i / 2] >> (i % 2 * 4) & 15);
    let mut table = [Slot::default(); 1 << MAX_CODE];
    let longest = fill(&mut table, lengths, first, detail).ok_or(at.malformed("not a prefix code"))?;
    let mut ends = [0; STREAMS];
    let mut end = 0usize;
    for stream in &mut ends[..STREAMS - 1] {
        end = end.saturating_add(input.uvarint_as()?);
        *stream = end;
    }
    let bytes = input.bytes()?;
    ends[STREAMS - 1] = bytes.len();
    if end > bytes.len() {
        return Err(at.malformed("streams of integers out of place"));
    }
    let n = out.len();
    let each = n.div_ceil(STREAMS);
    let mut places = [0, ends[0] * 8, ends[1] * 8, ends[2] * 8];
    let shortest = n - n.min(each * (STREAMS - 1));
    let bits = Bits { bytes, code_mask: (1 << longest) - 1 };
    {
        let (a, rest) = out.split_at_mut(each.min(n));
        let (b, rest) = rest.split_at_mut(each.min(rest.len()));
        let (c, d) = rest.split_at_mut(each.min(rest.len()));
        let [pa, pb, pc, pd] = &mut places;
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            *a = bits.next(pa, &table);
            *b = bits.next(pb, &table);
            *c = bits.next(pc, &table);
            *d = bits.next(pd, &table);
        }
    }
    for (number, place) in places.iter_mut().enumerate() {
        let (from, to) = stream(number, n);
        for slot in &mut out[(from + shortest).min(to)..to] {
            *slot = bits.next(place, &table);
        }
        if place.div_ceil(8) != ends[number] {
            return Err(at.malformed("stream of integers of another length"));
        }
    }
    Ok(())
}

/// Sets in `table` the class that each sequence of bits as long as the longest code begins with, and gives that length;
/// `None` if that is not one class for each.
fn fill(table: &mut [Slot; 1 << MAX_CODE], lengths: &[u8], first: usize, detail: u32) -> Option<u32> {
    let covered: u32 = lengths
        .iter()
        .filter(|l| **l > 0)
        .try_fold(0u32, |sum, &length| Some(sum + (1 << MAX_CODE.checked_sub(u32::from(length))?)))?;
    if covered != 1 << MAX_CODE {
        return None;
    }
    let longest = lengths.iter().copied().max().map_or(0, u32::from);
    let table = &mut table[..1 << longest];
    let mut next = first_codes(lengths);
    for (at, &length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
        let (lead, low) = of_class(first + at, detail);
        let slot = Slot::new(length, low, lead);
        // What begins with a shorter code is there for each sequence of further bits.
        for place in (usize::from(code(length, &mut next))..table.len()).step_by(1 << length) {
            table[place] = slot;
        }
    }
    Some(longest)
}

/// Bytes as bits, lowest first, with zeros behind them.
struct Bits<'a> {
    bytes: &'a [u8],
    /// As many ones as the longest code has bits.
    code_mask: u64,
}

impl Bits<'_> {
    /// The number that begins at bit `place`, which is moved behind it.
    #[inline(always)]
    fn next(&self, place: &mut usize, table: &[Slot; 1 << MAX_CODE]) -> i64 {
        let (byte, shift) = (*place / 8, *place % 8);
        let word = match self.bytes.get(byte..byte + 8) {
            Some(word) => u64::from_le_bytes(word.try_into().expect("eight bytes were sliced")),
            None => self.wide(byte) as u64,
        };
        let word = word >> shift;
        let slot = table[(word & self.code_mask) as usize % (1 << MAX_CODE)];
        let (length, low) = (slot.length(), slot.low());
        *place += (length + low) as usize;
        // Of 64 bits up to 7 are before the number.
        let follows =
            if length + low <= 57 { word >> length } else { (self.wide(byte) >> (shift as u32 + length)) as u64 };
        (slot.lead() << low | follows & ((1u64 << low) - 1)) as i64
    }

    /// Sixteen bytes.
    #[cold]
    fn wide(&self, byte: usize) -> u128 {
        let mut bytes = [0; 16];
        let there = self.bytes.get(byte..).unwrap_or_default();
        let n = there.len().min(16);
        bytes[..n].copy_from_slice(&there[..n]);
        u128::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(numbers: &[u64]) -> Option<usize> {
        let mut histogram = Histogram::default();
        histogram.set(numbers.iter().copied());
        let code = histogram.code(histogram.best_detail().0)?;
        let mut bytes = Vec::new();
        encode(numbers.iter().copied(), &code, &mut bytes);
        let mut back = vec![0; numbers.len()];
        let mut input = Decoder::new(&bytes);
        decode(&mut input, &mut back).unwrap();
        assert!(input.is_empty());
        assert!(back.iter().map(|&n| n as u64).eq(numbers.iter().copied()), "{numbers:?}");
        assert!(bytes.len() as u64 <= code.bits / 8 + 8, "{} bytes, {} bits said", bytes.len(), code.bits);
        Some(bytes.len())
    }

    #[test]
    fn each_number_is_in_the_class_that_it_is_made_from() {
        for detail in 0..=MAX_DETAIL {
            for n in (0..200)
                .chain((8..64).flat_map(|b| [1 << b, (1 << b) - 1, (1 << b) + (1 << (b - 2))]))
                .chain([u64::MAX])
            {
                let (lead, low) = of_class(class(n, detail), detail);
                assert_eq!((lead, low), (n >> low_bits(n, detail), low_bits(n, detail)), "{n} {detail}");
                assert!(class(n, detail) < MAX_CLASSES);
            }
        }
    }

    #[test]
    fn rare_large_numbers_cost_little() {
        let numbers: Vec<u64> = (0..960u64).map(|i| if i % 16 == 3 { 1000 + i } else { i % 3 }).collect();
        assert!(round_trip(&numbers).unwrap() < 960 * 3 / 8, "{:?}", round_trip(&numbers));
        assert_eq!(round_trip(&[5; 100]), None);
    }

    proptest! {
        #[test]
        fn any_numbers_come_back(numbers in prop::collection::vec(prop_oneof![4 => 0u64..40, 2 => 0u64..1 << 20, 1 => any::<u64>()], 0..300)) {
            round_trip(&numbers);
        }

        #[test]
        fn skewed_counts_keep_codes_short(shift in 1u32..4) {
            let numbers: Vec<u64> = (0..30u32).flat_map(|i| std::iter::repeat_n(u64::from(i), 1 << (i / shift).min(14))).collect();
            round_trip(&numbers);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0usize..100, valid: bool) {
            let mut bytes = bytes;
            if valid {
                // Two classes of one bit each: what follows is read as streams.
                bytes.splice(0..0, [1, 0, 2, 0x11]);
            }
            let _ = decode(&mut Decoder::new(&bytes), &mut vec![0; count]);
        }
    }
}
