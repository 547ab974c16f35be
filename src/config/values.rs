//! Values in the form that the configuration writes them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{parse_duration, parse_size};

use super::tree::{Fault, Node, Scalar, Tag, Value};

/// A whole number in any of the forms of YAML: `10`, `0x1F`, `010`, `1_000`, `5.0`. A number in quotes is a text. As in Prometheus,
/// a fraction is cut off, and what rounds to 2^64 is 2^63.
pub(super) fn whole_number(scalar: &Scalar) -> Option<i128> {
    if scalar.tag != Tag::Number {
        return None;
    }
    let text = scalar.text.replace('_', "");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let prefix = digits.get(..2).unwrap_or_default().to_ascii_lowercase();
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().find(|(radix, _)| *radix == prefix);
    let is_octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let magnitude = match radix {
        Some((_, radix)) => i128::from_str_radix(&digits[2..], radix).ok()?,
        None if is_octal => i128::from_str_radix(digits, 8).ok()?,
        None => match digits.parse() {
            Ok(number) => number,
            Err(_) => digits.parse::<f64>().ok().filter(|n| n.is_finite())?.trunc() as i128,
        },
    };
    let is_beyond = magnitude > u64::MAX.into() && magnitude as f64 <= u64::MAX as f64;
    Some(match (negative, is_beyond) {
        (true, _) => magnitude.checked_neg()?,
        (false, true) => 1 << 63,
        (false, false) => magnitude,
    })
}

/// Tells if a number has a fraction, which [`whole_number`] cuts off.
pub(super) fn has_fraction(scalar: &Scalar) -> bool {
    let number = scalar.text.replace('_', "").parse::<f64>();
    scalar.tag == Tag::Number && number.is_ok_and(|number| number.is_finite() && number.fract() != 0.0)
}

/// Typed reading of a map that has been checked against the schema. What is not there is `None`.
impl Node {
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key).map(Node::text)
    }

    pub(super) fn string_of(&self, key: &str) -> Option<String> {
        self.text_of(key).map(str::to_owned)
    }

    /// As [`string_of`](Self::string_of), an empty text being nothing.
    pub(super) fn some_string_of(&self, key: &str) -> Option<String> {
        self.string_of(key).filter(|text| !text.is_empty())
    }

    pub(super) fn bool_of(&self, key: &str) -> Option<bool> {
        match &self.get(key)?.value {
            Value::Scalar(Scalar { tag: Tag::Bool(value), .. }) => Some(*value),
            _ => None,
        }
    }

    /// A zero is nothing: it stands for the default.
    pub(super) fn duration_of(&self, key: &str) -> Result<Option<Duration>, Fault> {
        self.parsed(key, parse_duration).map(|found| found.filter(|duration| !duration.is_zero()))
    }

    pub(super) fn size_of(&self, key: &str) -> Result<Option<u64>, Fault> {
        self.parsed(key, parse_size)
    }

    /// A zero is nothing: it stands for the default.
    pub(super) fn count_of(&self, key: &str) -> Result<Option<usize>, Fault> {
        let Some(node) = self.get(key) else { return Ok(None) };
        let number = match &node.value {
            Value::Scalar(scalar) => whole_number(scalar).and_then(|number| usize::try_from(number).ok()),
            _ => None,
        };
        let count = number.ok_or_else(|| node.fault(format!("{:?} is not a usable number", node.text())))?;
        Ok(Some(count).filter(|count| *count > 0))
    }

    /// A whole number.
    pub(super) fn int_of(&self, key: &str) -> Option<i64> {
        match &self.get(key)?.value {
            Value::Scalar(scalar) => whole_number(scalar).and_then(|number| i64::try_from(number).ok()),
            _ => None,
        }
    }

    /// A whole number from 0 on.
    pub(super) fn uint_of(&self, key: &str) -> Option<u64> {
        match &self.get(key)?.value {
            Value::Scalar(scalar) => whole_number(scalar).and_then(|number| u64::try_from(number).ok()),
            _ => None,
        }
    }

    fn parsed<T, E: Display>(&self, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<Option<T>, Fault> {
        let Some(node) = self.get(key) else { return Ok(None) };
        parse(node.text()).map(Some).map_err(|what| node.fault(what.to_string()))
    }

    /// The texts of a list.
    pub(super) fn texts_of(&self, key: &str) -> Vec<String> {
        self.get(key).map(Node::texts).unwrap_or_default()
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.items().iter().map(|item| item.text().to_owned()).collect()
    }

    /// Texts by name.
    pub(super) fn text_map_of(&self, key: &str) -> BTreeMap<String, String> {
        let entries = self.get(key).map(Node::entries).unwrap_or_default();
        entries.iter().map(|(key, node)| (key.name.clone(), node.text().to_owned())).collect()
    }

    /// The nodes of a list.
    pub(super) fn items_of(&self, key: &str) -> &[Node] {
        self.get(key).map(Node::items).unwrap_or_default()
    }
}

/// Tells if `url` has a user and a password in it.
pub(super) fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// `path` as seen from `folder`.
pub(super) fn within(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_come_in_all_forms_of_yaml() {
        let number = |text: &str| whole_number(&Scalar { text: text.to_owned(), tag: Tag::Number });
        for (text, value) in [
            ("10", 10),
            ("-3", -3),
            ("0x1F", 31),
            ("1_000", 1000),
            ("0X1f", 31),
            ("0b11", 3),
            ("0O17", 15),
            ("010", 8),
            ("-010", -8),
            ("08", 8),
            ("0", 0),
            ("5.0", 5),
            ("1e3", 1000),
            ("18446744073709551615", u64::MAX.into()),
            ("18446744073709551616", 1 << 63),
            ("5.5", 5),
            ("-0.5", 0),
            ("-1.5", -1),
        ] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        assert!(number("36893488147419103232").is_some_and(|number| number > u64::MAX.into()));
        assert_eq!((number(".inf"), number(".nan"), number("1e999")), (None, None, None));
        assert_eq!(whole_number(&Scalar { text: "5".to_owned(), tag: Tag::Text }), None);
    }
}
