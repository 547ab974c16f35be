use super::*;

/// All of a body, in a form that reads well in an assertion.
fn read(body: &str, format: Format) -> Result<Vec<String>, String> {
    let mut parser = Parser::new(body.as_bytes(), format);
    let mut out = Vec::new();
    loop {
        match parser.entry() {
            Err(error) => return Err(error.to_string()),
            Ok(None) => return Ok(out),
            Ok(Some(Entry::Sample(s))) => {
                let labels: tsdb::Labels = parser.labels().collect();
                let mut line = format!("{labels} {}", s.value);
                if let Some(t) = s.timestamp {
                    line += &format!(" @{t}");
                }
                if let Some(e) = parser.exemplar() {
                    line += &format!(" #{} {}", String::from_utf8_lossy(e.labels), e.value);
                    line += &e.timestamp.map(|t| format!(" @{t}")).unwrap_or_default();
                }
                line += if s.created { " created" } else { "" };
                out.push(line);
            }
            Ok(Some(Entry::Type { family, kind })) => out.push(format!("type {family} {kind}")),
            Ok(Some(Entry::Help { family, help })) => out.push(format!("help {family} {help:?}")),
            Ok(Some(Entry::Unit { family, unit })) => out.push(format!("unit {family} {unit}")),
            Ok(Some(Entry::Comment)) => out.push("comment".to_owned()),
        }
    }
}

fn text(body: &str) -> Vec<String> {
    read(body, Format::Text).unwrap()
}

fn openmetrics(body: &str) -> Vec<String> {
    read(body, Format::OpenMetrics).unwrap()
}

#[test]
fn text_reads_metadata_samples_and_timestamps() {
    let body = "# HELP a_total What \\\\ it\\n is.\n# TYPE a_total counter\n#plain\n# UNIT a_total x\n\n\
                a_total{b=\"1\",c=\"\"} 5 1790000000001\n  a_total   7\t\nx:y{} +Inf";
    assert_eq!(
        text(body),
        [
            "help a_total \"What \\\\ it\\n is.\"",
            "type a_total counter",
            "comment",
            "comment",
            "a_total{b=\"1\"} 5 @1790000000001",
            "a_total 7",
            "{\"x:y\"} inf",
        ]
        .map(|line| line.replace("{\"x:y\"}", "x:y"))
    );
}

#[test]
fn label_values_keep_commas_braces_and_escapes() {
    assert_eq!(
        text("a{b=\"x,y={}\\\"\\\\\\n\\q\",} 1\na{b=\"line\nbreak\" c = \"ü\"} 2\n"),
        ["a{b=\"x,y={}\\\"\\\\\\n\\\\q\"} 1", "a{b=\"line\\nbreak\", c=\"ü\"} 2"]
    );
}

#[test]
fn names_in_quotes_may_be_any_text() {
    let body = "# TYPE \"a.b\" gauge\n{\"a.b\",\"c d\"=\"e\"} 1\n{\"a.b\"} 2\n{c=\"d\",\"x\"} 3\n";
    assert_eq!(text(body), ["type a.b gauge", "{\"a.b\", \"c d\"=\"e\"} 1", "{\"a.b\"} 2", "x{c=\"d\"} 3"]);
}

#[test]
fn bounds_of_classic_histograms_and_summaries_get_a_point() {
    let body = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_bucket{le=\"1e6\",quantile=\"1\"} 3\n\
                # TYPE s summary\ns{quantile=\"0.50\",le=\"1\"} 4\n# TYPE g gauge\ng{le=\"1\"} 5\n";
    assert_eq!(
        text(body),
        [
            "type h histogram",
            "h_bucket{le=\"1.0\"} 1",
            "h_bucket{le=\"+Inf\"} 2",
            "h_bucket{le=\"1e+06\", quantile=\"1\"} 3",
            "type s summary",
            "s{le=\"1\", quantile=\"0.5\"} 4",
            "type g gauge",
            "g{le=\"1\"} 5",
        ]
    );
}

#[test]
fn openmetrics_reads_units_exemplars_and_created_lines() {
    let body = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds a\\\"b\\n\n\
                a_seconds_total{x=\"1\"} 5 12.5 # {trace=\"t\"} 0.5 1.25\na_seconds_total 6 # {} 1\n\
                a_seconds_created{x=\"1\"} 12\n# TYPE b gauge\nb_created 1\n# EOF\n";
    assert_eq!(
        openmetrics(body),
        [
            "type a_seconds counter",
            "unit a_seconds seconds",
            "help a_seconds \"a\\\"b\\n\"",
            "a_seconds_total{x=\"1\"} 5 @12500 #{trace=\"t\"} 0.5 @1250",
            "a_seconds_total 6 #{} 1",
            "a_seconds_created{x=\"1\"} 12 created",
            "type b gauge",
            "b_created 1",
        ]
    );
}

#[test]
fn text_refuses_malformed_bodies_with_line_and_snippet() {
    for (body, error) in [
        ("a 1\nb{c=\"d\" 1\n", "line 2: expected label name while parsing: \"b{c=\\\"d\\\" 1\""),
        ("a 1\n\n b{c=\"d 1\n", "line 3: unclosed quote while parsing: \"b{c=\\\"d 1\""),
        (
            "a 1\nb{c=\"d 1\ne{f=\"g\"} 1\n",
            "line 2: expected equal after label name while parsing: \"b{c=\\\"d 1\\ne{f=\\\"g\\\"} 1\"",
        ),
        ("a", "line 1: expected value after metric while parsing: \"a\""),
        ("a{b=1} 1", "line 1: expected label value while parsing: \"a{b=1} 1\""),
        ("a{=\"1\"} 1", "line 1: expected label name while parsing: \"a{=\\\"1\\\"} 1\""),
        ("a{b} 1", "line 1: expected equal after label name while parsing: \"a{b} 1\""),
        ("a x", "line 1: invalid number \"x\" while parsing: \"a x\""),
        ("a 1 2 3", "line 1: expected next entry after timestamp while parsing: \"a 1 2 3\""),
        ("a 1 -2", "line 1: expected timestamp or new record while parsing: \"a 1 -2\""),
        ("1m 1", "line 1: expected a valid start token while parsing: \"1m 1\""),
        ("# TYPE a what\n", "line 1: invalid metric type \"what\" while parsing: \"# TYPE a what\""),
        ("{b=\"c\"} 1", "line 1: metric name not set while parsing: \"{b=\\\"c\\\"} 1\""),
        ("{\"a\",\"b\"} 1", "line 1: metric name already set while parsing: \"{\\\"a\\\",\\\"b\\\"} 1\""),
        ("a{\"b\"} 1", "line 1: metric name already set while parsing: \"a{\\\"b\\\"} 1\""),
        ("a 1e999", "line 1: invalid number \"1e999\" while parsing: \"a 1e999\""),
        (
            "a 99999999999999999999 1\r\n",
            "line 1: expected next entry after timestamp while parsing: \"a 99999999999999999999 1\\r\"",
        ),
    ] {
        assert_eq!(read(body, Format::Text), Err(error.to_owned()), "{body:?}");
    }
    let mut parser = Parser::new(b"a{b=\"\xff\"} 1", Format::Text);
    assert!(parser.entry().unwrap_err().to_string().contains("label value is not valid UTF-8"));
}

#[test]
fn openmetrics_refuses_what_its_grammar_does_not_allow() {
    for (body, what) in [
        ("a 1\n", "data does not end with # EOF"),
        ("a 1", "data does not end with # EOF"),
        ("a 1\n# EOF\nb", "unexpected data after # EOF"),
        ("\n# EOF\n", "expected a valid start token"),
        ("# comment\n# EOF\n", "expected a valid start token"),
        ("a  1\n# EOF\n", "expected value after metric"),
        ("a{b=\"c\", d=\"e\"} 1\n# EOF\n", "expected label name"),
        ("a{b=\"c\"d=\"e\"} 1\n# EOF\n", "expected comma or brace close"),
        ("a 1 NaN\n# EOF\n", "invalid timestamp NaN"),
        ("a 1 #\n# EOF\n", "expected timestamp, exemplar or next entry"),
        ("a 1 # {x} 1\n# EOF\n", "expected equal after label name"),
        ("a 1 # {x=\"y\"}\n# EOF\n", "expected value after exemplar labels"),
        ("# UNIT a seconds\n# EOF\n", "unit \"seconds\" not a suffix of metric \"a\""),
        ("# HELP a\n# EOF\n", "expected text in HELP"),
    ] {
        let error = read(body, Format::OpenMetrics).unwrap_err();
        assert!(error.contains(what), "{body:?}: {error}");
    }
    assert_eq!(openmetrics("# EOF"), Vec::<String>::new());
}

#[test]
fn the_content_type_chooses_the_grammar() {
    let choose = |header, fallback| Exposition::of_content_type(header, fallback);
    let (text, openmetrics) = (Exposition::Text(Format::Text), Exposition::Text(Format::OpenMetrics));
    assert_eq!(choose(Some("text/plain; version=0.0.4"), None), Ok(text));
    assert_eq!(choose(Some("Application/OpenMetrics-Text;version=1.0.0"), None), Ok(openmetrics));
    let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    assert_eq!(choose(Some(protobuf), None), Ok(Exposition::Protobuf));
    assert_eq!(choose(Some("text/html"), Some(text)), Ok(text));
    assert!(choose(Some("text/html"), None).unwrap_err().contains("unsupported Content-Type \"text/html\""));
    assert!(choose(None, None).unwrap_err().contains("blank Content-Type"));
}
