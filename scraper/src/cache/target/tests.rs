use tsdb::{HistogramValue, MetricKind, Timestamp};

use super::*;
use crate::parse::Histograms;
use crate::store::Store as _;
use crate::testing::Recorder;

/// Messages written by hand: fields one after the other.
#[derive(Clone, Default)]
struct Proto(Vec<u8>);

impl Proto {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn signed(self, field: u64, value: i64) -> Self {
        self.number(field, (value << 1 ^ value >> 63) as u64)
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn message(mut self, field: u64, message: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(message.len() as u64);
        self.0.extend_from_slice(message);
        self
    }

    fn add(mut self, field: u64, mut message: Self) -> Self {
        self.varint(field << 3 | 2);
        self.varint(message.0.len() as u64);
        self.0.append(&mut message.0);
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.message(field, text.as_bytes())
    }
}

fn proto() -> Proto {
    Proto::default()
}

fn label(name: &str, value: &str) -> Proto {
    proto().text(1, name).text(2, value)
}

/// A moment, in seconds.
fn moment(seconds: u64) -> Proto {
    proto().number(1, seconds).number(2, 500_000_000)
}

/// A family of one metric with the label `a="b"`.
fn family(name: &str, kind: u64, field: u64, content: Proto) -> Vec<u8> {
    let metric = proto().add(1, label("a", "b")).add(field, content);
    let family = proto().text(1, name).text(2, "What it is.").number(3, kind).add(4, metric);
    let mut body = proto();
    body.varint(family.0.len() as u64);
    body.0.extend_from_slice(&family.0);
    body.0
}

fn exemplar(value: f64) -> Proto {
    proto().add(1, label("trace_id", "x")).double(2, value).add(3, moment(7))
}

fn bucket(bound: f64, count: u64) -> Proto {
    proto().number(1, count).double(2, bound)
}

/// Three observations, classic and native.
fn histogram() -> Proto {
    let span = proto().signed(1, 0).number(2, 2);
    proto()
        .number(1, 3)
        .double(2, 4.5)
        .add(3, bucket(1.0, 1).add(3, exemplar(0.5)))
        .add(3, bucket(2.0, 3))
        .add(15, moment(100))
        .signed(5, 0)
        .double(6, 0.001)
        .number(7, 0)
        .add(12, span)
        .message(13, &[2, 2])
}

const NATIVE: Histograms = Histograms { native: true, always_classic: false, convert_classic: false };
const OPENMETRICS: Exposition = Exposition::Text(Format::OpenMetrics);

/// A target scraped by hand, a second after the last time.
#[derive(Default)]
struct Target {
    cache: TargetCache,
    store: Recorder,
    rules: SampleRules,
    now: i64,
}

impl Target {
    fn new(histograms: Histograms) -> Self {
        Self { rules: SampleRules { histograms, honor_timestamps: true, ..SampleRules::default() }, ..Self::default() }
    }

    fn scrape(&mut self, exposition: Exposition, body: &[u8]) -> Result<Counts, IngestError> {
        self.now += 1000;
        let now = Timestamp::from_millis(self.now);
        let mut batch = self.store.batch(&(), now);
        let body = body.to_vec();
        let scratch = &mut Scratch::default();
        let (counts, outcome) = self.cache.ingest(&body, exposition, &self.rules, now, scratch, &mut batch);
        if let Err(error) = outcome {
            let mut batch = self.store.batch(&(), now);
            self.cache.mark_stale(&mut batch);
            batch.commit().unwrap();
            return Err(error);
        }
        let unknown = batch.commit().unwrap().unknown;
        let mut batch = self.store.batch(&(), now);
        self.cache.append_again(&body, &unknown, &self.rules, &mut batch).unwrap();
        batch.commit().unwrap();
        Ok(counts)
    }

    fn proto(&mut self, families: &[Vec<u8>]) -> Counts {
        self.scrape(Exposition::Protobuf, &families.concat()).unwrap()
    }

    fn samples(&self, series: &str) -> Vec<(i64, Option<f64>)> {
        self.store.samples_of(series)
    }

    /// The last value of every series of floats.
    fn floats(&self) -> Vec<String> {
        let recorded = self.store.recorded();
        recorded.samples.iter().map(|(l, s)| format!("{l} {}", s.last_key_value().unwrap().1)).collect()
    }

    fn histogram(&self) -> HistogramValue {
        let recorded = self.store.recorded();
        let (_, all) = recorded.histograms.iter().next().expect("there is a histogram");
        all.last_key_value().unwrap().1.clone()
    }
}

#[test]
fn all_kinds_of_metrics_are_read() {
    let mut target = Target::new(NATIVE);
    let counts = target.proto(&[
        family("jobs_total", 0, 3, proto().double(1, 5.0).add(2, exemplar(1.0)).add(3, moment(100))),
        family("temperature", 1, 2, proto().double(1, -1.5)),
        family("plain", 3, 5, proto().double(1, f64::from_bits(tsdb::STALE_NAN.to_bits()))),
        family("wait", 2, 4, proto().number(1, 2).double(2, 3.0).add(3, proto().double(1, 0.5).double(2, 1.25))),
        family("classic", 4, 7, proto().number(1, 3).double(2, 4.5).add(3, bucket(1.0, 1))),
    ]);
    assert_eq!((counts.scraped, counts.kept, counts.added, counts.exemplars), (10, 10, 10, 1));
    assert_eq!(
        target.floats(),
        [
            r#"classic_bucket{a="b", le="+Inf"} 3"#,
            r#"classic_bucket{a="b", le="1.0"} 1"#,
            r#"classic_count{a="b"} 3"#,
            r#"classic_sum{a="b"} 4.5"#,
            r#"jobs_total{a="b"} 5"#,
            r#"plain{a="b"} NaN"#,
            r#"temperature{a="b"} -1.5"#,
            r#"wait{a="b", quantile="0.5"} 1.25"#,
            r#"wait_count{a="b"} 2"#,
            r#"wait_sum{a="b"} 3"#,
        ]
    );
    let recorded = target.store.recorded();
    assert_eq!(recorded.exemplars, [r#"jobs_total{a="b"} {trace_id="x"} 1 @7500"#]);
    let starts: Vec<_> = recorded.starts.iter().map(|(labels, at)| format!("{labels} {at}")).collect();
    assert_eq!(starts, [r#"jobs_total{a="b"} 100500"#]);
    assert_eq!(
        (recorded.families["wait"].kind, &*recorded.families["wait"].help),
        (MetricKind::Summary, "What it is.")
    );
}

#[test]
fn native_histograms_are_taken_or_left_as_the_rules_say() {
    let body = [family("h", 4, 7, histogram())];
    let classic =
        ["_bucket{a=\"b\", le=\"+Inf\"} 3", "_bucket{a=\"b\", le=\"1.0\"} 1", "_bucket{a=\"b\", le=\"2.0\"} 3"];
    let classic: Vec<String> =
        classic.iter().chain(&["_count{a=\"b\"} 3", "_sum{a=\"b\"} 4.5"]).map(|l| format!("h{l}")).collect();
    let mut target = Target::new(NATIVE);
    target.proto(&body);
    assert!(target.floats().is_empty());
    let HistogramValue::Integer(h) = target.histogram() else { panic!("it counts in whole numbers") };
    assert_eq!((h.count, h.sum, h.schema, h.zero_threshold), (3, 4.5, 0, 0.001));
    assert_eq!((&h.positive_buckets[..], h.positive_spans[0].length), (&[1, 1][..], 2));
    assert_eq!(target.store.recorded().exemplars, [r#"h{a="b"} {trace_id="x"} 0.5 @7500"#], "that of its bucket");
    assert_eq!(target.store.recorded().starts.len(), 1);

    let mut target = Target::new(Histograms { always_classic: true, ..NATIVE });
    target.proto(&body);
    assert_eq!((target.floats(), target.histogram()), (classic.clone(), HistogramValue::Integer(h)));

    let mut target = Target::new(Histograms::default());
    target.proto(&body);
    assert_eq!(target.floats(), classic);
    assert!(target.store.recorded().histograms.is_empty());

    let mut target = Target::new(Histograms { convert_classic: true, ..Histograms::default() });
    target.proto(&body);
    let HistogramValue::Integer(h) = target.histogram() else { panic!("it counts in whole numbers") };
    assert_eq!((&h.custom_values[..], &h.positive_buckets[..]), (&[1.0, 2.0][..], &[1, 1, -2][..]));
    assert!(target.floats().is_empty());
}

#[test]
fn float_and_gauge_histograms_keep_their_kind() {
    let mut target = Target::new(NATIVE);
    let span = proto().signed(1, -1).number(2, 1);
    let float = proto().double(4, 2.5).double(2, 1.0).signed(5, 3).double(8, 0.5).add(9, span).double(11, 2.0);
    target.proto(&[family("h", 5, 7, float)]);
    let HistogramValue::Float(h) = target.histogram() else { panic!("it counts in floats") };
    assert_eq!((h.count, h.zero_count, h.schema, &h.negative_buckets[..]), (2.5, 0.5, 3, &[2.0][..]));
    assert_eq!((h.negative_spans[0].offset, h.counter_reset_hint), (-1, tsdb::CounterResetHint::Gauge));
}

#[test]
fn series_in_protocol_buffers_vanish_fail_and_are_found_again() {
    let mut target = Target::new(NATIVE);
    let gauge = |name: &str, value: f64| family(name, 1, 2, proto().double(1, value));
    target.proto(&[gauge("x", 1.0), gauge("y", 2.0)]);
    assert_eq!(target.proto(&[gauge("y", 3.0)]).added, 0);
    assert_eq!(target.samples("x{a=\"b\"}"), [(1000, Some(1.0)), (2000, None)]);
    // A body cut short fails whole, and marks all series stale once.
    let whole = [gauge("y", 4.0), gauge("z", 5.0)].concat();
    let error = target.scrape(Exposition::Protobuf, &whole[..whole.len() - 3]).unwrap_err();
    assert!(error.to_string().contains("reaches beyond its message"), "{error}");
    assert!(target.scrape(Exposition::Protobuf, b"\x05abc").is_err());
    let counts = target.proto(&[gauge("y", 6.0)]);
    assert_eq!((counts.added, counts.kept), (0, 1), "what was known is known still");
    assert_eq!(target.samples("y{a=\"b\"}"), [(1000, Some(2.0)), (2000, Some(3.0)), (3000, None), (5000, Some(6.0))]);
    assert!(target.samples("z{a=\"b\"}").is_empty());
    // The store lets go of everything: the same scrape makes it anew.
    target.store.evict();
    target.proto(&[gauge("y", 7.0)]);
    assert_eq!(target.samples("y{a=\"b\"}").last(), Some(&(6000, Some(7.0))));
    // The same sample twice counts once.
    let counts = target.proto(&[gauge("y", 8.0), gauge("y", 9.0)]);
    assert_eq!((counts.scraped, counts.duplicates), (2, 1));
    assert_eq!(target.samples("y{a=\"b\"}").last(), Some(&(7000, Some(8.0))));
}

#[test]
fn a_target_may_change_its_format_and_its_rules() {
    let mut target = Target::new(NATIVE);
    target.scrape(Exposition::Text(Format::Text), b"x{a=\"b\"} 1\nold 1\n").unwrap();
    target.proto(&[family("x", 1, 2, proto().double(1, 2.0))]);
    assert_eq!(target.samples("x{a=\"b\"}"), [(1000, Some(1.0)), (2000, Some(2.0))]);
    assert_eq!(target.samples("old"), [(1000, Some(1.0)), (2000, None)]);
    target.scrape(Exposition::Text(Format::Text), b"y 3\n").unwrap();
    assert_eq!(target.samples("x{a=\"b\"}").last(), Some(&(3000, None)));
    target.proto(&[family("x", 1, 2, proto().double(1, 4.0))]);
    // New rules bring other series: the old ones end.
    target.rules.target = tsdb::Labels::from_pairs([("job", "j")]);
    target.cache.invalidate();
    target.proto(&[family("x", 1, 2, proto().double(1, 5.0))]);
    assert_eq!(target.samples("x{a=\"b\"}").last(), Some(&(5000, None)));
    assert_eq!(target.samples("x{a=\"b\", job=\"j\"}"), [(5000, Some(5.0))]);
}

#[test]
fn limits_hold_for_protocol_buffers_too() {
    let mut target = Target::new(NATIVE);
    target.rules.limits.samples = 1;
    let gauge = |name: &str| family(name, 1, 2, proto().double(1, 1.0));
    let body = [gauge("x"), gauge("y")].concat();
    assert_eq!(target.scrape(Exposition::Protobuf, &body), Err(IngestError::SampleLimit));
    target.proto(&[gauge("x")]);
    target.rules.limits.labels = 1;
    target.cache.invalidate();
    assert!(matches!(target.scrape(Exposition::Protobuf, &gauge("x")), Err(IngestError::Labels(_))));
}

const LINES: &str = "# TYPE c counter\nc_total{a=\"b\"} 5 # {trace_id=\"x\"} 1 7.5\nc_created{a=\"b\"} 100.5\n\
    # TYPE h histogram\nh_bucket{a=\"b\",le=\"1\"} 1\nh_bucket{a=\"b\",le=\"+Inf\"} 3\nh_count{a=\"b\"} 3\nh_sum{a=\"b\"} 4.5\n\
    h_created{a=\"b\"} 200\n# EOF\n";

#[test]
fn created_lines_are_series_unless_they_say_when_counts_began() {
    let mut target = Target::new(Histograms::default());
    let counts = target.scrape(OPENMETRICS, LINES.as_bytes()).unwrap();
    assert_eq!((counts.scraped, counts.exemplars), (7, 1));
    assert_eq!(target.samples("c_created{a=\"b\"}"), [(1000, Some(100.5))]);
    assert_eq!(target.store.recorded().exemplars, [r#"c_total{a="b"} {trace_id="x"} 1 @7500"#]);

    let mut target = Target::new(Histograms::default());
    target.rules.start_timestamps = true;
    let counts = target.scrape(OPENMETRICS, LINES.as_bytes()).unwrap();
    assert_eq!((counts.scraped, counts.exemplars), (5, 1));
    let recorded = target.store.recorded();
    let starts: Vec<_> = recorded.starts.iter().map(|(labels, at)| format!("{labels} {at}")).collect();
    assert_eq!(
        starts,
        [
            r#"c_total{a="b"} 100500"#,
            r#"h_bucket{a="b", le="+Inf"} 200000"#,
            r#"h_bucket{a="b", le="1.0"} 200000"#,
            r#"h_count{a="b"} 200000"#,
            r#"h_sum{a="b"} 200000"#,
        ]
    );
    assert_eq!(recorded.families["h"].kind, MetricKind::Histogram);
}

#[test]
fn classic_histograms_of_lines_become_native_ones() {
    let mut target = Target::new(Histograms { convert_classic: true, ..Histograms::default() });
    target.rules.start_timestamps = true;
    target.scrape(OPENMETRICS, LINES.as_bytes()).unwrap();
    assert_eq!(target.floats(), [r#"c_total{a="b"} 5"#]);
    let HistogramValue::Integer(h) = target.histogram() else { panic!("it counts in whole numbers") };
    assert_eq!((h.count, h.sum, &h.custom_values[..], &h.positive_buckets[..]), (3, 4.5, &[1.0][..], &[1, 1][..]));
    assert_eq!(target.store.recorded().starts.len(), 2);
    target.rules.histograms.always_classic = true;
    target.cache.invalidate();
    target.scrape(OPENMETRICS, LINES.as_bytes()).unwrap();
    assert_eq!(target.floats().len(), 5);
}

#[test]
fn an_exemplar_is_handed_on_when_it_changes() {
    let mut target = Target::new(Histograms::default());
    let body = |value: u32| format!("# TYPE c counter\nc_total 5 # {{t=\"x\"}} {value}\nd 1\n# EOF\n");
    for value in [1, 1, 2] {
        target.scrape(OPENMETRICS, body(value).as_bytes()).unwrap();
    }
    assert_eq!(target.store.recorded().exemplars, [r#"c_total {t="x"} 1 @1000"#, r#"c_total {t="x"} 2 @3000"#]);
    target.scrape(OPENMETRICS, b"# TYPE c counter\nc_total 6\nd 1\n# EOF\n").unwrap();
    assert_eq!(target.store.recorded().exemplars.len(), 2);
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        crate::testing::check_points(&bytes);
    }

    #[test]
    fn no_damage_panics(at in proptest::prelude::any::<proptest::sample::Index>(), byte in proptest::prelude::any::<u8>(), cut in proptest::prelude::any::<bool>()) {
        let mut body = [
            family("h", 4, 7, histogram()),
            family("c", 0, 3, proto().double(1, 5.0).add(2, exemplar(1.0)).add(3, moment(100))),
            family("s", 2, 4, proto().number(1, 2).double(2, 3.0).add(3, proto().double(1, 0.5).double(2, 1.25))),
        ].concat();
        let at = at.index(body.len());
        if cut { body.truncate(at) } else { body[at] = byte }
        crate::testing::check_points(&body);
    }
}

#[test]
fn a_budget_leaves_out_new_series_and_never_known_ones() {
    let text = |names: &[&str]| names.iter().map(|n| format!("m{{user=\"{n}\"}} 1\n")).collect::<String>().into_bytes();
    let gauges = |names: &[&str]| {
        let metric = |n: &&str| proto().add(1, label("user", n)).add(2, proto().double(1, 1.0));
        let family = names.iter().fold(proto().text(1, "m").number(3, 1), |family, n| family.add(4, metric(n)));
        let mut body = proto();
        body.varint(family.0.len() as u64);
        body.0.extend_from_slice(&family.0);
        body.0
    };
    type Write<'w> = &'w dyn Fn(&[&str]) -> Vec<u8>;
    let ways: [(Exposition, Write<'_>); 2] = [(Exposition::Text(Format::Text), &text), (Exposition::Protobuf, &gauges)];
    for (exposition, write) in ways {
        let mut target = Target::new(Histograms::default());
        target.rules.limits.series = 3;
        let mut scrape = |names: &[&str]| {
            let counts = target.scrape(exposition, &write(names)).unwrap();
            let live = |user: &&&str| {
                target.samples(&format!("m{{user=\"{user}\"}}")).last() == Some(&(target.now, Some(1.0)))
            };
            let live: String = ["a", "b", "c", "d", "e"].iter().filter(live).copied().collect();
            (live, counts.refused, target.cache.culprit().cloned())
        };
        let culprit = |values, example: &str| {
            Some(Culprit { metric: "m".into(), label: "user".into(), values, example: example.into() })
        };
        assert_eq!(scrape(&["a", "b", "c"]), ("abc".into(), 0, None));
        assert_eq!(
            scrape(&["d", "a", "b", "c"]),
            ("abc".into(), 1, culprit(1, "d")),
            "the new one, wherever it stands"
        );
        assert_eq!(scrape(&["d", "a", "b", "c"]), ("abc".into(), 1, culprit(1, "d")), "and again");
        let (live, refused, named) = scrape(&["d", "a", "e", "b", "c"]);
        assert_eq!((live.as_str(), refused, named.unwrap().label.as_str()), ("abc", 2, "user"));
        assert_eq!(scrape(&["d", "a", "e", "c"]).0, "acd", "a place that is free is taken, first come first served");
        assert_eq!(scrape(&["d", "a", "e", "c"]).0, "acd");
        assert_eq!(scrape(&["d", "e", "d"]), ("de".into(), 0, None));
        assert_eq!(target.samples("m{user=\"a\"}").last(), Some(&(7000, None)), "what went got its stale marker");
        assert!(
            target.samples("m{user=\"e\"}").iter().all(|(_, value)| value.is_some()),
            "no marker for what never was"
        );
    }
}

#[test]
fn a_budget_of_one_scrape_is_filled_in_the_order_of_the_body() {
    let mut target = Target::new(Histograms::default());
    target.rules.limits.series = 2;
    let body: String = (0..10).map(|i| format!("m{i} {i}\n")).collect();
    let counts = target.scrape(Exposition::Text(Format::Text), body.as_bytes()).unwrap();
    assert_eq!((counts.scraped, counts.kept, counts.added, counts.refused), (10, 10, 2, 8));
    assert_eq!(target.floats(), ["m0 0", "m1 1"]);
    assert_eq!(target.cache.culprit().map(|c| (&*c.label, c.values)), Some(("__name__", 8)));
    // Relabeling comes first: what it drops takes no place.
    target.rules.relabel = [crate::Relabel {
        action: crate::Action::Drop,
        source_labels: vec!["__name__".to_owned()],
        regex: model::Regex::pasted("m[0-7]").unwrap(),
        ..crate::Relabel::default()
    }]
    .into();
    target.cache.invalidate();
    let counts = target.scrape(Exposition::Text(Format::Text), body.as_bytes()).unwrap();
    assert_eq!((counts.kept, counts.refused), (2, 0));
    assert_eq!(target.samples("m9"), [(2000, Some(9.0))]);
}
