//! The parser against bytes of all kinds, and against another parser where that one is right.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use scraper::parse::{Entry, Format, Parser};
use scraper::testing::check_exposition;
use tsdb::Labels;

/// A page of node_exporter.
const PAGE: &str = include_str!("../benches/node_exporter.txt");

/// A piece of the grammar, or nearly so.
fn arb_piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "a:b",
        "{",
        "}",
        "\"",
        "\\",
        "\\\"",
        "\\n",
        ",",
        "=",
        " ",
        "\t",
        "\n",
        "1",
        "-1.5e3",
        "+Inf",
        "NaN",
        "0x1",
        "# ",
        "#",
        "HELP ",
        "TYPE ",
        "UNIT ",
        "EOF",
        "counter",
        "histogram",
        "le=\"1\"",
        "{a=\"b\"}",
        " # {a=\"b\"} 1",
        "_created",
        "ü",
        "\0",
        "\r",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_exposition(&bytes);
    }

    #[test]
    fn no_text_like_an_exposition_makes_the_parser_panic(pieces in prop::collection::vec(arb_piece(), 0..60)) {
        check_exposition(pieces.concat().as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_change_to_a_real_page_makes_the_parser_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = PAGE.as_bytes().to_vec();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        check_exposition(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        check_exposition(&bytes);
    }
}

/// Values by series. The last of equal series wins.
fn ours(page: &str) -> BTreeMap<Labels, u64> {
    let mut parser = Parser::new(page.as_bytes(), Format::Text);
    let mut samples = BTreeMap::new();
    while let Some(entry) = parser.entry().unwrap() {
        if let Entry::Sample(sample) = entry {
            samples.insert(parser.labels().collect(), sample.value.to_bits());
        }
    }
    samples
}

/// The same by the crate `prometheus-parse`, which reads the plain part of the grammar rightly.
fn theirs(page: &str) -> BTreeMap<Labels, u64> {
    let scrape = prometheus_parse::Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let sample = |sample: prometheus_parse::Sample| {
        let name = [("__name__".to_owned(), sample.metric)].into_iter();
        let labels = sample.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
        let value = match sample.value {
            prometheus_parse::Value::Counter(v)
            | prometheus_parse::Value::Gauge(v)
            | prometheus_parse::Value::Untyped(v) => v,
            other => panic!("{other:?}"),
        };
        (name.chain(labels).collect(), value.to_bits())
    };
    scrape.samples.into_iter().map(sample).collect()
}

fn arb_line() -> impl Strategy<Value = String> {
    let labels = prop::collection::btree_map("[a-z]{1,4}", "[a-zA-Z0-9 ./:_-]{0,8}[a-z]", 0..4);
    let value = prop_oneof![
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| v.to_string()),
        any::<i32>().prop_map(|v| v.to_string()),
        Just("+Inf".to_owned()),
        Just("-Inf".to_owned()),
        any::<f32>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| format!("{v:e}")),
    ];
    ("[a-z_][a-z0-9_]{0,12}", labels, value).prop_map(|(name, labels, value)| {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        if labels.is_empty() {
            format!("{name} {value}\n")
        } else {
            format!("{name}{{{}}} {value}\n", labels.join(","))
        }
    })
}

proptest! {
    #[test]
    fn plain_pages_read_as_another_parser_reads_them(lines in prop::collection::vec(arb_line(), 0..20)) {
        let page = lines.concat();
        prop_assert_eq!(ours(&page), theirs(&page));
    }
}

#[test]
fn a_real_page_has_the_samples_that_its_lines_say() {
    let samples = ours(PAGE);
    let lines = PAGE.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!((samples.len(), lines), (523, 523));
    // Gauges and counters: histograms and summaries are regrouped by the other parser.
    let plain: String = PAGE
        .split_inclusive('\n')
        .filter(|line| {
            !line.starts_with('#') && !line.contains("quantile=") && !line.contains('\\') && !line.contains("\"\"")
        })
        .collect();
    let (ours, theirs) = (ours(&plain), theirs(&plain));
    assert!(theirs.len() > 400);
    for (labels, value) in theirs {
        assert_eq!(ours.get(&labels), Some(&value), "{labels}");
    }
}
