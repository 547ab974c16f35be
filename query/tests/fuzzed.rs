//! Texts that the fuzzer found worth keeping, and some that no fuzzer would be patient enough for.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

#[path = "../../tests/fuzz/replay.rs"]
mod replay;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use query::testing::check_promql;

#[test]
fn what_the_fuzzer_found_holds() {
    replay::replay("promql", check_promql);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        check_promql(&bytes);
    }
}

/// Reads a text on the stack that a thread of the server has.
fn read(text: String) {
    let reader = std::thread::Builder::new().stack_size(2 << 20).spawn(move || check_promql(text.as_bytes()));
    reader.unwrap().join().unwrap();
}

#[test]
fn nesting_of_any_depth_is_read_or_refused() {
    for depth in [100, 127, 1_000, 1_000_000] {
        for (open, close) in [
            ("(", ")"),
            ("-", ""),
            ("+", ""),
            ("- -", ""),
            ("abs(", ")"),
            ("sum(", ")"),
            ("sum by (a) (", ")"),
            ("topk(1, ", ")"),
            ("1 + (", ")"),
            ("1 ^ ", ""),
            ("up ^ ", ""),
            ("up and (", ")"),
            ("label_replace(", ", \"a\", \"b\", \"c\", \"d\")"),
            ("max_over_time(", "[5m:])"),
            ("", "[5m:]"),
            ("", " offset 5m"),
            ("", " @ 5"),
            ("", " + up"),
            ("", " or up"),
            ("up[", "]"),
            ("up[5m + (", ")]"),
            ("up[-", "5m]"),
            ("up[min_of(1, ", ")]"),
            ("{", "}"),
            ("[", "]"),
            ("{a=\"", "\"}"),
            ("#", "\n"),
            ("\"", "\""),
        ] {
            read(format!("{}up{}", open.repeat(depth), close.repeat(depth)));
            read(open.repeat(depth));
            read(format!("up{}", close.repeat(depth)));
        }
    }
}

/// Long texts take as long as they are: a quadratic reader would take hours for these.
#[test]
fn long_texts_are_read_in_no_time() {
    for piece in [
        "a",
        "1",
        " ",
        "\n",
        "é",
        "\u{fffd}",
        "\\",
        "\\xff",
        "1_",
        "5m",
        "_:",
        "a,",
        "a=\"b\",",
        "a=~\"b\",",
        "a=~\"b.\",",
        "#\n",
        "a #\n",
        "sum #\n",
        "1 + ",
        "up or ",
        "fill ",
        "0x",
        "'",
        "`",
    ] {
        let long = piece.repeat((512 << 10) / piece.len());
        for (before, after) in [
            ("", ""),
            ("{", "}"),
            ("up{", "}"),
            ("sum by (", ") (up)"),
            ("up + on (", ") up"),
            ("up[", "]"),
            ("\"", "\""),
            ("{a=\"", "\"}"),
            ("{a=~\"", "\"}"),
            ("abs(", ")"),
            ("label_join(up, ", ")"),
            ("absent({a=\"b\",", "})"),
        ] {
            read(format!("{before}{long}{after}"));
        }
    }
}
