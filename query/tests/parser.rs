//! What holds for every text and every expression.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use query::{Expr, ValueType, parse, parse_selector};

/// A label or metric name; keywords are legal ones.
fn name() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        "[a-z_][a-z0-9_]{0,6}",
        prop::sample::select(vec![
            "sum", "by", "offset", "and", "fill", "start", "rate", "smoothed", "on", "inf", "bool"
        ])
        .prop_map(str::to_owned),
    ]
}

/// Names that may stand before braces.
fn metric() -> impl Strategy<Value = String> + Clone {
    prop_oneof![Just("up".to_owned()), "[a-z_:][a-z0-9_:]{0,6}x", Just("sum".to_owned()), Just("offset".to_owned())]
}

fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        "[a-z.|*0-9]{0,6}".prop_map(|s| format!("\"{s}\"")),
        "[^\"\\\\\\n\u{fffd}]{0,4}".prop_map(|s| format!("\"{s}\"")),
        "[a-z\\\\\"]{0,5}".prop_map(|s| format!("`{s}`")),
        Just(r#""\x41\n\t\u00fc\"""#.to_owned()),
    ]
}

fn matcher() -> impl Strategy<Value = String> + Clone {
    let label = prop_oneof![name(), "[a-z.]{1,4}".prop_map(|s| format!("\"{s}\""))];
    let equal =
        (label.clone(), prop::sample::select(vec!["=", "!="]), text()).prop_map(|(l, op, v)| format!("{l}{op}{v}"));
    let regex = (label, prop::sample::select(vec!["=~", "!~"]), "[a-z.+|]{0,5}")
        .prop_map(|(l, op, v)| format!("{l} {op} \"{}\"", v.replace('+', "x+").replace("|", "|y")));
    prop_oneof![equal, regex]
}

fn selector() -> impl Strategy<Value = String> + Clone {
    let matchers = prop::collection::vec(matcher(), 0..3).prop_map(|m| m.join(","));
    prop_oneof![
        metric(),
        (metric(), matchers.clone()).prop_map(|(name, matchers)| format!("{name}{{{matchers}}}")),
        matchers.clone().prop_map(|matchers| format!("{{__name__!=\"\",{matchers}}}")),
        ("[a-z.]{1,5}", matchers).prop_map(|(name, matchers)| format!("{{\"{name}\",{matchers}}}")),
    ]
}

fn duration() -> impl Strategy<Value = String> + Clone {
    let literal = prop_oneof![
        (1..100u32, prop::sample::select(vec!["s", "m", "h", "d", "w", "y"])).prop_map(|(n, u)| format!("{n}{u}")),
        Just("1h30m5ms".to_owned()),
        Just("90".to_owned()),
        Just("1.5".to_owned()),
    ];
    let leaf = prop_oneof![4 => literal, 1 => Just("step()".to_owned()), 1 => Just("range()".to_owned())];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} + {b})")),
            (inner.clone(), prop::sample::select(vec!["* 2", "/ 3", "% 200y", "- -1s"]))
                .prop_map(|(a, b)| format!("({a} {b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("max_of({a}, {b})")),
        ]
    })
}

/// `@` and `offset` in either order, or nothing.
fn modifiers() -> impl Strategy<Value = String> + Clone {
    let at = prop::sample::select(vec!["", " @ 10", " @ 1.5", " @ -3", " @ start()", " @ end()"]);
    let offset = prop_oneof![3 => Just(String::new()), 1 => duration().prop_map(|d| format!(" offset {d}")), 1 => duration().prop_map(|d| format!(" offset -{d}"))];
    (at, offset, any::<bool>()).prop_map(|(at, o, first)| if first { format!("{at}{o}") } else { format!("{o}{at}") })
}

fn number() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        any::<f64>().prop_filter("has a literal", |v| v.is_finite() && *v >= 0.0).prop_map(|v| format!("{v:e}")),
        (0..1000u32).prop_map(|v| v.to_string()),
        prop::sample::select(vec!["Inf", "NaN", "0x1F", "1_000", "1h30m", "5ms", ".5", "1e-3", "0", "017"])
            .prop_map(str::to_owned),
    ]
}

fn labels() -> impl Strategy<Value = String> + Clone {
    prop::collection::vec(prop_oneof![name(), Just("\"a.b\"".to_owned())], 0..3).prop_map(|l| l.join(", "))
}

fn extension() -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(vec!["", "", "", " anchored", " smoothed"])
}

/// An expression that makes a vector.
fn vector() -> impl Strategy<Value = String> + Clone {
    let plain = (selector(), extension(), modifiers()).prop_map(|(s, e, m)| format!("{s}{e}{m}"));
    let matrix = (selector(), duration(), extension(), modifiers()).prop_map(|(s, d, e, m)| format!("{s}[{d}]{e}{m}"));
    let ranged = (prop::sample::select(vec!["rate", "sum_over_time", "last_over_time"]), matrix.clone())
        .prop_map(|(f, m)| format!("{f}({m})"));
    let leaf = prop_oneof![plain, ranged, number().prop_map(|n| format!("vector({n})"))];
    leaf.prop_recursive(4, 24, 3, move |inner| {
        let grouping =
            (prop::sample::select(vec!["by", "without"]), labels()).prop_map(|(w, l)| format!(" {w} ({l}) "));
        let op = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", "<=", ">", ">=", "</", ">/",
        ]);
        let matching = prop_oneof![
            Just(String::new()),
            labels().prop_map(|l| format!(" on ({l})")),
            labels().prop_map(|l| format!(" ignoring ({l}) group_left (extra)")),
            labels().prop_map(|l| format!(" ignoring ({l}) group_right fill_left (3)")),
            Just(" fill (-1)".to_owned()),
        ];
        prop_oneof![
            (prop::sample::select(vec!["sum", "avg", "COUNT", "stddev"]), grouping.clone(), inner.clone())
                .prop_map(|(op, g, e)| format!("{op}{g}({e})")),
            (prop::sample::select(vec!["topk", "quantile", "limit_ratio"]), number(), inner.clone(), grouping)
                .prop_map(|(op, n, e, g)| format!("{op}({n}, {e}){g}")),
            (inner.clone(), op.clone(), matching, inner.clone()).prop_map(|(a, op, m, b)| format!("{a} {op}{m} {b}")),
            (inner.clone(), prop::sample::select(vec!["and", "or", "unless"]), inner.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (inner.clone(), op, number()).prop_map(|(a, op, n)| format!("({a} {op} -{n})")),
            (number(), inner.clone()).prop_map(|(n, a)| format!("({n} > bool {a})")),
            inner.clone().prop_map(|e| format!("({e})")),
            inner.clone().prop_map(|e| format!("-{e}")),
            inner.clone().prop_map(|e| format!("abs({e})")),
            (inner.clone(), text()).prop_map(|(e, t)| format!("label_replace({e}, \"a\", {t}, \"b\", \"(.*)\")")),
            (inner, duration(), prop::option::of(duration()), modifiers())
                .prop_map(|(e, d, s, m)| { format!("max_over_time(({e})[{d}:{}]{m})", s.unwrap_or_default()) }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn an_expression_is_what_its_text_says(text in vector()) {
        let expr = parse(&text).map_err(|error| TestCaseError::fail(format!("{text}\n{error}")))?;
        prop_assert_eq!(expr.value_type(), ValueType::Vector);
        let printed = expr.to_string();
        let again = parse(&printed).map_err(|error| TestCaseError::fail(format!("{text}\n{printed}\n{error}")))?;
        prop_assert_eq!(&again, &expr, "{}\n{}", text, printed);
        prop_assert_eq!(again.to_string(), printed);
        let pretty = expr.pretty();
        prop_assert_eq!(&parse(&pretty).unwrap(), &expr, "{}\n{}", text, pretty);
    }

    #[test]
    fn places_lie_within_the_text_and_hold_one_another(text in vector()) {
        fn check(expr: &Expr, text: &str) -> Result<(), TestCaseError> {
            let span = expr.span();
            prop_assert!(span.start < span.end && text.get(span.start as usize..span.end as usize).is_some());
            let before = &text[..span.start as usize];
            prop_assert_eq!(span.line as usize, 1 + before.matches('\n').count());
            prop_assert_eq!(span.column as usize, 1 + before.len() - before.rfind('\n').map_or(0, |at| at + 1));
            for child in expr.children() {
                prop_assert!(span.start <= child.span().start && child.span().end <= span.end, "{} in {}", child, expr);
                check(child, text)?;
            }
            Ok(())
        }
        let text = text.replace(" by ", "\n by\n");
        let expr = parse(&text).map_err(|error| TestCaseError::fail(format!("{text}\n{error}")))?;
        check(&expr, &text)?;
    }

    #[test]
    fn any_bytes_are_an_expression_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = (parse(&text), parse_selector(&text));
    }

    #[test]
    fn any_tokens_are_an_expression_or_an_error(
        tokens in prop::collection::vec(prop::sample::select(TOKENS.to_vec()), 0..25),
        blank in prop::sample::select(vec!["", " ", "\n", "# x\n"]),
    ) {
        let text = tokens.join(blank);
        if let Err(error) = parse(&text) {
            let placed = error.line >= 1 && error.column >= 1 || text.is_empty();
            prop_assert!(placed && error.span.end <= text.len(), "{:?}", error);
            prop_assert!(!error.message.is_empty());
        }
    }

    #[test]
    fn a_changed_text_is_an_expression_or_an_error(text in vector(), at in any::<prop::sample::Index>(), with in "\\PC{0,2}") {
        let at = at.index(text.chars().count());
        let changed: String = text.chars().take(at).chain(with.chars()).chain(text.chars().skip(at + 1)).collect();
        if let Ok(expr) = parse(&changed) {
            prop_assert_eq!(parse(&expr.to_string()).unwrap(), expr);
        }
    }
}

const TOKENS: &[&str] = &[
    "sum",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "bool",
    "offset",
    "@",
    "start",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "=",
    "=~",
    "!~",
    "==",
    "!=",
    "<",
    "<=",
    "</",
    ">/",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "and",
    "or",
    "unless",
    "atan2",
    "fill",
    "fill_left",
    "anchored",
    "smoothed",
    "1",
    "5m",
    "1h30m",
    "Inf",
    "NaN",
    "\"x\"",
    "`y`",
    "'",
    "a",
    "a:b",
    "rate",
    "topk",
    "time",
    "label_replace",
    "step",
    "range",
    "min_of",
    "0x",
    "1e",
    "!",
    "\\",
    "é",
    "5m:1m",
    "[5m]",
];
