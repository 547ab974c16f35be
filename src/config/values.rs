//! Values in the form that the configuration writes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use scraper::parse_duration;

use super::tree::{Fault, Node, Scalar, Tag, Value};

/// Reads a size: numbers with units in powers of 1024, such as `10MB` or `1GiB512KB`; `0` needs no unit.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    let invalid = || format!("not a valid size: {text:?}");
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let letters = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        let unit = &rest[digits..digits + letters];
        let unit = unit.strip_suffix('B').ok_or_else(invalid)?;
        let prefix = unit.strip_suffix('i').filter(|prefix| !prefix.is_empty()).unwrap_or(unit);
        let power = ["", "K", "M", "G", "T", "P", "E"].iter().position(|p| *p == prefix).ok_or_else(invalid)?;
        total += number * 1024f64.powi(power as i32);
        rest = &rest[digits + letters..];
    }
    if text.is_empty() || total >= 9.2e18 {
        return Err(invalid());
    }
    Ok(total as u64)
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
        let parse = |text: &str| text.parse().map_err(|_| format!("{text:?} is too large"));
        self.parsed(key, parse).map(|found| found.filter(|count| *count > 0))
    }

    fn parsed<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, Fault> {
        let Some(node) = self.get(key) else { return Ok(None) };
        parse(node.text()).map(Some).map_err(|what| node.fault(what))
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

/// `path` as seen from `folder`.
pub(super) fn within(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("0B", 0),
            ("10B", 10),
            ("1KB", 1024),
            ("1KiB", 1024),
            ("1.5MB", 3 << 19),
            ("1GB512MB", 3 << 29),
            ("7EB", 7 << 60),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "10", "MB", "10mb", "10M", "-1MB", "1..5MB", "1XB", "iB", "1iB", "9EB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
