use super::*;

#[test]
fn what_go_reads_otherwise_is_written_anew() {
    for (go, rust) in [
        ("a.*|b+?", "a.*|b+?"),
        ("a{2,3}?", "a{2,3}?"),
        ("a{", "a\\{"),
        ("a{,3}{x}", "a\\{,3\\}\\{x\\}"),
        ("\\d\\W", "[0-9][[^0-9A-Za-z_]]"),
        ("[\\w-]", "[0-9A-Za-z_\\-]"),
        ("[[&&~~]", "[\\[\\&\\&\\~\\~]"),
        ("[[:]", "[\\[\\:]"),
        ("[]a-c^]", "[\\]a-c\\^]"),
        ("[^[:alpha:]\\.]", "[^[:alpha:]\\.]"),
        ("\\Qa.b\\Ec", "a\\.bc"),
        ("\\x41\\x{1F98D}\\101\\<", "A🦍A<"),
        ("(?i:a)(?P<n>b)(?s)(?)c", "(?i:a)(b)(?s)c"),
        ("a(?i)*b", "a*(?i)b"),
        ("a*\\Q\\E*", "a**"),
        ("[a-b-c]", "[a-b\\-c]"),
        ("[\\d-z]", "[0-9\\-z]"),
        ("[\\x{D7FE}-\\x{E001}]", "[\u{d7fe}-\u{d7ff}\u{e000}-\u{e001}]"),
        ("\\x{D800}[^\\x{DFFF}]", "[^\\x00-\\x{10FFFF}][\\x00-\\x{10FFFF}]"),
        ("\\bx\\z", "(?-u:\\b)x\\z"),
        ("\\p{Greek}\\PL", "[\\p{sc=greek}][\\P{gc=l}]"),
    ] {
        let translated = translate(go).unwrap().pattern;
        assert_eq!(translated, rust, "{go}");
        assert!(::regex::bytes::Regex::new(&translated).is_ok(), "{go}");
    }
}

#[test]
fn errors_are_in_the_words_of_go() {
    for (source, message) in [
        ("[ab", "missing closing ]: `[ab`"),
        ("x(a", "missing closing ): `x(a`"),
        ("a)b", "unexpected ): `a)b`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a|+", "missing argument to repetition operator: `+`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{3,2}", "invalid repeat count: `{3,2}`"),
        ("\\q", "invalid escape sequence: `\\q`"),
        ("(a)\\1", "invalid escape sequence: `\\1`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?P<a b>c)", "invalid named capture: `(?P<a b>`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("(a{40}){40}", "invalid repeat count: `{40}`"),
        ("((a{10}|b{2}){10}){11}", "invalid repeat count: `{11}`"),
        ("\\p{Alphabetic}", "invalid character class range: `\\p{Alphabetic}`"),
        ("\\p{isGreek}", "invalid character class range: `\\p{isGreek}`"),
        ("\\p{Grek}", "invalid character class range: `\\p{Grek}`"),
        ("\\C", "invalid escape sequence: `\\C`"),
        ("[[:^^alpha:]]", "invalid character class range: `[:^^alpha:]`"),
        ("\\p{Nope}", "invalid character class range: `\\p{Nope}`"),
        ("[[:nope:]]", "invalid character class range: `[:nope:]`"),
    ] {
        assert_eq!(translate(source).unwrap_err(), message, "{source}");
    }
}

#[test]
fn names_of_groups_are_kept_though_the_engine_could_not_have_them() {
    let names = |source: &str| translate(source).unwrap().names;
    assert_eq!(names("(?P<a>x)|(?<a>y)(z)(?:w)(?P<1>v)"), ["a", "a", "", "1"]);
}

#[test]
fn unicode_classes_have_the_names_that_go_knows() {
    for name in
        ["Greek", "greek", "L", "Lu", "Letter", "uppercase_letter", "Any", "ASCII", "Cn", "LC", "Old_Italic", "thai"]
    {
        assert!(translate(&format!("\\p{{{name}}}")).is_ok(), "{name}");
    }
    assert!(translate("\\pl\\PN").is_ok());
}

#[test]
fn nested_repetitions_are_taken_up_to_a_thousand() {
    for source in ["(a{10}){100}", "(a{1000}){0}", "(a{2}|b{500}){2}", "((a{0,}){1000})*", "(a{1000}){1}"] {
        assert!(translate(source).is_ok(), "{source}");
    }
}
