//! The pages and the settings of their jobs.

use crate::proto::{self, Family, Metric};

pub(crate) const TEXT: &str = "text/plain; version=0.0.4";
pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(crate) const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// An answer of the target.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) status: &'static str,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// A target and its job.
pub(crate) struct Case {
    pub(crate) name: String,
    /// Of the job, as lines of YAML.
    pub(crate) settings: String,
    /// Whether native histograms are wanted.
    pub(crate) native: bool,
    /// The last is given again and again.
    pub(crate) pages: Vec<Page>,
    /// Moments that pages name are told from this one, in milliseconds since the Unix epoch.
    pub(crate) base_ms: i64,
}

impl Case {
    /// Scrapes that are compared: each page, and the last one twice.
    pub(crate) fn scrapes(&self) -> usize {
        self.pages.len() + 1
    }
}

pub(crate) fn page(content_type: &str, body: impl Into<Vec<u8>>) -> Page {
    Page { status: "200 OK", content_type: content_type.to_owned(), body: body.into() }
}

fn case(name: &str, settings: &str, pages: Vec<Page>) -> Case {
    Case { name: name.to_owned(), settings: settings.to_owned(), native: false, pages, base_ms: 0 }
}

/// Bodies of lines that both text formats may be asked with: name and lines. `NOW` is the present in seconds.
const LINES: &[(&str, &str)] = &[
    ("plain", "# HELP a b c\n# TYPE a counter\na 1\nb{x=\"y\"} 2\n"),
    ("middle_bad_value", "# TYPE a gauge\na 1\n# TYPE b gauge\nb{x=\"1\"} 2\nb{x=\"2\"} x\n# TYPE c gauge\nc 3\n"),
    ("middle_bad_label", "# HELP a aa\na 1\nb{x=1} 2\nc 3\n"),
    ("middle_bad_name", "a 1\n0b 2\nc 3\n"),
    ("middle_bad_type", "# TYPE a gauge\na 1\n# TYPE b nothing\nb 2\n"),
    ("first_bad", "= 1\na 2\n"),
    ("last_bad", "# HELP a aa\na 1\n# HELP b bb\nb\n"),
    ("bad_utf8_value", "a 1\nb{x=\"\u{fffd}\"} 1\n"),
    ("type_after_samples", "a 1\n# TYPE a counter\n# HELP a later\n"),
    ("type_twice", "# TYPE a counter\n# TYPE a gauge\n# HELP a x\n# HELP a y\na 1\n"),
    ("metadata_only", "# TYPE a counter\n# HELP a x\n"),
    ("duplicate_same", "a 1\na 1\nb 1\n"),
    ("duplicate_other", "a 1\na 2\nb 1\n"),
    ("duplicate_spelled_otherwise", "a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 2\n"),
    ("duplicate_empty_label", "a{x=\"\"} 1\na 2\n"),
    ("label_twice", "a 1\nb{x=\"1\",x=\"2\"} 1\nc 1\n"),
    ("label_twice_same", "a 1\nb{x=\"1\",x=\"1\"} 1\nc 1\n"),
    ("label_twice_empty", "a 1\nb{x=\"\",x=\"1\"} 1\nc 1\n"),
    ("label_name_twice", "a 1\nb{__name__=\"z\"} 1\nc 1\n"),
    ("empty_label", "a{x=\"\",y=\"1\"} 1\n"),
    ("job_label", "a{job=\"x\",instance=\"\",exported_job=\"y\"} 1\n"),
    ("reserved_label", "a{__meta=\"1\",__x=\"2\"} 1\n"),
    ("utf8_names", "{\"a.b\",\"c d\"=\"e\"} 1\n{\"ü\"} 2\n"),
    ("utf8_family", "# TYPE \"a.b\" gauge\n# HELP \"a.b\" x\n{\"a.b\"} 1\n"),
    ("no_name", "a 1\n{x=\"1\"} 1\nc 1\n"),
    ("empty_name", "a 1\n{\"\"} 1\nc 1\n"),
    ("name_label_only", "a 1\n{__name__=\"z\"} 1\nc 1\n"),
    ("special_values", "a NaN\nb +Inf\nc -Inf\nd 1e400\ne 1\n"),
    ("values", "a 1e3\nb .5\nc -0\nd 0x10\n"),
    ("underscore_value", "a 1\nb 1_000\n"),
    ("escapes", "# HELP a x\\\\y\\nz\\\"\na{x=\"\\\\\\n\\\"\\q\"} 1\n"),
    ("trailing_comma", "a{x=\"1\",} 1\n"),
    ("comma_alone", "a{,} 1\n"),
    ("double_comma", "a{x=\"1\",,y=\"2\"} 1\n"),
    ("empty_braces", "a{} 1\n"),
    ("no_newline", "a 1\nb 2"),
    ("report_names", "up{case=\"x\"} 5\nscrape_samples_scraped{x=\"y\"} 7\na 1\n"),
    ("histogram", "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n"),
    (
        "histogram_bounds",
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"1e3\"} 2\nh_count 2\n",
    ),
    ("summary", "# TYPE s summary\ns{quantile=\"0.50\"} 1\ns{quantile=\"1\"} 2\ns_sum 3\ns_count 2\n"),
    ("le_untyped", "h_bucket{le=\"1\"} 1\nh_bucket{le=\"1.0\"} 2\n"),
    (
        "long_help",
        "# HELP a xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\na 1\n",
    ),
    ("many_labels", "a{a1=\"1\",a2=\"1\",a3=\"1\",a4=\"1\",a5=\"1\",a6=\"1\",a7=\"1\",a8=\"1\"} 1\nb 1\n"),
    ("info", "# TYPE i info\ni_info{x=\"y\"} 1\n"),
    ("untyped", "# TYPE u untyped\nu 1\n"),
    ("unknown", "# TYPE u unknown\nu 1\n"),
    ("unit", "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1\n"),
    ("bad_unit", "b 1\n# TYPE a gauge\n# UNIT a seconds\na 1\n"),
    ("counter_total", "# TYPE c counter\n# HELP c x\nc_total 1\nc_created 1.5\n"),
    ("exemplar", "# TYPE c counter\nc_total 1 # {trace_id=\"x\"} 0.5\nd 1\n"),
    ("tabs", "a\t1\nb{\tx\t=\t\"y\"\t}\t2\n"),
    ("spaces", "a  1\nb { x = \"y\" } 2\n"),
    ("blank_lines", "a 1\n\n\nb 2\n"),
    ("comment", "# a comment\na 1\n#\nb 2\n"),
    ("carriage_returns", "a 1\r\nb 2\r\n"),
    ("help_without_text", "# HELP a\na 1\n"),
    ("type_without_text", "b 1\n# TYPE a\na 1\n"),
    ("colon_names", "a:b 1\n:c 2\n"),
    ("colon_label", "a 1\nb{c:d=\"e\"} 2\n"),
    ("nul", "a 1\nb\0 2\nc 3\n"),
    ("nul_in_value", "a 1\nb{x=\"\0\"} 2\nc 3\n"),
    ("text_after_value", "a 1\nb 2 x\nc 3\n"),
];

/// Settings of jobs, each tried on [`MIXED`].
const SETTINGS: &[(&str, &str)] = &[
    ("sample_limit_under", "sample_limit: 3"),
    ("sample_limit_even", "sample_limit: 9"),
    ("sample_limit_over", "sample_limit: 10"),
    ("label_limit_2", "label_limit: 2"),
    ("label_limit_3", "label_limit: 3"),
    ("label_limit_5", "label_limit: 5"),
    ("label_name_length", "label_name_length_limit: 8"),
    ("label_value_length", "label_value_length_limit: 12"),
    ("body_size", "body_size_limit: 50B"),
    ("body_size_over", "body_size_limit: 10KB"),
    ("legacy", "metric_name_validation_scheme: legacy\nmetric_name_escaping_scheme: underscores"),
    ("honor_labels", "honor_labels: true"),
    ("no_timestamps", "honor_timestamps: false"),
    ("track_timestamps", "track_timestamps_staleness: true"),
    ("drop_all", "metric_relabel_configs: [{action: drop, regex: '.*'}]"),
    ("drop_one", "metric_relabel_configs: [{source_labels: [__name__], action: drop, regex: 'b'}]"),
    ("keep_one", "metric_relabel_configs: [{source_labels: [__name__], action: keep, regex: 'b'}]"),
    (
        "empty_name",
        "metric_relabel_configs: [{source_labels: [__name__], regex: 'b', target_label: __name__, replacement: ''}]",
    ),
    ("empty_first_name", "metric_relabel_configs: [{target_label: __name__, replacement: ''}]"),
    ("drop_name", "metric_relabel_configs: [{action: labeldrop, regex: __name__}]"),
    ("drop_every_label", "metric_relabel_configs: [{action: labeldrop, regex: '.*'}]"),
    ("keep_no_label", "metric_relabel_configs: [{action: labelkeep, regex: nothing}]"),
    ("one_name", "metric_relabel_configs: [{target_label: __name__, replacement: same}]"),
    ("collide", "metric_relabel_configs: [{action: labeldrop, regex: 'x|y'}]"),
    (
        "collide_all",
        "metric_relabel_configs: [{target_label: __name__, replacement: same}, {action: labelkeep, regex: __name__|job|instance}]",
    ),
    (
        "bad_name",
        "metric_relabel_configs: [{source_labels: [__name__], regex: 'b', target_label: __name__, replacement: 'b.c'}]",
    ),
    (
        "bad_name_legacy",
        "metric_name_validation_scheme: legacy\nmetric_name_escaping_scheme: underscores\nmetric_relabel_configs: [{source_labels: [__name__], regex: 'b', target_label: __name__, replacement: 'b.c'}]",
    ),
    ("labelmap_collide", "metric_relabel_configs: [{action: labelmap, regex: '(x|y)', replacement: z}]"),
    ("drop_instance", "metric_relabel_configs: [{action: labeldrop, regex: instance}]"),
    ("set_label", "metric_relabel_configs: [{target_label: case, replacement: set}]"),
    ("limit_after_relabel", "label_limit: 3\nmetric_relabel_configs: [{action: labeldrop, regex: 'x|y|exported_job'}]"),
    (
        "limit_of_dropped",
        "label_limit: 2\nmetric_relabel_configs: [{source_labels: [__name__], action: drop, regex: '.*'}]",
    ),
    (
        "sample_limit_of_dropped",
        "sample_limit: 2\nmetric_relabel_configs: [{source_labels: [__name__], action: drop, regex: 'b|d'}]",
    ),
    ("both_limits", "sample_limit: 2\nlabel_limit: 4"),
    ("nhcb", "convert_classic_histograms_to_nhcb: true"),
    ("nhcb_and_classic", "convert_classic_histograms_to_nhcb: true\nalways_scrape_classic_histograms: true"),
    ("nhcb_limit", "convert_classic_histograms_to_nhcb: true\nsample_limit: 5"),
    ("bucket_limit", "convert_classic_histograms_to_nhcb: true\nnative_histogram_bucket_limit: 1"),
    ("fallback", "fallback_scrape_protocol: PrometheusText0.0.4"),
];

/// A page with a little of everything.
const MIXED: &str = "# HELP a of a\n# TYPE a counter\na 1\n# TYPE b gauge\nb{x=\"1\"} 2\nb{x=\"2\",y=\"3\"} 3\nb{x=\"2\",y=\"3\"} 4\n\
    # HELP d of d\nd{job=\"other\",instance=\"\"} 5\nd{exported_job=\"e\",job=\"f\"} 6\nlong_name{long_label_name=\"v\"} 7\n\
    c{x=\"a long label value\"} 8\n\
    # TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";

pub(crate) fn cases() -> Vec<Case> {
    let now = crate::common::now() as i64;
    let mut all = Vec::new();
    for (name, lines) in LINES {
        all.push(case(&format!("text_{name}"), "", vec![page(TEXT, *lines)]));
        let ended = if lines.ends_with('\n') { format!("{lines}# EOF\n") } else { format!("{lines}\n# EOF\n") };
        all.push(case(&format!("om_{name}"), "", vec![page(OPENMETRICS, ended)]));
    }
    for (name, settings) in SETTINGS {
        all.push(case(&format!("set_{name}"), settings, vec![page(TEXT, MIXED)]));
        all.push(case(&format!("omset_{name}"), settings, vec![page(OPENMETRICS, format!("{MIXED}# EOF\n"))]));
        all.push(case(&format!("protoset_{name}"), settings, vec![page(PROTOBUF, mixed_protobuf())]));
    }
    all.extend(sequences());
    all.extend(timestamps(now));
    all.extend(answers());
    all.extend(protobuf(now as u64 * 1000));
    for case in &mut all {
        case.base_ms = now * 1000;
    }
    all
}

/// Pages that follow each other.
fn sequences() -> Vec<Case> {
    let (good, more) = ("# TYPE a gauge\na 1\nb 2\n", "# HELP n new\na 1\nb 2\nc 3\n");
    let (bad, bad_new) = ("# TYPE a counter\na 1\nb x\n", "# HELP z zz\na 1\nz 1\nb x\n");
    let pages = |all: &[&str]| all.iter().map(|body| page(TEXT, *body)).collect::<Vec<_>>();
    let mut cases = vec![
        case("seq_good_bad_good", "", pages(&[good, bad, good])),
        case("seq_bad_good", "", pages(&[bad, good])),
        case("seq_bad_bad", "", pages(&[bad_new, bad_new, bad_new])),
        case("seq_bad_new_good_new", "", pages(&[good, bad_new, "a 1\nz 1\nb 2\n"])),
        case("seq_good_empty_good", "", pages(&[good, "", good])),
        case("seq_more", "", pages(&[good, more, good, more])),
        case("seq_limit_then_good", "sample_limit: 2", pages(&[more, good, more])),
        case("seq_limit_always", "sample_limit: 2", pages(&[more, more])),
        case(
            "seq_label_limit",
            "label_limit: 3",
            pages(&["a 1\nb{x=\"1\",y=\"2\"} 1\n", good, "b{x=\"1\"} 1\nc{x=\"1\",y=\"2\"} 1\n"]),
        ),
        case("seq_order", "", pages(&["a 1\nb 2\nc 3\n", "c 3\na 1\nb 2\n", "b 2\nc 3\n"])),
        case("seq_duplicates", "", pages(&["a 1\na 2\n", "a 1\n", "a 1\na 2\n"])),
        case("seq_type_changes", "", pages(&["# TYPE a gauge\na 1\n", "# TYPE a counter\na 1\n", "a 1\n"])),
        case(
            "seq_dropped_bad",
            "metric_relabel_configs: [{source_labels: [__name__], action: drop, regex: 'a'}]",
            pages(&[bad, good]),
        ),
        case("seq_formats", "", vec![page(TEXT, good), page(OPENMETRICS, format!("{good}# EOF\n")), page(TEXT, good)]),
        case("seq_format_bad", "", vec![page(TEXT, good), page(OPENMETRICS, good), page("", good), page(TEXT, good)]),
    ];
    let down = Page { status: "500 Internal Server Error", ..page(TEXT, good) };
    cases.push(case("seq_down", "", vec![page(TEXT, good), down.clone(), page(TEXT, good)]));
    cases.push(case("seq_down_first", "", vec![down, page(TEXT, bad), page(TEXT, good)]));
    cases
}

/// Pages that name moments.
fn timestamps(now: i64) -> Vec<Case> {
    let ms = now * 1000;
    let mut cases = Vec::new();
    for (name, settings) in
        [("", ""), ("_ignored", "honor_timestamps: false"), ("_tracked", "track_timestamps_staleness: true")]
    {
        let mut add = |what: &str, text: String, openmetrics: String| {
            cases.push(case(&format!("time_{what}{name}"), settings, vec![page(TEXT, text)]));
            cases.push(case(
                &format!("omtime_{what}{name}"),
                settings,
                vec![page(OPENMETRICS, openmetrics + "# EOF\n")],
            ));
        };
        add("now", format!("a 1 {ms}\nb 2\n"), format!("a 1 {now}\nb 2\n"));
        add("twice", format!("a 1 {ms}\na 2 {}\n", ms + 1), format!("a 1 {now}\na 2 {now}.001\n"));
        add("same_twice", format!("a 1 {ms}\na 2 {ms}\n"), format!("a 1 {now}\na 2 {now}\n"));
        add("backwards", format!("a 1 {ms}\na 2 {}\nb 1\n", ms - 5), format!("a 1 {now}\na 2 {}\nb 1\n", now - 1));
        add("future", format!("a 1 {}\nb 1\n", ms + 3_600_000), format!("a 1 {}\nb 1\n", now + 3600));
        // A sample that is too old is no added series there; here that shows only when it is stored.
        if name == "_ignored" {
            add("past", format!("b 1\na 1 {}\n", ms - 86_400_000), format!("b 1\na 1 {}\n", now - 86_400));
            add("negative", "b 1\na 1 -5\n".to_owned(), "b 1\na 1 -5\n".to_owned());
        }
        add("fraction", format!("b 1\na 1 {ms}.5\n"), format!("b 1\na 1 {now}.25\n"));
        add("huge", "b 1\na 1 99999999999999999999\n".to_owned(), "b 1\na 1 99999999999999999999\n".to_owned());
        add("nan", "b 1\na 1 NaN\n".to_owned(), "b 1\na 1 NaN\n".to_owned());
    }
    cases
}

/// Answers whose content type is not what it should be.
fn answers() -> Vec<Case> {
    let body = "# TYPE a gauge\na 1\nb 2\n";
    let types = [
        "",
        "text/html",
        "text/plain",
        "TEXT/PLAIN",
        "application/json",
        "application/openmetrics-text",
        "text/plain;",
        "text/plain; version=7",
        "application/openmetrics-text; version=9",
        "garbage",
        "text/plain; =",
        "text/plain; a",
        "text/plain; a=b; a=c",
        "text plain",
        "text/plain; a = b",
        ";",
        "text/",
        "application/vnd.google.protobuf",
        "application/vnd.google.protobuf; proto=x; encoding=text",
    ];
    let mut cases = Vec::new();
    for (at, content_type) in types.iter().enumerate() {
        for (name, settings) in [("", ""), ("_fallback", "fallback_scrape_protocol: PrometheusText0.0.4")] {
            cases.push(case(&format!("type_{at}{name}"), settings, vec![page(content_type, body)]));
        }
    }
    cases
}

fn mixed_protobuf() -> Vec<u8> {
    let histogram = |name: &str| {
        Family::new(name, proto::HISTOGRAM).metric(Metric::new(&[]).histogram(3.0, 2, &[(1.0, 1), (f64::INFINITY, 2)]))
    };
    [
        Family::new("a", proto::COUNTER).help("of a").metric(Metric::new(&[]).counter(1.0)),
        Family::new("b", proto::GAUGE)
            .metric(Metric::new(&[("x", "1")]).gauge(2.0))
            .metric(Metric::new(&[("x", "2"), ("y", "3")]).gauge(3.0))
            .metric(Metric::new(&[("x", "2"), ("y", "3")]).gauge(4.0)),
        Family::new("d", proto::UNTYPED)
            .help("of d")
            .metric(Metric::new(&[("job", "other"), ("instance", "")]).untyped(5.0))
            .metric(Metric::new(&[("exported_job", "e"), ("job", "f")]).untyped(6.0)),
        Family::new("long_name", proto::GAUGE).metric(Metric::new(&[("long_label_name", "v")]).gauge(7.0)),
        Family::new("c", proto::GAUGE).metric(Metric::new(&[("x", "a long label value")]).gauge(8.0)),
        histogram("h"),
    ]
    .iter()
    .flat_map(Family::delimited)
    .collect()
}

/// Bodies in protocol buffers.
fn protobuf(now_ms: u64) -> Vec<Case> {
    let good = Family::new("a", proto::GAUGE).help("x").metric(Metric::new(&[]).gauge(1.0)).delimited();
    let with = |family: Family| [good.clone(), family.delimited()].concat();
    let one = |kind: u64, metric: Metric| Family::new("b", kind).help("bb").metric(metric);
    let native = || Metric::new(&[]).native(3, 0.001, 1, &[(0, 2), (1, 1)], &[1, 1, -1], 5, 10.0);
    let mut bodies: Vec<(&str, Vec<u8>)> = vec![
        ("good", good.clone()),
        ("truncated", with(one(proto::GAUGE, Metric::new(&[]).gauge(1.0)))[..good.len() + 6].to_vec()),
        ("garbage", [good.clone(), vec![0xff; 20]].concat()),
        ("empty_name", with(Family::new("", proto::GAUGE).metric(Metric::new(&[]).gauge(1.0)))),
        ("utf8_name", with(Family::new("a.b", proto::GAUGE).metric(Metric::new(&[("c d", "e")]).gauge(1.0)))),
        ("bad_utf8_name", with(Family::raw(b"b\xff", proto::GAUGE).metric(Metric::new(&[]).gauge(1.0)))),
        ("bad_utf8_help", with(Family::new("b", proto::GAUGE).raw_help(b"b\xff").metric(Metric::new(&[]).gauge(1.0)))),
        ("bad_utf8_label", with(one(proto::GAUGE, Metric::new(&[]).raw_label(b"x", b"\xff").gauge(1.0)))),
        ("empty_label_name", with(one(proto::GAUGE, Metric::new(&[("", "x")]).gauge(1.0)))),
        ("empty_label_value", with(one(proto::GAUGE, Metric::new(&[("x", "")]).gauge(1.0)))),
        ("label_twice", with(one(proto::GAUGE, Metric::new(&[("x", "1"), ("x", "2")]).gauge(1.0)))),
        ("name_label", with(one(proto::GAUGE, Metric::new(&[("__name__", "z")]).gauge(1.0)))),
        ("unknown_type", with(one(9, Metric::new(&[]).gauge(1.0)))),
        ("other_value", with(one(proto::COUNTER, Metric::new(&[]).gauge(1.0)))),
        ("no_value", with(one(proto::COUNTER, Metric::new(&[])))),
        ("no_metrics", with(Family::new("b", proto::GAUGE).help("x"))),
        ("no_metrics_first", [Family::new("b", proto::GAUGE).help("x").delimited(), good.clone()].concat()),
        ("duplicate", with(one(proto::GAUGE, Metric::new(&[]).gauge(1.0)).metric(Metric::new(&[]).gauge(2.0)))),
        ("family_twice", [good.clone(), good.clone()].concat()),
        ("unit", with(Family::new("b_seconds", proto::GAUGE).unit("seconds").metric(Metric::new(&[]).gauge(1.0)))),
        ("bad_unit", with(Family::new("b", proto::GAUGE).unit("seconds").metric(Metric::new(&[]).gauge(1.0)))),
        ("counter_total", with(Family::new("c_total", proto::COUNTER).metric(Metric::new(&[]).counter(1.0)))),
        ("summary", with(one(proto::SUMMARY, Metric::new(&[]).summary(3.0, 2, &[(0.5, 1.0), (1.0, 2.0)])))),
        ("summary_empty", with(one(proto::SUMMARY, Metric::new(&[]).summary(0.0, 0, &[])))),
        ("histogram", with(one(proto::HISTOGRAM, Metric::new(&[]).histogram(3.0, 2, &[(1.0, 1), (f64::INFINITY, 2)])))),
        ("histogram_no_inf", with(one(proto::HISTOGRAM, Metric::new(&[]).histogram(3.0, 2, &[(1.0, 1)])))),
        ("histogram_empty", with(one(proto::HISTOGRAM, Metric::new(&[]).histogram(0.0, 0, &[])))),
        (
            "histogram_bounds",
            with(one(proto::HISTOGRAM, Metric::new(&[]).histogram(3.0, 2, &[(1e-7, 1), (1e6, 1), (1e21, 2)]))),
        ),
        ("gauge_histogram", with(one(proto::GAUGE_HISTOGRAM, Metric::new(&[]).histogram(3.0, 2, &[(1.0, 1)])))),
        ("native", with(one(proto::HISTOGRAM, native()))),
        ("native_and_classic", with(one(proto::HISTOGRAM, native().classic(&[(1.0, 1), (2.0, 6)])))),
        ("native_empty", with(one(proto::HISTOGRAM, Metric::new(&[]).native(3, 0.001, 0, &[(0, 0)], &[], 0, 0.0)))),
        (
            "native_bad_count",
            with(one(proto::HISTOGRAM, Metric::new(&[]).native(3, 0.001, 1, &[(0, 2)], &[1, 1], 60, 1.0))),
        ),
        (
            "native_bad_spans",
            with(one(proto::HISTOGRAM, Metric::new(&[]).native(3, 0.001, 1, &[(0, 5)], &[1, 1], 4, 1.0))),
        ),
        (
            "native_negative_bucket",
            with(one(proto::HISTOGRAM, Metric::new(&[]).native(3, 0.001, 1, &[(0, 2)], &[1, -3], 4, 1.0))),
        ),
        ("timestamp", with(one(proto::GAUGE, Metric::new(&[]).gauge(1.0).timestamp(now_ms)))),
        ("huge_length", [good.clone(), vec![0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3]].concat()),
        ("bad_metric_second", with(one(proto::GAUGE, Metric::new(&[]).gauge(1.0)).raw_metric(b"\x0a\x05\x0a\x09"))),
        ("unknown_fields", with(one(proto::GAUGE, Metric::new(&[]).gauge(1.0).unknown()))),
    ];
    bodies.push(("empty_between", [good.clone(), vec![0], good.clone()].concat()));
    // Whether native ones are scraped is a switch of all jobs in Prometheus 3.5.
    let mut cases: Vec<Case> = bodies
        .iter()
        .filter(|(name, _)| !name.contains("native"))
        .map(|(name, body)| case(&format!("proto_{name}"), "", vec![page(PROTOBUF, body.clone())]))
        .collect();
    for (name, body) in bodies.iter().filter(|(name, _)| name.contains("native") || name.contains("histogram")) {
        for (way, settings) in [
            ("", ""),
            ("_classic", "always_scrape_classic_histograms: true"),
            ("_nhcb", "convert_classic_histograms_to_nhcb: true"),
            ("_nhcb_classic", "convert_classic_histograms_to_nhcb: true\nalways_scrape_classic_histograms: true"),
            ("_limit", "native_histogram_bucket_limit: 2"),
            ("_limit_1", "native_histogram_bucket_limit: 1"),
            ("_factor", "native_histogram_min_bucket_factor: 2"),
            ("_factor_limit", "native_histogram_min_bucket_factor: 1.5\nnative_histogram_bucket_limit: 3"),
        ] {
            // Prometheus 3.5 panics there.
            if name.contains("bad_spans") && (way.contains("limit") || way.contains("factor")) {
                continue;
            }
            cases.push(Case {
                native: true,
                ..case(&format!("native_{name}{way}"), settings, vec![page(PROTOBUF, body.clone())])
            });
        }
    }
    cases
}
