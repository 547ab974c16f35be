//! Columns of floats, packed in the way that takes the fewest bytes. Bytes: `docs/format/chunks.md`.

use std::ops::Range;

use super::{bits, decimal};
use crate::codec::{Decoder, Encoder, Malformed};

/// How a column of floats is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Decimals,
    Bits,
}

/// Bytes per value from which on decimals are compared with bits.
const SUSPICIOUS: usize = 2;

/// Appends `values`, lossless on raw bits, and says how. The count is not stored. 7 to 10 ns per value, twice that where
/// decimals do not shrink them.
pub(crate) fn pack(values: &[f64], scratch: &mut decimal::Scratch, out: &mut Vec<u8>) -> Packing {
    let start = out.len();
    if !decimal::encode(values, values.len() * 8, scratch, out) {
        bits::encode(values, &mut scratch.ints, out);
        return Packing::Bits;
    }
    if out.len() - start > values.len() * SUSPICIOUS + 16 {
        let mut other = std::mem::take(&mut scratch.other);
        other.clear();
        bits::encode(values, &mut scratch.ints, &mut other);
        let smaller = other.len() < out.len() - start;
        if smaller {
            out.truncate(start);
            out.extend_from_slice(&other);
        }
        scratch.other = other;
        if smaller {
            return Packing::Bits;
        }
    }
    Packing::Decimals
}

/// Appends a byte that says how, then `values`.
pub(crate) fn encode(values: &[f64], scratch: &mut decimal::Scratch, out: &mut Vec<u8>) {
    let at = out.len();
    out.put_u8(0);
    out[at] = pack(values, scratch, out) as u8;
}

/// Takes `count` values off `input` that [`encode`] wrote and appends those at `wanted` places to `out`. 1 to 3 ns per
/// value.
pub(crate) fn decode(
    input: &mut Decoder<'_>,
    count: usize,
    wanted: Range<usize>,
    scratch: &mut Vec<i64>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    match input.u8()? {
        0 => decimal::decode(input, count, wanted, scratch, out),
        1 => bits::decode(input, count, wanted, scratch, out),
        _ => Err(input.malformed("unknown way of packing floats")),
    }
}
