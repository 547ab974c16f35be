//! Moments and durations as requests give them, read as Prometheus reads them.

use query::quote;
use tsdb::Timestamp;

use super::number::parse_float;

/// The smallest and the largest time of Prometheus' client library, as it formats them. Proxies and clients send them where
/// no time is given. Years of more than four digits are read nowhere else.
const CLIENT_BOUNDS: [(&str, Timestamp); 2] =
    [("-292273086-05-16T16:47:06Z", Timestamp::MIN), ("292277025-08-18T07:12:54.999999999Z", Timestamp::MAX)];

/// Unix seconds with a fraction, or RFC 3339. Seconds beyond the range of [`Timestamp`] stop at its end; NaN is its start.
///
/// # Errors
/// If the text is neither; the error is in the words of Prometheus.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let bound = || CLIENT_BOUNDS.iter().find(|(formatted, _)| *formatted == text).map(|&(_, at)| at);
    let at = parse_float(text).map(from_seconds).or_else(|| parse_rfc3339(text)).or_else(bound);
    at.ok_or_else(|| format!("cannot parse {} to a valid timestamp", quote(text.as_bytes())))
}

/// A duration in nanoseconds: seconds with a fraction, or as `1h30m`. NaN is the smallest one.
///
/// # Errors
/// If the text is neither, or is beyond 64 bits; the error is in the words of Prometheus.
pub(crate) fn parse_nanos(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_float(text) {
        let nanos = seconds * 1e9;
        return match nanos {
            _ if nanos.is_nan() => Ok(i64::MIN),
            _ if nanos.abs() > i64::MAX as f64 => {
                Err(format!("cannot parse {} to a valid duration. It overflows int64", quote(text.as_bytes())))
            }
            _ => Ok(nanos as i64),
        };
    }
    let duration = model::parse_duration(text).ok();
    let nanos = duration.and_then(|duration| i64::try_from(duration.as_nanos()).ok());
    nanos.ok_or_else(|| format!("cannot parse {} to a valid duration", quote(text.as_bytes())))
}

fn from_seconds(seconds: f64) -> Timestamp {
    if seconds.is_nan() {
        return Timestamp::MIN;
    }
    // Rounded to milliseconds, then cut from nanoseconds: the same steps as Prometheus, for the same bits.
    let nanos = ((seconds.fract() * 1000.0).round() / 1000.0 * 1e9) as i64;
    let whole_ms = (seconds.trunc() as i64).saturating_mul(1000);
    Timestamp::from_millis(whole_ms.saturating_add(nanos.div_euclid(1_000_000)))
}

/// RFC 3339 as Go reads it: capital letters only, an hour may have one digit, a fraction any number of digits behind a point
/// or a comma, an offset up to 24 hours and 60 minutes.
fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let mut rest = Rest(text.as_bytes());
    let year = rest.digits(4)?;
    let month = rest.skip(b'-')?.digits(2)?;
    let day = rest.skip(b'-')?.digits(2)?;
    rest.skip(b'T')?;
    let hour = rest.digits(2).or_else(|| rest.digits(1))?;
    let minute = rest.skip(b':')?.digits(2)?;
    let second = rest.skip(b':')?.digits(2)?;
    let millis = rest.millis();
    let offset_minutes = rest.offset()?;
    let days_of_month = match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !rest.0.is_empty() || !(1..=days_of_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let minutes = (days_from_epoch(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
    Some(Timestamp::from_millis((minutes * 60 + second) * 1000 + millis))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
///
/// After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": years begin in March, so a leap day is the last.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The part of a text that is not read yet.
struct Rest<'t>(&'t [u8]);

impl Rest<'_> {
    /// Exactly `count` digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let value = digits
            .iter()
            .try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))?;
        self.0 = rest;
        Some(value)
    }

    fn skip(&mut self, byte: u8) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(self)
    }

    /// The milliseconds of a fraction of a second, cut; 0 without one.
    fn millis(&mut self) -> i64 {
        let [b'.' | b',', fraction @ ..] = self.0 else { return 0 };
        let count = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return 0;
        }
        let digit = |at: usize| fraction[..count].get(at).map_or(0, |digit| i64::from(digit - b'0'));
        self.0 = &fraction[count..];
        digit(0) * 100 + digit(1) * 10 + digit(2)
    }

    /// The minutes of an offset: `Z`, `+02:00`, `-07:30`.
    fn offset(&mut self) -> Option<i64> {
        let sign = match self.0.split_first()? {
            (b'Z', rest) => {
                self.0 = rest;
                return Some(0);
            }
            (b'+', _) => 1,
            (b'-', _) => -1,
            _ => return None,
        };
        self.0 = &self.0[1..];
        let hours = self.digits(2)?;
        let minutes = self.skip(b':')?.digits(2)?;
        (hours <= 24 && minutes <= 60).then_some(sign * (hours * 60 + minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> Option<i64> {
        parse_time(text).ok().map(Timestamp::millis)
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, millis) in [
            ("1435781451.781", 1_435_781_451_781),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51.781+02:00", 1_435_781_451_781),
            ("2015-07-01T20:10:51,7819999999999Z", 1_435_781_451_781),
            ("2015-07-01T2:10:51Z", 1_435_716_651_000),
            ("2015-07-01T20:10:51-24:60", 1_435_871_451_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("2000-02-29T23:59:59Z", 951_868_799_000),
            ("-5", -5000),
            ("-1.5", -1500),
            ("1.0005", 1000),
            ("0x1p4", 16_000),
            ("1_000", 1_000_000),
        ] {
            assert_eq!(ms(text), Some(millis), "{text}");
        }
        assert_eq!(ms("1793369760000000"), Some(1_793_369_760_000_000_000), "Grafana sends milliseconds once");
    }

    #[test]
    fn the_ends_of_time_are_times() {
        for (text, millis) in [
            ("-292273086-05-16T16:47:06Z", i64::MIN),
            ("292277025-08-18T07:12:54.999999999Z", i64::MAX),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999),
            ("9999-12-31T23:59:59-23:59", 253_402_387_139_000),
            ("1e300", i64::MAX),
            ("-1e300", i64::MIN),
            ("+Inf", i64::MAX),
            ("-infinity", i64::MIN),
            ("NaN", i64::MIN),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(ms(text), Some(millis), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_in_the_words_of_prometheus() {
        for bad in [
            "",
            "now",
            "2015-07-01",
            "1e400",
            "-1e400",
            "2015-07-01t20:10:51z",
            "2015-07-01 20:10:51Z",
            "2015-07-01T20:10:60Z",
            "2015-02-29T20:10:51Z",
            "2015-07-01T24:00:00Z",
            "2015-07-01T20:10:51+0200",
            "2015-07-01T20:10:51+24:61",
            "2015-07-01T20:10:51.Z",
            "2015-07-01T20:10:51Z[UTC]",
            "10000-01-01T00:00:00Z",
            "292277025-08-18T07:12:54.999Z",
            "2015-00-01T20:10:51Z",
            "2015-13-01T20:10:51Z",
            " 5",
            "1795946460,5",
            "0x10",
        ] {
            assert_eq!(parse_time(bad), Err(format!("cannot parse {bad:?} to a valid timestamp")));
        }
    }

    #[test]
    fn durations_are_nanoseconds_of_64_bits() {
        assert_eq!(parse_nanos("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_nanos("1h30m"), Ok(5_400_000_000_000));
        assert_eq!(parse_nanos("1e-10"), Ok(0));
        assert_eq!(parse_nanos("NaN"), Ok(i64::MIN));
        assert_eq!(parse_nanos("Inf"), Err("cannot parse \"Inf\" to a valid duration. It overflows int64".into()));
        for bad in ["1e400", "x", "293y", ""] {
            assert_eq!(parse_nanos(bad), Err(format!("cannot parse {bad:?} to a valid duration")));
        }
    }
}
