//! The head through its public face: what is committed is read back, whole, now and after a restart.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tsdb::testing::{FaultFs, check_newest};
use tsdb::{
    Columns, Committed, CounterResetHint, Db, Fs, Histogram, HistogramValue, Labels, MatchOp, Matcher, Metadata,
    MetricKind, Options, Queryable, Recovery, STALE_NAN, Span, SyncPolicy, TimeRange, Timestamp,
};

/// Time, bits of the value, start.
type Read = Vec<(i64, u64, i64)>;

fn options(shards: usize) -> Options {
    Options { shards, sync: SyncPolicy::Never, wal_segment_bytes: 1 << 16, ..Options::default() }
}

fn open(fs: &FaultFs, options: &Options) -> (Db, Recovery) {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let db = Db::open(&fs, Path::new("/data"), options, |_, _| {}).unwrap();
    let recovery = db.recovery().clone();
    (db, recovery)
}

fn series(name: &str, instance: usize) -> Labels {
    Labels::from_pairs([("__name__", name), ("instance", &instance.to_string()), ("job", "test")])
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn matching(op: MatchOp, name: &str, value: &str) -> Matcher {
    Matcher::new(op, name, value).unwrap()
}

/// All that the store holds of the series that pass `matchers`.
fn read_all(db: &Db, matchers: &[Matcher], range: TimeRange) -> BTreeMap<Labels, Read> {
    let set = db.querier().unwrap().select(matchers, range).unwrap();
    let mut columns = Columns::default();
    (0..set.len())
        .map(|i| {
            columns.clear();
            set.read(i, range, &mut columns).unwrap();
            check_newest(&*set, i, range, &columns);
            let start = |i: usize| columns.starts_ms.get(i).copied().unwrap_or(0);
            let samples = columns.timestamps_ms.iter().zip(&columns.values).enumerate();
            (set.labels(i), samples.map(|(i, (t, v))| (*t, v.to_bits(), start(i))).collect())
        })
        .collect()
}

#[test]
fn scrapes_are_read_back_now_and_after_a_restart_with_other_shards() {
    let fs = FaultFs::default();
    let mut expected: BTreeMap<Labels, Read> = BTreeMap::new();
    for run in 0..3i64 {
        let (db, recovery) = open(&fs, &options(run as usize + 1));
        assert_eq!(recovery.damage, Vec::<String>::new());
        assert_eq!(recovery.samples as usize, expected.values().map(Vec::len).sum::<usize>());
        assert_eq!(read_all(&db, &[], TimeRange::ALL), expected, "run {run}");
        let column = db.column();
        for scrape in 0..300 {
            let now = (run * 1000 + scrape) * 15_000 + scrape % 3;
            let mut appender = db.scrape_appender(&column, at(now));
            for i in 0..20 {
                // Every series misses some scrapes, one of them most.
                if (scrape + i as i64) % 7 == 0 || i == 19 && scrape % 50 != 0 {
                    continue;
                }
                let labels = series("metric", i);
                let value = if scrape == 299 { STALE_NAN } else { (scrape * i as i64) as f64 / 10.0 };
                let reference = appender.series(&labels).unwrap();
                appender.append_started(reference, (i == 3).then(|| at(run + 1)), value);
                expected.entry(labels).or_default().push((now, value.to_bits(), if i == 3 { run + 1 } else { 0 }));
            }
            let committed = appender.commit().unwrap();
            assert_eq!(committed.refused(), 0);
        }
        assert_eq!(read_all(&db, &[], TimeRange::ALL), expected, "run {run}");
        let range = TimeRange::from_millis(run * 15_000_000 + 100_000, run * 15_000_000 + 900_000);
        for (labels, samples) in read_all(&db, &[], range) {
            let within = expected[&labels].iter().filter(|s| range.contains(at(s.0))).copied().collect::<Vec<_>>();
            assert_eq!(samples, within, "{labels}");
        }
    }
}

#[test]
fn two_targets_that_feed_one_series_lose_nothing() {
    let (db, _) = open(&FaultFs::default(), &options(1));
    let (a, b) = (db.column(), db.column());
    let mut expected = Vec::new();
    for i in 0..500 {
        let mut appender = db.scrape_appender(if i % 2 == 0 { &a } else { &b }, at(i * 500));
        let reference = appender.series(&series("shared", 1)).unwrap();
        appender.append(reference, i as f64);
        appender.commit().unwrap();
        expected.push((i * 500, (i as f64).to_bits(), 0));
    }
    assert_eq!(read_all(&db, &[], TimeRange::ALL)[&series("shared", 1)], expected);
    assert!(db.head_stats().chunks < 20, "the series keeps its times itself: {} chunks", db.head_stats().chunks);
}

fn push(db: &Db, instance: usize, time: i64, value: f64) -> Committed {
    let mut appender = db.appender();
    let reference = appender.series(&series("m", instance)).unwrap();
    appender.append_at(reference, at(time), None, value);
    appender.commit().unwrap()
}

/// Times and values of the series `m` of an instance.
fn values(db: &Db, instance: usize) -> Vec<(i64, f64)> {
    let all = read_all(db, &[matching(MatchOp::Equal, "__name__", "m")], TimeRange::ALL);
    let samples = all.get(&series("m", instance)).map(Vec::as_slice).unwrap_or_default();
    samples.iter().map(|&(at, bits, _)| (at, f64::from_bits(bits))).collect()
}

#[test]
fn samples_of_one_commit_are_judged_against_each_other() {
    let fs = FaultFs::default();
    let (db, _) = open(&fs, &options(2));
    let mut appender = db.appender();
    let reference = appender.series(&series("m", 1)).unwrap();
    for (time, value) in [(100, 1.0), (200, 2.0), (100, 1.0), (100, 9.0), (50, 5.0), (50, 5.0), (50, 6.0), (200, 3.0)] {
        appender.append_at(reference, at(time), None, value);
    }
    let committed = appender.commit().unwrap();
    let Committed { appended, late, known, duplicate, .. } = committed;
    assert_eq!((appended, late, known, duplicate), (3, 1, 2, 3));
    let expected = [(50, 5.0), (100, 1.0), (200, 2.0)];
    assert_eq!(values(&db, 1), expected);
    db.close().unwrap();
    assert_eq!(values(&open(&fs.after_kill(), &options(2)).0, 1), expected);
}

#[test]
fn late_samples_are_taken_within_the_window_and_each_refusal_has_its_reason() {
    let fs = FaultFs::default();
    let options = Options { late_window: Duration::from_secs(60), ..options(2) };
    let (db, _) = open(&fs, &options);
    assert_eq!(push(&db, 1, 100_000, 1.0).appended, 1, "an empty store takes any first sample");
    let late = push(&db, 1, 90_000, 2.0);
    assert_eq!((late.appended, late.late), (1, 1));
    assert_eq!((push(&db, 1, 90_000, 2.0).known, push(&db, 1, 90_000, 3.0).duplicate), (1, 1));
    assert_eq!(push(&db, 1, 39_999, 4.0).too_old, 1);
    assert_eq!(push(&db, 2, 100_000 - 3_600_000, 5.0).appended, 1, "the first of a series may be an hour old");
    assert_eq!(push(&db, 3, 100_000 - 3_600_001, 5.0).too_old, 1);
    // Many of them, backwards: they are sealed, and come out in order.
    for time in (60_001..90_000).rev().step_by(50) {
        assert_eq!(push(&db, 1, time, time as f64).late, 1);
    }
    let expected: Vec<(i64, f64)> = (60_001..90_000)
        .rev()
        .step_by(50)
        .map(|time| (time, time as f64))
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .chain([(90_000, 2.0), (100_000, 1.0)])
        .collect();
    assert_eq!(values(&db, 1), expected);
    let totals = db.head_stats().commits;
    assert_eq!((totals.late, totals.too_old, totals.duplicate), (601, 2, 1));
    db.close().unwrap();
    assert_eq!(values(&open(&fs.after_kill(), &options).0, 1), expected);
}

#[test]
fn a_late_sample_is_not_seen_by_a_reader_that_came_before_it() {
    let (db, _) = open(&FaultFs::default(), &options(1));
    push(&db, 1, 100_000, 1.0);
    let before = db.querier().unwrap();
    push(&db, 1, 90_000, 2.0);
    let mut columns = Columns::default();
    let set = before.select(&[], TimeRange::ALL).unwrap();
    set.read(0, TimeRange::ALL, &mut columns).unwrap();
    assert_eq!(columns.timestamps_ms, [100_000]);
    assert_eq!(values(&db, 1).len(), 2);
}

#[test]
fn samples_that_do_not_follow_are_refused_and_counted() {
    let (db, _) = open(&FaultFs::default(), &Options { late_window: Duration::ZERO, ..options(2) });
    let push = |time: i64, value: f64| push(&db, 1, time, value);
    assert_eq!(push(1000, 1.0).appended, 1);
    assert_eq!((push(1000, 1.0).known, push(1000, 2.0).duplicate, push(999, 1.0).out_of_order), (1, 1, 1));
    assert_eq!(push(1000 + (40 << 30), 3.0).appended, 1, "a gap of more than a year is no obstacle");
    assert_eq!(read_all(&db, &[], TimeRange::ALL)[&series("m", 1)].len(), 2);
    let totals = db.head_stats().commits;
    assert_eq!((totals.appended, totals.out_of_order, totals.duplicate), (2, 1, 1));
}

#[test]
fn the_four_matchers_select_as_their_definition_says() {
    let (db, _) = open(&FaultFs::default(), &options(3));
    let mut all = Vec::new();
    let mut appender = db.appender();
    for i in 0..60 {
        let mut pairs = vec![("__name__", format!("m{}", i % 3)), ("instance", format!("host-{i}"))];
        if i % 2 == 0 {
            pairs.push(("zone", format!("z{}", i % 5)));
        }
        let labels = Labels::from_pairs(pairs.iter().map(|(n, v)| (*n, v.as_str())));
        let reference = appender.series(&labels).unwrap();
        appender.append_at(reference, at(1), None, 1.0);
        all.push(labels);
    }
    appender.commit().unwrap();
    let cases = [
        vec![matching(MatchOp::Equal, "__name__", "m1")],
        vec![matching(MatchOp::NotEqual, "__name__", "m1")],
        vec![matching(MatchOp::Regex, "zone", "z1|z3")],
        vec![matching(MatchOp::Regex, "zone", "z1|")],
        vec![matching(MatchOp::NotRegex, "zone", "z.*")],
        vec![matching(MatchOp::NotEqual, "zone", "")],
        vec![matching(MatchOp::Equal, "zone", "")],
        vec![matching(MatchOp::Equal, "missing", "")],
        vec![matching(MatchOp::Regex, "missing", ".+")],
        vec![matching(MatchOp::Regex, "instance", "host-1.*"), matching(MatchOp::NotEqual, "zone", "z0")],
        vec![matching(MatchOp::Regex, "instance", "host-[0-9]"), matching(MatchOp::Regex, "__name__", "m[12]")],
    ];
    for matchers in cases {
        let selected: Vec<Labels> = read_all(&db, &matchers, TimeRange::ALL).into_keys().collect();
        let mut expected: Vec<Labels> = all
            .iter()
            .filter(|l| matchers.iter().all(|m| m.matches(l.get(m.name()).unwrap_or_default())))
            .cloned()
            .collect();
        expected.sort();
        assert_eq!(selected, expected, "{matchers:?}");
        let querier = db.querier().unwrap();
        let set = querier.select(&matchers, TimeRange::ALL).unwrap();
        assert!((1..set.len()).all(|i| set.labels(i - 1) < set.labels(i)), "in label order");
        assert!((0..set.len()).all(|i| set.label(i, "zone") == set.labels(i).get("zone")));
        let zones: std::collections::BTreeSet<_> = expected.iter().filter_map(|l| l.get("zone")).collect();
        let values = querier.label_values("zone", &matchers, TimeRange::ALL, usize::MAX).unwrap();
        assert!(values.iter().eq(zones), "{values:?}");
    }
    let querier = db.querier().unwrap();
    let names = querier.label_names(&[], TimeRange::ALL, 2).unwrap();
    assert_eq!(names, ["__name__", "instance"]);
    assert_eq!(querier.label_values("zone", &[], TimeRange::ALL, 3).unwrap(), ["z0", "z1", "z2"]);
}

#[test]
fn a_commit_is_seen_whole_or_not_at_all_however_often_it_is_read() {
    const SERIES: usize = 40;
    for policy in [SyncPolicy::Never, SyncPolicy::EveryCommit] {
        let (db, _) = open(&FaultFs::default(), &Options { sync: policy, ..options(3) });
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Scraped and pushed series, each commit the same number in all of its series.
            for (name, pushed) in [("scraped", false), ("pushed", true)] {
                let (db, done) = (&db, &done);
                scope.spawn(move || {
                    let column = db.column();
                    for round in 1..=400i64 {
                        let mut appender =
                            if pushed { db.appender() } else { db.scrape_appender(&column, at(round * 1000)) };
                        for i in 0..SERIES {
                            let reference = appender.series(&series(name, i)).unwrap();
                            if pushed {
                                appender.append_at(reference, at(round * 1000), None, round as f64);
                            } else {
                                appender.append(reference, round as f64);
                            }
                        }
                        appender.commit().unwrap();
                    }
                    done.store(true, Ordering::Relaxed);
                });
            }
            for name in ["scraped", "pushed"] {
                let (db, done) = (&db, &done);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let querier = db.querier().unwrap();
                        let mut seen = None;
                        for _ in 0..4 {
                            let set = querier.select(&[Matcher::equal("__name__", name)], TimeRange::ALL).unwrap();
                            for i in 0..set.len() {
                                let mut columns = Columns::default();
                                set.read(i, TimeRange::ALL, &mut columns).unwrap();
                                let count = columns.values.len();
                                assert!(columns.values.iter().enumerate().all(|(i, v)| *v == (i + 1) as f64));
                                assert_eq!(*seen.get_or_insert(count), count, "{name}, {policy:?}");
                                check_newest(&*set, i, TimeRange::ALL, &columns);
                            }
                        }
                    }
                });
            }
        });
    }
}

/// A histogram with these differences between its buckets, and one observation in its zero bucket.
fn histogram(scale: u64, buckets: &[i64]) -> Histogram {
    let counts = buckets.iter().scan(0, |count, delta| {
        *count += delta;
        Some(*count as u64)
    });
    let count = 1 + counts.sum::<u64>();
    Histogram {
        schema: 2,
        zero_threshold: 0.001,
        zero_count: 1,
        count,
        sum: scale as f64 * 1.5,
        positive_spans: vec![Span { offset: -2, length: buckets.len() as u32 }],
        positive_buckets: buckets.to_vec(),
        ..Histogram::default()
    }
}

#[test]
fn native_histograms_and_starts_come_back_from_chunk_and_log() {
    let fs = FaultFs::default();
    let (db, _) = open(&fs, &options(2));
    let mut values = Vec::new();
    for i in 0..300u64 {
        // Resets at 100, gets a bucket more at 200, is stale at 250.
        let n = if i < 100 { i } else { i - 100 };
        let buckets: &[i64] = if i < 200 { &[1, 2] } else { &[1, 2, -1] };
        let mut buckets = buckets.to_vec();
        buckets[0] += n as i64;
        values.push(if i == 250 {
            HistogramValue::stale()
        } else {
            HistogramValue::Integer(histogram(n + 10, &buckets))
        });
    }
    let float = HistogramValue::Float(histogram(7, &[1, 2]).to_float());
    for (i, value) in values.iter().enumerate() {
        let mut appender = db.appender();
        let (a, b) = (appender.series(&series("h", 1)).unwrap(), appender.series(&series("f", 1)).unwrap());
        let start = (i >= 100).then(|| at(77));
        appender.append_histogram(a, Some(at(i as i64 * 1000 + 1)), start, value.clone()).unwrap();
        appender.append_histogram(b, Some(at(i as i64 * 1000 + 1)), None, float.clone()).unwrap();
        assert_eq!(appender.commit().unwrap().appended, 2);
    }
    let check = |db: &Db| {
        let set = db.querier().unwrap().select(&[Matcher::equal("__name__", "h")], TimeRange::ALL).unwrap();
        let mut columns = Columns::default();
        set.read(0, TimeRange::ALL, &mut columns).unwrap();
        assert_eq!(columns.histograms.len(), values.len());
        for (i, (sample, value)) in columns.histograms.iter().zip(&values).enumerate() {
            assert_eq!(sample.timestamp, at(i as i64 * 1000 + 1));
            assert_eq!(sample.start, (i >= 100).then(|| at(77)), "{i}");
            let mut read = (*sample.histogram).clone();
            let hint = std::mem::take(&mut read.counter_reset_hint);
            if i == 250 {
                assert_eq!(read.sum.to_bits(), STALE_NAN.to_bits());
                continue;
            }
            assert_eq!(read, value.clone().into_float(), "{i}");
            let expected = match i {
                0 | 100 | 200 => CounterResetHint::Unknown,
                _ => CounterResetHint::NotReset,
            };
            // Chunks of 120 begin where they may.
            assert!(hint == expected || hint == CounterResetHint::Unknown, "{i}: {hint:?}");
        }
    };
    check(&db);
    drop(db);
    check(&open(&fs, &options(3)).0);
}

#[test]
fn floats_and_histograms_of_one_series_keep_their_order_within_a_commit() {
    let fs = FaultFs::default();
    let (db, _) = open(&fs, &options(1));
    let mut appender = db.appender();
    let reference = appender.series(&series("mixed", 1)).unwrap();
    for i in 0..9 {
        if i % 3 == 1 {
            let value = HistogramValue::Integer(histogram(i as u64, &[1]));
            appender.append_histogram(reference, Some(at(i)), None, value).unwrap();
        } else {
            appender.append_at(reference, at(i), None, i as f64);
        }
    }
    assert_eq!(appender.commit().unwrap().appended, 9);
    drop(db);
    let (db, _) = open(&fs, &options(2));
    let set = db.querier().unwrap().select(&[Matcher::equal("__name__", "mixed")], TimeRange::ALL).unwrap();
    let mut columns = Columns::default();
    set.read(0, TimeRange::ALL, &mut columns).unwrap();
    assert_eq!(columns.timestamps_ms, [0, 2, 3, 5, 6, 8]);
    assert_eq!(columns.histograms.iter().map(|h| h.timestamp.millis()).collect::<Vec<_>>(), [1, 4, 7]);
}

#[test]
fn a_histogram_whose_spans_do_not_fit_is_refused() {
    let (db, _) = open(&FaultFs::default(), &options(1));
    let mut appender = db.appender();
    let reference = appender.series(&series("h", 1)).unwrap();
    let mut bad = histogram(3, &[1, 2]);
    bad.positive_spans[0].length = u32::MAX;
    assert!(appender.append_histogram(reference, Some(at(1)), None, HistogramValue::Integer(bad)).is_err());
}

#[test]
fn metadata_survives_a_restart() {
    let fs = FaultFs::default();
    let metadata = Metadata { kind: MetricKind::Counter, help: "Requests.".into(), unit: "s".into() };
    let (db, _) = open(&fs, &options(1));
    let mut appender = db.appender();
    appender.metadata("requests", metadata.clone());
    appender.commit().unwrap();
    drop(db);
    assert_eq!(open(&fs, &options(1)).0.metadata()["requests"], metadata);
}

#[test]
fn a_store_in_use_is_not_opened_twice() {
    let fs = FaultFs::default();
    let (_db, _) = open(&fs, &options(1));
    let again: Arc<dyn Fs> = Arc::new(fs.clone());
    let error = Db::open(&again, Path::new("/data"), &options(1), |_, _| {}).unwrap_err();
    assert_eq!(error.to_string(), "/data: in use by another process");
}

#[test]
fn a_limit_of_series_refuses_new_ones_only() {
    let (db, _) = open(&FaultFs::default(), &Options { max_series: 2, ..options(1) });
    let appender = db.appender();
    assert!(appender.series(&series("a", 1)).is_ok() && appender.series(&series("a", 2)).is_ok());
    assert!(appender.series(&series("a", 3)).is_err());
    assert!(appender.series(&series("a", 1)).is_ok());
}

/// Commits of `per_commit` series each, one after the other, until one fails; how many were acknowledged.
fn push_commits(db: &Db, commits: i64, per_commit: usize) -> i64 {
    for commit in 0..commits {
        let mut appender = db.appender();
        for i in 0..per_commit {
            let reference = appender.series(&series("m", i)).unwrap();
            appender.append_at(reference, at(commit + 1), None, (commit * 10 + i as i64) as f64);
        }
        if appender.commit().is_err() {
            return commit;
        }
    }
    commits
}

/// Asserts that the first `acknowledged` commits, and no half one, are there.
fn check_commits(db: &Db, acknowledged: i64, per_commit: usize) {
    let found = read_all(db, &[], TimeRange::ALL);
    let commits = found.values().map(Vec::len).max().unwrap_or(0) as i64;
    assert!(commits >= acknowledged, "{commits} of {acknowledged}");
    for i in 0..per_commit {
        let expected: Read = (0..commits).map(|c| (c + 1, ((c * 10 + i as i64) as f64).to_bits(), 0)).collect();
        assert_eq!(found.get(&series("m", i)).cloned().unwrap_or_default(), expected);
    }
}

#[test]
fn with_a_sync_per_commit_a_power_cut_at_any_operation_loses_nothing_acknowledged() {
    let synced = Options { sync: SyncPolicy::EveryCommit, wal_segment_bytes: 1 << 9, ..options(2) };
    let whole = FaultFs::default();
    assert_eq!(push_commits(&open(&whole, &synced).0, 40, 3), 40);
    for n in 1..=whole.operations() {
        let fs = FaultFs::default();
        fs.fail_from(n);
        let shared: Arc<dyn Fs> = Arc::new(fs.clone());
        let acknowledged = match Db::open(&shared, Path::new("/data"), &synced, |_, _| {}) {
            Ok(db) => push_commits(&db, 40, 3),
            Err(_) => 0,
        };
        for after in [fs.after_power_cut(), fs.after_kill()] {
            let (db, _) = open(&after, &synced);
            check_commits(&db, acknowledged, 3);
            // What is recovered can be added to, and recovered again.
            assert_eq!(db.appender().series(&series("new", 1)).map(|_| ()), Ok(()));
        }
    }
}

#[test]
fn a_disk_that_refuses_a_write_takes_the_next_commit_when_it_can_again() {
    let fs = FaultFs::default();
    let (db, _) = open(&fs, &options(1));
    assert_eq!(push_commits(&db, 5, 2), 5);
    fs.fail_from(fs.operations() + 1);
    let push = |commit: i64| {
        let mut appender = db.appender();
        for i in 0..2 {
            let reference = appender.series(&series("m", i)).unwrap();
            appender.append_at(reference, at(commit + 1), None, (commit * 10 + i as i64) as f64);
        }
        appender.commit()
    };
    assert!(push(5).is_err());
    check_commits(&db, 5, 2);
    fs.fail_from(u64::MAX);
    assert_eq!(push(5).unwrap().appended, 2);
    check_commits(&db, 6, 2);
    drop(db);
    check_commits(&open(&fs.after_kill(), &options(1)).0, 6, 2);
}

#[test]
fn an_interval_policy_syncs_in_the_background() {
    let fs = FaultFs::default();
    let policy = SyncPolicy::Interval(Duration::from_millis(5));
    let (db, _) = open(&fs, &Options { sync: policy, ..options(1) });
    assert_eq!(push_commits(&db, 3, 2), 3);
    let deadline = Duration::from_secs(10);
    let mut waited = Duration::ZERO;
    while read_all(&open(&fs.after_power_cut(), &options(1)).0, &[], TimeRange::ALL).len() < 2 {
        assert!(waited < deadline, "not synced after {deadline:?}");
        std::thread::sleep(Duration::from_millis(5));
        waited += Duration::from_millis(5);
    }
}

fn wal_file(fs: &FaultFs, n: usize) -> PathBuf {
    fs.files().into_iter().filter(|path| path.starts_with("/data/wal")).nth(n).unwrap()
}

#[test]
fn a_damaged_middle_of_the_log_is_reported_with_its_place_and_the_rest_recovered() {
    let fs = FaultFs::default();
    let (db, _) = open(&fs, &Options { wal_segment_bytes: 1 << 20, ..options(1) });
    assert_eq!(push_commits(&db, 50, 3), 50);
    db.close().unwrap();
    let path = wal_file(&fs, 0);
    let bytes = fs.bytes(&path).unwrap();
    let last_frame = bytes.windows(4).rposition(|magic| magic == b"SBfr").unwrap();
    for place in (0..bytes.len()).step_by(7) {
        let damaged = fs.after_kill();
        let mut changed = bytes.clone();
        changed[place] ^= 0x40;
        damaged.set_bytes(&path, changed);
        let opened: Arc<dyn Fs> = Arc::new(damaged);
        let Ok(db) = Db::open(&opened, Path::new("/data"), &options(1), |_, _| {}) else {
            assert!((4..8).contains(&place), "only an unknown version keeps a store from opening: byte {place}");
            continue;
        };
        let recovery = db.recovery();
        // A last commit that was damaged was there whole when the log was closed.
        let told = &recovery.damage;
        assert_eq!((told.len(), &recovery.unfinished), (1, &None), "byte {place}: {told:?}");
        assert!(told[0].starts_with("/data/wal/00000001: "), "{told:?}");
        assert_eq!(told[0].contains("ends too early"), place >= last_frame, "byte {place}: {told:?}");
        let found = read_all(&db, &[], TimeRange::ALL);
        for (labels, samples) in &found {
            let i: i64 = labels.get("instance").unwrap().parse().unwrap();
            assert!(
                samples.iter().all(|&(t, v, _)| v == (((t - 1) * 10 + i) as f64).to_bits()),
                "wrong data: byte {place}"
            );
        }
        // The series are named in the first commit: without it the others have no names.
        let lost = 50 - found.values().map(Vec::len).max().unwrap_or(0);
        assert!(lost <= 1 || recovery.orphans > 0, "byte {place}: {lost} commits lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_log_cut_anywhere_replays_a_prefix_of_its_commits(commits in 1i64..30, cut in any::<prop::sample::Index>()) {
        let fs = FaultFs::default();
        let (db, _) = open(&fs, &Options { wal_segment_bytes: 1 << 20, ..options(2) });
        prop_assert_eq!(push_commits(&db, commits, 3), commits);
        // Killed: where a log that was ended by a clean stop ends is known.
        drop(db);
        let path = wal_file(&fs, 0);
        let mut bytes = fs.bytes(&path).unwrap();
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(cut.index(end + 1));
        fs.set_bytes(&path, bytes);
        let (db, found) = open(&fs, &options(2));
        prop_assert_eq!(found.damage, Vec::<String>::new(), "a crash is no damage");
        check_commits(&db, 0, 3);
        drop(db);
        let (_, again) = open(&fs, &options(2));
        prop_assert_eq!((again.damage, again.unfinished), (Vec::new(), None), "the cut is mended");
    }
}

#[test]
fn values_of_labels_are_those_of_the_series_that_pass() {
    let fs = FaultFs::default();
    let (db, _) = open(&fs, &options(2));
    let labels = |i: usize| {
        let mut labels =
            vec![("__name__", "m".to_owned()), ("id", format!("{i:05}")), ("group", format!("{}", i % 300))];
        if i.is_multiple_of(5) {
            labels.push(("fifth", "yes".into()));
        }
        labels
    };
    let add = |i: usize| {
        let mut appender = db.appender();
        let reference = appender.series(&Labels::from_pairs(labels(i))).unwrap();
        appender.append_at(reference, at(1000), None, 1.0);
        appender.commit().unwrap();
    };
    let count = 12_000;
    (1..count).for_each(add);
    let values = |name: &str, matchers: &[Matcher], limit| {
        db.querier().unwrap().label_values(name, matchers, TimeRange::ALL, limit).unwrap()
    };
    let ids = |from: usize, to: usize| (from..to).map(|i| format!("{i:05}")).collect::<Vec<_>>();
    for _ in 0..2 {
        assert_eq!(values("id", &[], 3), ids(1, 4));
        assert_eq!(values("id", &[], usize::MAX).len(), count - 1);
    }
    add(0);
    assert_eq!(values("id", &[], 3), ids(0, 3));
    // Few series and many values, and the other way round.
    let few = [matching(MatchOp::Regex, "id", "0001.")];
    assert_eq!(values("id", &few, usize::MAX), ids(10, 20));
    assert_eq!(values("group", &few, 4), ["10", "11", "12", "13"]);
    let fifths = [matching(MatchOp::Equal, "fifth", "yes")];
    let mut groups: Vec<String> = (0..300).step_by(5).map(|group| group.to_string()).collect();
    groups.sort_unstable();
    assert_eq!(values("group", &fifths, usize::MAX), groups);
    assert_eq!(values("nope", &fifths, usize::MAX), Vec::<String>::new());
    let names = |matchers: &[Matcher]| db.querier().unwrap().label_names(matchers, TimeRange::ALL, 9).unwrap();
    assert_eq!(names(&[]), ["__name__", "fifth", "group", "id"]);
    assert_eq!(names(&[matching(MatchOp::Equal, "id", "00001")]), ["__name__", "group", "id"]);
    assert_eq!(names(&few), ["__name__", "fifth", "group", "id"]);
}
