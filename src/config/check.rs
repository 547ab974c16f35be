//! Holds a document against the schema: unknown keys, wrong types, keys of which nothing comes.

use std::collections::BTreeSet;

use model::{parse_duration, parse_size};

use super::schema::{Section, Type};
use super::tree::{Fault, Node, Scalar, Tag, Value};
use super::values::whole_number;

/// How alike a key must be to one that is known to be suggested.
const ALIKE: f64 = 0.6;

/// Checks `node`, which is called `path`, against `section`. Adds to `idle` the keys that are set to something but do
/// nothing.
pub(super) fn check_section(
    node: &Node,
    section: &'static Section,
    path: &str,
    idle: &mut BTreeSet<String>,
) -> Result<(), Fault> {
    let entries = match &node.value {
        Value::Map(entries) => entries,
        Value::Null => return Ok(()),
        _ => return Err(node.fault(format!("{} must be a map, not {}", name_of(path), node.kind()))),
    };
    for (key, value) in entries {
        let Some(field) = section.field(&key.name) else {
            let what = format!("unknown key {:?} in {}{}", key.name, name_of(path), suggestion(&key.name, section));
            return Err(Fault { place: key.place, what });
        };
        let path = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
        // Below a key that does nothing, no other need be named.
        let mut below = BTreeSet::new();
        check(value, field.holds, &path, if field.acts { idle } else { &mut below })?;
        if !field.acts && is_set(value) {
            idle.insert(path);
        }
    }
    Ok(())
}

fn check(node: &Node, holds: Type, path: &str, idle: &mut BTreeSet<String>) -> Result<(), Fault> {
    if node.value == Value::Null {
        return Ok(());
    }
    let wrong = |wanted: &str| Err(node.fault(format!("{} must be {wanted}, not {}", name_of(path), said(node))));
    match (holds, &node.value) {
        (Type::Any, _) => Ok(()),
        (Type::Section(section), _) => check_section(node, section, path, idle),
        (Type::List(of), Value::List(items)) => items.iter().try_for_each(|item| {
            if item.value == Value::Null && matches!(of, Type::Section(_)) {
                return Err(item.fault(format!("empty or null section in {path}")));
            }
            check(item, *of, path, idle)
        }),
        (Type::List(_), _) => wrong("a list"),
        (Type::Map(of), Value::Map(entries)) => {
            entries.iter().try_for_each(|(key, value)| check(value, *of, &format!("{path}.{}", key.name), idle))
        }
        (Type::Map(_), _) => wrong("a map"),
        (_, Value::Scalar(scalar)) => match scalar_fault(holds, scalar) {
            Some(wanted) => Err(node.fault(format!("{}: {wanted}", name_of(path)))),
            None => Ok(()),
        },
        _ => wrong("a single value"),
    }
}

/// What is wrong with a single value.
fn scalar_fault(holds: Type, scalar: &Scalar) -> Option<String> {
    let text = scalar.text.as_str();
    match holds {
        Type::Bool if !matches!(scalar.tag, Tag::Bool(_)) => Some(format!("must be true or false, not {text:?}")),
        Type::Int if whole_number(scalar).is_none() => Some(format!("must be a whole number, not {text:?}")),
        Type::Uint if whole_number(scalar).is_none_or(|number| number < 0) => {
            Some(format!("must be a whole number that is not negative, not {text:?}"))
        }
        Type::Float if scalar.tag != Tag::Number => Some(format!("must be a number, not {text:?}")),
        Type::Duration => parse_duration(text).err().map(|why| why.to_string()),
        Type::Size => parse_size(text).err().map(|why| why.to_string()),
        _ => None,
    }
}

/// Whether a key says more than "nothing" or "off".
fn is_set(node: &Node) -> bool {
    match &node.value {
        Value::Null => false,
        Value::Scalar(Scalar { tag: Tag::Bool(value), .. }) => *value,
        Value::Scalar(Scalar { text, tag: Tag::Number }) => text != "0",
        Value::Scalar(Scalar { text, tag: Tag::Text }) => !text.is_empty() && text != "0s",
        Value::List(items) => !items.is_empty(),
        Value::Map(_) => true,
    }
}

fn said(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => format!("{:?}", scalar.text),
        _ => node.kind().to_owned(),
    }
}

fn name_of(path: &str) -> &str {
    if path.is_empty() { "the configuration" } else { path }
}

fn suggestion(name: &str, section: &'static Section) -> String {
    let alike = section.fields().map(|field| (strsim::jaro_winkler(name, field.name), field.name));
    match alike.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((likeness, known)) if likeness >= ALIKE => format!(", did you mean {known:?}?"),
        _ => String::new(),
    }
}
