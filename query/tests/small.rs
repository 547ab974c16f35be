//! Which queries are small: only those that are answered sooner than a thread wakes up, whatever the store holds.

#![cfg(feature = "testing")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use query::{Engine, Options, Steps, parse};
use tsdb::testing::FaultFs;
use tsdb::{Db, Fs, Labels, Matcher, Queryable, TimeRange, Timestamp};

const NOW: i64 = 1_790_000_000_000;

/// Ten series `few`, two thousand `many`, and nothing in blocks.
fn store() -> Db {
    let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
    let options = tsdb::Options { shards: 2, maintain_every: Duration::ZERO, ..tsdb::Options::default() };
    let db = Db::open(&fs, Path::new("/data"), &options, |_, _| {}).expect("memory does not refuse");
    let mut appender = db.appender();
    for (metric, count) in [("few", 10), ("many", 2000)] {
        for i in 0..count {
            let labels = [("__name__", metric.to_owned()), ("i", i.to_string()), ("job", "a".to_owned())];
            let series = appender.series(&Labels::from_pairs(labels)).expect("there is no limit");
            appender.append_at(series, Timestamp::from_millis(NOW), None, 1.0);
        }
    }
    appender.commit().expect("memory does not refuse");
    db
}

fn is_small(db: &Db, query: &str, steps: i64) -> bool {
    let (engine, expr) = (Engine::new(Options::default(), || Duration::ZERO), parse(query).expect("it is PromQL"));
    let end = Timestamp::from_millis(NOW);
    let steps = match steps {
        1 => Steps::Instant(end),
        n => Steps::Range { start: Timestamp::from_millis(NOW - (n - 1) * 1000), end, step: Duration::from_secs(1) },
    };
    engine.is_small(db, &expr, steps)
}

#[test]
fn few_series_at_few_moments_are_small() {
    let db = store();
    for query in
        ["few", "sum by (i) (few) / on (i) few{job=\"a\",i!=\"3\"}", "many{i=\"7\"}", "1 + 1", "few{i=~\"1|2\"}"]
    {
        assert!(is_small(&db, query, 1), "{query}");
    }
    assert!(is_small(&db, "nothing", 1) && is_small(&db, "few", 100) && is_small(&db, "time()", 1000));
    assert!(!is_small(&db, "few", 101) && !is_small(&db, "time()", 1001));
}

#[test]
fn what_may_take_long_is_not() {
    let db = store();
    let (long, deep) = ("x".repeat(65), vec!["few"; 20].join(" + "));
    let long = format!("label_replace(few, \"a\", \"\", \"i\", \"{long}\")");
    for query in [
        "many",
        "few + many",
        "few[5m]",
        "rate(few[5m])",
        "few offset 1h",
        "few @ 0",
        "{__name__=~\"f.*\"}",
        "few{i=~\"1.*\"}",
        "{job=\"a\"}",
        "max_over_time(few[1h:1s])",
        "info(few)",
        &long,
        &deep,
    ] {
        assert!(!is_small(&db, query, 1), "{query}");
    }
}

#[test]
fn no_more_series_are_found_than_the_store_says() {
    let db = store();
    let querier = db.querier().expect("it is open");
    for (matchers, most) in [
        (vec![Matcher::equal("__name__", "few")], 10),
        (vec![Matcher::equal("job", "a"), Matcher::equal("i", "3")], 2),
        (vec![Matcher::equal("job", "b")], 0),
        (vec![Matcher::equal("none", "b")], 0),
    ] {
        let found = querier.select(&matchers, TimeRange::ALL).expect("it is in memory").len() as u64;
        assert_eq!((querier.at_most(&matchers, TimeRange::ALL), found), (most, most), "{matchers:?}");
    }
    assert_eq!(querier.at_most(&[Matcher::equal("job", "")], TimeRange::ALL), u64::MAX);
}
