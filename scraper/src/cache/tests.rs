use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tsdb::{Labels, Metadata, MetricKind, is_stale};

use super::ingest::{MAX_AHEAD_MS, bound};
use super::*;
use crate::parse::Parser;
use crate::relabel::{Action, Relabel};
use crate::sample_rules::SampleLimits;
use crate::store::Store as _;
use crate::testing::Recorder;

/// A target scraped by hand.
#[derive(Default)]
struct Target {
    cache: SeriesCache,
    scratch: Scratch,
    store: Recorder,
    rules: SampleRules,
    now: i64,
}

impl Target {
    fn new(rules: SampleRules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// One scrape a second after the last, as the scrape loop does it.
    fn scrape(&mut self, format: Format, body: &str) -> (Counts, Result<(), IngestError>) {
        self.now += 1000;
        let now = Timestamp::from_millis(self.now);
        let mut batch = self.store.batch(&(), now);
        let body = body.as_bytes().to_vec();
        let (counts, result) = self.cache.ingest(&body, format, &self.rules, now, &mut self.scratch, &mut batch);
        if result.is_ok() {
            let unknown = batch.commit().unwrap().unknown;
            let mut batch = self.store.batch(&(), now);
            self.cache.append_again(&body, &unknown, &self.rules, &mut batch).unwrap();
            batch.commit().unwrap();
        } else {
            self.fail_at(now);
        }
        (counts, result)
    }

    fn fail_at(&mut self, now: Timestamp) {
        let mut batch = self.store.batch(&(), now);
        self.cache.mark_stale(&mut batch);
        batch.commit().unwrap();
    }

    fn fail(&mut self) {
        self.now += 1000;
        self.fail_at(Timestamp::from_millis(self.now));
    }

    fn text(&mut self, body: &str) -> Counts {
        let (counts, result) = self.scrape(Format::Text, body);
        result.unwrap();
        counts
    }

    fn samples(&self, series: &str) -> Vec<(i64, Option<f64>)> {
        self.store.samples_of(series)
    }
}

fn honoring() -> SampleRules {
    SampleRules { honor_timestamps: true, ..SampleRules::default() }
}

#[test]
fn a_vanished_series_gets_one_stale_marker() {
    let mut target = Target::new(honoring());
    target.text("a 1\nb 2\n");
    target.text("b 3\n");
    target.text("b 4\n");
    assert_eq!(target.samples("a"), [(1000, Some(1.0)), (2000, None)]);
    assert_eq!(target.samples("b"), [(1000, Some(2.0)), (2000, Some(3.0)), (3000, Some(4.0))]);
}

#[test]
fn a_failed_scrape_marks_all_series_stale_once() {
    let mut target = Target::new(honoring());
    target.text("a 1\nb{x=\"1\"} 2\n");
    assert!(target.scrape(Format::Text, "a 1\nb{x=\n").1.is_err());
    target.fail();
    let counts = target.text("a 5\nb{x=\"1\"} 6\n");
    assert_eq!(counts.added, 0, "the cache outlives a failure");
    assert_eq!(target.samples("a"), [(1000, Some(1.0)), (2000, None), (4000, Some(5.0))]);
    assert_eq!(target.samples("b{x=\"1\"}"), [(1000, Some(2.0)), (2000, None), (4000, Some(6.0))]);
}

#[test]
fn a_series_written_another_way_is_not_stale() {
    let mut target = Target::new(honoring());
    target.text("a{x=\"1\",y=\"2\"} 1\n");
    target.text("a{y=\"2\",x=\"1\"} 2\n");
    target.text("a { y = \"2\" , x=\"1\" } 3\n");
    assert_eq!(target.samples(r#"a{x="1", y="2"}"#), [(1000, Some(1.0)), (2000, Some(2.0)), (3000, Some(3.0))]);
}

#[test]
fn the_second_of_equal_lines_is_counted_and_left_out() {
    let mut target = Target::new(honoring());
    for added in [1, 0] {
        let counts = target.text("a 1\na 2\n");
        assert_eq!(counts, Counts { scraped: 2, kept: 2, added, duplicates: 1, ..Counts::default() });
    }
    assert_eq!(target.text("a 3\n").duplicates, 0);
    assert_eq!(target.samples("a"), [(1000, Some(1.0)), (2000, Some(1.0)), (3000, Some(3.0))]);
}

#[test]
fn a_repeated_line_that_loses_its_first_is_stored() {
    let mut target = Target::new(honoring());
    target.text("a 1\nb 2\na 3\n");
    assert_eq!(target.text("b 4\na 5\n").duplicates, 0);
    assert_eq!(target.samples("a"), [(1000, Some(1.0)), (2000, Some(5.0))]);
}

#[test]
fn timestamps_are_honored_or_not() {
    let mut target = Target::new(honoring());
    target.text("a 1 500\n");
    target.text("a 2 1500\na 3 1600\n");
    target.text("b 1\n");
    assert_eq!(target.samples("a"), [(500, Some(1.0)), (1500, Some(2.0)), (1600, Some(3.0))], "and no stale marker");

    let mut target = Target::new(SampleRules { track_timestamps_staleness: true, ..honoring() });
    target.text("a 1 500\n");
    target.text("b 1\n");
    assert_eq!(target.samples("a"), [(500, Some(1.0)), (2000, None)]);

    let mut target = Target::new(SampleRules::default());
    target.text("a 1 500\n");
    target.text("b 1\n");
    assert_eq!(target.samples("a"), [(1000, Some(1.0)), (2000, None)]);
}

#[test]
fn a_timestamp_too_far_ahead_is_counted_and_left_out() {
    let mut target = Target::new(honoring());
    let counts = target.text("a 1 601000\nb 2 601001\n");
    assert_eq!((counts.kept, counts.out_of_bounds), (2, 1));
    assert_eq!((target.samples("a").len(), target.samples("b").len()), (1, 0));
}

#[test]
fn a_series_that_gets_timestamps_of_its_own_becomes_stale() {
    let mut target = Target::new(honoring());
    target.text("a 1\n");
    target.text("a 2 1500\n");
    assert_eq!(target.samples("a"), [(1000, Some(1.0)), (1500, Some(2.0)), (2000, None)]);
}

#[test]
fn a_scrape_over_the_sample_limit_stores_nothing_but_counts_all() {
    let limits = SampleLimits { samples: 2, ..SampleLimits::default() };
    let mut target = Target::new(SampleRules { limits, ..honoring() });
    target.text("a 1\nb 1\n");
    let (counts, result) = target.scrape(Format::Text, "a 2\nb 2\nc 2\nd 2\n");
    assert_eq!(result, Err(IngestError::SampleLimit));
    assert_eq!(counts, Counts { scraped: 4, kept: 4, added: 0, ..Counts::default() });
    assert_eq!(target.samples("a"), [(1000, Some(1.0)), (2000, None)]);
    assert_eq!(target.samples("c"), []);
}

#[test]
fn an_evicted_series_is_found_again() {
    let mut target = Target::new(honoring());
    target.text("a{x=\"1\"} 1\nb 1\n");
    target.store.evict();
    target.text("a{x=\"1\"} 2\nb 2\n");
    target.store.evict();
    target.text("b 3\n");
    assert_eq!(target.samples(r#"a{x="1"}"#), [(1000, Some(1.0)), (2000, Some(2.0))], "gone, no marker needed");
    assert_eq!(target.samples("b"), [(1000, Some(1.0)), (2000, Some(2.0)), (3000, Some(3.0))]);
}

#[test]
fn new_rules_make_the_old_series_stale() {
    let mut target = Target::new(honoring());
    target.text("a 1\nb 1\n");
    target.rules.relabel = [Relabel {
        source_labels: vec!["__name__".to_owned()],
        regex: model::Regex::pasted("a").unwrap(),
        target_label: "x".to_owned(),
        replacement: "y".to_owned(),
        ..Relabel::default()
    }]
    .into();
    target.cache.invalidate();
    target.text("a 2\nb 2\n");
    assert_eq!(target.samples("a"), [(1000, Some(1.0)), (2000, None)]);
    assert_eq!(target.samples(r#"a{x="y"}"#), [(2000, Some(2.0))]);
    assert_eq!(target.samples("b"), [(1000, Some(1.0)), (2000, Some(2.0))]);
}

#[test]
fn families_reach_the_store_when_they_change() {
    let mut target = Target::new(honoring());
    target.text("# TYPE a counter\na 1\n# HELP b x\n");
    assert_eq!(target.cache.families().snapshot().len(), 2);
    target.text("# TYPE a gauge\na 1\n# HELP b y\n");
    let recorded = target.store.recorded();
    assert_eq!(recorded.families["a"], Metadata { kind: MetricKind::Gauge, ..Metadata::default() });
    assert_eq!(recorded.families["b"].help, "y");
}

#[test]
fn the_store_may_refuse_new_series() {
    let mut target = Target::new(honoring());
    target.store.recorded().max_series = 1;
    for round in 1..4 {
        let counts = target.text(&format!("a {round}\nb 1\nc 1\n"));
        assert_eq!(counts.refused, 2, "in round {round}");
    }
    assert_eq!((target.samples("a").len(), target.samples("b").len()), (3, 0), "the known series goes on");
    assert_eq!(target.cache.culprit.as_ref().map(|culprit| culprit.label.as_str()), Some("__name__"));
    target.store.recorded().max_series = 2;
    assert_eq!(target.text("a 4\nb 1\nc 1\n").refused, 1, "and there is a place for another");
}

#[test]
fn what_finds_no_place_again_is_counted_and_waits() {
    let mut target = Target::new(honoring());
    target.text("a 1\nb 1\nc 1\nb 2\n");
    target.store.recorded().max_series = 1;
    target.store.evict();
    let body = b"a 2\nb 3\nc 2\nb 4\n";
    let (at, rules) = (Timestamp::from_millis(2000), target.rules.clone());
    let mut batch = target.store.batch(&(), at);
    target.cache.ingest(body, Format::Text, &rules, at, &mut target.scratch, &mut batch).1.unwrap();
    let unknown = batch.commit().unwrap().unknown;
    let mut batch = target.store.batch(&(), at);
    assert_eq!(target.cache.append_again(body, &unknown, &rules, &mut batch).unwrap(), 2, "a has the only place");
    batch.commit().unwrap();
    assert_eq!(target.cache.culprit.as_ref().map(|culprit| culprit.label.as_str()), Some("__name__"));
    target.now = 2000;
    assert_eq!(target.text("a 3\nb 5\nc 3\n").refused, 2);
    target.store.recorded().max_series = 2;
    assert_eq!(target.text("a 4\nb 6\nc 4\n").refused, 1);
    assert_eq!(target.samples("a").len(), 4);
    assert_eq!(target.samples("b"), [(1000, Some(1.0)), (4000, Some(6.0))]);
}

#[test]
fn a_series_takes_less_than_fifty_bytes_whatever_its_text_is() {
    let page = include_str!("../../benches/node_exporter.txt");
    let mut target = Target::new(honoring());
    let samples = target.text(page).scraped;
    assert!(target.cache.memory_bytes() <= 48 * samples, "{} for {samples}", target.cache.memory_bytes());
    target.text(page[page.len() / 2..].split_once('\n').unwrap().1);
    assert!(target.cache.memory_bytes() <= 28 * samples, "a shorter page takes less");
}

#[test]
fn other_white_space_before_a_value_is_read_all_the_same() {
    let mut target = Target::new(honoring());
    for (round, space) in [" ", "  ", " \t", "  ", " "].into_iter().enumerate() {
        let counts = target.text(&format!("a{{x=\"1\"}}{space}{round}\nb {round}\n"));
        assert_eq!((counts.scraped, counts.added), (2, if round == 0 { 2 } else { 0 }));
    }
    assert_eq!(target.samples(r#"a{x="1"}"#).len(), 5);
    assert!(target.scrape(Format::Text, "a{x=\"1\"}\n1\nb 1\n").1.is_err(), "a line break is none");
}

/// What the cache must be equal to: everything parsed, resolved and compared anew, by labels.
#[derive(Default)]
struct Reference {
    samples: BTreeMap<Labels, BTreeMap<i64, u64>>,
    /// Series that get a marker when they vanish.
    tracked: BTreeSet<Labels>,
    /// Texts of the last good body, and which label's numbers were rewritten.
    texts: BTreeMap<Vec<u8>, u8>,
    /// Texts that are not new although the last good body did not have them, or had them in another format.
    learned: BTreeSet<Vec<u8>>,
    /// Those of `texts` that relabeling has left.
    kept: BTreeSet<Vec<u8>>,
    format: Option<Format>,
}

impl Reference {
    fn scrape(&mut self, now: i64, format: Format, body: &[u8], rules: &SampleRules) -> Option<Counts> {
        let mut parser = Parser::new(body, format);
        let mut counts = Counts::default();
        let mut new: Vec<(Labels, i64, f64)> = Vec::new();
        let (mut tracked, mut texts) = (BTreeSet::new(), BTreeMap::new());
        let mut dropped = BTreeSet::new();
        let old_texts = if self.format == Some(format) { self.texts.clone() } else { BTreeMap::new() };
        if self.format != Some(format) {
            self.learned.extend(self.texts.keys().filter(|text| self.kept.contains(*text)).cloned());
        }
        let mut fresh = BTreeSet::new();
        let mut kept_series = BTreeMap::new();
        let result = loop {
            match parser.entry() {
                Err(_) => break None,
                Ok(None) => break Some(()),
                Ok(Some(Entry::Sample(sample))) => {
                    counts.scraped += 1;
                    let text = sample.series.to_vec();
                    let repeated: Option<&Labels> = kept_series.get(&text);
                    let labels = match repeated {
                        Some(labels) => labels.clone(),
                        None => match rules.resolve(parser.labels()) {
                            Err(_) => break None,
                            Ok(None) => {
                                dropped.insert(text.clone());
                                texts.insert(text, bound(parser.kind()));
                                continue;
                            }
                            Ok(Some(labels)) => labels,
                        },
                    };
                    counts.kept += 1;
                    let timestamp = sample.timestamp.filter(|_| rules.honor_timestamps);
                    if repeated.is_some() && timestamp.is_none() {
                        counts.duplicates += 1;
                        continue;
                    }
                    let is_ahead = timestamp.is_some_and(|at| at > now + MAX_AHEAD_MS);
                    if repeated.is_none() {
                        let is_fresh = old_texts.get(&text) != Some(&bound(parser.kind()));
                        counts.added += usize::from(is_fresh && !is_ahead && !self.learned.contains(&text));
                        if is_fresh {
                            fresh.insert(text.clone());
                        }
                        texts.insert(text.clone(), bound(parser.kind()));
                        kept_series.insert(text, labels.clone());
                    }
                    let at = timestamp.unwrap_or(now);
                    if at > now + MAX_AHEAD_MS {
                        counts.out_of_bounds += 1;
                        continue;
                    }
                    if timestamp.is_none() || rules.track_timestamps_staleness {
                        tracked.insert(labels.clone());
                    }
                    new.push((labels, at, sample.value));
                }
                Ok(Some(_)) => {}
            }
        };
        if result.is_none() {
            new.clear();
            tracked.clear();
            self.learned.extend(fresh);
        } else {
            self.learned.clear();
            self.kept = kept_series.into_keys().collect();
            self.texts = texts;
            self.format = Some(format);
        }
        new.extend(self.tracked.difference(&tracked).map(|labels| (labels.clone(), now, STALE_NAN)));
        self.tracked = tracked;
        for (labels, at, value) in new {
            let samples = self.samples.entry(labels).or_default();
            if samples.last_key_value().is_none_or(|(last, _)| *last < at) {
                samples.insert(at, value.to_bits());
            }
        }
        result.map(|()| counts)
    }
}

/// A line or some of them, often alike.
fn arb_line() -> impl Strategy<Value = String> {
    let series = prop::sample::select(vec![
        "a",
        "b",
        "ab",
        "a{x=\"1\"}",
        "a{x=\"2\"}",
        "a{x=\"1\",y=\"2\"}",
        "a{y=\"2\",x=\"1\"}",
        "h{le=\"1\"}",
        "h{le=\"1.0\"}",
        "s{quantile=\"1\"}",
        "a {x=\"1\"}",
        "a{x=\" 1\"}",
        "a{x=\"} 1\"}",
        "a{x=\"\n\"}",
        "{\"q.r\"}",
        "{\"q.r\",x=\"1\"}",
        "drop",
        "drop{x=\"1\"}",
        "a{x=\"\"}",
        "gone",
        "a{__name__=\"b\"}",
    ]);
    let value =
        prop::sample::select(vec!["1", "1", "1", "2", "-3.5", "1e3", "NaN", "+Inf", "x", "", "12345678901234567890"]);
    let tail = prop::sample::select(vec![
        "",
        "",
        "",
        "",
        "",
        " 500",
        " 1500",
        " 2.5",
        " 9999999999999",
        " ",
        " # {t=\"1\"} 2",
        "\t7",
    ]);
    let comment = prop::sample::select(vec![
        "# TYPE h histogram",
        "# TYPE h gauge",
        "# TYPE s summary",
        "# HELP a x",
        "# HELP a y",
        "# free",
        "",
        "# EOF",
        "# UNIT a_s s",
        "#",
        "# TYPE h",
    ]);
    prop_oneof![
        8 => (series, value, tail).prop_map(|(series, value, tail)| format!("{series} {value}{tail}")),
        2 => comment.prop_map(str::to_owned),
    ]
}

/// How a body comes from the one before it.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    Value(prop::sample::Index, String),
    Insert(prop::sample::Index, String),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Byte(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Other(Format),
    Empty,
}

fn arb_change() -> impl Strategy<Value = Change> {
    let index = || any::<prop::sample::Index>();
    prop_oneof![
        2 => Just(Change::Nothing),
        6 => (index(), "[0-9]{1,3}").prop_map(|(at, value)| Change::Value(at, value)),
        4 => (index(), arb_line()).prop_map(|(at, line)| Change::Insert(at, line)),
        4 => index().prop_map(Change::Remove),
        3 => (index(), index()).prop_map(|(a, b)| Change::Swap(a, b)),
        1 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => index().prop_map(Change::Cut),
        1 => prop::sample::select(vec![Format::Text, Format::OpenMetrics]).prop_map(Change::Other),
        1 => Just(Change::Empty),
    ]
}

fn valid_line(line: &str) -> bool {
    let body = format!("{line}\n");
    let mut parser = Parser::new(body.as_bytes(), Format::Text);
    loop {
        match parser.entry() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn arb_rules() -> impl Strategy<Value = SampleRules> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(honor, track, drop, merge)| {
        let mut relabel = Vec::new();
        if drop {
            let source_labels = vec!["__name__".to_owned()];
            relabel.push(Relabel {
                action: Action::Drop,
                source_labels,
                regex: model::Regex::pasted("drop").unwrap(),
                ..Relabel::default()
            });
        }
        if merge {
            relabel.push(Relabel {
                action: Action::LabelDrop,
                regex: model::Regex::pasted("x").unwrap(),
                ..Relabel::default()
            });
        }
        let target = Labels::from_pairs([("job", "j"), ("y", "t")]);
        SampleRules {
            target,
            honor_timestamps: honor,
            track_timestamps_staleness: track,
            relabel: relabel.into(),
            ..SampleRules::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_cache_gives_what_parsing_everything_anew_gives(
        rules in arb_rules(),
        lines in prop::collection::vec(arb_line(), 0..12),
        openmetrics in any::<bool>(),
        changes in prop::collection::vec((arb_change(), any::<bool>()), 1..12),
    ) {
        // Mostly good bodies: a bad line comes in by a change.
        let mut lines: Vec<String> = lines.into_iter().filter(|line| valid_line(line)).collect();
        let mut format = if openmetrics { Format::OpenMetrics } else { Format::Text };
        let mut target = Target::new(rules.clone());
        let mut reference = Reference::default();
        for (change, newline) in changes {
            let mut spoil = None;
            match change {
                Change::Nothing => {}
                Change::Value(at, value) if !lines.is_empty() => {
                    let line = at.get_mut(&mut lines);
                    let series = line.rsplit_once(' ').map_or("a", |(series, _)| series);
                    *line = format!("{series} {value}");
                }
                Change::Insert(at, line) => lines.insert(at.index(lines.len() + 1), line),
                Change::Remove(at) if !lines.is_empty() => { lines.remove(at.index(lines.len())); }
                Change::Swap(a, b) if !lines.is_empty() => {
                    let (a, b) = (a.index(lines.len()), b.index(lines.len()));
                    lines.swap(a, b);
                }
                Change::Other(other) => format = other,
                Change::Empty => lines.clear(),
                other => spoil = Some(other),
            }
            let mut body = lines.join("\n");
            if newline || format == Format::OpenMetrics { body.push('\n'); }
            if format == Format::OpenMetrics { body = body.trim_start_matches('\n').to_owned() + "# EOF\n"; }
            let mut body = body.into_bytes();
            match spoil {
                Some(Change::Byte(at, byte)) if !body.is_empty() => *at.get_mut(&mut body) = byte,
                Some(Change::Cut(at)) => body.truncate(at.index(body.len() + 1)),
                _ => {}
            }
            target.now += 1000;
            let now = Timestamp::from_millis(target.now);
            let expected = reference.scrape(target.now, format, &body, &rules);
            let mut batch = target.store.batch(&(), now);
            let (counts, result) = target.cache.ingest(&body, format, &rules, now, &mut target.scratch, &mut batch);
            match &result {
                Ok(()) => { batch.commit().unwrap(); }
                Err(_) => target.fail_at(now),
            }
            // The reference does not count exemplars; the cache hands those on that are new.
            let counts = Counts { exemplars: 0, ..counts };
            prop_assert_eq!(result.is_ok().then_some(counts), expected, "{:?}", result);
        }
        let stored: BTreeMap<Labels, BTreeMap<i64, u64>> = target.store.recorded().samples.iter()
            .map(|(labels, samples)| (labels.clone(), samples.iter().map(|(at, v)| (*at, v.to_bits())).collect()))
            .collect();
        let show = |all: &BTreeMap<Labels, BTreeMap<i64, u64>>| format!("{:?}", all.iter().map(|(l, s)| (l, s.iter().map(|(t, v)| (*t, if is_stale(f64::from_bits(*v)) { "stale".to_owned() } else { f64::from_bits(*v).to_string() })).collect::<Vec<_>>())).collect::<Vec<_>>());
        prop_assert!(stored == reference.samples, "stored    {}\nreference {}", show(&stored), show(&reference.samples));
    }
}
