//! Numbers as the API writes sample values and reads parameters.

/// Appends `value` in its shortest form: plain decimals from 1e-6 to below 1e21, exponents beyond. About 40 ns.
pub(crate) fn put_float(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    // Counters and most gauges are whole numbers.
    if value.fract() == 0.0 && value.abs() < 1e15 && (value != 0.0 || value.is_sign_positive()) {
        return out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    let text = match text.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => text,
    };
    let (mantissa, exponent) = match text.split_once('e') {
        None => return out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes()),
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().expect("ryu writes a number after the e")),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let part = if part == "0" { "" } else { part };
    if (-6..0).contains(&exponent) {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.extend_from_slice(whole.as_bytes());
        out.extend_from_slice(part.as_bytes());
    } else if (0..21).contains(&exponent) {
        // ryu uses exponents from 1e16 on: there are no digits after the point left.
        out.extend_from_slice(whole.as_bytes());
        out.extend_from_slice(part.as_bytes());
        out.extend(std::iter::repeat_n(b'0', (exponent as usize).saturating_sub(part.len())));
    } else {
        out.extend_from_slice(whole.as_bytes());
        if !part.is_empty() {
            out.push(b'.');
            out.extend_from_slice(part.as_bytes());
        }
        out.push(b'e');
        out.push(if exponent < 0 { b'-' } else { b'+' });
        // Go, which Prometheus is written in, writes two digits at least.
        if exponent.unsigned_abs() < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
    }
}

/// A number as Go's `strconv.ParseFloat` reads it: decimal or hexadecimal with an exponent of two, underscores between
/// digits, `Inf`, `NaN`. `None` for other texts, and for numbers that 64 bits cannot hold.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.starts_with(|c: char| c.is_ascii_alphabetic()) {
        // Words. A NaN has no sign.
        let is_signed_nan = unsigned.len() < text.len() && unsigned.eq_ignore_ascii_case("nan");
        return text.parse().ok().filter(|_| !is_signed_nan);
    }
    let digits = match unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        Some(hex) => {
            let value = parse_hex(&without_underscores(hex, Some(b'0'))?)?;
            return Some(if text.starts_with('-') { -value } else { value });
        }
        None => without_underscores(text, None)?,
    };
    digits.parse().ok().filter(|value: &f64| value.is_finite())
}

/// The text without the underscores in it, each of which must stand between digits; `before` is the digit that the text
/// continues.
fn without_underscores(text: &str, before: Option<u8>) -> Option<String> {
    let is_digit = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
    let bytes = text.as_bytes();
    let is_between = |at: usize| {
        let previous = if at == 0 { before } else { bytes.get(at - 1).copied() };
        is_digit(previous) && is_digit(bytes.get(at + 1).copied())
    };
    let mut underscores = (0..bytes.len()).filter(|&at| bytes[at] == b'_');
    underscores.all(is_between).then(|| text.replace('_', ""))
}

/// A hexadecimal number behind its `0x`: digits with a point, and `p` with an exponent of two.
fn parse_hex(text: &str) -> Option<f64> {
    let (digits, exponent) = text.split_once(['p', 'P'])?;
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent: i32 = exponent.parse().ok()?;
    if whole.len() + part.len() == 0 {
        return None;
    }
    let mantissa = whole
        .chars()
        .chain(part.chars())
        .try_fold(0.0, |mantissa: f64, digit| Some(mantissa.mul_add(16.0, f64::from(digit.to_digit(16)?))))?;
    let shift = exponent.saturating_sub(i32::try_from(part.len()).ok()?.saturating_mul(4));
    // In two steps: the power alone may be beyond what a number can hold.
    let half = shift.clamp(-4000, 4000) / 2;
    let value = mantissa * 2f64.powi(half) * 2f64.powi(shift.clamp(-4000, 4000) - half);
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("1", 1.0),
            ("-.5", -0.5),
            ("+5.", 5.0),
            ("1e-400", 0.0),
            ("1_000.5e1_0", 1000.5e10),
            ("0x_1.8p1", 3.0),
            ("-0X10P-4", -1.0),
            ("0x1p-1074", 5e-324),
            ("INFINITY", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse_float(text), Some(value), "{text}");
        }
        assert!(parse_float("nan").is_some_and(f64::is_nan));
        for bad in
            ["", "-", ".", "e1", "1e", "1e400", "+NaN", "0x10", "0x1p", "0xp1", "_1", "1_", "1__0", "1_.5", "5m", "x"]
        {
            assert_eq!(parse_float(bad), None, "{bad}");
        }
    }

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        put_float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_written_as_prometheus_writes_them() {
        for (value, written) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-12.5, "-12.5"),
            (1e15, "1000000000000000"),
            (1.5e16, "15000000000000000"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.25e-7, "1.25e-07"),
            (-1e-9, "-1e-09"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (0.00012, "0.00012"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(text(value), written);
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut bits = 1u64;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let written = text(value);
                assert_eq!(written.parse::<f64>().unwrap().to_bits(), bits, "{written}");
            }
        }
    }
}
