//! Sealed float values that have no short decimals: their bits as integers, which keep the order of the floats.
//!
//! Neighbouring values share sign, exponent and leading digits, which the frame's reference takes away; values that
//! repeat cost nothing. On full-precision gauges this is smaller than XOR (6.6 against 7.6 bytes) and is decoded in a
//! tenth of the time.

use std::ops::Range;

use super::ints;
use crate::codec::{Decoder, Malformed};

/// Appends `values`, lossless on raw bits. About 6 ns per value. The count is not stored.
pub(crate) fn encode(values: &[f64], scratch: &mut ints::Scratch, out: &mut Vec<u8>) {
    let ordered: Vec<i64> = values.iter().map(|v| to_ordered(v.to_bits())).collect();
    ints::encode(&ordered, scratch, out);
}

/// Takes `count` values off `input` and appends those at `wanted` places to `out`. About 1 ns per value.
pub(crate) fn decode(
    input: &mut Decoder<'_>,
    count: usize,
    wanted: Range<usize>,
    scratch: &mut Vec<i64>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    scratch.clear();
    ints::decode(input, count, scratch)?;
    out.extend(scratch.get(wanted).unwrap_or_default().iter().map(|&n| f64::from_bits(from_ordered(n))));
    Ok(())
}

/// Maps the bits of floats to integers of the same order: negative floats have their magnitude turned round.
const fn to_ordered(bits: u64) -> i64 {
    let n = bits as i64;
    n ^ ((n >> 63) as u64 >> 1) as i64
}

/// Undoes [`to_ordered`].
const fn from_ordered(n: i64) -> u64 {
    (n ^ ((n >> 63) as u64 >> 1) as i64) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_order_of_floats_is_kept() {
        let floats = [f64::NEG_INFINITY, -2.0, -1.0, -f64::MIN_POSITIVE, 0.0, 1e-300, 1.0, f64::INFINITY];
        assert!(floats.windows(2).all(|w| to_ordered(w[0].to_bits()) < to_ordered(w[1].to_bits())));
    }

    proptest! {
        #[test]
        fn any_values_come_back_bit_for_bit(values in prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..200)) {
            let mut out = Vec::new();
            encode(&values, &mut ints::Scratch::default(), &mut out);
            let mut back = Vec::new();
            decode(&mut Decoder::new(&out), values.len(), 0..values.len(), &mut Vec::new(), &mut back).unwrap();
            prop_assert!(back.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())));
        }
    }
}
