//! Numbers as exposition formats write them.

/// The NaN that a written `NaN` becomes, whatever its case; never the stale marker.
pub(crate) const NORMAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Reads the number at the start of `text`: its value and its length. It ends where nothing more belongs to it;
/// whether that place is a proper end is for the caller to say.
///
/// Accepts what Go's `ParseFloat` does without its hexadecimal forms and underscores: a decimal with an optional
/// exponent, or `inf`, `infinity` and `nan` in any case (no sign before `nan`). A decimal beyond the range of a double
/// is refused, one that is too small becomes zero. Cost: about 5 ns for the usual value, no allocation.
#[inline]
pub(crate) fn number(text: &[u8]) -> Option<(f64, usize)> {
    let (negative, mut at) = match text.first()? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let digits_at = at;
    let mut mantissa = 0u64;
    while let Some(digit) = digit(text, at) {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(digit);
        at += 1;
    }
    let mut digits = at - digits_at;
    let mut exponent = 0i64;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let fraction_at = at;
        while let Some(digit) = digit(text, at) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(digit);
            at += 1;
        }
        digits += at - fraction_at;
        exponent = -((at - fraction_at) as i64);
    }
    if digits == 0 {
        return special(text);
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let (written, end) = exponent_at(text, at + 1)?;
        exponent += written;
        at = end;
    }
    // Clinger's fast path: both factors are exact, so one rounding gives the nearest double. Up to 19 digits the
    // mantissa has not wrapped.
    let value = if digits <= 19 && mantissa <= 1 << 53 && (-22..=22).contains(&exponent) {
        let power = EXACT_POWERS[exponent.unsigned_abs() as usize];
        let magnitude = if exponent < 0 { mantissa as f64 / power } else { mantissa as f64 * power };
        if negative { -magnitude } else { magnitude }
    } else {
        let magnitude: f64 = fast_float2::parse(&text[digits_at..at]).ok()?;
        if magnitude.is_infinite() {
            return None;
        }
        if negative { -magnitude } else { magnitude }
    };
    Some((value, at))
}

#[inline]
fn digit(text: &[u8], at: usize) -> Option<u64> {
    let digit = text.get(at)?.wrapping_sub(b'0');
    (digit < 10).then_some(u64::from(digit))
}

/// The exponent after its `e`, and where it ends. Huge ones are cut to a size that still means zero or overflow.
fn exponent_at(text: &[u8], mut at: usize) -> Option<(i64, usize)> {
    let negative = match text.get(at) {
        Some(b'-') => {
            at += 1;
            true
        }
        Some(b'+') => {
            at += 1;
            false
        }
        _ => false,
    };
    let start = at;
    let mut exponent = 0i64;
    while let Some(digit) = digit(text, at) {
        exponent = (exponent * 10 + digit as i64).min(1_000_000);
        at += 1;
    }
    (at > start).then_some((if negative { -exponent } else { exponent }, at))
}

/// Infinities and NaN.
#[cold]
fn special(text: &[u8]) -> Option<(f64, usize)> {
    let starts = |text: &[u8], word: &str| {
        text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    if starts(text, "nan") {
        return Some((NORMAL_NAN, 3));
    }
    let (sign, word) = match text.split_first()? {
        (b'-', rest) => (-1.0, rest),
        (b'+', rest) => (1.0, rest),
        _ => (1.0, text),
    };
    let signed = text.len() - word.len();
    ["infinity", "inf"]
        .into_iter()
        .find(|name| starts(word, name))
        .map(|name| (sign * f64::INFINITY, signed + name.len()))
}

/// Reads `text` as one number, nothing before or after it.
pub(crate) fn whole_number(text: &[u8]) -> Option<f64> {
    number(text).and_then(|(value, length)| (length == text.len()).then_some(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_what_prometheus_accepts() {
        for (text, value) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("+1", 1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E-3", 0.001),
            ("1.7976931348623157e308", f64::MAX),
            ("4.9e-324", 5e-324),
            ("1e-999999999999", 0.0),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("123456789012345678901234567890", 1.234_567_890_123_456_8e29),
            ("Inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
        ] {
            assert_eq!(whole_number(text.as_bytes()).unwrap().to_bits(), value.to_bits(), "{text}");
        }
        assert_eq!(whole_number(b"nAn").unwrap().to_bits(), NORMAL_NAN.to_bits());
    }

    #[test]
    fn refuses_what_prometheus_refuses() {
        for text in
            ["", "-", ".", "e5", "1e", "1e+", "0x10", "0x1p4", "1_000", "+nan", "1e999", "infin", "1 ", " 1", "12a"]
        {
            assert_eq!(whole_number(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_the_standard_library_reads(text in "[+-]?[0-9]{0,25}\\.?[0-9]{0,25}([eE][+-]?[0-9]{1,4})?") {
            let expected = text.parse::<f64>().ok().filter(|v| v.is_finite());
            prop_assert_eq!(whole_number(text.as_bytes()).map(f64::to_bits), expected.map(f64::to_bits));
        }

        #[test]
        fn every_double_survives(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(whole_number(value.to_string().as_bytes()).map(f64::to_bits), Some(bits));
            prop_assert_eq!(whole_number(format!("{value:e}").as_bytes()).map(f64::to_bits), Some(bits));
        }
    }
}
