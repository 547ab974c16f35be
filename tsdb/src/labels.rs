//! Label sets: the name of a series.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, LazyLock};

use xxhash_rust::xxh3::xxh3_64;

/// The label that carries the metric name.
pub const METRIC_NAME: &str = "__name__";

/// One name and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Any non-empty UTF-8 text.
    pub name: String,
    /// Never empty within [`Labels`]: an empty value means that the label is absent.
    pub value: String,
}

/// The identity of a series: labels sorted by name, no name twice, no empty value. Immutable and cheap to clone.
///
/// All text lies in one allocation: per label the length and bytes of the name, then of the value. Lengths are
/// written in base 64, least digit first, with bit 6 as continuation, which keeps the buffer valid UTF-8.
/// Equality and [`hash`](Self::hash) work on the bytes; the order is by name, then value, label by label, bytewise,
/// as Prometheus sorts results.
#[derive(Clone)]
pub struct Labels(Arc<str>);

static EMPTY: LazyLock<Labels> = LazyLock::new(|| Labels(Arc::from("")));

impl Labels {
    /// The set without labels.
    #[must_use]
    pub fn empty() -> Self {
        EMPTY.clone()
    }

    /// Makes a set of `pairs` in any order. Pairs with an empty value are left out; of equal names the last one wins.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Makes a set of pairs that are already sorted by name, each name once, no value empty.
    ///
    /// Cost: one allocation when `pairs` is short. The order is checked in debug builds only.
    pub fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let size = pairs.clone().map(|(n, v)| n.len() + v.len() + 4).sum();
        let mut text = String::with_capacity(size);
        let mut previous: Option<&str> = None;
        for (name, value) in pairs {
            debug_assert!(previous.is_none_or(|p| p < name), "label names out of order");
            debug_assert!(!value.is_empty(), "empty label value");
            previous = Some(name);
            push_text(&mut text, name);
            push_text(&mut text, value);
        }
        if text.is_empty() { Self::empty() } else { Self(Arc::from(text)) }
    }

    /// The value of `name`, if the label is there.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        for (n, v) in self {
            match n.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return Some(v),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The metric name, if there is one.
    #[must_use]
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// Label by label, in the order of the names.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.0 }
    }

    /// How many labels there are. Walks them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hash of the whole set (XXH3), the same on every machine and at every start.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxh3_64(self.0.as_bytes())
    }

    /// The [`hash`](Self::hash) of the set with this text.
    pub(crate) fn hash_of(text: &str) -> u64 {
        xxh3_64(text.as_bytes())
    }

    /// Bytes that the text takes in memory.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.0.len()
    }

    /// The set without the labels that `drop` names.
    #[must_use]
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let mut text = String::with_capacity(self.0.len());
        for (name, value) in self {
            if keep(name) {
                push_text(&mut text, name);
                push_text(&mut text, value);
            }
        }
        match text.len() {
            0 => Self::empty(),
            n if n == self.0.len() => self.clone(),
            _ => Self(Arc::from(text)),
        }
    }

    /// The set without the metric name.
    #[must_use]
    pub fn without_metric_name(&self) -> Self {
        self.filtered(|name| name != METRIC_NAME)
    }
}

/// Bytes of a text whose length is written as one digit.
pub(crate) const MAX_SHORT: usize = 63;

/// Writes `text` with its length before it.
pub(crate) fn push_text(out: &mut String, text: &str) {
    let mut n = text.len();
    while n >= 64 {
        out.push(char::from((n % 64) as u8 | 64));
        n /= 64;
    }
    out.push(char::from(n as u8));
    out.push_str(text);
}

/// Splits the first text off; `rest` is one that [`push_text`] wrote.
pub(crate) fn split_text(rest: &str) -> (&str, &str) {
    let bytes = rest.as_bytes();
    let (mut n, mut shift, mut at) = (0usize, 0, 0);
    loop {
        let digit = bytes[at];
        at += 1;
        n |= usize::from(digit & 63) << shift;
        if digit & 64 == 0 {
            break;
        }
        shift += 6;
    }
    (&rest[at..at + n], &rest[at + n..])
}

/// Iterator over the labels of a set as `(name, value)`.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a str,
}

impl<'a> Iter<'a> {
    /// Labels that are written in `text` as a set has them: see [`Labels`].
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// What is left of the text.
    pub(crate) fn text(&self) -> &'a str {
        self.rest
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (name, rest) = split_text(self.rest);
        let (value, rest) = split_text(rest);
        self.rest = rest;
        Some((name, value))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Labels {}

impl std::hash::Hash for Labels {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.iter().cmp(other.iter()) }
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self::from_pairs(pairs)
    }
}

/// As PromQL writes a series: `name{label="value"}`, names that are not identifiers in quotes.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare_name = self.metric_name().filter(|name| is_metric_name(name));
        if let Some(name) = bare_name {
            f.write_str(name)?;
            if self.len() == 1 {
                return Ok(());
            }
        }
        f.write_str("{")?;
        let mut first = true;
        for (name, value) in self {
            if name == METRIC_NAME && bare_name.is_some() {
                continue;
            }
            if !first {
                f.write_str(", ")?;
            }
            first = false;
            if name == METRIC_NAME {
                write_quoted(f, value)?;
                continue;
            }
            if is_label_name(name) {
                f.write_str(name)?;
            } else {
                write_quoted(f, name)?;
            }
            f.write_str("=")?;
            write_quoted(f, value)?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    use fmt::Write;
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Whether `name` can stand in PromQL and in the classic text format without quotes as a metric name.
#[must_use]
pub fn is_metric_name(name: &str) -> bool {
    identifier(name, |b| b == b':')
}

/// Whether `name` can stand in PromQL and in the classic text format without quotes as a label name.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    identifier(name, |_| false)
}

fn identifier(name: &str, extra: impl Fn(u8) -> bool) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|b| !b.is_ascii_digit())
        && bytes.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'_' || extra(b))
}

/// Puts a label set together, or changes one.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    /// Sorted by name, each name once, no empty value.
    labels: Vec<Label>,
}

impl LabelsBuilder {
    /// Starts from `base`.
    #[must_use]
    pub fn new(base: &Labels) -> Self {
        Self { labels: base.iter().map(|(n, v)| Label { name: n.to_owned(), value: v.to_owned() }).collect() }
    }

    /// Sets `name` to `value`; an empty `value` removes the label.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.labels.binary_search_by(|l| l.name.as_str().cmp(name)) {
            Ok(at) if value.is_empty() => {
                self.labels.remove(at);
            }
            Ok(at) => value.clone_into(&mut self.labels[at].value),
            Err(_) if value.is_empty() => {}
            Err(at) => self.labels.insert(at, Label { name: name.to_owned(), value: value.to_owned() }),
        }
        self
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// Keeps the labels for which `keep` answers true.
    pub fn retain(&mut self, mut keep: impl FnMut(&Label) -> bool) -> &mut Self {
        self.labels.retain(|l| keep(l));
        self
    }

    /// The value of `name` as it stands.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|l| l.name.as_str().cmp(name)).ok()?;
        Some(&self.labels[at].value)
    }

    /// The labels as they stand, sorted by name.
    #[must_use]
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Makes the set.
    #[must_use]
    pub fn build(&self) -> Labels {
        Labels::from_sorted(self.labels.iter().map(|l| (l.name.as_str(), l.value.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_of_equal_names_wins_and_empty_values_are_absent() {
        let labels = Labels::from_pairs([("b", "1"), ("a", "x"), ("b", "2"), ("c", "")]);
        assert_eq!(labels.to_string(), r#"{a="x", b="2"}"#);
        assert_eq!((labels.get("b"), labels.get("c"), labels.get("")), (Some("2"), None, None));
        assert_eq!(labels.len(), 2);
    }

    #[test]
    fn display_quotes_what_is_not_an_identifier() {
        let utf8 = Labels::from_pairs([(METRIC_NAME, "läuft.gut"), ("a b", "\"\\\n")]);
        assert_eq!(utf8.to_string(), r#"{"läuft.gut", "a b"="\"\\\n"}"#);
        assert_eq!(Labels::from_pairs([(METRIC_NAME, "up")]).to_string(), "up");
        assert_eq!(Labels::empty().to_string(), "{}");
    }

    #[test]
    fn long_texts_keep_their_length() {
        for n in [0, 1, 63, 64, 65, 4095, 4096, 300_000] {
            let value = "ü".repeat(n);
            let labels = Labels::from_pairs([("a", value.as_str()), ("b", "x")]);
            assert_eq!(labels.get("a"), (n > 0).then_some(value.as_str()));
            assert_eq!(labels.get("b"), Some("x"));
        }
    }

    proptest! {
        #[test]
        fn labels_behave_as_a_sorted_map(pairs in prop::collection::vec(("[a-c]{0,2}é?", "[x-z]{0,3}"), 0..8),
                                         others in prop::collection::vec(("[a-c]{0,2}é?", "[x-z]{0,3}"), 0..8)) {
            let map = |pairs: &[(String, String)]| {
                let mut map: BTreeMap<String, String> = pairs.iter().cloned().collect();
                map.retain(|_, v| !v.is_empty());
                map
            };
            // An empty value removes what an earlier pair set, as `collect` overwrites it.
            let (a, b) = (Labels::from_pairs(pairs.clone()), Labels::from_pairs(others.clone()));
            let (ma, mb) = (map(&pairs), map(&others));
            prop_assert!(a.iter().eq(ma.iter().map(|(n, v)| (n.as_str(), v.as_str()))));
            prop_assert_eq!(a.cmp(&b), ma.iter().cmp(mb.iter()));
            prop_assert_eq!(a == b, ma == mb);
            prop_assert_eq!(a.hash() == b.hash(), ma == mb);
            prop_assert_eq!(LabelsBuilder::new(&a).build(), a);
        }
    }
}
