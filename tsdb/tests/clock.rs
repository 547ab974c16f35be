//! Stores that are told the time: samples of the future decide nothing, and can be found and deleted.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tsdb::testing::FaultFs;
use tsdb::{
    Clock, Columns, Committed, Db, Exemplar, FamilyStats, Fs, Labels, MatchOp, Matcher, Metadata, Options, Queryable,
    Retention, SyncPolicy, TimeRange, Timestamp,
};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 366 * DAY;
const NOW: i64 = 1_790_000_000_000;
/// How far the clock was ahead.
const JUMPS: [i64; 5] = [5 * MINUTE, 45 * MINUTE, 2 * HOUR, 20 * DAY, YEAR];

/// Values by name and time.
type Model = BTreeMap<(String, i64), f64>;

fn options(now_ms: i64, window: Duration) -> Options {
    Options {
        shards: 2,
        sync: SyncPolicy::EveryCommit,
        wal_segment_bytes: 1 << 16,
        late_window: window,
        max_sealed_bytes: 200,
        checkpoint_samples: 300,
        maintain_every: Duration::ZERO,
        clock: Some(at(now_ms)),
        ..Options::default()
    }
}

fn at(ms: i64) -> Clock {
    Clock::trusted(Timestamp::from_millis(ms))
}

fn open(disk: &FaultFs, options: &Options) -> Db {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    Db::open(&fs, Path::new("/data"), options, |_, _| {}).unwrap()
}

fn push(db: &Db, name: &str, at_ms: i64, value: f64) -> Committed {
    let mut appender = db.appender();
    let series = appender.series(&Labels::from_pairs([("__name__", name)])).unwrap();
    appender.append_at(series, Timestamp::from_millis(at_ms), None, value);
    appender.commit().unwrap()
}

fn held(db: &Db) -> Model {
    let set = db.querier().unwrap().select(&[], TimeRange::ALL).unwrap();
    let mut found = Model::new();
    for index in 0..set.len() {
        let mut columns = Columns::default();
        set.read(index, TimeRange::ALL, &mut columns).unwrap();
        assert!(columns.timestamps_ms.is_sorted_by(|a, b| a < b), "{:?}", columns.timestamps_ms);
        let name = set.label(index, "__name__").unwrap();
        found.extend(columns.timestamps_ms.iter().zip(&columns.values).map(|(&at, &v)| ((name.to_owned(), at), v)));
    }
    found
}

fn names(db: &Db) -> Vec<String> {
    db.querier().unwrap().label_values("__name__", &[], TimeRange::ALL, usize::MAX).unwrap()
}

fn maintain(db: &Db, passes: usize) {
    for _ in 0..passes {
        db.maintain();
        let failure = db.maintenance().last_failure;
        assert!(failure.is_none(), "{failure:?}");
    }
}

/// Pushes what must be taken, and notes it.
fn take(db: &Db, model: &mut Model, name: &str, at_ms: i64) {
    let value = model.len() as f64;
    let committed = push(db, name, at_ms, value);
    assert_eq!(committed.appended, 1, "{name} at {} s from now: {committed:?}", (at_ms - NOW) / SECOND);
    model.insert((name.to_owned(), at_ms), value);
}

/// Four hours of samples up to now, then some of a clock that is ahead, with or without the store's own work meanwhile.
fn ahead_for_a_while(disk: &FaultFs, options: &Options, jump: i64, works: bool) -> (Db, Model) {
    let (db, mut model) = (open(disk, options), Model::new());
    for step in -240..=0 {
        for name in ["a", "b"] {
            take(&db, &mut model, name, NOW + step * MINUTE);
        }
        if works && step % 60 == 0 {
            db.set_clock(at(NOW + step * MINUTE));
            maintain(&db, 2);
        }
    }
    let [wall, before] = [NOW + jump, NOW].map(Timestamp::from_millis);
    db.set_clock(Clock { wall, steady: wall, retention: before });
    for step in 0..5 {
        for name in ["a", "of_the_future"] {
            take(&db, &mut model, name, NOW + jump + step * SECOND);
        }
    }
    if works {
        maintain(&db, 5);
    }
    (db, model)
}

#[test]
fn samples_of_now_are_taken_at_once_after_a_clock_was_ahead() {
    for jump in JUMPS {
        for window in [Duration::ZERO, Duration::from_secs(1800)] {
            for (works, restarts) in [(false, false), (true, false), (false, true), (true, true)] {
                let disk = FaultFs::default();
                let options = options(NOW, window);
                let (mut db, mut model) = ahead_for_a_while(&disk, &options, jump, works);
                let opened;
                if restarts {
                    drop(db);
                    opened = disk.after_kill();
                    db = open(&opened, &options);
                } else {
                    opened = disk.clone();
                }
                for step in 1..400 {
                    db.set_clock(at(NOW + step * 15 * SECOND));
                    for name in ["a", "b", "of_the_future", "new"] {
                        // The clock catches up with some that are there; half a minute ahead is as now.
                        let near =
                            (NOW + jump - 31 * SECOND..NOW + jump + 5 * SECOND).contains(&(NOW + step * 15 * SECOND));
                        if !near || name == "b" || name == "new" {
                            take(&db, &mut model, name, NOW + step * 15 * SECOND);
                        }
                    }
                    if step % 40 == 0 {
                        maintain(&db, 1);
                    }
                }
                assert!(held(&db) == model, "{jump} {window:?} {works} {restarts}");
                maintain(&db, 35);
                assert_eq!(held(&db), model, "{jump} {window:?} {works} {restarts}");
                drop(db);
                let options = Options { clock: Some(at(NOW + 100 * MINUTE)), ..options };
                assert_eq!(held(&open(&opened.after_kill(), &options)), model);
            }
        }
    }
}

#[test]
fn the_store_works_on_as_usual_while_it_holds_samples_of_the_future() {
    let (disk, mut options) = (FaultFs::default(), options(NOW, Duration::from_secs(1800)));
    options.retention = Retention { retention_ms: Some(DAY), max_bytes: None };
    let (db, mut model) = ahead_for_a_while(&disk, &options, YEAR, true);
    let cut = db.maintenance().flushes;
    for step in 1..(3 * 24 * 12) {
        let now_ms = NOW + step * 5 * MINUTE;
        db.set_clock(at(now_ms));
        take(&db, &mut model, "a", now_ms);
        assert_eq!(push(&db, "a", now_ms - HOUR, 0.5).too_old, 1);
        if step % 6 == 0 {
            maintain(&db, 2);
        }
    }
    let totals = db.maintenance();
    assert!((20..60).contains(&(totals.flushes - cut)), "{totals:?}");
    assert!(totals.dropped > 0, "{totals:?}");
    assert!(db.head_stats().chunks < 50, "the head is relieved: {:?}", db.head_stats());
    let kept = held(&db);
    assert!(kept.iter().all(|(key, value)| model.get(key) == Some(value)));
    let recent = model.iter().filter(|((_, at_ms), _)| *at_ms > NOW + 2 * DAY);
    assert!(recent.clone().count() > 250 && recent.clone().all(|(key, _)| kept.contains_key(key)));
}

#[test]
fn retention_drops_nothing_for_samples_of_the_future_or_a_clock_that_is_not_believed() {
    for jump in [2 * DAY, 20 * DAY, YEAR] {
        let (disk, mut options) = (FaultFs::default(), options(NOW, Duration::from_secs(1800)));
        options.retention = Retention { retention_ms: Some(15 * DAY), max_bytes: None };
        let (db, model) = ahead_for_a_while(&disk, &options, jump, true);
        assert_eq!(db.maintenance().dropped, 0);
        db.configure(Retention { retention_ms: Some(DAY), max_bytes: None }, Duration::from_secs(1800));
        maintain(&db, 3);
        let totals = db.maintenance();
        assert_eq!((totals.dropped, held(&db)), (0, model.clone()));
        assert!(totals.held.blocks > 0 && totals.held.samples > 100, "{totals:?}");
        // Right again, with samples of the future in the store.
        db.set_clock(at(NOW + MINUTE));
        maintain(&db, 3);
        let totals = db.maintenance();
        assert_eq!((totals.dropped, totals.held.blocks, held(&db)), (0, 0, model.clone()));
        // What is deliberate works.
        db.configure(Retention { retention_ms: Some(MINUTE), max_bytes: None }, Duration::from_secs(1800));
        maintain(&db, 3);
        let totals = db.maintenance();
        assert!(totals.dropped > 0 && totals.dropped_samples > 100, "{totals:?}");
    }
}

#[test]
fn retention_by_size_drops_no_real_samples_for_blocks_of_the_future() {
    let (disk, options) = (FaultFs::default(), options(NOW, Duration::from_secs(1800)));
    let (db, model) = ahead_for_a_while(&disk, &options, YEAR, true);
    // All that there is goes into blocks, what lies in the future too.
    db.set_clock(at(NOW + YEAR + 6 * HOUR));
    push(&db, "later", NOW + YEAR + 6 * HOUR, 1.0);
    maintain(&db, 3);
    db.set_clock(at(NOW + MINUTE));
    maintain(&db, 3);
    let future: u64 = db.blocks().iter().filter(|b| b.range.start_ms > NOW + HOUR).map(|b| b.stats.bytes).sum();
    assert!(future > 0, "{:?}", db.blocks());
    let most = db.disk_bytes() - future;
    db.configure(Retention { retention_ms: None, max_bytes: Some(most) }, Duration::from_secs(1800));
    maintain(&db, 3);
    assert_eq!(db.maintenance().dropped, 0);
    assert!(model.iter().all(|(key, value)| held(&db).get(key) == Some(value)));
}

#[test]
fn samples_of_the_future_are_found_and_once_deleted_are_as_if_they_had_not_been() {
    for jump in [45 * MINUTE, 2 * HOUR, YEAR] {
        for (works, restarts) in [(false, false), (true, false), (false, true), (true, true)] {
            let (mut disk, options) = (FaultFs::default(), options(NOW, Duration::ZERO));
            let (mut db, mut model) = ahead_for_a_while(&disk, &options, jump, works);
            db.set_clock(at(NOW));
            if works {
                maintain(&db, 3);
            }
            let newest = db.future().newest.unwrap();
            assert!(newest >= Timestamp::from_millis(NOW + jump + 4 * SECOND), "{newest}");
            let ahead = TimeRange { start: Timestamp::from_millis(NOW + 300 * SECOND), end: Timestamp::MAX };
            let deleted = db.delete(&[Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap()], ahead, false).unwrap();
            assert_eq!((deleted.series, deleted.samples), (2, 10));
            model.retain(|(_, at_ms), _| *at_ms <= NOW);
            db.clean_tombstones().unwrap();
            if restarts {
                drop(db);
                disk = disk.after_kill();
                db = open(&disk, &options);
            }
            assert!(held(&db) == model, "{jump} {works} {restarts}");
            assert_eq!(db.future(), tsdb::Future::default(), "{jump} {works} {restarts}");
            assert_eq!(names(&db), ["a", "b"]);
            let of_the_future = db.blocks().into_iter().find(|block| block.range.start_ms > NOW + HOUR);
            assert!(of_the_future.is_none(), "its space is free: {of_the_future:?}");
            for step in 1..600 {
                let now_ms = NOW + step * 30 * SECOND;
                db.set_clock(at(now_ms));
                let before = db.head_stats().commits.late;
                take(&db, &mut model, "a", now_ms);
                let in_order = db.head_stats().commits.late == before;
                assert!(in_order || works && jump > HOUR && step < 10, "{jump} {works} {restarts} {step}");
                if step % 4 == 0 {
                    maintain(&db, 1);
                }
            }
            assert_eq!(held(&db), model);
            drop(db);
            assert_eq!(held(&open(&disk.after_kill(), &options)), model);
        }
    }
}

#[test]
fn names_of_series_that_are_deleted_are_not_listed_any_more() {
    let (mut disk, options) = (FaultFs::default(), options(NOW, Duration::from_secs(1800)));
    let db = open(&disk, &options);
    let mut model = Model::new();
    // One that blocks hold only, one that head and blocks hold, one of the head only.
    for step in -300..=0i64 {
        let now_ms = NOW + step * MINUTE;
        db.set_clock(at(now_ms));
        take(&db, &mut model, "kept", now_ms);
        if step < -240 {
            take(&db, &mut model, "ended", now_ms);
        }
        take(&db, &mut model, "lives", now_ms);
        if step > -10 {
            take(&db, &mut model, "young", now_ms);
        }
        if step % 10 == 0 {
            maintain(&db, 2);
        }
    }
    assert!(!db.blocks().is_empty());
    assert_eq!(names(&db), ["ended", "kept", "lives", "young"]);
    for name in ["ended", "lives", "young"] {
        db.delete(&[Matcher::equal("__name__", name)], TimeRange::ALL, false).unwrap();
    }
    db.clean_tombstones().unwrap();
    assert_eq!(names(&db), ["kept"]);
    assert_eq!(db.series_count(), 1);
    let set = db.querier().unwrap().select(&[], TimeRange::ALL).unwrap();
    assert_eq!(set.len(), 1, "series");
    drop(db);
    disk = disk.after_kill();
    let db = open(&disk, &options);
    assert_eq!((names(&db).as_slice(), db.series_count()), (&["kept".to_owned()][..], 1));
    // One that comes again is there again, from then on.
    assert_eq!(push(&db, "young", NOW + SECOND, 1.0).appended, 1);
    assert_eq!(names(&db), ["kept", "young"]);
    drop(db);
    let db = open(&disk.after_kill(), &options);
    let young: Vec<_> = held(&db).into_keys().filter(|(name, _)| name == "young").collect();
    assert_eq!(young, [("young".to_owned(), NOW + SECOND)]);
}

#[test]
fn a_clock_that_is_set_back_keeps_samples_within_the_window_and_then_all() {
    for (back, window) in [(2 * HOUR, 0), (MINUTE, 1800), (10 * MINUTE, 1800), (3 * HOUR, 1800), (30 * 365 * DAY, 0)] {
        let options = options(NOW, Duration::from_secs(window));
        let disk = FaultFs::default();
        let (db, mut model) = (open(&disk, &options), Model::new());
        for step in -100..=0 {
            take(&db, &mut model, "a", NOW + step * MINUTE);
        }
        for step in 1..100 {
            let now_ms = NOW - back + step * 15 * SECOND + 1;
            db.set_clock(at(now_ms));
            take(&db, &mut model, "a", now_ms);
            if step % 30 == 0 {
                maintain(&db, 2);
            }
        }
        // Right again: what comes is in order, what came is there.
        for step in 100..200 {
            let now_ms = NOW + step * 15 * SECOND;
            db.set_clock(at(now_ms));
            take(&db, &mut model, "a", now_ms);
        }
        maintain(&db, 5);
        assert_eq!(held(&db), model, "{back}");
        drop(db);
        assert_eq!(held(&open(&disk.after_kill(), &options)), model, "{back}");
    }
}

#[test]
fn scrapes_of_a_clock_that_is_set_back_are_found_by_their_times() {
    for back in [MINUTE, 2 * HOUR, YEAR] {
        let (disk, options) = (FaultFs::default(), options(NOW, Duration::from_secs(1800)));
        let db = open(&disk, &options);
        let column = db.column();
        let mut model = Model::new();
        for (i, offset) in [0, -back, 0, -back, 0].into_iter().enumerate() {
            for step in 0..20 {
                let now_ms = NOW + offset + (i as i64 * 20 + step) * SECOND + i as i64;
                db.set_clock(at(now_ms));
                let mut appender = db.scrape_appender(&column, Timestamp::from_millis(now_ms));
                // One that is always there, and one of each time.
                for name in ["up".to_owned(), format!("of_{i}")] {
                    let series = appender.series(&Labels::from_pairs([("__name__", &*name)])).unwrap();
                    appender.append(series, step as f64);
                    model.insert((name, now_ms), step as f64);
                }
                assert_eq!(appender.commit().unwrap().appended, 2);
                if step == 10 {
                    maintain(&db, 2);
                }
            }
        }
        assert!(held(&db) == model, "{back}");
        let querier = db.querier().unwrap();
        for &(ref name, at_ms) in model.keys() {
            let (range, mut columns) = (TimeRange::from_millis(at_ms - 500, at_ms), Columns::default());
            let set = querier.select(&[Matcher::equal("__name__", name)], range).unwrap();
            assert_eq!(set.len(), 1, "{name} {back}");
            set.read_newest(0, range, &mut columns).unwrap();
            assert_eq!(columns.timestamps_ms.last(), Some(&at_ms), "{name} {back}");
        }
    }
}

#[test]
fn a_store_without_a_clock_goes_by_its_newest_sample() {
    let options = Options { clock: None, ..options(NOW, Duration::from_secs(1800)) };
    let db = open(&FaultFs::default(), &options);
    assert_eq!(push(&db, "a", 0, 1.0).appended, 1, "historical data");
    assert_eq!(push(&db, "a", 10 * DAY, 1.0).appended, 1);
    assert_eq!(push(&db, "b", 9 * DAY, 1.0).too_old, 1);
    assert_eq!(db.future(), tsdb::Future::default());
}

#[test]
fn each_refusal_has_the_reason_that_it_has_in_prometheus() {
    for clock in [None, Some(at(NOW))] {
        let without = Options { clock, ..options(NOW, Duration::ZERO) };
        let db = open(&FaultFs::default(), &without);
        assert_eq!(push(&db, "a", NOW, 1.0).appended, 1);
        let of_new = push(&db, "new", NOW - 2 * HOUR, 1.0);
        assert_eq!(
            (of_new.out_of_bounds, of_new.out_of_order, of_new.too_old),
            (1, 0, 0),
            "a new series, two hours old"
        );
        let of_old = push(&db, "a", NOW - 2 * HOUR, 1.0);
        assert_eq!((of_old.out_of_bounds, of_old.out_of_order), (1, 0));
        if clock.is_some() {
            // The clock of the store is half a second behind.
            db.set_clock(at(NOW - 500));
        }
        assert_eq!(push(&db, "a", NOW - MINUTE, 1.0).out_of_order, 1);
        assert_eq!(push(&db, "a", NOW, 2.0).duplicate, 1);
        for name in ["a", "new", "newer"] {
            for value in [0.0, 1.0, f64::from_bits(1)] {
                let least = push(&db, name, i64::MIN, value);
                assert_eq!((least.out_of_bounds, least.refused()), (1, 1), "{least:?}");
            }
        }
        let commits = db.head_stats().commits;
        assert_eq!((commits.out_of_bounds, commits.out_of_order, commits.duplicate), (11, 1, 1));
        let with = Options { clock, ..options(NOW, Duration::from_secs(600)) };
        let db = open(&FaultFs::default(), &with);
        assert_eq!(push(&db, "a", NOW, 1.0).appended, 1);
        assert_eq!(push(&db, "new", NOW - 2 * HOUR, 1.0).too_old, 1);
        assert_eq!(push(&db, "a", NOW - 11 * MINUTE, 1.0).too_old, 1);
        assert_eq!(push(&db, "a", NOW - 9 * MINUTE, 1.0).late, 1);
        assert_eq!(push(&db, "a", NOW - 9 * MINUTE, 2.0).duplicate, 1);
        for name in ["a", "newer"] {
            assert_eq!(push(&db, name, i64::MIN, 1.0).too_old, 1);
        }
    }
}

#[test]
fn an_exemplar_of_the_future_does_not_keep_out_those_of_now() {
    let (disk, options) = (FaultFs::default(), options(NOW, Duration::from_secs(1800)));
    let db = open(&disk, &options);
    let add = |db: &Db, at_ms: i64| {
        let mut appender = db.appender();
        let series = appender.series(&Labels::from_pairs([("__name__", "a")])).unwrap();
        appender.append_at(series, Timestamp::from_millis(at_ms), None, 1.0);
        let labels = Labels::from_pairs([("trace_id", "x")]);
        appender.exemplar(series, Exemplar { labels, value: 1.0, timestamp: Timestamp::from_millis(at_ms) });
        appender.commit().unwrap().exemplars
    };
    db.set_clock(at(NOW + YEAR));
    assert_eq!(add(&db, NOW + YEAR), 1);
    db.set_clock(at(NOW));
    assert_eq!([NOW, NOW + SECOND, NOW].map(|at_ms| add(&db, at_ms)), [1, 1, 0]);
    let times = |db: &Db| {
        let found = db.exemplars(&[Vec::new()], TimeRange::ALL, || false).unwrap();
        let mut times = Vec::new();
        for (_, exemplars) in &found.series {
            times.extend(exemplars.iter().map(|e| e.timestamp.millis()));
        }
        times
    };
    assert_eq!(times(&db), [NOW, NOW + SECOND, NOW + YEAR]);
    drop(db);
    assert_eq!(times(&open(&disk.after_kill(), &options)), [NOW, NOW + SECOND, NOW + YEAR]);
}

#[test]
fn metadata_are_bounded_and_go_with_the_last_series_of_their_family() {
    let (disk, options) = (FaultFs::default(), options(NOW, Duration::from_secs(1800)));
    let db = open(&disk, &options);
    let describe = |db: &Db, family: &str, help: &str| {
        let mut appender = db.appender();
        appender.metadata(family, Metadata { help: help.to_owned(), unit: "é".repeat(500), ..Metadata::default() });
        appender.commit().unwrap();
    };
    assert_eq!(push(&db, "a_bucket", NOW, 1.0).appended, 1);
    describe(&db, "a", &"é".repeat(1 << 20));
    let a = db.metadata()["a"].clone();
    assert_eq!((a.help.len(), a.unit.len()), (4096, 256));
    describe(&db, &"n".repeat(2000), "x");
    assert_eq!((db.family_stats().families, db.family_stats().refused), (1, 1));
    // As many as anyone wants.
    let mut appender = db.appender();
    for i in 0..60_000 {
        appender.metadata(&format!("family_{i}"), Metadata { help: "x".repeat(900), ..Metadata::default() });
    }
    appender.commit().unwrap();
    let stats = db.family_stats();
    assert!(stats.bytes <= 32 << 20 && stats.families <= 50_000 && stats.refused > 10_000, "{stats:?}");
    // Without series they go, also after a restart.
    drop(db);
    let disk = disk.after_kill();
    let db = open(&disk, &options);
    assert!(db.family_stats().bytes <= 32 << 20, "{:?}", db.family_stats());
    maintain(&db, 61);
    assert_eq!((db.family_stats().families, db.metadata().keys().next().unwrap().as_str()), (1, "a"));
    assert!(db.family_stats().evicted > 10_000);
    db.delete(&[Matcher::equal("__name__", "a_bucket")], TimeRange::ALL, false).unwrap();
    maintain(&db, 61);
    let FamilyStats { families, bytes, .. } = db.family_stats();
    assert_eq!((families, bytes), (0, 0));
}
