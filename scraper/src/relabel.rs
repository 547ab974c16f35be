//! Relabeling: rules that rewrite or drop a label set. Pure.

use std::borrow::Cow;

use model::{Regex, letters};
use tsdb::{Labels, LabelsBuilder, is_label_name, is_metric_name};

/// Which names are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NameScheme {
    /// Any text that is not empty.
    #[default]
    Utf8,
    /// Letters, digits, underscores; colons in metric names.
    Legacy,
}

impl NameScheme {
    /// Whether `name` may name a label.
    #[must_use]
    pub fn allows_label(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_label_name(name),
        }
    }

    /// Whether `name` may name a metric.
    #[must_use]
    pub fn allows_metric(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_metric_name(name),
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// Sets a label to the expanded replacement if the expression matches.
    #[default]
    Replace,
    /// Drops what the expression does not match.
    Keep,
    /// Drops what the expression matches.
    Drop,
    /// Drops unless the target label has the joined value.
    KeepEqual,
    /// Drops if the target label has the joined value.
    DropEqual,
    /// Sets a label to a hash of the joined value, modulo a number.
    HashMod,
    /// Copies labels whose names match to names made by the replacement.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Sets a label to the joined value in lower case.
    Lowercase,
    /// Sets a label to the joined value in upper case.
    Uppercase,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    /// As the configuration writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Relabel {
    /// What it does.
    pub action: Action,
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// What stands between them.
    pub separator: String,
    /// Expression for the joined value, or for names of labels.
    pub regex: Regex,
    /// For [`Action::HashMod`].
    pub modulus: u64,
    /// The label that is set or compared; may name groups of the expression.
    pub target_label: String,
    /// The value that is set; may name groups of the expression.
    pub replacement: String,
}

impl Default for Relabel {
    fn default() -> Self {
        Self {
            action: Action::Replace,
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: Regex::pasted("(.*)").expect("the expression is constant"),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
        }
    }
}

impl Relabel {
    /// Checks that the fields fit the action.
    ///
    /// # Errors
    /// In the words of Prometheus, if they do not.
    pub fn validate(&self, names: NameScheme) -> Result<(), String> {
        use Action::{DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase};
        let action = self.action.as_str();
        let default = Self::default();
        if self.action == HashMod && self.modulus == 0 {
            return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
        }
        let sets = matches!(self.action, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual);
        if sets && self.target_label.is_empty() {
            return Err(format!("relabel configuration for {action} action requires 'target_label' value"));
        }
        let template = self.action == Replace && self.target_label.contains('$');
        let fits =
            if template { names.allows_template(&self.target_label) } else { names.allows_label(&self.target_label) };
        if sets && !fits {
            return Err(format!("{:?} is invalid 'target_label' for {action} action", self.target_label));
        }
        if matches!(self.action, Lowercase | Uppercase | KeepEqual | DropEqual)
            && self.replacement != default.replacement
        {
            return Err(format!("'replacement' can not be set for {action} action"));
        }
        if self.action == LabelMap && !names.allows_template(&self.replacement) {
            return Err(format!("{:?} is invalid 'replacement' for {action} action", self.replacement));
        }
        let plain = (self.modulus, &self.separator, &self.replacement)
            == (default.modulus, &default.separator, &default.replacement);
        if matches!(self.action, KeepEqual | DropEqual) && !(plain && self.regex == default.regex) {
            return Err(format!(
                "{action} action requires only 'source_labels' and `target_label`, and no other fields"
            ));
        }
        let no_labels = self.source_labels.is_empty() && self.target_label.is_empty();
        if matches!(self.action, LabelDrop | LabelKeep) && !(plain && no_labels) {
            return Err(format!("{action} action requires only 'regex', and no other fields"));
        }
        Ok(())
    }

    /// Applies the rule; `false` if it drops the set.
    fn apply(&self, labels: &mut LabelsBuilder, names: NameScheme) -> bool {
        let regex = &self.regex;
        match self.action {
            Action::Keep => return regex.is_match(&self.joined(labels)),
            Action::Drop => return !regex.is_match(&self.joined(labels)),
            Action::KeepEqual => return labels.get(&self.target_label).unwrap_or_default() == self.joined(labels),
            Action::DropEqual => return labels.get(&self.target_label).unwrap_or_default() != self.joined(labels),
            Action::Replace => self.replace(labels, names),
            Action::HashMod => {
                let hash = md5::compute(self.joined(labels).as_bytes());
                let [.., a, b, c, d, e, f, g, h] = hash.0;
                let hash = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                labels.set(&self.target_label, &(hash % self.modulus.max(1)).to_string());
            }
            Action::Lowercase => {
                let value = letters::to_lower(&self.joined(labels));
                labels.set(&self.target_label, &value);
            }
            Action::Uppercase => {
                let value = letters::to_upper(&self.joined(labels));
                labels.set(&self.target_label, &value);
            }
            Action::LabelMap => {
                let matching: Vec<_> = labels.labels().iter().filter(|l| regex.is_match(&l.name)).cloned().collect();
                for label in matching {
                    labels.set(&regex.replace_all(&label.name, &self.replacement), &label.value);
                }
            }
            Action::LabelDrop => {
                labels.retain(|label| !regex.is_match(&label.name));
            }
            Action::LabelKeep => {
                labels.retain(|label| regex.is_match(&label.name));
            }
        }
        true
    }

    fn replace(&self, labels: &mut LabelsBuilder, names: NameScheme) {
        let joined = self.joined(labels);
        let Some(captures) = self.regex.captures(&joined) else { return };
        let expanded = |template: &str| {
            let mut text = String::new();
            captures.expand(template, &mut text);
            text
        };
        let target = expanded(&self.target_label);
        if names.allows_label(&target) {
            let value = expanded(&self.replacement);
            labels.set(&target, &value);
        }
    }

    /// The values of the source labels, joined. An absent label has the empty value.
    fn joined<'l>(&self, labels: &'l LabelsBuilder) -> Cow<'l, str> {
        match self.source_labels.as_slice() {
            [] => Cow::Borrowed(""),
            [one] => Cow::Borrowed(labels.get(one).unwrap_or_default()),
            many => {
                let values: Vec<&str> = many.iter().map(|name| labels.get(name).unwrap_or_default()).collect();
                Cow::Owned(values.join(&self.separator))
            }
        }
    }
}

impl NameScheme {
    /// Whether `text`, which may name groups of an expression (`$1`, `${name}`), can become a label name.
    fn allows_template(self, text: &str) -> bool {
        match self {
            Self::Utf8 => !text.is_empty(),
            Self::Legacy => {
                let mut rest = text;
                let mut first = true;
                while let Some(c) = rest.chars().next() {
                    rest = match c {
                        '$' => match group_end(rest) {
                            Some(end) => &rest[end..],
                            None => return false,
                        },
                        'a'..='z' | 'A'..='Z' | '_' => &rest[1..],
                        '0'..='9' if !first => &rest[1..],
                        _ => return false,
                    };
                    first = false;
                }
                !first
            }
        }
    }
}

/// The end of the group reference that `text` begins with.
fn group_end(text: &str) -> Option<usize> {
    let word = |text: &str| text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let (start, braced) = if text.starts_with("${") { (2, true) } else { (1, false) };
    let end = start + word(&text[start..]);
    match (end > start, braced) {
        (false, _) => None,
        (true, false) => Some(end),
        (true, true) => text[end..].starts_with('}').then_some(end + 1),
    }
}

/// Applies `rules` in order to `labels` as they stand; `false` if one of them drops the set, which is then half done.
pub(crate) fn relabel_in_place(labels: &mut LabelsBuilder, rules: &[Relabel], names: NameScheme) -> bool {
    rules.iter().all(|rule| rule.apply(labels, names))
}

/// Applies `rules` in order; `None` if one of them drops the set.
#[must_use]
pub fn relabel(labels: &Labels, rules: &[Relabel], names: NameScheme) -> Option<Labels> {
    let mut builder = LabelsBuilder::new(labels);
    relabel_in_place(&mut builder, rules, names).then(|| builder.build())
}

#[cfg(test)]
mod tests;
