//! Numbers and texts as Prometheus writes them.

use std::fmt::Write;

use tsdb::FloatHistogram;

/// The shortest decimal that reads back as `value`, with an exponent below 1e-4 and from 1e21 on up. As Go's `%v` but for
/// the upper limit, which Go has at 1e21 for `f` and at the number of digits for `g`.
pub(crate) fn shortest(value: f64) -> String {
    go_float(value, 21)
}

/// As Go prints a float with `%g`: exponents below 1e-4 and from 1e21 on, or from 1e6 on if there are fewer digits.
pub(crate) fn general(value: f64) -> String {
    go_float(value, 6)
}

/// As Go prints a float with `%.2g`: two significant digits, with an exponent below 1e-4 and from 100 on.
pub(crate) fn two_digits(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return general(value);
    }
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    go_float(rounded, 2)
}

fn go_float(value: f64, exponent_limit: i32) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= exponent_limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    format!("{value}")
}

/// Reads a decimal as Go's `ParseFloat` does, `_` between digits included; out of range is none.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.eq_ignore_ascii_case("nan") {
        return (unsigned.len() == text.len()).then_some(f64::NAN);
    }
    if ["inf", "infinity"].iter().any(|name| unsigned.eq_ignore_ascii_case(name)) {
        return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let separates = |(at, _): (usize, &str)| at > 0 && is_digit(at - 1) && is_digit(at + 1);
    if !text.match_indices('_').all(separates) {
        return None;
    }
    text.replace('_', "").parse().ok().filter(|value: &f64| value.is_finite())
}

/// The plain decimal without exponent: how `count_values` names a value.
pub(crate) fn plain(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { general(value) }
}

/// Quotes as Go's `%q` does; bytes that are not UTF-8 as `\x..`.
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(c, &mut out);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

fn quote_char(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        c if (c as u32) < 0x20 || c == '\x7f' => {
            let _ = write!(out, "\\x{:02x}", c as u32);
        }
        c if c.is_control() || matches!(c, '\u{ad}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffd}') => {
            let _ = write!(out, "\\u{:04x}", c as u32);
        }
        c => out.push(c),
    }
}

/// A label set as Prometheus prints it in messages: `{__name__="a", b="c"}`.
pub(crate) fn label_set(labels: &tsdb::Labels) -> String {
    let mut out = String::from("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        if tsdb::is_label_name(name) {
            out.push_str(name);
        } else {
            out.push_str(&quote(name.as_bytes()));
        }
        out.push('=');
        out.push_str(&quote(value.as_bytes()));
    }
    out.push('}');
    out
}

/// `{count:20, sum:10, [-2,-1):2, …}`: how `count_values` names a histogram.
pub(crate) fn histogram(histogram: &FloatHistogram) -> String {
    let mut out = format!("{{count:{}, sum:{}", general(histogram.count), general(histogram.sum));
    for bucket in histogram.buckets().iter().filter(|b| b.count != 0.0) {
        let _ = write!(
            out,
            ", {}{},{}{}:{}",
            if bucket.lower_inclusive { '[' } else { '(' },
            general(bucket.lower),
            general(bucket.upper),
            if bucket.upper_inclusive { ']' } else { ')' },
            general(bucket.count),
        );
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_go_prints_them() {
        let cases =
            [(1.0, "1"), (1e6, "1e+06"), (123_456.0, "123456"), (1e-5, "1e-05"), (-0.25, "-0.25"), (1e100, "1e+100")];
        for (value, text) in cases {
            assert_eq!(general(value), text);
        }
        assert_eq!(shortest(1e6), "1000000");
        assert_eq!(shortest(1e21), "1e+21");
        assert_eq!(plain(1e22), "10000000000000000000000");
        assert_eq!(general(f64::INFINITY), "+Inf");
    }

    #[test]
    fn two_digits_print_as_go_prints_them() {
        let cases = [(1.0, "1"), (15.0, "15"), (10.0, "10"), (123.0, "1.2e+02"), (100.0, "1e+02"), (0.256, "0.26")];
        for (value, text) in cases {
            assert_eq!(two_digits(value), text);
        }
        assert_eq!(two_digits(f64::INFINITY), "+Inf");
        assert_eq!(two_digits(99.9), "1e+02");
    }

    #[test]
    fn floats_are_read_as_go_reads_them() {
        assert!(parse_float("NaN").is_some_and(f64::is_nan));
        for (text, value) in [("+Inf", f64::INFINITY), ("-infinity", f64::NEG_INFINITY), ("1_0.5e+1_0", 10.5e10)] {
            assert_eq!(parse_float(text), Some(value), "{text}");
        }
        for text in ["", "+nan", "1e999", "_1", "1__0", "1_", "0x", " 1"] {
            assert_eq!(parse_float(text), None, "{text}");
        }
    }

    #[test]
    fn quotes_keep_broken_utf8_visible() {
        assert_eq!(quote(b"a\xc5z"), r#""a\xc5z""#);
        assert_eq!(quote("ü\"\n".as_bytes()), r#""ü\"\n""#);
    }
}
