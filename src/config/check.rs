//! Holds a document against the schema: unknown keys, wrong types, keys without a value, keys without effect.

use model::{parse_duration, parse_size};

use super::findings::Findings;
use super::schema::{Effect, Field, Section, Type};
use super::tree::{Fault, Node, Scalar, Tag, Value};
use super::values::{has_fraction, has_password, whole_number};

/// How alike a key must be to one that is known to be suggested.
const ALIKE: f64 = 0.6;

/// The use that is made of a part of the document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Used,
    /// The part lies below a key without effect, which is all that is said of it.
    Unused,
}

/// Checks `node`, which is called `path`, against `section`, and takes out what is wrong: it becomes
/// [`Value::Invalid`].
pub(super) fn check_section(node: &mut Node, section: &'static Section, path: &str, findings: &mut Findings) {
    Checker { findings }.section(node, section, path, Use::Used);
}

struct Checker<'f> {
    findings: &'f mut Findings,
}

impl Checker<'_> {
    fn wrong(&mut self, node: &mut Node, what: String) {
        self.findings.fault(node.fault(what));
        node.value = Value::Invalid;
    }

    fn section(&mut self, node: &mut Node, section: &'static Section, path: &str, used: Use) {
        let entries = match &mut node.value {
            Value::Map(entries) => entries,
            Value::Null | Value::Invalid => return,
            _ => return self.wrong(node, format!("{} must be a map, not {}", name_of(path), node.kind())),
        };
        for (key, value) in entries {
            let Some(field) = section.field(&key.name) else {
                let what = unknown_key(&key.name, path, section);
                self.findings.fault(Fault { place: key.place, what });
                value.value = Value::Invalid;
                continue;
            };
            let path = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
            let acts = field.effect == Effect::Acts && used == Use::Used;
            self.value(value, field.holds, &path, if acts { Use::Used } else { Use::Unused });
            if used == Use::Used {
                self.effect(value, field, &path);
            }
        }
    }

    /// Tells of a key that is set and does nothing, and of one that has no value.
    fn effect(&mut self, value: &mut Node, field: &Field, path: &str) {
        let single = !matches!(field.holds, Type::List(_) | Type::Map(_) | Type::Section(_) | Type::Any);
        match field.effect {
            Effect::Acts if single && value.value == Value::Null && !field.may_be_null => {
                self.findings.warn(value.fault(format!("{path} has no value: the default applies")));
            }
            Effect::Acts => {}
            _ if !is_set(value) => {}
            Effect::Secures => self.wrong(value, without_security(path)),
            Effect::None if matches!(field.holds, Type::Url) && has_password(value.text()) => {
                self.wrong(value, without_security(path));
            }
            Effect::None => drop(self.findings.idle.insert(path.to_owned())),
        }
    }

    fn value(&mut self, node: &mut Node, holds: Type, path: &str, used: Use) {
        let kind = node.kind();
        let wrong = |wanted: &str| format!("{} must be {wanted}, not {kind}", name_of(path));
        match (holds, &mut node.value) {
            (_, Value::Null | Value::Invalid) | (Type::Any, _) => {}
            (Type::Section(section), _) => self.section(node, section, path, used),
            (Type::List(of), Value::List(items)) => {
                for item in items {
                    if item.value == Value::Null && matches!(of, Type::Section(_)) {
                        self.wrong(item, format!("empty or null section in {path}"));
                    }
                    self.value(item, *of, path, used);
                }
            }
            (Type::Map(of), Value::Map(entries)) => {
                for (key, value) in entries {
                    self.value(value, *of, &format!("{path}.{}", key.name), used);
                }
            }
            (Type::List(_), _) => self.wrong(node, wrong("a list")),
            (Type::Map(_), _) => self.wrong(node, wrong("a map")),
            (_, Value::Scalar(scalar)) => {
                if let Some(wanted) = scalar_fault(holds, scalar) {
                    self.wrong(node, format!("{}: {wanted}", name_of(path)));
                } else if matches!(holds, Type::Int | Type::Uint) && has_fraction(scalar) {
                    let (path, text) = (name_of(path), scalar.text.clone());
                    self.findings
                        .warn(node.fault(format!("{path} is a whole number: the fraction of {text} is cut off")));
                }
            }
            _ => self.wrong(node, wrong("a single value")),
        }
    }
}

/// The fault of a single value. Texts, URLs and secrets have none, so that none is ever quoted.
fn scalar_fault(holds: Type, scalar: &Scalar) -> Option<String> {
    let text = scalar.text.as_str();
    let number = whole_number(scalar);
    match holds {
        Type::Bool if !matches!(scalar.tag, Tag::Bool(_)) => Some(format!("must be true or false, not {text:?}")),
        Type::Int if number.is_none_or(|number| i64::try_from(number).is_err()) => {
            Some(format!("must be a whole number, not {text:?}"))
        }
        Type::Uint if number.is_none_or(|number| u64::try_from(number).is_err()) => {
            Some(format!("must be a whole number that is not negative, not {text:?}"))
        }
        Type::Float if scalar.tag != Tag::Number => Some(format!("must be a number, not {text:?}")),
        Type::Duration => parse_duration(text).err().map(|why| why.to_string()),
        Type::Size => parse_size(text).err().map(|why| why.to_string()),
        _ => None,
    }
}

fn without_security(path: &str) -> String {
    format!(
        "{path} asks for security that this version does not have: requests would go out without it; remove the key if \
         they may"
    )
}

/// Tells if a key says more than "nothing" or "off".
fn is_set(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Invalid => false,
        Value::Scalar(Scalar { tag: Tag::Bool(value), .. }) => *value,
        Value::Scalar(Scalar { text, tag: Tag::Number }) => text != "0",
        Value::Scalar(Scalar { text, tag: Tag::Text }) => !text.is_empty() && text != "0s",
        Value::List(items) => !items.is_empty(),
        Value::Map(_) => true,
    }
}

fn name_of(path: &str) -> &str {
    if path.is_empty() { "the configuration" } else { path }
}

/// `password:hunter2`, without the space that YAML asks for, is one key: nothing behind a colon is quoted.
fn unknown_key(name: &str, path: &str, section: &'static Section) -> String {
    let of = name_of(path);
    match name.split_once(':') {
        Some((key, _)) if section.field(key).is_some() => {
            format!("key {key:?} in {of} needs a space behind its colon")
        }
        _ if section.holds_secret() && nearest(name, section).is_none() => format!("unknown key in {of}"),
        Some((key, _)) => format!("unknown key \"{key}:…\" in {of}"),
        None => match nearest(name, section) {
            Some(known) => format!("unknown key {name:?} in {of}, did you mean {known:?}?"),
            None => format!("unknown key {name:?} in {of}"),
        },
    }
}

fn nearest(name: &str, section: &'static Section) -> Option<&'static str> {
    let alike = section.fields().map(|field| (strsim::jaro_winkler(name, field.name), field.name));
    let (likeness, known) = alike.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (likeness >= ALIKE).then_some(known)
}
