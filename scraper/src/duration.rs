//! Durations as Prometheus writes them: `1h30m`, `15s`, `250ms`.

use std::time::Duration;

/// Units with their milliseconds, in the order in which they may stand, and whether the unit is only written when
/// nothing remains after it.
const UNITS: [(&str, u64, bool); 7] = [
    ("y", 365 * 24 * 3_600_000, true),
    ("w", 7 * 24 * 3_600_000, true),
    ("d", 24 * 3_600_000, false),
    ("h", 3_600_000, false),
    ("m", 60_000, false),
    ("s", 1_000, false),
    ("ms", 1, false),
];

/// Reads a duration: units in falling order, each at most once, or a bare `0`.
///
/// # Errors
/// In the words of Prometheus, if `text` is none or longer than 292 years.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let invalid = || format!("not a valid duration string: {text:?}");
    let (mut rest, mut units, mut total) = (text, UNITS.iter(), 0u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
        let (number, name) = (&rest[..digits], &rest[digits..digits + letters]);
        let (_, unit, _) = units.find(|unit| unit.0 == name).filter(|_| digits > 0).ok_or_else(invalid)?;
        let value = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*unit)).and_then(|ms| total.checked_add(ms));
        // Prometheus counts nanoseconds in 63 bits.
        total = value.filter(|ms| *ms <= i64::MAX as u64 / 1_000_000).ok_or("duration out of range")?;
        rest = &rest[digits + letters..];
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration as Prometheus does, to the millisecond: `90d`, not `12w6d`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, unit, exact) in UNITS {
        if ms >= unit && (!exact || ms.is_multiple_of(unit)) {
            text += &format!("{}{name}", ms / unit);
            ms %= unit;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_writes_what_prometheus_does() {
        for (text, ms, written) in [
            ("0", 0, "0s"),
            ("15s", 15_000, "15s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90d", 90 * 86_400_000, "90d"),
            ("14d", 14 * 86_400_000, "2w"),
            ("1y2w", 379 * 86_400_000, "379d"),
            ("120s500ms", 120_500, "2m500ms"),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)));
            assert_eq!(format_duration(Duration::from_millis(ms)), written);
        }
        for text in ["", "5", "s", "1s1m", "1s 1s", "1.5s", "1S", "-1s", "1sm", "5µs", "300y", "99999999999999999999s"]
        {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ms in 0u64..9_000_000_000_000) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}
