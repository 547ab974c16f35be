//! What a reader may choose, and how it gets into expressions.

use std::collections::BTreeMap;
use std::time::Duration;

use tsdb::{Labels, Querier, TimeRange};

use super::model::Variable;
use crate::api::params::Params;

/// Stands for all values.
const ALL: &str = "";

/// A variable with what can be chosen and what is.
#[derive(Clone, Debug)]
pub(crate) struct Choices {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) values: Vec<String>,
    /// Empty for all.
    pub(crate) chosen: String,
}

/// Choices offered at the most.
const MAX_CHOICES: usize = 1000;

/// The choices for every variable, of series that have samples in `range`. What `params` ask for as `var-NAME` is
/// chosen, if it is there to choose.
pub(crate) fn choices(
    variables: &[Variable],
    querier: &dyn Querier,
    range: TimeRange,
    params: &Params,
) -> Result<Vec<Choices>, String> {
    variables
        .iter()
        .map(|variable| {
            let matchers = if variable.of.is_empty() {
                Vec::new()
            } else {
                query::parse_selector(&variable.of).map_err(|e| format!("variable {}: {e}", variable.name))?
            };
            let values =
                querier.label_values(&variable.label, &matchers, range, MAX_CHOICES).map_err(|e| e.to_string())?;
            let asked = params.get(&format!("var-{}", variable.name));
            let chosen = if values.iter().any(|v| v == asked) { asked } else { ALL };
            let title = if variable.title.is_empty() { &variable.name } else { &variable.title };
            Ok(Choices { name: variable.name.clone(), title: title.clone(), chosen: chosen.to_owned(), values })
        })
        .collect()
}

/// Puts what is chosen in the place of `$name` and `${name}`.
///
/// A choice becomes a regular expression for use in `=~"$name"`: itself, with what has a meaning there escaped; all
/// becomes `.*`. `$window` is how far a rate should look back: four scrapes of 15 s, and at least the step.
pub(crate) fn substitute(expr: &str, choices: &[Choices], step: Duration) -> String {
    let mut values: BTreeMap<&str, String> = choices
        .iter()
        .map(|c| (c.name.as_str(), if c.chosen.is_empty() { ".*".into() } else { escaped(&c.chosen) }))
        .collect();
    values.insert("window", format!("{}ms", step.as_millis().max(60_000)));
    let mut out = String::with_capacity(expr.len());
    let mut rest = expr;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, behind) = match after.strip_prefix('{').and_then(|a| a.split_once('}')) {
            Some(parts) => parts,
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        match values.get(name) {
            Some(value) => {
                out.push_str(value);
                rest = behind;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// `value` as a regular expression that matches only it, within a PromQL string in double quotation marks.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            // Once for the regular expression, and each backslash once more for the string.
            '\\' => out.push_str("\\\\\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c if ".+*?()|[]{}^$".contains(c) => {
                out.push_str("\\\\");
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// What tells series apart: their labels less those that all of them have alike. A series that is alone keeps its own.
pub(crate) fn telling_names<'l>(series: impl Iterator<Item = &'l Labels> + Clone) -> Vec<String> {
    let Some(first) = series.clone().next() else { return Vec::new() };
    let alike = |name: &str| series.clone().all(|labels| labels.get(name) == first.get(name));
    let alone = series.clone().nth(1).is_none();
    let common: Vec<&str> = first.iter().map(|(name, _)| name).filter(|name| !alone && alike(name)).collect();
    series.map(|labels| labels.filtered(|name| !common.contains(&name)).to_string()).collect()
}

/// Bytes of a name, about: what a template adds beyond is left out.
const MAX_NAME: usize = 4096;

/// Puts labels in the place of `{{label}}`; all labels if `template` is empty.
pub(crate) fn series_name(template: &str, labels: &Labels) -> String {
    if template.is_empty() {
        return labels.to_string();
    }
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, behind)) = after.split_once("}}") else { break };
        // Nobody reads the rest, and a template may name a label as often as it likes.
        if out.len() > MAX_NAME {
            return out;
        }
        out.push_str(before);
        out.push_str(labels.get(name.trim()).unwrap_or_default());
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(value: &str) -> Choices {
        Choices { name: "host".into(), title: String::new(), values: vec![], chosen: value.into() }
    }

    #[test]
    fn a_choice_matches_itself_and_nothing_else() {
        for value in ["plain", "a.b", "a|b", "\"} or up{x=\"", "back\\slash", "new\nline", "$host"] {
            let text = substitute("m{host=~\"$host\"}", &[chosen(value)], Duration::from_secs(15));
            let matchers = query::parse_selector(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let matcher = matchers.iter().find(|m| m.name() == "host").unwrap();
            assert!(matcher.matches(value), "{text}");
            assert!(!matcher.matches("aXb") && !matcher.matches("a") && !matcher.matches(""), "{text}");
        }
    }

    #[test]
    fn variables_are_replaced_and_other_dollars_left() {
        let put = |text: &str| substitute(text, &[chosen("")], Duration::from_secs(300));
        assert_eq!(put("rate(x{host=~\"$host\"}[$window])"), "rate(x{host=~\".*\"}[300000ms])");
        assert_eq!(put("${host}_x $hosts $ $"), ".*_x $hosts $ $");
    }

    #[test]
    fn what_all_series_have_alike_is_not_said() {
        let set = |cpu: &str| Labels::from_pairs([("__name__", "m"), ("cpu", cpu), ("job", "node")]);
        assert_eq!(telling_names([&set("0"), &set("1")].into_iter()), [r#"{cpu="0"}"#, r#"{cpu="1"}"#]);
        assert_eq!(telling_names([&set("0")].into_iter()), [r#"m{cpu="0", job="node"}"#]);
        assert_eq!(telling_names([&set(""), &set("1")].into_iter()), ["{}", r#"{cpu="1"}"#]);
    }

    #[test]
    fn names_of_series_come_from_their_labels() {
        let labels = Labels::from_pairs([("__name__", "m"), ("cpu", "0")]);
        assert_eq!(series_name("cpu {{cpu}} {{ missing }}!", &labels), "cpu 0 !");
        assert_eq!(series_name("", &labels), "m{cpu=\"0\"}");
        assert_eq!(series_name("{{open", &labels), "{{open");
    }
}
