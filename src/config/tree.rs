//! YAML as a tree of texts that know their place.
//!
//! Scalars keep their text: `1.10` stays `1.10` where a label value is wanted, whatever YAML takes it for.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A line and a column, from 1; 0 if unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) what: String,
}

/// A part of the document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the order of the document, no key twice.
    Map(Vec<(Key, Node)>),
    /// A value that has been found faulty, and told of.
    Invalid,
}

/// A text, and what YAML takes it for if it stands without quotes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) tag: Tag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Text,
    Bool(bool),
    Number,
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) name: String,
}

impl Node {
    /// Reads the document of a file. An empty one is [`Value::Null`]; empty ones beside it do not count.
    ///
    /// # Errors
    /// If the file is no YAML, or has two documents.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        // A mark of the order of bytes is no part of the text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let parsed: Result<Vec<Spanned<Raw>>, _> = serde_saphyr::from_multiple_with_options(text, options());
        let documents = parsed.map_err(|error| {
            let place = error.location().map_or_else(Place::default, |l| place(&l));
            Fault { place, what: format!("not valid YAML: {}", message(&error)) }
        })?;
        let nodes = documents.into_iter().map(|raw| raw.value.with_text(text, &raw.referenced, &raw.defined));
        let mut nodes = nodes.filter(|node| node.value != Value::Null);
        let first = nodes.next();
        if let Some(second) = nodes.next() {
            return Err(second.fault(
                "a second document begins here, behind a line `---`: one file holds one configuration; remove the line, or \
                 move what follows to a file of its own",
            ));
        }
        Ok(first.unwrap_or(Self { place: Place::default(), value: Value::Null }))
    }

    /// A text.
    pub(crate) fn text_node(text: impl Into<String>) -> Self {
        Self { place: Place::default(), value: Value::Scalar(Scalar { text: text.into(), tag: Tag::Text }) }
    }

    /// A node that stands for `true` or `false`.
    pub(crate) fn bool_node(value: bool) -> Self {
        let scalar = Scalar { text: value.to_string(), tag: Tag::Bool(value) };
        Self { place: Place::default(), value: Value::Scalar(scalar) }
    }

    /// The value of `key`; a null is none.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let (_, node) = self.entries().iter().find(|(k, _)| k.name == key)?;
        (!matches!(node.value, Value::Null | Value::Invalid)).then_some(node)
    }

    /// The text of `key`, empty for one without a value; `None` if the key is not there.
    pub(crate) fn text_or_empty_of(&self, key: &str) -> Option<&str> {
        self.entries().iter().find(|(k, _)| k.name == key).map(|(_, node)| node.text())
    }

    /// Tells if a key of a map is faulty.
    pub(crate) fn is_flawed(&self) -> bool {
        self.entries().iter().any(|(_, node)| node.value == Value::Invalid)
    }

    /// Keys and values of a map; nothing for anything else.
    pub(crate) fn entries(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The nodes of a list; nothing for anything else.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar; the empty text for anything else.
    pub(crate) fn text(&self) -> &str {
        match &self.value {
            Value::Scalar(scalar) => &scalar.text,
            _ => "",
        }
    }

    pub(crate) fn fault(&self, what: impl Into<String>) -> Fault {
        Fault { place: self.place, what: what.into() }
    }

    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null | Value::Invalid => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

fn options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.with_snippet = false;
    options.non_finite_float_policy = serde_saphyr::NonFiniteFloatPolicy::PassThrough;
    options
}

fn place(location: &serde_saphyr::Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

/// What the parser says, without the place, which is said elsewhere.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.rsplit_once(" at line ").map_or(line, |(message, _)| message).to_owned()
}

/// A node as the parser hands it over. Of a scalar that is no text only its place is of use.
enum Raw {
    Null,
    Text(String),
    Typed(Tag),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<KeyText>, Spanned<Raw>)>),
}

impl Raw {
    fn with_text(self, source: &str, at: &serde_saphyr::Location, defined: &serde_saphyr::Location) -> Node {
        let value = match self {
            Self::Null => Value::Null,
            Self::Text(text) => {
                let is_number = is_go_number(&text) && slice(source, defined) == text;
                let tag = if is_number { Tag::Number } else { Tag::Text };
                Value::Scalar(Scalar { text, tag })
            }
            Self::Typed(tag) => {
                let text = slice(source, defined);
                let tag = if is_odd_word(&text) { Tag::Text } else { tag };
                Value::Scalar(Scalar { text, tag })
            }
            Self::List(items) => Value::List(
                items.into_iter().map(|item| item.value.with_text(source, &item.referenced, &item.defined)).collect(),
            ),
            Self::Map(entries) => {
                let entry = |(key, node): (Spanned<KeyText>, Spanned<Self>)| {
                    let name = key.value.0.unwrap_or_else(|| slice(source, &key.defined));
                    let key = Key { place: place(&key.referenced), name };
                    (key, node.value.with_text(source, &node.referenced, &node.defined))
                };
                Value::Map(entries.into_iter().map(entry).collect())
            }
        };
        Node { place: place(at), value }
    }
}

/// Tells if Go takes a text without quotes for a whole number though YAML does not: `1__0`, `0X1F`.
fn is_go_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = unsigned.replace('_', "");
    let radix = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => 10,
    };
    let digits = if radix == 10 { digits.as_str() } else { &digits[2..] };
    // In its usual forms a text of digits is one that a tag or quotes made a text.
    let is_odd = unsigned.contains('_') || ["0X", "0O", "0B"].iter().any(|prefix| unsigned.starts_with(prefix));
    is_odd
        && unsigned.starts_with(|c: char| c.is_ascii_digit())
        && !digits.is_empty()
        && digits.chars().all(|c| c.is_digit(radix))
}

/// Tells if a word has upper case within, as `tRUE`: Prometheus takes it for a text.
fn is_odd_word(text: &str) -> bool {
    let rest = text.get(1..).unwrap_or_default();
    let is_plain = rest.bytes().all(|byte| byte.is_ascii_lowercase()) || *text == text.to_ascii_uppercase();
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && !is_plain
}

/// The text at `location`.
fn slice(source: &str, location: &serde_saphyr::Location) -> String {
    let span = location.span();
    let range = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
        let start = usize::try_from(start).ok()?;
        source.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    });
    range.unwrap_or_default().trim().to_owned()
}

/// A key; `None` if YAML takes it for something other than text.
struct KeyText(Option<String>);

impl<'de> Deserialize<'de> for KeyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        match raw {
            Raw::Text(text) => Ok(Self(Some(text))),
            Raw::Typed(_) => Ok(Self(None)),
            Raw::Null | Raw::List(_) | Raw::Map(_) => Err(serde::de::Error::custom("a key must be a text")),
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Typed(Tag::Bool(value)))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Typed(Tag::Number))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Typed(Tag::Number))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Typed(Tag::Number))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Typed(Tag::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Typed(Tag::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_text() {
        let node = Node::parse("a: 1.10\nb: yes\nc: \"1\"\nd: 0x1F\ne: ~\nf: .inf\n1: -07\ng: 12_3\n").unwrap();
        let scalar = |key| match node.get(key).map(|n| &n.value) {
            Some(Value::Scalar(scalar)) => (scalar.text.as_str(), scalar.tag),
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!(scalar("a"), ("1.10", Tag::Number));
        assert_eq!(scalar("b"), ("yes", Tag::Bool(true)));
        assert_eq!(scalar("c"), ("1", Tag::Text));
        assert_eq!(scalar("d"), ("0x1F", Tag::Number));
        assert_eq!(scalar("f"), (".inf", Tag::Number));
        assert_eq!(scalar("1").0, "-07");
        assert_eq!(scalar("g").0, "12_3");
        assert!(node.get("e").is_none());
    }

    #[test]
    fn numbers_and_words_are_those_of_prometheus() {
        for (text, tag) in [
            ("1__0", Tag::Number),
            ("0X1F", Tag::Number),
            ("0x_1", Tag::Number),
            ("\"1__0\"", Tag::Text),
            ("_1", Tag::Text),
            ("!!str 5", Tag::Text),
            ("0x", Tag::Text),
            ("1h", Tag::Text),
            ("True", Tag::Bool(true)),
            ("OFF", Tag::Bool(false)),
            ("tRUE", Tag::Text),
        ] {
            let node = Node::parse(&format!("a: {text}\n")).unwrap();
            let found = match node.get("a").map(|node| &node.value) {
                Some(Value::Scalar(scalar)) => scalar.tag,
                other => panic!("{text}: {other:?}"),
            };
            assert_eq!(found, tag, "{text}");
        }
    }

    #[test]
    fn nodes_know_their_place() {
        let node = Node::parse("a:\n  - x: 1\n    ü: [b,\n      c]\n").unwrap();
        let item = &node.get("a").unwrap().items()[0];
        assert_eq!(item.entries()[1].0.place, Place { line: 3, column: 5 });
        let list = item.get("ü").unwrap();
        assert_eq!(list.items()[1].place, Place { line: 4, column: 7 });
    }

    #[test]
    fn anchors_and_merges_are_resolved() {
        let node = Node::parse("a: &a {x: 1.0, y: 2}\nb: *a\nc:\n  <<: *a\n  y: 3\n").unwrap();
        assert_eq!(node.get("b").unwrap().get("x").unwrap().text(), "1.0");
        let merged = node.get("c").unwrap();
        assert_eq!((merged.get("x").unwrap().text(), merged.get("y").unwrap().text()), ("1.0", "3"));
    }

    #[test]
    fn bad_yaml_says_where() {
        let fault = Node::parse("a: 1\nb: [1\nc: 2\n").unwrap_err();
        assert!(fault.place.line >= 2, "{fault:?}");
        let fault = Node::parse("a: 1\na: 2\n").unwrap_err();
        assert!(fault.what.contains("duplicate"), "{fault:?}");
        assert_eq!(fault.place.line, 2);
        assert_eq!(Node::parse("").unwrap().value, Value::Null);
    }

    #[test]
    fn a_file_may_end_with_a_mark_of_documents_but_have_one_document_only() {
        for text in [
            "a: 1\n---\n",
            "---\na: 1\n---\n---\n",
            "---\na: 1\n...\n",
            "---\n---\na: 1\n",
            "\u{feff}a: 1\n",
            "a: 1\n---\n~\n",
        ] {
            assert_eq!(Node::parse(text).unwrap().get("a").map(Node::text), Some("1"), "{text:?}");
        }
        assert_eq!(Node::parse("---\n").unwrap().value, Value::Null);
        let fault = Node::parse("a: 1\n---\nb: 2\n").unwrap_err();
        assert!(fault.what.starts_with("a second document begins here") && fault.place.line == 3, "{fault:?}");
    }
}
