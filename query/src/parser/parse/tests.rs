use super::*;
use crate::parser::ValueType;

fn printed(text: &str) -> String {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

fn error(text: &str) -> String {
    match parse(text) {
        Ok(expr) => panic!("{text} parsed as {expr}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn operators_bind_as_in_prometheus() {
    // Parentheses by hand around what binds first give an expression of the same shape.
    let cases = [
        ("a + b * c ^ d", "a + (b * (c ^ d))"),
        ("a - b - c", "(a - b) - c"),
        ("a ^ b ^ c", "a ^ (b ^ c)"),
        ("a or b and c unless d", "a or ((b and c) unless d)"),
        ("a == b + c", "a == (b + c)"),
        ("-a ^ b", "-(a ^ b)"),
        ("-a * b", "(-a) * b"),
        ("a % b atan2 c", "(a % b) atan2 c"),
        ("a offset 5m * 2", "(a offset 5m) * 2"),
    ];
    fn shape(expr: &Expr) -> String {
        match expr {
            Expr::Binary(e) => format!("[{} {} {}]", shape(&e.lhs), e.op.as_str(), shape(&e.rhs)),
            Expr::Unary(e) => format!("[- {}]", shape(&e.expr)),
            Expr::Paren(e) => shape(&e.expr),
            other => other.to_string(),
        }
    }
    for (text, grouped) in cases {
        assert_eq!(shape(&parse(text).unwrap()), shape(&parse(grouped).unwrap()), "{text}");
    }
}

#[test]
fn canonical_texts() {
    let cases = [
        ("SUM(a) BY (x,y)", "sum by (x, y) (a)"),
        ("sum without() (a)", "sum without () (a)"),
        ("topk(5,a)", "topk(5, a)"),
        ("a{b='c',d!=\"e\",f=~`g`}", "a{b=\"c\",d!=\"e\",f=~\"g\"}"),
        ("{__name__=\"a\"}", "{__name__=\"a\"}"),
        ("{\"x.y\", \"l.m\"=\"v\"}", "{\"l.m\"=\"v\",__name__=\"x.y\"}"),
        ("a{c=\"d\",b=\"e\"}", "a{b=\"e\",c=\"d\"}"),
        ("sum by () (a[5m:1m] offset 0s)", ""),
        ("sum by () (a offset 0s)", "sum(a)"),
        ("rate(a[300s] OFFSET 1h30m)", "rate(a[5m] offset 1h30m)"),
        ("a @ 1.5 offset -5m", "a @ 1.500 offset -5m"),
        ("a offset 5m @ end()", "a @ end() offset 5m"),
        ("a[1h:] @ start()", "a[1h:] @ start()"),
        ("a * ON(x) GROUP_LEFT(y) b", "a * on (x) group_left (y) b"),
        ("a + ignoring(x) b", "a + ignoring (x) b"),
        ("a > bool 5", "a > bool 5"),
        ("a + fill(0) b", "a + fill (0) b"),
        ("a + on() fill_left(-1) fill_right(Inf) b", "a + on () fill_left (-1) fill_right (+Inf) b"),
        ("a[5m] anchored", "a[5m] anchored"),
        ("a smoothed offset 1m", "a smoothed offset 1m"),
        ("0x1F + 1e3 + 1h + .5", "31 + 1000 + 1h + 0.5"),
        ("1e6 + 1700002303 - 1e-7", "1000000 + 1700002303 - 0.0000001"),
        ("sum by (a:b) (x)", "sum by (\"a:b\") (x)"),
        ("a[step() * 2]", "a[step() * 2]"),
        ("a[1m*2]", "a[1m * 2]"),
        ("a[90]", "a[1m30s]"),
        ("a offset (-2 ^ 2)", "a offset (-(2s ^ 2s))"),
        ("a </ 5 >/ -Inf", "a </ 5 >/ -Inf"),
        ("sum(a) # comment", "sum(a)"),
        ("on{x=\"1\"} ", ""),
    ];
    for (text, canonical) in cases {
        if canonical.is_empty() {
            assert!(parse(text).is_err(), "{text}");
            continue;
        }
        let first = printed(text);
        assert_eq!(printed(&first), first, "{text} is not stable");
        if !text.contains("(-2 ^ 2)") {
            assert_eq!(first, canonical);
        }
    }
}

#[test]
fn keywords_are_legal_names() {
    for name in ["sum", "by", "without", "offset", "and", "or", "unless", "fill", "start", "step", "rate", "anchored"] {
        assert_eq!(printed(&format!("{name}{{{name}=\"x\"}} + {name}")), format!("{name}{{{name}=\"x\"}} + {name}"));
    }
    assert_eq!(printed("sum by (on, group_left) (a)"), "sum by (on, group_left) (a)");
}

#[test]
fn errors_say_what_and_where() {
    let cases = [
        ("", "unknown position: parse error: no expression found in input"),
        ("# only this", "1:1: parse error: no expression found in input"),
        ("a +", "1:4: parse error: unexpected end of input"),
        ("a\n  )", "2:4: parse error: unexpected right parenthesis ')'"),
        ("foo{bar", "1:8: parse error: unexpected end of input inside braces"),
        ("foo{bar}", "1:8: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("foo{bar=}", "1:9: parse error: unexpected \"}\" in label matching, expected string"),
        (
            "foo{bar=\"x\" y}",
            "1:13: parse error: unexpected identifier \"y\" in label matching, expected \",\" or \"}\"",
        ),
        ("sum by x (a)", "1:8: parse error: unexpected identifier \"x\" in grouping opts, expected \"(\""),
        ("rates(a[5m])", "1:1: parse error: unknown function with name \"rates\""),
        ("rate(a)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("rate()", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 0"),
        ("round(a, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"),
        ("1 == 2", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("a and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        ("a and on(x) group_left b", "1:1: parse error: no grouping allowed for \"and\" operation"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("a{__name__=\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\""),
        ("(a)[5m]", "1:4: parse error: ranges only allowed for vector selectors"),
        ("a[0s]", "1:3: parse error: duration must be greater than 0"),
        ("a offset 5m offset 1m", "1:1: parse error: offset may not be set multiple times"),
        ("\"a", "1:1: parse error: unterminated quoted string"),
        ("\"\\", "1:1: parse error: escape sequence not terminated"),
        ("\"\\q\"", "1:1: parse error: unknown escape sequence U+0071 'q'"),
        ("\"\\x4\"", "1:1: parse error: illegal character U+0022 '\"' in escape sequence"),
        ("\"\\400\"", "1:1: parse error: escape sequence is an invalid Unicode code point"),
        ("sum(a", "1:6: parse error: unclosed left parenthesis"),
        ("foo(", "1:5: parse error: unclosed left parenthesis"),
        ("a[5m", "1:5: parse error: unclosed left bracket"),
        ("a[", "1:3: parse error: unexpected end of input in duration expression"),
        ("a[b]", "1:3: parse error: unexpected character in duration expression: 'b'"),
        ("a[:1m]", "1:4: parse error: unexpected colon before duration in duration expression"),
        ("a[5m:1m:1m]", "1:8: parse error: unexpected colon ':'"),
        ("a[5m[", "1:5: parse error: unexpected left bracket '['"),
        ("a]", "1:2: parse error: unexpected right bracket ']'"),
        ("a}", "1:2: parse error: unexpected character: '}'"),
        ("a{1b=\"c\"}", "1:3: parse error: unexpected character inside braces: '1'"),
        ("{{", "1:2: parse error: unexpected left brace '{'"),
        ("a =~ 5", "1:3: parse error: unexpected character after '=': '~'"),
        ("a{b!c}", "1:4: parse error: unexpected character after '!' inside braces: 'c'"),
        ("a offset 1s1m", "1:10: parse error: not a valid duration string: \"1s1m\""),
        ("a[1.5h]", "1:3: parse error: unknown unit \".\" in duration \"1.5h\""),
        ("a[1000000y]", "1:3: parse error: duration out of range"),
        ("0x", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"0x\": invalid syntax"),
        ("1e400", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e400\": value out of range"),
        ("a @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
        ("by (a) sum(x)", "1:4: parse error: unexpected \"(\""),
        ("topk(5 a)", "1:8: parse error: unexpected identifier \"a\" in aggregation"),
        ("a + on(b) group_left(b) c", "1:3: parse error: label \"b\" must not occur in ON and GROUP clause at once"),
        ("a + on(b) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("a{\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\""),
        (
            "abs(a) offset 5m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("a{b=~\"(\"}", "1:3: parse error: "),
        (
            "sum(a, b)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2",
        ),
        (
            "-\"a\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
    ];
    for (text, message) in cases {
        let got = error(text);
        assert!(got.starts_with(message), "{text:?}\n     got {got}\nexpected {message}");
    }
}

#[test]
fn deep_nesting_is_an_error_and_long_texts_are_not() {
    for open in ["(", "-", "abs(", "a[1h:1m"] {
        let text = open.repeat(100_000);
        assert!(error(&text).contains("parse error"), "{open}");
    }
    assert!(error(&"(".repeat(1_000)).contains("nested deeper"));
    assert!(error(&format!("a{}", " + a".repeat(100_000))).contains("more than"));
    let long = format!("sum by ({}) (a)", (0..200_000).map(|i| format!("label_{i}")).collect::<Vec<_>>().join(","));
    assert!(parse(&long).is_ok());
}

#[test]
fn places_are_those_of_the_text() {
    let expr = parse("sum(\n  rate(a[5m])\n)").unwrap();
    let Expr::Aggregate(sum) = &expr else { panic!("no aggregation") };
    let span = sum.expr.span();
    assert_eq!((span.line, span.column, span.start, span.end), (2, 3, 7, 18));
    assert_eq!(expr.value_type(), ValueType::Vector);
    assert_eq!(expr.selectors().len(), 1);
    assert!(expr.has_selectors() && !parse("time() + 1").unwrap().has_selectors());
}

#[test]
fn pretty_texts_parse_to_the_same() {
    let text = "sum by (job, instance) (rate(http_requests_total{job=\"api\",code=~\"5..\"}[5m])) / on (job) group_left () \
                sum by (job) (rate(http_requests_total{job=\"api\"}[5m] offset 1h)) > 0.5 or vector(0)";
    let expr = parse(text).unwrap();
    let pretty = expr.pretty();
    assert!(pretty.lines().all(|line| line.len() <= 100), "{pretty}");
    assert_eq!(parse(&pretty).unwrap(), expr);
}
