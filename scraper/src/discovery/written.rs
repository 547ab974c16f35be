//! Target groups as files and servers write them, read as Prometheus reads them.

mod json;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::options::TargetGroup;

/// A group as it is written. In place of a list, a map or a text there may be null, which is an empty one.
#[derive(Default)]
struct WrittenGroup {
    targets: Option<Vec<Option<String>>>,
    labels: Option<BTreeMap<String, Option<String>>>,
}

/// Reads groups from JSON: keys in any case, the last of doubled keys counts, broken UTF-8 is replaced.
///
/// `source` names the file or server; each group gets it as the label `meta`.
///
/// # Errors
/// If the text is no list of groups.
pub(super) fn from_json(text: &[u8], source: &str, meta: &str) -> Result<Vec<TargetGroup>, String> {
    let written: Option<Vec<Option<WrittenGroup>>> =
        serde_json::from_str(&json::repair(text)).map_err(|e| e.to_string())?;
    groups(written.unwrap_or_default(), source, meta)
}

/// Reads groups from the first document of a YAML file. Keys are exact and stand once.
///
/// # Errors
/// If the text is no list of groups.
pub(super) fn from_yaml(text: &str, source: &str, meta: &str) -> Result<Vec<TargetGroup>, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[serde(default)]
        targets: Option<Vec<Option<String>>>,
        #[serde(default)]
        labels: Option<BTreeMap<String, Option<String>>>,
    }
    let written: Option<Vec<Option<Strict>>> =
        serde_saphyr::from_str(first_document(text)).map_err(|e| e.to_string())?;
    let written = written.unwrap_or_default().into_iter();
    let written = written.map(|group| group.map(|Strict { targets, labels }| WrittenGroup { targets, labels }));
    groups(written.collect(), source, meta)
}

/// Text up to the end of its first document.
fn first_document(text: &str) -> &str {
    let is_marker = |line: &str, marker: &str| {
        line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
    };
    let (mut at, mut has_begun) = (0, false);
    for line in text.split_inclusive('\n') {
        let is_start = is_marker(line, "---");
        if has_begun && (is_start || is_marker(line, "...")) {
            return &text[..at];
        }
        let is_blank = line.trim().is_empty() || line.trim_start().starts_with('#') || line.starts_with('%');
        has_begun |= is_start || !is_blank;
        at += line.len();
    }
    text
}

fn groups(written: Vec<Option<WrittenGroup>>, source: &str, meta: &str) -> Result<Vec<TargetGroup>, String> {
    let texts = |all: Vec<Option<String>>| all.into_iter().map(Option::unwrap_or_default).collect();
    let group = |(at, group): (usize, Option<WrittenGroup>)| {
        let group = group.ok_or("nil target group item found")?;
        let labels = group.labels.unwrap_or_default();
        if labels.contains_key("") {
            return Err("\"\" is not a valid label name".to_owned());
        }
        let mut labels: BTreeMap<String, String> =
            labels.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
        labels.insert(meta.to_owned(), source.to_owned());
        let targets = texts(group.targets.unwrap_or_default());
        Ok(TargetGroup { source: format!("{source}:{at}"), targets, labels })
    };
    written.into_iter().enumerate().map(group).collect()
}

impl<'de> Deserialize<'de> for WrittenGroup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(GroupVisitor)
    }
}

/// Targets of a doubled key: a null stands for the target that the list before had in its place, as Go decodes into it.
fn fill_in(targets: Option<Vec<Option<String>>>, before: Vec<Option<String>>) -> Option<Vec<Option<String>>> {
    let before = before.into_iter().chain(std::iter::repeat(None));
    targets.map(|targets| targets.into_iter().zip(before).map(|(target, before)| target.or(before)).collect())
}

/// Reads a group as Go's `encoding/json` does.
struct GroupVisitor;

impl<'de> Visitor<'de> for GroupVisitor {
    type Value = WrittenGroup;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a group with targets and labels")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<WrittenGroup, M::Error> {
        let mut group = WrittenGroup::default();
        while let Some(key) = map.next_key::<String>()? {
            match json::fold(&key).as_str() {
                "targets" => group.targets = fill_in(map.next_value()?, group.targets.unwrap_or_default()),
                "labels" => group.labels = map.next_value()?,
                _ => return Err(M::Error::custom(format!("unknown field {key:?}"))),
            }
        }
        Ok(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Targets and labels of a group.
    type Written = (Vec<String>, BTreeMap<String, String>);

    fn json(text: &[u8]) -> Result<Vec<Written>, String> {
        from_json(text, "s", "__meta_url").map(parts)
    }

    fn yaml(text: &str) -> Result<Vec<Written>, String> {
        from_yaml(text, "s", "__meta_url").map(parts)
    }

    /// Targets and labels, without the label that names the source.
    fn parts(groups: Vec<TargetGroup>) -> Vec<Written> {
        let part = |mut group: TargetGroup| {
            assert_eq!(group.labels.remove("__meta_url").as_deref(), Some("s"));
            (group.targets, group.labels)
        };
        groups.into_iter().map(part).collect()
    }

    fn group(targets: &[&str], labels: &[(&str, &str)]) -> Written {
        (
            targets.iter().map(|&t| t.to_owned()).collect(),
            labels.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect(),
        )
    }

    #[test]
    fn null_is_an_empty_list_map_or_text() {
        for (text, expected) in [
            (r"null", vec![]),
            (r"[]", vec![]),
            (r"[{}]", vec![group(&[], &[])]),
            (r#"[{"targets": null, "labels": null}]"#, vec![group(&[], &[])]),
            (
                r#"[{"targets": ["a", null], "labels": {"x": null, "y": "1"}}]"#,
                vec![group(&["a", ""], &[("x", ""), ("y", "1")])],
            ),
        ] {
            assert_eq!(json(text.as_bytes()), Ok(expected.clone()), "{text}");
            assert_eq!(yaml(text), Ok(expected), "{text}");
        }
        assert_eq!(json(b"[null]"), Err("nil target group item found".into()));
        assert_eq!(yaml("- ~\n"), Err("nil target group item found".into()));
    }

    #[test]
    fn json_keys_may_have_another_case_and_stand_twice() {
        let text =
            r#"[{"Targets": ["a"], "TARGETS": ["b"], "Label\u017f": {"x": "1"}, "labels": {"x": "2", "x": "3"}}]"#;
        assert_eq!(json(text.as_bytes()), Ok(vec![group(&["b"], &[("x", "3")])]));
        let text = r#"[{"targets": ["a", "b"], "targets": [null, "c", null]}]"#;
        assert_eq!(json(text.as_bytes()), Ok(vec![group(&["a", "c", ""], &[])]));
        for text in [r#"[{"target": []}]"#, r#"[{"targets ": []}]"#] {
            assert!(json(text.as_bytes()).is_err(), "{text}");
        }
        assert!(yaml("- Targets: [a]\n").is_err());
        assert!(yaml("- targets: [a]\n  targets: [b]\n").is_err());
    }

    #[test]
    fn broken_utf_8_in_json_is_replaced_byte_by_byte() {
        let expected = vec![group(&["a\u{fffd}\u{fffd}b"], &[("x", "\u{fffd}c\u{1f600}")])];
        let text = b"[{\"targets\": [\"a\xff\xfeb\"], \"labels\": {\"x\": \"\\ud800c\\ud83d\\ude00\"}}]";
        assert_eq!(json(text), Ok(expected));
        assert!(json(b"[{\"targets\": [\"a\"]}]\xff").is_err());
        assert!(json(b"[{\"targets\": [\"a\nb\"]}]").is_err(), "a control character must be escaped");
    }

    #[test]
    fn only_the_first_document_of_a_yaml_file_counts() {
        let a = || Ok(vec![group(&["a"], &[])]);
        for text in [
            "- targets: [a]\n---\n- targets: [b]\n",
            "---\n- targets: [a]\n---\nnot: [a list\n",
            "%YAML 1.2\n# words\n---\n- targets: [a]\n...\nnonsense: [\n",
            "- targets: [a]\n---\n",
            "--- # first\n- targets: [a]\n",
        ] {
            assert_eq!(yaml(text), a(), "{text}");
        }
        assert_eq!(yaml("---\n---\n- targets: [a]\n"), Ok(vec![]));
        assert_eq!(yaml("- targets: ['---x']\n  labels: {a: '...'}\n"), Ok(vec![group(&["---x"], &[("a", "...")])]));
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            r#"[{"targets": "a"}]"#,
            r#"[{"targets": [1]}]"#,
            r#"[{"targets": ["a"], "labels": {"x": 1}}]"#,
            r#"[{"targets": ["a"], "labels": ["x"]}]"#,
            r#"[{"labels": {"": "x"}}]"#,
            r#"{"targets": ["a"]}"#,
            r"[[]]",
            r"[1]",
            "",
            r"[] []",
        ] {
            assert!(json(text.as_bytes()).is_err(), "{text}");
        }
    }
}
