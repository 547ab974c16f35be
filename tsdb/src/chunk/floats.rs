//! Columns of floats, packed in the way that takes the fewest bytes. Bytes: `docs/format/chunks.md`.

use super::{bits, decimal};
use crate::codec::{Decoder, Encoder, Malformed};

/// Appends `values`, lossless on raw bits: as decimals, or as bits where they are none. The count is not stored.
pub(crate) fn encode(values: &[f64], scratch: &mut decimal::Scratch, out: &mut Vec<u8>) {
    let at = out.len();
    out.put_u8(0);
    if !decimal::encode(values, values.len() * 8, scratch, out) {
        out[at] = 1;
        bits::encode(values, &mut scratch.ints, out);
    }
}

/// Takes `count` values off `input` and appends them to `out`.
pub(crate) fn decode(
    input: &mut Decoder<'_>,
    count: usize,
    scratch: &mut Vec<i64>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    match input.u8()? {
        0 => decimal::decode(input, count, scratch, out),
        1 => bits::decode(input, count, scratch, out),
        _ => Err(input.malformed("unknown way of packing floats")),
    }
}
