//! Sealed float values: decimals, scaled to integers.
//!
//! Most metrics count things or carry a few decimal places, so the chunk's values are integers after multiplication
//! with one power of ten. Decimal scaling: ALP (Afroozeh et al., SIGMOD 2023, §3). Bytes: `docs/format/chunks.md`.

use std::ops::Range;

use super::ints;
use crate::codec::{Decoder, Encoder, Malformed};

/// The largest power of ten that is tried. Beyond it a double has no digits left for the rest of the number.
const MAX_EXPONENT: usize = 15;

/// Powers of ten, exact as doubles.
const POWERS: [f64; MAX_EXPONENT + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Integers up to here are exact as doubles, and so is their quotient by a power of ten when it has a short decimal.
const MAX_SCALED: f64 = (1u64 << 53) as f64;

/// Bit of the first byte: a correction of each value follows.
const CORRECTED: u8 = 1 << 7;

/// The largest correction, in units of a value's last place. Sums of decimals, and milliseconds times 0.001, are a few
/// units off the decimal that was meant.
const MAX_CORRECTION: u64 = 63;

/// Working memory of [`encode`], to be used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    scaled: Vec<i64>,
    corrections: Vec<i64>,
    pub(super) other: Vec<u8>,
    exceptions: Vec<(usize, u64)>,
    pub(crate) ints: ints::Scratch,
}

/// Appends `values` as scaled decimals; appends nothing and answers `false` if that would take more than `limit` bytes
/// for lack of short decimals.
///
/// Lossless on raw bits: a value that is not within 63 units in the last place of a decimal of at most 15 digits, a NaN,
/// an infinity or -0.0 is an exception, 9 to 10 bytes each. Cost: 7 to 10 ns per value, no allocation beyond `out` and `scratch`. The count is not stored.
pub(crate) fn encode(values: &[f64], limit: usize, scratch: &mut Scratch, out: &mut Vec<u8>) -> bool {
    let Some(exponent) = common_exponent(values, limit / 10) else { return false };
    let Scratch { scaled, corrections, exceptions, ints: ints_scratch, .. } = scratch;
    scaled.clear();
    corrections.clear();
    exceptions.clear();
    let power = POWERS[exponent];
    // An exception takes its neighbour's place among the integers, where it costs least.
    let mut last = values.iter().find_map(|&v| scale(v, power)).unwrap_or_default().0;
    let mut corrected = false;
    for (at, &value) in values.iter().enumerate() {
        let mut correction = 0;
        match scale(value, power) {
            Some((n, off)) => (last, correction) = (n, off),
            None => exceptions.push((at, value.to_bits())),
        }
        scaled.push(last);
        corrections.push(correction);
        corrected |= correction != 0;
    }
    let start = out.len();
    out.put_u8(exponent as u8 | if corrected { CORRECTED } else { 0 });
    out.put_uvarint(exceptions.len() as u64);
    let mut before = 0;
    for &(at, bits) in exceptions.iter() {
        out.put_uvarint((at - before) as u64);
        out.put_u64(bits);
        before = at;
    }
    ints::encode(scaled, ints_scratch, out);
    if corrected {
        ints::encode(corrections, ints_scratch, out);
    }
    if out.len() - start > limit {
        out.truncate(start);
        return false;
    }
    true
}

/// Takes `count` values off `input` and appends those at `wanted` places to `out`. Cost: 1 to 3 ns per value.
pub(crate) fn decode(
    input: &mut Decoder<'_>,
    count: usize,
    wanted: Range<usize>,
    scratch: &mut Vec<i64>,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let at = *input;
    let first = input.u8()?;
    let exponent = usize::from(first & !CORRECTED);
    let power = *POWERS.get(exponent).ok_or(at.malformed("unknown decimal scale"))?;
    let n = input.count(9)?;
    let mut exceptions = *input;
    for _ in 0..n {
        input.uvarint()?;
        input.u64()?;
    }
    scratch.clear();
    ints::decode(input, count, scratch)?;
    let start = out.len();
    let scaled = scratch.get(wanted.clone()).unwrap_or_default();
    if exponent == 0 {
        out.extend(scaled.iter().map(|&n| n as f64));
    } else {
        out.extend(scaled.iter().map(|&n| n as f64 / power));
    }
    if first & CORRECTED != 0 {
        scratch.clear();
        ints::decode(input, count, scratch)?;
        let corrections = scratch.get(wanted.clone()).unwrap_or_default();
        for (value, &correction) in out[start..].iter_mut().zip(corrections) {
            *value = f64::from_bits(value.to_bits().wrapping_add(correction as u64));
        }
    }
    let mut at = 0usize;
    for _ in 0..n {
        at = at.saturating_add(exceptions.uvarint_as()?);
        let value = exceptions.f64()?;
        if at >= count {
            return Err(exceptions.malformed("exception beyond the last value"));
        }
        if wanted.contains(&at) {
            out[start + at - wanted.start] = value;
        }
    }
    Ok(())
}

/// The least power of ten that makes integers of all values that have one; `None` if more than `most` have none.
fn common_exponent(values: &[f64], most: usize) -> Option<usize> {
    let (mut exponent, mut without) = (0, 0);
    for &value in values {
        if scale(value, POWERS[exponent]).is_some() {
            continue;
        }
        match (exponent + 1..=MAX_EXPONENT).find(|&e| scale(value, POWERS[e]).is_some()) {
            Some(e) => exponent = e,
            None => {
                without += 1;
                if without > most {
                    return None;
                }
            }
        }
    }
    Some(exponent)
}

/// The integer and the correction from which [`decode`] gets `value` back bit for bit.
#[inline]
fn scale(value: f64, power: f64) -> Option<(i64, i64)> {
    let product = value * power;
    let limit = if power == 1.0 { i64::MAX as f64 } else { MAX_SCALED };
    // A NaN or an infinity becomes some integer, from which it does not come back.
    if product.abs() >= limit {
        return None;
    }
    let n = if product.abs() < MAX_SCALED { round(product) } else { product as i64 };
    let back = if power == 1.0 { n as f64 } else { n as f64 / power };
    let off = value.to_bits().wrapping_sub(back.to_bits()) as i64;
    (off.unsigned_abs() <= MAX_CORRECTION).then_some((n, off))
}

/// The nearest integer of a number below 2^53 in magnitude. `f64::round` is a library call without SSE 4.1.
#[inline]
fn round(x: f64) -> i64 {
    (x + 0.5f64.copysign(x)) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::STALE_NAN;

    fn encoded(values: &[f64]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        encode(values, usize::MAX / 2, &mut Scratch::default(), &mut out).then_some(out)
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    fn decoded(bytes: &[u8], count: usize) -> Result<Vec<f64>, Malformed> {
        let mut out = Vec::new();
        decode(&mut Decoder::new(bytes), count, 0..count, &mut Vec::new(), &mut out)?;
        Ok(out)
    }

    #[test]
    fn usual_metrics_take_a_fraction_of_eight_bytes() {
        let constant = vec![1.0; 120];
        let counter: Vec<f64> = (0..120).map(|i| f64::from(1_000_000 + i * 37 + i % 7)).collect();
        let cpu: Vec<f64> = (0..120).map(|i| f64::from(100_000 + i * 1497 + i % 13) / 100.0).collect();
        let gauge: Vec<f64> = (0..120).map(|i| f64::from(240 + i % 40) / 100.0).collect();
        for (values, most) in [(constant, 6), (counter, 70), (cpu, 80), (gauge, 110)] {
            let bytes = encoded(&values).unwrap();
            assert!(bytes.len() <= most, "{} bytes for {:?}…", bytes.len(), &values[..3]);
        }
    }

    #[test]
    fn a_stale_marker_is_an_exception_not_the_end_of_the_encoding() {
        let mut values: Vec<f64> = (0..120).map(|i| f64::from(i * 7919 % 100) / 10.0).collect();
        let plain = encoded(&values).unwrap().len();
        values[119] = STALE_NAN;
        assert!(encoded(&values).unwrap().len() <= plain + 10);
    }

    #[test]
    fn values_without_short_decimals_are_refused_early() {
        let noisy: Vec<f64> = (1..120).map(|i| 1.0 / f64::from(i * 7)).collect();
        assert!(!encode(&noisy, 900, &mut Scratch::default(), &mut Vec::new()));
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        let special = prop::sample::select(vec![
            0.0,
            -0.0,
            f64::NAN,
            STALE_NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN_POSITIVE,
            9e15,
            -9.3e18,
            9_007_199_254_740_993.0,
            9.223_372_036_854_776e18,
            0.1,
            1e15,
            1e16,
            123_456_789.123_456_79,
        ]);
        let decimal = (any::<i32>(), 0i32..12).prop_map(|(n, e)| f64::from(n) / 10f64.powi(e));
        prop::collection::vec(prop_oneof![1 => special, 8 => decimal, 1 => any::<f64>()], 0..200)
    }

    proptest! {
        #[test]
        fn any_values_come_back_bit_for_bit(values in values(), a: prop::sample::Index, b: prop::sample::Index) {
            if let Some(bytes) = encoded(&values) {
                prop_assert_eq!(bits(&decoded(&bytes, values.len()).unwrap()), bits(&values));
                let (from, to) = (a.index(values.len() + 1), b.index(values.len() + 1));
                let wanted = from.min(to)..from.max(to);
                let mut part = vec![7.0];
                decode(&mut Decoder::new(&bytes), values.len(), wanted.clone(), &mut Vec::new(), &mut part).unwrap();
                prop_assert_eq!(bits(&part[1..]), bits(&values[wanted]));
            }
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes: Vec<u8>, count in 0usize..300) {
            let _ = decoded(&bytes, count);
        }
    }
}
