//! Durations as Prometheus writes them: `1d12h`, `15s`, `250ms`.

use std::fmt;
use std::time::Duration;

/// A unit of durations.
struct Unit {
    name: &'static str,
    millis: u64,
    /// Written only where nothing remains below it: `90d`, not `12w6d`.
    alone: bool,
}

/// From the largest to the smallest, which is the order in which they may stand.
const UNITS: [Unit; 7] = [
    Unit { name: "y", millis: 365 * 86_400_000, alone: true },
    Unit { name: "w", millis: 7 * 86_400_000, alone: true },
    Unit { name: "d", millis: 86_400_000, alone: false },
    Unit { name: "h", millis: 3_600_000, alone: false },
    Unit { name: "m", millis: 60_000, alone: false },
    Unit { name: "s", millis: 1_000, alone: false },
    Unit { name: "ms", millis: 1, alone: false },
];

/// The longest duration: Prometheus counts nanoseconds in 63 bits, about 292 years.
const MAX_MILLIS: u64 = i64::MAX as u64 / 1_000_000;

/// A text that is no duration, in the words of Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text is empty.
    #[error("empty duration string")]
    Empty,
    /// A number is missing, or the units do not fall.
    #[error("not a valid duration string: {text:?}")]
    Invalid {
        /// The text.
        text: String,
    },
    /// A unit that does not exist.
    #[error("unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The text.
        text: String,
    },
    /// Longer than about 292 years.
    #[error("duration out of range")]
    OutOfRange,
}

/// Reads a duration: units in falling order, each at most once, or a bare `0`.
///
/// # Errors
/// If `text` is no duration or longer than 292 years.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    match text {
        "" => return Err(DurationError::Empty),
        "0" => return Ok(Duration::ZERO),
        _ => {}
    }
    let invalid = || DurationError::Invalid { text: text.to_owned() };
    let (mut rest, mut total, mut from) = (text, 0u64, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let length = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, after) = rest.split_at(length);
        if unit.is_empty() {
            return Err(invalid());
        }
        let at = UNITS.iter().position(|known| known.name == unit);
        let at = at.ok_or_else(|| DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() })?;
        if at < from {
            return Err(invalid());
        }
        let part = number.checked_mul(UNITS[at].millis).and_then(|part| total.checked_add(part));
        total = part.filter(|total| *total <= MAX_MILLIS).ok_or(DurationError::OutOfRange)?;
        (from, rest) = (at + 1, after);
    }
    Ok(Duration::from_millis(total))
}

/// Writes a duration to the millisecond: `1d12h`, `90d`, `0s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut text = String::new();
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    write_units(&mut text, millis).expect("writing to a string cannot fail");
    text
}

/// Writes milliseconds as a duration, a negative one with a sign before it: `-1m30s`.
///
/// # Errors
/// If `out` cannot be written to.
pub fn write_millis(out: &mut impl fmt::Write, millis: i64) -> fmt::Result {
    if millis < 0 {
        out.write_char('-')?;
    }
    write_units(out, millis.unsigned_abs())
}

fn write_units(out: &mut impl fmt::Write, millis: u64) -> fmt::Result {
    if millis == 0 {
        return out.write_str("0s");
    }
    let mut rest = millis;
    for unit in UNITS {
        if rest >= unit.millis && (!unit.alone || rest.is_multiple_of(unit.millis)) {
            write!(out, "{}{}", rest / unit.millis, unit.name)?;
            rest %= unit.millis;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_and_written_as_prometheus_does() {
        for (text, millis, written) in [
            ("0", 0, "0s"),
            ("0ms", 0, "0s"),
            ("15s", 15_000, "15s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("36h", 36 * 3_600_000, "1d12h"),
            ("90d", 90 * 86_400_000, "90d"),
            ("14d", 14 * 86_400_000, "2w"),
            ("365d", 365 * 86_400_000, "1y"),
            ("1y2w", 379 * 86_400_000, "379d"),
            ("120s500ms", 120_500, "2m500ms"),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(format_duration(Duration::from_millis(millis)), written);
        }
        let mut negative = String::new();
        write_millis(&mut negative, -90_001).unwrap();
        assert_eq!(negative, "-1m30s1ms");
    }

    #[test]
    fn a_text_that_is_no_duration_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty duration string"),
            ("5", "not a valid duration string: \"5\""),
            ("s", "not a valid duration string: \"s\""),
            ("-1s", "not a valid duration string: \"-1s\""),
            ("1s1m", "not a valid duration string: \"1s1m\""),
            ("1s1s", "not a valid duration string: \"1s1s\""),
            ("1.5s", "unknown unit \".\" in duration \"1.5s\""),
            ("1S", "unknown unit \"S\" in duration \"1S\""),
            ("1s ", "unknown unit \"s \" in duration \"1s \""),
            ("5µs", "unknown unit \"µs\" in duration \"5µs\""),
            ("300y", "duration out of range"),
            ("9999999999999999s", "duration out of range"),
            ("99999999999999999999s", "not a valid duration string: \"99999999999999999999s\""),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), reason, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_back(millis in 0u64..=MAX_MILLIS) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[0-9ydhmsµ. ]{0,20}") {
            let _ = parse_duration(&text);
        }
    }
}
