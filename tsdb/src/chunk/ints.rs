//! Columns of integers: differences, a common divisor, and bit-packing against a frame's reference.
//!
//! Timestamps and scaled decimals are stored through this. Bytes: `docs/format/chunks.md`.
//! Frames of reference with patches: Lemire & Boytsov, "Decoding billions of integers per second", 2015.

use super::classes::{self, Code, Histogram};
use super::unpack;
use crate::codec::{Decoder, Encoder, Malformed, unzigzag, zigzag};

/// Differences to the first, to the one before, and differences of those.
const MAX_ORDER: usize = 2;
/// Differences to a straight line.
const LINE: usize = 3;

/// Bits behind the point of a line's slope.
const SLOPE_BITS: u32 = 16;
/// Lines are not tried where a number is further from the first than this: the slope times the place must fit 64 bits.
const MAX_LINE: u64 = 1 << 44;
/// Numbers for which a line is worth trying.
const LINE_MIN: usize = 8;

/// Bit of the header: packed numbers are zigzag-coded instead of counted from the least one.
const ZIGZAG: u8 = 1 << 2;
/// Bit of the header: all differences are multiples of a divisor that follows.
const DIVISOR: u8 = 1 << 3;
/// Bit of the header: a list of numbers that are too wide to be packed follows.
const PATCHED: u8 = 1 << 4;

/// Bit of the header: the numbers are coded by their size instead of packed.
const CLASSES: u8 = 1 << 5;

/// Numbers for which classes are worth trying.
const CLASSES_MIN: usize = 64;

/// Bits that one patch takes beside its number.
const PATCH_BITS: u64 = 12;

/// Appends `values` to `out`, lossless for any values. Cost: about 5 ns per value, no allocation beyond `out`
/// and `scratch`. The count is not stored.
pub(crate) fn encode(values: &[i64], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let Some((&first, _)) = values.split_first() else { return };
    let divisor = scratch.set(values);
    let plan = scratch.cheapest();
    let code = scratch.code(&plan);
    let (order, reference) = code.as_ref().map_or((plan.order, plan.reference), |code| (code.order, code.reference));
    let numbers = &scratch.orders[order];
    let mut header = order as u8;
    header |= if divisor > 1 { DIVISOR } else { 0 };
    header |= match &code {
        Some(code) => CLASSES | if code.zigzag { ZIGZAG } else { 0 },
        None if plan.patches > 0 => PATCHED,
        None => 0,
    };
    header |= if reference.is_none() { ZIGZAG } else { 0 };
    out.put_u8(header);
    out.put_u8(if code.is_some() { 0 } else { plan.width });
    out.put_varint(first);
    if divisor > 1 {
        out.put_uvarint(divisor);
    }
    match order {
        MAX_ORDER => out.put_varint(scratch.orders[1].first().copied().unwrap_or_default()),
        LINE => out.put_varint(scratch.slope),
        _ => {}
    }
    if let Some(reference) = reference {
        out.put_varint(reference);
    }
    if let Some(code) = code {
        classes::encode(numbers.iter().map(|&n| code.number(n)), &code.code, out);
        return;
    }
    let packed = |n: i64| reference.map_or(zigzag(n), |reference| n.wrapping_sub(reference) as u64);
    let mask = mask(plan.width);
    if plan.patches > 0 {
        out.put_uvarint(plan.patches);
        let mut last = 0;
        for (at, &n) in numbers.iter().enumerate().filter(|&(_, &n)| packed(n) & !mask != 0) {
            out.put_uvarint((at - last) as u64);
            out.put_uvarint(packed(n));
            last = at;
        }
    }
    pack(numbers.iter().map(|&n| packed(n) & mask), plan.width, out);
}

/// Takes `count` values off `input` and appends them to `out`. Cost: 0.7 to 1.5 ns per value.
pub(crate) fn decode(input: &mut Decoder<'_>, count: usize, out: &mut Vec<i64>) -> Result<(), Malformed> {
    if count == 0 {
        return Ok(());
    }
    let at = *input;
    let header = input.u8()?;
    let order = usize::from(header & 3);
    if header & !(3 | ZIGZAG | DIVISOR | PATCHED | CLASSES) != 0 {
        return Err(at.malformed("unknown way of packing integers"));
    }
    let width = input.u8()?;
    if width > 64 {
        return Err(at.malformed("integers of more than 64 bits"));
    }
    let first = input.varint()?;
    let divisor = if header & DIVISOR != 0 { input.uvarint()? as i64 } else { 1 };
    let slope = if order >= MAX_ORDER { input.varint()? } else { 0 };
    let reference = if header & ZIGZAG == 0 || header & CLASSES != 0 { input.varint()? } else { 0 };
    // The first number of each order is 0 by definition and is not packed.
    let stored = count - 1;
    let start = out.len();
    out.reserve(count);
    out.push(0);
    if header & CLASSES != 0 {
        // A number takes at least one bit.
        if stored.div_ceil(8) > input.remaining() {
            return Err(at.malformed("too many integers"));
        }
        out.resize(start + count, 0);
        classes::decode(input, &mut out[start + 1..])?;
    } else {
        let patches = if header & PATCHED != 0 { Some(patches(input, stored)?) } else { None };
        let bytes = input.take(packed_bytes(stored, width).ok_or(at.malformed("too many integers"))?)?;
        unpack(bytes, width, stored, out);
        if let Some((n, mut list)) = patches {
            let mut at = 0usize;
            for _ in 0..n {
                at = at.saturating_add(list.uvarint_as()?);
                let slot = out[start + 1..].get_mut(at).ok_or(list.malformed("patch beyond the last integer"))?;
                *slot = list.uvarint()? as i64;
            }
        }
    }
    let numbers = &mut out[start + 1..];
    let base = Base { order, first, slope, divisor };
    // One loop each: without classes the reference of zigzag-coded numbers is 0, and few columns have a divisor.
    match (header & ZIGZAG != 0, divisor == 1) {
        (false, true) => base.restore(numbers, |n| n.wrapping_add(reference), |n| n),
        (false, false) => base.restore(numbers, |n| n.wrapping_add(reference), |n| n.wrapping_mul(divisor)),
        (true, true) => base.restore(numbers, |n| unzigzag(n as u64).wrapping_add(reference), |n| n),
        (true, false) => {
            base.restore(numbers, |n| unzigzag(n as u64).wrapping_add(reference), |n| n.wrapping_mul(divisor));
        }
    }
    out[start] = first;
    Ok(())
}

/// What the numbers of a column are differences to.
#[derive(Clone, Copy)]
struct Base {
    order: usize,
    first: i64,
    slope: i64,
    divisor: i64,
}

impl Base {
    /// Makes values of `numbers`: `offset` takes the reference out of one, `scaled` multiplies by the divisor.
    #[inline(always)]
    fn restore(self, numbers: &mut [i64], offset: impl Fn(i64) -> i64, scaled: impl Fn(i64) -> i64) {
        let Self { order, first, slope, divisor } = self;
        match order {
            0 => numbers.iter_mut().for_each(|n| *n = first.wrapping_add(scaled(offset(*n)))),
            1 => {
                let mut value = first;
                for n in numbers {
                    value = value.wrapping_add(scaled(offset(*n)));
                    *n = value;
                }
            }
            LINE => {
                let mut line = 0i64;
                for n in numbers {
                    line = line.wrapping_add(slope);
                    *n = first.wrapping_add(scaled(offset(*n).wrapping_add(line >> SLOPE_BITS)));
                }
            }
            _ => {
                let Some((second, rest)) = numbers.split_first_mut() else { return };
                let (mut value, mut delta) = (first.wrapping_add(slope.wrapping_mul(divisor)), slope);
                *second = value;
                for n in rest {
                    delta = delta.wrapping_add(offset(*n));
                    value = value.wrapping_add(scaled(delta));
                    *n = value;
                }
            }
        }
    }
}

/// Reads past the patches and gives them back unread, with their number.
fn patches<'a>(input: &mut Decoder<'a>, stored: usize) -> Result<(usize, Decoder<'a>), Malformed> {
    let n = input.count(2)?;
    if n > stored {
        return Err(input.malformed("more patches than integers"));
    }
    let list = *input;
    for _ in 0..n {
        input.uvarint()?;
        input.uvarint()?;
    }
    Ok((n, list))
}

/// Working memory of [`encode`], to be used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    /// Values less the first, their differences, the differences of those; each divided by the common divisor.
    /// The entry of the first value (for the last: of the first two) is 0 and left out. Then differences to a line.
    orders: [Vec<i64>; LINE + 1],
    /// The slope of that line, in units of 2^-16.
    slope: i64,
    /// Whether numbers may be coded by their size: for data that is written once and read seldom.
    pub(crate) classes: bool,
    histogram: Histogram,
}

/// Numbers coded by their size.
#[derive(Debug)]
struct ClassPlan {
    order: usize,
    /// What numbers count from.
    reference: Option<i64>,
    zigzag: bool,
    code: Code,
}

impl ClassPlan {
    #[inline]
    fn number(&self, n: i64) -> u64 {
        let n = n.wrapping_sub(self.reference.unwrap_or_default());
        if self.zigzag { zigzag(n) } else { n as u64 }
    }
}

/// How a column is to be packed.
#[derive(Clone, Copy, Debug)]
struct Plan {
    order: usize,
    /// The least number, which the others count from; none for zigzag.
    reference: Option<i64>,
    width: u8,
    /// Numbers wider than `width`.
    patches: u64,
    bits: u64,
}

impl Scratch {
    /// Fills the orders and gives the divisor.
    fn set(&mut self, values: &[i64]) -> u64 {
        let mut divisor = 0u64;
        for pair in values.windows(2) {
            if divisor == 1 {
                break;
            }
            divisor = gcd(divisor, pair[1].wrapping_sub(pair[0]).unsigned_abs());
        }
        // A divisor of 2^63 cannot be divided by as a signed number; nothing is lost by leaving it.
        let divisor = if divisor == 0 || divisor > i64::MAX as u64 { 1 } else { divisor };
        let by = divisor as i64;
        let [offsets, deltas, seconds, residues] = &mut self.orders;
        for order in [&mut *offsets, deltas, seconds, residues] {
            order.clear();
            order.reserve(values.len());
        }
        let (mut offset, mut before) = (0i64, None);
        for pair in values.windows(2) {
            let delta = pair[1].wrapping_sub(pair[0]);
            let delta = if by == 1 { delta } else { delta / by };
            offset = offset.wrapping_add(delta);
            offsets.push(offset);
            deltas.push(delta);
            seconds.push(before.map_or(0, |b| delta.wrapping_sub(b)));
            before = Some(delta);
        }
        // The first has no meaning and is not read: let it not widen the frame.
        if seconds.len() > 1 {
            seconds[0] = seconds[1];
        }
        // A line through many points costs its slope; where deltas are all the same it has nothing to offer.
        if deltas.len() >= LINE_MIN && deltas.iter().any(|&delta| delta != deltas[0]) {
            self.slope = line_through(offsets, residues).unwrap_or_default();
        }
        divisor
    }

    fn cheapest(&self) -> Plan {
        (0..=LINE)
            .filter(|&order| order == 0 || !self.orders[order].is_empty())
            .map(|order| plan(order, &self.orders[order]))
            .min_by_key(|plan| plan.bits)
            .expect("there is at least one order")
    }
}

impl Scratch {
    /// Classes, if they are allowed and take a twentieth less than `plan`.
    fn code(&mut self, plan: &Plan) -> Option<ClassPlan> {
        let Self { orders, histogram, .. } = self;
        let count = orders[0].len();
        if !self.classes || count < CLASSES_MIN || plan.bits < count as u64 / 4 {
            return None;
        }
        let mut best = (f32::INFINITY, 0, 0);
        for (order, numbers) in orders.iter().enumerate().filter(|(_, numbers)| !numbers.is_empty()) {
            let middle = middle(numbers);
            histogram.set(numbers.iter().map(|&n| zigzag(n.wrapping_sub(middle))));
            let bits = histogram.estimate();
            if bits < best.0 {
                best = (bits, order, middle);
            }
        }
        let (_, order, middle) = best;
        let least = orders[order].iter().copied().min()?;
        let numbers = &orders[order];
        // Large numbers are rare on both sides of the middle, or above the least.
        histogram.set(numbers.iter().map(|&n| zigzag(n.wrapping_sub(middle))));
        let (mut detail, around_middle) = histogram.best_detail();
        let mut above_least = Histogram::default();
        above_least.set(numbers.iter().map(|&n| n.wrapping_sub(least) as u64));
        let (other_detail, bits) = above_least.best_detail();
        let zigzag = around_middle <= bits;
        if !zigzag {
            (*histogram, detail) = (above_least, other_detail);
        }
        // The estimate is below what a code can do.
        if around_middle.min(bits) * 1.05 > plan.bits as f32 {
            return None;
        }
        let code = histogram.code(detail).filter(|code| (code.bits + 48) * 20 < plan.bits * 19)?;
        Some(ClassPlan { order, reference: Some(if zigzag { middle } else { least }), zigzag, code })
    }
}

/// About the median: that of a few of the numbers.
fn middle(numbers: &[i64]) -> i64 {
    const FEW: usize = 31;
    let mut few = [0; FEW];
    for (at, slot) in few.iter_mut().enumerate() {
        *slot = numbers[at * numbers.len() / FEW];
    }
    few.sort_unstable();
    few[FEW / 2]
}

/// Fills `residues` with the differences of `offsets`, which stand at 1, 2, …, to the straight line through 0 that has the
/// slope of the one which fits them best; gives that slope. `None`, and no residues, if the numbers are too large.
fn line_through(offsets: &[i64], residues: &mut Vec<i64>) -> Option<i64> {
    let n = offsets.len() as f64;
    let middle = (n + 1.0) / 2.0;
    let (mut sum, mut widest) = (0.0, 0);
    for (&offset, place) in offsets.iter().zip(1..) {
        sum += offset as f64 * (f64::from(place) - middle);
        widest = widest.max(offset.unsigned_abs());
    }
    let squares = n * (n * n - 1.0) / 12.0;
    let slope = (sum / squares * f64::from(1 << SLOPE_BITS)).round();
    if widest > MAX_LINE || slope.abs() * n >= (1u64 << 62) as f64 {
        return None;
    }
    let slope = slope as i64;
    let mut line = 0i64;
    residues.extend(offsets.iter().map(|&offset| {
        line += slope;
        offset - (line >> SLOPE_BITS)
    }));
    Some(slope)
}

/// The cheaper of counting from the least number and of zigzag with patches.
fn plan(order: usize, numbers: &[i64]) -> Plan {
    let mut lengths = [0u32; 65];
    let (mut least, mut most) = (i64::MAX, i64::MIN);
    for &n in numbers {
        least = least.min(n);
        most = most.max(n);
        lengths[bit_length(zigzag(n)) as usize] += 1;
    }
    if numbers.is_empty() {
        return Plan { order, reference: None, width: 0, patches: 0, bits: 0 };
    }
    let count = numbers.len() as u64;
    let width = bit_length(most.wrapping_sub(least) as u64);
    let reference_bits = u64::from(bit_length(zigzag(least))).div_ceil(7).max(1) * 8;
    let slope_bits = match order {
        MAX_ORDER => 16,
        LINE => 32,
        _ => 0,
    };
    let mut best = Plan {
        order,
        reference: Some(least),
        width,
        patches: 0,
        bits: count * u64::from(width) + reference_bits + slope_bits,
    };
    let (mut patches, mut patch_bits) = (0u64, 0u64);
    for width in (0..=64u8).rev() {
        let bits = count * u64::from(width) + patch_bits + slope_bits;
        if bits < best.bits {
            best = Plan { order, reference: None, width, patches, bits };
        }
        let wider = u64::from(lengths[usize::from(width)]);
        patches += wider;
        patch_bits += wider * (PATCH_BITS + u64::from(width) * 8 / 7);
    }
    best
}

/// Bits needed to write `n`; 0 for 0.
const fn bit_length(n: u64) -> u8 {
    (64 - n.leading_zeros()) as u8
}

const fn mask(width: u8) -> u64 {
    if width == 64 { u64::MAX } else { (1 << width) - 1 }
}

/// Greatest common divisor; `gcd(0, n)` is `n`.
fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Bytes that `count` numbers of `width` bits take.
fn packed_bytes(count: usize, width: u8) -> Option<usize> {
    Some(count.checked_mul(usize::from(width))?.div_ceil(8))
}

/// Writes numbers of `width` bits one after the other, least significant bit first.
fn pack(numbers: impl Iterator<Item = u64>, width: u8, out: &mut Vec<u8>) {
    let width = u32::from(width);
    let (mut word, mut used) = (0u64, 0u32);
    for n in numbers {
        if width == 0 {
            continue;
        }
        word |= n << used;
        used += width;
        if used >= 64 {
            out.extend_from_slice(&word.to_le_bytes());
            used -= 64;
            word = if used == 0 { 0 } else { n >> (width - used) };
        }
    }
    out.extend_from_slice(&word.to_le_bytes()[..used.div_ceil(8) as usize]);
}

/// Appends `count` numbers of `width` bits, read off `bytes`, which hold exactly that many.
fn unpack(bytes: &[u8], width: u8, count: usize, out: &mut Vec<i64>) {
    if let Some(unpack) = unpack::BY_WIDTH.get(usize::from(width)) {
        return unpack::all(bytes, usize::from(width), count, *unpack, out);
    }
    let mask = mask(width);
    let width = usize::from(width);
    // Whole words may be loaded while 8 (for wide numbers 16) bytes are left; the rest is read from a padded copy.
    let load = if width <= 57 { 8 } else { 16 };
    let direct = if bytes.len() < load { 0 } else { ((bytes.len() - load) * 8 / width + 1).min(count) };
    let mut tail = [0u8; 40];
    let tail_start = (direct * width / 8).min(bytes.len());
    tail[..bytes.len() - tail_start].copy_from_slice(&bytes[tail_start..]);
    if width <= 57 {
        let narrow = |bytes: &[u8], bit: usize| {
            let word: [u8; 8] = bytes[bit / 8..bit / 8 + 8].try_into().expect("eight bytes were sliced");
            (u64::from_le_bytes(word) >> (bit % 8) & mask) as i64
        };
        out.extend((0..direct).map(|i| narrow(bytes, i * width)));
        out.extend((direct..count).map(|i| narrow(&tail, i * width - tail_start * 8)));
    } else {
        let wide = |bytes: &[u8], bit: usize| {
            let word: [u8; 16] = bytes[bit / 8..bit / 8 + 16].try_into().expect("sixteen bytes were sliced");
            ((u128::from_le_bytes(word) >> (bit % 8)) as u64 & mask) as i64
        };
        out.extend((0..direct).map(|i| wide(bytes, i * width)));
        out.extend((direct..count).map(|i| wide(&tail, i * width - tail_start * 8)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(values: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(values, &mut Scratch::default(), &mut out);
        out
    }

    fn encoded_by_classes(values: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(values, &mut Scratch { classes: true, ..Scratch::default() }, &mut out);
        out
    }

    fn decoded(bytes: &[u8], count: usize) -> Result<Vec<i64>, Malformed> {
        let mut out = vec![7];
        let mut input = Decoder::new(bytes);
        decode(&mut input, count, &mut out)?;
        assert!(input.is_empty());
        Ok(out.split_off(1))
    }

    #[test]
    fn regular_columns_take_a_few_bytes_whatever_their_length() {
        let regular: Vec<i64> = (0..120).map(|i| 1_790_000_000_000 + i * 15_000).collect();
        assert!(encoded(&regular).len() <= 14, "{}", encoded(&regular).len());
        assert!(encoded(&[5; 1000]).len() <= 4);
    }

    #[test]
    fn one_outlier_does_not_widen_the_others() {
        let mut values: Vec<i64> = (0..120).map(|i| i * i % 16).collect();
        let plain = encoded(&values).len();
        values[60] = 1 << 50;
        assert!(encoded(&values).len() < plain + 50, "{} {plain}", encoded(&values).len());
    }

    #[test]
    fn multiples_of_a_page_are_packed_as_pages() {
        let values: Vec<i64> = (0..120).map(|i| 4096 * (1_000_000 + i * 37 % 64)).collect();
        assert!(encoded(&values).len() <= 120 * 7 / 8 + 16, "{}", encoded(&values).len());
    }

    fn columns() -> impl Strategy<Value = Vec<i64>> {
        let range = prop_oneof![Just(1i64), Just(100), Just(1 << 20), Just(1 << 40), Just(1 << 57), Just(i64::MAX)];
        (range, any::<i64>(), 1..=5000i64).prop_flat_map(|(range, base, factor)| {
            prop::collection::vec(
                prop_oneof![50 => (-range..range).prop_map(move |v| base.wrapping_add(v.wrapping_mul(factor))), 1 => any::<i64>()],
                0..300,
            )
        })
    }

    proptest! {
        #[test]
        fn any_column_comes_back(values in columns(), slope: i64) {
            prop_assert_eq!(decoded(&encoded(&values), values.len()).unwrap(), values.clone());
            let sloped: Vec<i64> = values.iter().enumerate().map(|(i, v)| v.wrapping_add(slope.wrapping_mul(i as i64))).collect();
            prop_assert_eq!(&decoded(&encoded_by_classes(&values), values.len()).unwrap(), &values);
            prop_assert_eq!(&decoded(&encoded_by_classes(&sloped), sloped.len()).unwrap(), &sloped);
            prop_assert_eq!(decoded(&encoded(&sloped), sloped.len()).unwrap(), sloped);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0usize..300) {
            let _ = decode(&mut Decoder::new(&bytes), count, &mut Vec::new());
        }
    }
}
