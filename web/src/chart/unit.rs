//! What numbers measure, and how they are written for people.

/// What the values of a chart or panel measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Anything: 1.5k, 20M.
    #[default]
    Number,
    /// Bytes: 1.5 KiB, 20 MiB.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Bits per second: 1.5 kbit/s.
    BitsPerSecond,
    /// Seconds: 1.5 ms, 20 s, 3 h.
    Seconds,
    /// Parts of a hundred.
    Percent,
    /// Parts of one, written as parts of a hundred.
    Ratio,
    /// Events per second.
    PerSecond,
}

/// Below one, decimals are read more easily than thousandths.
const DECIMAL: [(f64, &str); 9] =
    [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1e-3, ""), (1e-6, "µ"), (1e-9, "n")];
const BINARY: [(f64, &str); 7] = [
    (1_152_921_504_606_846_976.0, "Ei"),
    (1_125_899_906_842_624.0, "Pi"),
    (1_099_511_627_776.0, "Ti"),
    (1_073_741_824.0, "Gi"),
    (1_048_576.0, "Mi"),
    (1024.0, "Ki"),
    (1.0, ""),
];
const TIME: [(f64, &str); 7] =
    [(86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")];

impl Unit {
    /// From the text of a parameter or a dashboard file.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "number" | "short" | "none" => Self::Number,
            "bytes" => Self::Bytes,
            "bytes/s" | "Bps" => Self::BytesPerSecond,
            "bits/s" | "bps" => Self::BitsPerSecond,
            "seconds" | "s" => Self::Seconds,
            "percent" => Self::Percent,
            "ratio" | "percentunit" => Self::Ratio,
            "per_second" | "ops" => Self::PerSecond,
            _ => return None,
        })
    }

    /// The text that [`parse`](Self::parse) makes it of.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes/s",
            Self::BitsPerSecond => "bits/s",
            Self::Seconds => "seconds",
            Self::Percent => "percent",
            Self::Ratio => "ratio",
            Self::PerSecond => "per_second",
        }
    }

    /// The texts that [`parse`](Self::parse) knows, for messages.
    pub const NAMES: &'static str = "number, bytes, bytes/s, bits/s, seconds, percent, ratio, per_second";

    /// What an expression's values most likely measure, from the metric names in it.
    #[must_use]
    pub fn guess(expression: &str) -> Self {
        let rate = ["rate(", "irate(", "deriv("].iter().any(|f| expression.contains(f));
        let names = |suffix: &str| {
            expression.match_indices(suffix).any(|(at, _)| {
                !expression[at + suffix.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            })
        };
        // Anything may come of a division: usually a ratio, but not surely.
        if expression.contains('/') || expression.contains("count(") {
            return Self::Number;
        }
        if names("_bytes") || names("_bytes_total") {
            return if rate { Self::BytesPerSecond } else { Self::Bytes };
        }
        if (names("_seconds") || expression.contains("_seconds_bucket")) && !rate
            || expression.contains("histogram_quantile")
        {
            return Self::Seconds;
        }
        Self::Number
    }

    /// The value as people write it, with about four digits.
    #[must_use]
    pub fn format(self, value: f64) -> String {
        self.format_step(value, value.abs() / 1000.0)
    }

    /// The value with as many decimals as it takes to tell it from its neighbour `step` away.
    #[must_use]
    pub fn format_step(self, value: f64, step: f64) -> String {
        if value.is_nan() {
            return "NaN".into();
        }
        if value.is_infinite() {
            return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
        }
        match self {
            Self::Number => scaled(value, step, &DECIMAL, "", ""),
            Self::Bytes => scaled(value, step, &BINARY, " ", "B"),
            Self::BytesPerSecond => scaled(value, step, &BINARY, " ", "B/s"),
            Self::BitsPerSecond => scaled(value, step, &DECIMAL[..7], " ", "bit/s"),
            Self::Seconds => scaled(value, step, &TIME, " ", ""),
            Self::Percent => part_of_hundred(value, step),
            Self::Ratio => part_of_hundred((value * 100.0).clamp(-f64::MAX, f64::MAX), step * 100.0),
            Self::PerSecond => scaled(value, step, &DECIMAL, "", "/s"),
        }
    }

    /// Round numbers of this unit, ascending without end from about `least`: what an axis may be divided by.
    pub(crate) fn steps(self, least: f64) -> Vec<f64> {
        let decimal = |exponents: std::ops::Range<i32>| {
            exponents.flat_map(|e| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(e))).collect::<Vec<_>>()
        };
        // Powers of ten as far as floats have them.
        let exponent = (least.log10().floor() as i32).clamp(-300, 300);
        match self {
            Self::Bytes | Self::BytesPerSecond if least >= 1.0 => {
                let exponent = least.log2().floor() as i32;
                (exponent..exponent + 4).map(|e| 2f64.powi(e)).collect()
            }
            Self::Seconds if least > 2.0 => {
                let mut steps = vec![5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0];
                steps.extend([4.0, 6.0, 12.0, 24.0, 48.0].map(|hours| hours * 3600.0));
                steps.extend(decimal(0..12).into_iter().map(|days| days * 86_400.0));
                steps
            }
            _ => decimal(exponent..exponent + 2),
        }
    }
}

/// The value in the largest unit that leaves a digit before the point.
fn scaled(value: f64, step: f64, units: &[(f64, &str)], gap: &str, suffix: &str) -> String {
    if value == 0.0 {
        let base = units.iter().find(|(factor, _)| *factor == 1.0).map_or("", |(_, name)| name);
        return format!("0{}{base}{suffix}", if base.is_empty() && suffix.is_empty() { "" } else { gap });
    }
    let at = units.iter().position(|(factor, _)| value.abs() >= *factor).unwrap_or(units.len() - 1);
    // What has no name stands for itself.
    let factor = if units[at].1.is_empty() { 1.0 } else { units[at].0 };
    if !is_plain(value / factor) {
        let base = units.iter().find(|(factor, _)| *factor == 1.0).map_or("", |(_, name)| name);
        let gap = if base.is_empty() && suffix.is_empty() { "" } else { gap };
        return format!("{}{gap}{base}{suffix}", scientific(value, step));
    }
    let mut number = decimals(value / factor, step / factor);
    let mut name = units[at].1;
    // What rounds up to one of the next larger unit is written so.
    if at > 0 && number.parse::<f64>().is_ok_and(|n| n.abs() * factor >= units[at - 1].0) {
        number = if value < 0.0 { "-1".into() } else { "1".into() };
        name = units[at - 1].1;
    }
    let gap = if name.is_empty() && suffix.is_empty() { "" } else { gap };
    format!("{number}{gap}{name}{suffix}")
}

fn part_of_hundred(value: f64, step: f64) -> String {
    let number = if value == 0.0 || is_plain(value) { decimals(value, step) } else { scientific(value, step) };
    format!("{number}%")
}

/// Whether a number is read more easily with all its digits than with an exponent.
fn is_plain(value: f64) -> bool {
    (1e-6..1e7).contains(&value.abs())
}

/// A number with an exponent and as many digits as it takes to tell it from its neighbour `step` away: `1.5e300`.
fn scientific(value: f64, step: f64) -> String {
    let digits = if step > 0.0 { (value.abs() / step).log10().ceil().clamp(0.0, 6.0) as usize } else { 3 };
    let text = format!("{value:.digits$e}");
    let (number, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number}e{exponent}")
}

/// Enough decimals to show differences of `step`, no trailing zeros.
fn decimals(value: f64, step: f64) -> String {
    let places = if step > 0.0 { (-step.log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize } else { 0 };
    let mut text = format!("{value:.places$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    if text == "-0" { "0".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        for (unit, value, text) in [
            (Unit::Number, 0.0, "0"),
            (Unit::Number, 1_234_567.0, "1.235M"),
            (Unit::Number, 999.95, "1k"),
            (Unit::Number, -20.5, "-20.5"),
            (Unit::Number, 0.0012, "0.0012"),
            (Unit::Number, 0.000_25, "250µ"),
            (Unit::Bytes, 0.0, "0 B"),
            (Unit::Bytes, 1536.0, "1.5 KiB"),
            (Unit::Bytes, 25_769_803_776.0, "24 GiB"),
            (Unit::BytesPerSecond, 10.0, "10 B/s"),
            (Unit::BitsPerSecond, 2_500_000.0, "2.5 Mbit/s"),
            (Unit::Seconds, 0.0, "0 s"),
            (Unit::Seconds, 0.000_25, "250 µs"),
            (Unit::Seconds, 5400.0, "1.5 h"),
            (Unit::Percent, 12.345, "12.35%"),
            (Unit::Ratio, 0.5, "50%"),
            (Unit::PerSecond, 12_000.0, "12k/s"),
            (Unit::Number, 1.5e300, "1.5e300"),
            (Unit::Bytes, -f64::MAX, "-1.798e308 B"),
            (Unit::Seconds, 2e-320, "2e-320 s"),
            (Unit::Ratio, 1e300, "1e302%"),
            (Unit::Number, f64::NAN, "NaN"),
            (Unit::Bytes, f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(unit.format(value), text, "{unit:?} {value}");
        }
        assert_eq!(Unit::Number.format_step(1_000_200.0, 100.0), "1.0002M");
        assert_eq!(Unit::Number.format_step(3.0, 1.0), "3");
    }

    #[test]
    fn the_unit_is_guessed_from_metric_names() {
        for (expression, unit) in [
            ("node_memory_MemAvailable_bytes", Unit::Bytes),
            ("rate(node_network_receive_bytes_total[5m])", Unit::BytesPerSecond),
            ("histogram_quantile(0.9, sum by (le) (rate(x_seconds_bucket[5m])))", Unit::Seconds),
            ("scrape_duration_seconds", Unit::Seconds),
            ("rate(node_cpu_seconds_total[5m])", Unit::Number),
            ("a_bytes / b_bytes", Unit::Number),
            ("up", Unit::Number),
        ] {
            assert_eq!(Unit::guess(expression), unit, "{expression}");
        }
    }
}
