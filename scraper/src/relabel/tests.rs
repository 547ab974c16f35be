use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn rule(action: Action, source: &[&str], regex: &str, target: &str, replacement: &str) -> Relabel {
    Relabel {
        action,
        source_labels: source.iter().map(|&s| s.to_owned()).collect(),
        regex: Regex::pasted(regex).unwrap(),
        target_label: target.to_owned(),
        replacement: replacement.to_owned(),
        ..Relabel::default()
    }
}

fn run(labels: &[(&str, &str)], rules: &[Relabel]) -> Option<String> {
    relabel(&Labels::from_pairs(labels.iter().copied()), rules, NameScheme::Utf8).map(|l| l.to_string())
}

const BASE: &[(&str, &str)] = &[("a", "foo"), ("b", "bar"), ("c", "baz")];

#[test]
fn replace_expands_groups_and_leaves_alone_what_does_not_match() {
    let cases = [
        (rule(Action::Replace, &["a"], "f(.*)", "d", "ch${1}-ch${1}"), r#"{a="foo", b="bar", c="baz", d="choo-choo"}"#),
        (rule(Action::Replace, &["a", "b"], "(f.*);(.*)", "$1", "$2"), r#"{a="foo", b="bar", c="baz", foo="bar"}"#),
        (rule(Action::Replace, &["a"], "x", "d", "y"), r#"{a="foo", b="bar", c="baz"}"#),
        (rule(Action::Replace, &["a"], "oo", "d", "y"), r#"{a="foo", b="bar", c="baz"}"#),
        (rule(Action::Replace, &["a"], "(.*)", "a", ""), r#"{b="bar", c="baz"}"#),
        (rule(Action::Replace, &[], "(.*)", "e", "const"), r#"{a="foo", b="bar", c="baz", e="const"}"#),
        (rule(Action::Replace, &["a"], "(?P<n>.*)", "d", "${n}x$$"), r#"{a="foo", b="bar", c="baz", d="foox$"}"#),
        (rule(Action::Replace, &["a"], "(.*)", "d", "$1x"), r#"{a="foo", b="bar", c="baz"}"#),
        (rule(Action::Replace, &["nope"], "(.*)", "$1", "x"), r#"{a="foo", b="bar", c="baz"}"#),
    ];
    for (rule, expected) in cases {
        assert_eq!(run(BASE, std::slice::from_ref(&rule)).as_deref(), Some(expected), "{rule:?}");
    }
}

#[test]
fn keep_and_drop_look_at_the_joined_value() {
    assert!(run(BASE, &[rule(Action::Keep, &["a", "b"], "foo;b.*", "", "$1")]).is_some());
    assert!(run(BASE, &[rule(Action::Keep, &["a"], "fo", "", "$1")]).is_none());
    assert!(run(BASE, &[rule(Action::Drop, &["a"], "f.*", "", "$1")]).is_none());
    assert!(run(&[("a", "x\ny")], &[rule(Action::Drop, &["a"], "x.y", "", "$1")]).is_none());
    assert!(run(BASE, &[rule(Action::KeepEqual, &["a"], "(.*)", "b", "$1")]).is_none());
    assert!(run(&[("a", "1"), ("b", "1")], &[rule(Action::KeepEqual, &["a"], "(.*)", "b", "$1")]).is_some());
    assert!(run(&[("a", "1"), ("b", "1")], &[rule(Action::DropEqual, &["a"], "(.*)", "b", "$1")]).is_none());
}

#[test]
fn hashmod_hashes_as_prometheus_does() {
    // Values from the tests of Prometheus.
    let hashmod = |source: &[&str], modulus| Relabel { modulus, ..rule(Action::HashMod, source, "(.*)", "d", "$1") };
    assert_eq!(run(BASE, &[hashmod(&["c"], 1000)]).unwrap(), r#"{a="foo", b="bar", c="baz", d="976"}"#);
    assert_eq!(run(&[("a", "foo\nbar")], &[hashmod(&["a"], 1000)]).unwrap(), "{a=\"foo\\nbar\", d=\"734\"}");
}

#[test]
fn label_actions_work_on_names() {
    let map = rule(Action::LabelMap, &[], "(b.*)", "", "x_${1}");
    assert_eq!(
        run(&[("a", "1"), ("b1", "2"), ("b2", "3")], &[map]).unwrap(),
        r#"{a="1", b1="2", b2="3", x_b1="2", x_b2="3"}"#
    );
    assert_eq!(run(BASE, &[rule(Action::LabelDrop, &[], "a|b", "", "$1")]).unwrap(), r#"{c="baz"}"#);
    assert_eq!(run(BASE, &[rule(Action::LabelKeep, &[], "a|b", "", "$1")]).unwrap(), r#"{a="foo", b="bar"}"#);
}

#[test]
fn case_actions_change_the_joined_value() {
    let lower = rule(Action::Lowercase, &["a"], "(.*)", "l", "$1");
    let upper = rule(Action::Uppercase, &["a"], "(.*)", "u", "$1");
    assert_eq!(run(&[("a", "bÄR")], &[lower.clone(), upper.clone()]).unwrap(), r#"{a="bÄR", l="bär", u="BÄR"}"#);
    assert_eq!(run(&[("a", "ΟΔΟΣ ß İ")], &[lower, upper]).unwrap(), r#"{a="ΟΔΟΣ ß İ", l="οδοσ ß i", u="ΟΔΟΣ ß İ"}"#);
}

#[test]
fn expressions_and_templates_are_read_as_go_reads_them() {
    let cases = [
        ("a{", "a{", "hit", "hit"),
        ("[[a-z]+", "[x", "hit", "hit"),
        ("(\\d+)", "٣", "$1", ""),
        ("(\\w+)", "ä", "$1", ""),
        ("(?P<n>a)|(?P<n>b)", "b", "<$n>", "<b>"),
        ("(a)(b)?", "a", "${1}x$2y", "ax"),
        ("(a)", "a", "$$1${1", "$1${1"),
        ("a)|(b", "ax", "hit", "hit"),
    ];
    for (regex, value, replacement, expected) in cases {
        let rule = rule(Action::Replace, &["a"], regex, "d", replacement);
        let labels = relabel(&Labels::from_pairs([("a", value)]), &[rule], NameScheme::Utf8).unwrap();
        assert_eq!(labels.get("d").unwrap_or_default(), expected, "{regex}");
    }
    assert!(Regex::pasted("(?x) a").is_err());
}

#[test]
fn validate_speaks_as_prometheus_does() {
    let check = |rule: Relabel, names| rule.validate(names).unwrap_err();
    let utf8 = NameScheme::Utf8;
    assert_eq!(
        check(rule(Action::HashMod, &[], "(.*)", "d", "$1"), utf8),
        "relabel configuration for hashmod requires non-zero modulus"
    );
    assert_eq!(
        check(rule(Action::Replace, &[], "(.*)", "", "$1"), utf8),
        "relabel configuration for replace action requires 'target_label' value"
    );
    assert_eq!(
        check(rule(Action::Lowercase, &[], "(.*)", "d", "x"), utf8),
        "'replacement' can not be set for lowercase action"
    );
    assert_eq!(
        check(rule(Action::KeepEqual, &[], "x", "d", "$1"), utf8),
        "keepequal action requires only 'source_labels' and `target_label`, and no other fields"
    );
    assert_eq!(
        check(rule(Action::LabelDrop, &["a"], "x", "", "$1"), utf8),
        "labeldrop action requires only 'regex', and no other fields"
    );
    let legacy = NameScheme::Legacy;
    assert_eq!(
        check(rule(Action::Replace, &[], "(.*)", "a-b", "$1"), legacy),
        "\"a-b\" is invalid 'target_label' for replace action"
    );
    for (target, fits) in
        [("a_${1}_$name", true), ("$1", true), ("${", false), ("1a", false), ("a-$1", false), ("$", false)]
    {
        assert_eq!(rule(Action::Replace, &[], "(.*)", target, "$1").validate(legacy).is_ok(), fits, "{target}");
    }
    assert!(rule(Action::Replace, &[], "(.*)", "a-b", "$1").validate(utf8).is_ok());
    assert!(Regex::pasted("a(").unwrap_err().to_string().contains("missing closing )"));
}

/// The rules on a plain map, written for reading, without groups: the expression is a literal or matches all.
fn reference(
    labels: &BTreeMap<String, String>,
    rule: &Relabel,
    literal: Option<&str>,
) -> Option<BTreeMap<String, String>> {
    let get = |name: &String| labels.get(name).cloned().unwrap_or_default();
    let joined = rule.source_labels.iter().map(get).collect::<Vec<_>>().join(&rule.separator);
    let matches = |text: &str| literal.is_none_or(|l| l == text);
    let mut out = labels.clone();
    let mut set = |value: String| {
        out.remove(&rule.target_label);
        if !value.is_empty() {
            out.insert(rule.target_label.clone(), value);
        }
    };
    match rule.action {
        Action::Keep => return matches(&joined).then_some(out),
        Action::Drop => return (!matches(&joined)).then_some(out),
        Action::KeepEqual => return (get(&rule.target_label) == joined).then_some(out),
        Action::DropEqual => return (get(&rule.target_label) != joined).then_some(out),
        Action::Replace if matches(&joined) => set(rule.replacement.clone()),
        Action::Replace => {}
        Action::Lowercase => set(letters::to_lower(&joined)),
        Action::Uppercase => set(letters::to_upper(&joined)),
        Action::LabelDrop => out.retain(|name, _| !matches(name)),
        Action::LabelKeep => out.retain(|name, _| matches(name)),
        Action::LabelMap => {
            for (name, value) in labels.iter().filter(|(name, _)| matches(name)) {
                let _ = name;
                out.insert(rule.replacement.clone(), value.clone());
            }
        }
        Action::HashMod => {
            let digest = md5::compute(joined.as_bytes()).0;
            let low = digest[8..].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
            set((low % rule.modulus).to_string());
        }
    }
    Some(out)
}

fn arb_rule() -> impl Strategy<Value = (Relabel, Option<String>)> {
    let action = prop::sample::select(Action::ALL.to_vec());
    let names = prop::collection::vec("[a-c]", 0..3);
    (action, names, "[a-c;x]{0,2}", any::<bool>(), "[a-d]", "[x-z]{0,2}", 1u64..9).prop_map(
        |(action, source_labels, literal, all, target_label, replacement, modulus)| {
            let regex = Regex::pasted(if all { "(.*)" } else { &literal }).unwrap();
            let replacement = if action == Action::LabelMap { replacement + "x" } else { replacement };
            let rule =
                Relabel { action, source_labels, regex, target_label, replacement, modulus, ..Relabel::default() };
            (rule, (!all).then_some(literal))
        },
    )
}

proptest! {
    #[test]
    fn rules_do_what_the_reference_does(
        pairs in prop::collection::btree_map("[a-c]", "[a-cA-C]{1,2}", 0..4),
        rules in prop::collection::vec(arb_rule(), 0..4),
    ) {
        let expected = rules.iter().try_fold(pairs.clone(), |labels, (rule, literal)| reference(&labels, rule, literal.as_deref()));
        let rules: Vec<Relabel> = rules.into_iter().map(|(rule, _)| rule).collect();
        let result = relabel(&pairs.iter().collect(), &rules, NameScheme::Utf8);
        prop_assert_eq!(result, expected.map(|labels| labels.iter().collect::<Labels>()));
    }
}
