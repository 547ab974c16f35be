use proptest::prelude::*;

use super::*;

fn regex(source: &str) -> Regex {
    Regex::new(source).unwrap()
}

#[test]
fn an_expression_stands_for_the_whole_text_and_its_dot_for_newlines_too() {
    assert!(regex("a.c").is_match("a\nc") && !regex("b").is_match("abc"));
    assert!(regex("a|").is_match("") && !regex("a|bc").is_match("abc"));
    assert!(!regex("a").is_match("a\n"), "the end is the end of the text, not of a line");
    assert!(regex("(?m)a$\n^b").is_match("a\nb"));
}

#[test]
fn perl_classes_and_word_boundaries_are_ascii() {
    assert!(!regex("\\d").is_match("٣") && !regex("\\w").is_match("ä") && !regex("\\s").is_match("\u{a0}"));
    assert!(!regex("\\s").is_match("\u{b}"), "a vertical tab is no space to Go");
    assert!(regex("ä\\bb").is_match("äb") && regex("ä\\Bö").is_match("äö") && !regex("ä\\Bb").is_match("äb"));
    assert!(regex("\\B").is_match(""));
}

#[test]
fn case_is_folded_letter_by_letter() {
    assert!(regex("(?i)straße").is_match("STRAẞE") && !regex("(?i)straße").is_match("STRASSE"));
    assert!(regex("(?i)\\w").is_match("ſ") && !regex("(?i)\\W").is_match("ſ"));
    assert!(regex("(?i)K").is_match("\u{212a}") && !regex("(?i)i").is_match("İ"));
}

#[test]
fn an_expression_that_closes_a_parenthesis_it_did_not_open_is_one_only_when_pasted() {
    assert!(Regex::new("a)|(b").is_err());
    let pasted = Regex::pasted("a)|(b").unwrap();
    assert!(pasted.is_match("ax") && pasted.is_match("xb") && !pasted.is_match("xa"));
    assert!(regex("\\Qa.b").is_match("a.b") && Regex::pasted("\\Qa.b").is_err());
    assert_eq!(Regex::pasted("a(").unwrap_err().reason, "missing closing ): `a(`");
}

#[test]
fn groups_that_share_a_name_are_filled_by_the_one_that_matched() {
    let regex = regex("(?P<n>a)|(?P<n>b)");
    assert_eq!(regex.captures("b").unwrap().name("n"), Some("b"));
}

#[test]
fn templates_expand_as_in_go() {
    let regex = regex("(?P<first>[a-z]+)-(.*)");
    let captures = regex.captures("ab-cd").unwrap();
    for (template, expanded) in [
        ("$1", "ab"),
        ("${2}x", "cdx"),
        ("$2x", ""),
        ("$first", "ab"),
        ("$firstx${first}x", "abx"),
        ("$$1", "$1"),
        ("a$", "a$"),
        ("${}", "${}"),
        ("$9", ""),
        ("$0", "ab-cd"),
        ("${1", "${1"),
    ] {
        let mut out = String::new();
        captures.expand(template, &mut out);
        assert_eq!(out, expanded, "{template}");
        assert_eq!(captures.expand_within(template, expanded.len()).as_deref(), Some(expanded));
        assert!(expanded.is_empty() || captures.expand_within(template, expanded.len() - 1).is_none());
    }
}

#[test]
fn every_match_is_replaced() {
    assert_eq!(regex("(a+)b").replace_all("aab", "<$1>"), "<aa>");
    assert_eq!(Regex::pasted("a)|(b").unwrap().replace_all("acb", "x"), "xcx");
    assert_eq!(regex("a").replace_all("b", "x"), "b");
}

#[test]
fn deep_and_large_expressions_are_refused_not_fatal() {
    let nested = |depth: usize| format!("{}a{}", "(x|y".repeat(depth), ")*z".repeat(depth));
    assert!(Regex::new(&nested(251)).unwrap_err().reason.contains("nests too deeply"));
    // Threads that serve requests have 2 MiB.
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let deepest =
        thread.spawn(move || [SHALLOW, 249].map(|depth| Regex::new(&nested(depth)).map(|regex| regex.is_match("x"))));
    assert_eq!(deepest.unwrap().join().unwrap(), [Ok(false), Ok(false)]);
    assert!(Regex::new("(\\pL{30}){33}").is_err());
}

proptest! {
    #[test]
    fn an_escaped_text_matches_itself_alone(text in ".*", other in ".*") {
        let regex = regex(&escape(&text));
        prop_assert!(regex.is_match(&text));
        prop_assert_eq!(regex.is_match(&other), text == other);
    }

    #[test]
    fn no_text_makes_the_reader_panic(source in "[\\[\\]()a-c\\\\|?*+{}0-9,:^$.\\-pPLQEix<>ä]{0,12}", text in "[a-c0-9ä]{0,4}") {
        if let Ok(regex) = Regex::pasted(&source) {
            let _ = regex.captures(&text).map(|captures| captures.expand_within("$1${n}$$", 100));
            let _ = regex.replace_all(&text, "$1");
        }
        if let Ok(mut translated) = syntax::translate(&source) {
            let pattern = std::mem::take(&mut translated.pattern);
            prop_assert!(Regex::compile(&source, &pattern, translated).is_ok(), "{}", pattern);
        }
    }
}
