//! Sizes in bytes as Prometheus writes them: `512MB`, `1.5GB`, `1GiB512MiB`, in powers of 1024.

/// Letters of the units, from bytes up.
const PREFIXES: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];

/// Largest whole number that a size may hold before its unit.
const MAX_DIGITS: u64 = (i64::MAX as u64 - 9) / 10;

/// A text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// A number or a unit is missing, or the number is wrong.
    #[error("not a valid size: {text:?}; a size looks like 512MB or 1.5GB")]
    Invalid {
        /// The text.
        text: String,
    },
    /// A unit that does not exist, or two ways of writing units in one size.
    #[error("unknown unit {unit:?} in size {text:?}; the units are B, KB, MB, GB, TB, PB and EB")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The text.
        text: String,
    },
    /// 8 EiB or more.
    #[error("size {text:?} is out of range")]
    OutOfRange {
        /// The text.
        text: String,
    },
}

/// The two ways of writing units.
#[derive(Clone, Copy)]
enum Style {
    /// `KB`
    Short,
    /// `KiB`
    Iec,
}

/// Reads a size: numbers with units, which add up. `KB` and `KiB` both are 1024 bytes, but one size has only one of the
/// two forms. A lone `0` needs no unit.
///
/// A size below zero, which Prometheus reads too, is 0: as a limit both mean none.
///
/// # Errors
/// If `text` is no size or 8 EiB or more.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    read(text, Style::Iec).or_else(|_| read(text, Style::Short))
}

fn read(text: &str, style: Style) -> Result<u64, SizeError> {
    let invalid = || SizeError::Invalid { text: text.to_owned() };
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, after) = number(rest).ok_or_else(invalid)?;
        let length = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        if unit.is_empty() {
            return Err(invalid());
        }
        let unknown = || SizeError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() };
        total += number * bytes_of(unit, style).ok_or_else(unknown)?;
        rest = after;
    }
    if total >= i64::MAX as f64 {
        return Err(SizeError::OutOfRange { text: text.to_owned() });
    }
    Ok(if negative { 0 } else { total as u64 })
}

/// Reads `12`, `1.5`, `.5` or `1.`; gives the text behind.
fn number(text: &str) -> Option<(f64, &str)> {
    let (whole, rest) = digits(text)?;
    let whole_digits = text.len() - rest.len();
    let Some(decimals) = rest.strip_prefix('.') else { return (whole_digits > 0).then_some((whole as f64, rest)) };
    let (fraction, after) = digits(decimals)?;
    let places = decimals.len() - after.len();
    let scale = 10f64.powi(i32::try_from(places).ok()?);
    (whole_digits + places > 0).then_some((whole as f64 + fraction as f64 / scale, after))
}

/// The number that `text` begins with, 0 if none; `None` if it is too large.
fn digits(text: &str) -> Option<(u64, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let mut value = 0u64;
    for digit in text[..length].bytes() {
        value = (value < MAX_DIGITS).then_some(value * 10 + u64::from(digit - b'0'))?;
    }
    Some((value, &text[length..]))
}

fn bytes_of(unit: &str, style: Style) -> Option<f64> {
    let prefix = match style {
        Style::Iec if unit != "B" => unit.strip_suffix("iB").filter(|prefix| !prefix.is_empty())?,
        _ => unit.strip_suffix('B')?,
    };
    let power = PREFIXES.iter().position(|known| *known == prefix)?;
    Some((1u64 << (10 * power)) as f64)
}

/// Writes a size with whole numbers of the largest units: `512MiB`, `1GiB512MiB`, `0B`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let mut text = String::new();
    for (power, prefix) in PREFIXES.iter().enumerate().rev() {
        let count = (bytes >> (10 * power)) & if power == 6 { u64::MAX } else { 1023 };
        if count > 0 {
            text += &format!("{count}{prefix}{}", if power == 0 { "B" } else { "iB" });
        }
    }
    if text.is_empty() { "0B".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_count_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("+0", 0),
            ("0B", 0),
            ("10B", 10),
            ("1KB", 1 << 10),
            ("1KiB", 1 << 10),
            ("1.5MB", 3 << 19),
            ("1.5GB", 3 << 29),
            (".5KB", 512),
            ("1.KB", 1 << 10),
            ("1GB512MB", 3 << 29),
            ("1MB1GB", (1 << 20) + (1 << 30)),
            ("1GiB512MiB", 3 << 29),
            ("512MiB1B", (512 << 20) + 1),
            ("1PB", 1 << 50),
            ("7EB", 7 << 60),
            ("-1MB", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_size_is_refused() {
        for text in [
            "",
            "+",
            "10",
            "MB",
            "10mb",
            "1kB",
            "1kb",
            "10M",
            "1..5MB",
            "1XB",
            "iB",
            "1iB",
            "8EB",
            "9EB",
            "1GiB512MB",
            "1 MB",
            " 1MB",
            "1MB ",
            ".MB",
            "1e3MB",
            "9999999999999999999B",
            "0x10MB",
            "1MBx",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_written_with_their_largest_units() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (1024, "1KiB"),
            (3 << 29, "1GiB512MiB"),
            (u64::MAX >> 1, "7EiB1023PiB1023TiB1023GiB1023MiB1023KiB1023B"),
        ] {
            assert_eq!(format_size(bytes), text);
        }
    }

    proptest! {
        // Beyond 2^53 not every size is a double, in Prometheus neither.
        #[test]
        fn a_written_size_reads_back(bytes in 0u64..1 << 53) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[0-9KMGTPEiB.+-]{0,24}") {
            let _ = parse_size(&text);
        }
    }
}
