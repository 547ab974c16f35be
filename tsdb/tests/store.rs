//! The whole store against a sorted map: whatever it does by itself, and however often it is opened again, it holds what
//! was committed and not deleted.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tsdb::testing::{FaultFs, check_newest};
use tsdb::{
    Clock, Columns, Db, Error, Exemplar, FoundExemplars, Fs, Labels, MaintenanceTotals, MatchOp, Matcher, Opening,
    Options, Queryable, STALE_NAN, SharedColumn, SyncPolicy, TimeRange, Timestamp,
};

const HOUR: i64 = 3_600_000;
const START: i64 = 1_790_000_000_000;

/// Values by series and time.
type Model = BTreeMap<(usize, i64), u64>;

fn options() -> Options {
    Options {
        shards: 2,
        sync: SyncPolicy::EveryCommit,
        wal_segment_bytes: 4096,
        late_window: Duration::from_secs(1800),
        max_sealed_bytes: 200,
        checkpoint_samples: 300,
        maintain_every: Duration::ZERO,
        ..Options::default()
    }
}

fn open(disk: &FaultFs) -> Result<Db, Error> {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    Db::open(&fs, Path::new("/data"), &options(), |_, _| {})
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("s", &format!("{series:03}"))])
}

fn held(db: &Db, range: TimeRange) -> Model {
    found(db, &[], range).unwrap()
}

fn found(source: &dyn Queryable, matchers: &[Matcher], range: TimeRange) -> Result<Model, Error> {
    let set = source.querier()?.select(matchers, range)?;
    let mut columns = Columns::default();
    let mut all = Model::new();
    assert!((1..set.len()).all(|i| set.labels(i - 1) < set.labels(i)), "series are not in the order of their labels");
    for index in 0..set.len() {
        columns.clear();
        set.read(index, range, &mut columns).unwrap();
        check_newest(&*set, index, range, &columns);
        assert!(columns.timestamps_ms.is_sorted_by(|a, b| a < b), "{:?}", columns.timestamps_ms);
        let series = set.label(index, "s").unwrap().parse().unwrap();
        all.extend(columns.timestamps_ms.iter().zip(&columns.values).map(|(&at, v)| ((series, at), v.to_bits())));
    }
    Ok(all)
}

/// Opens the store. What single series are said to hold before its log has been replayed is what they hold.
fn open_early(disk: &FaultFs) -> Db {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let opening = Opening::begin(&fs, Path::new("/data"), &options()).unwrap();
    let early = opening.early();
    let one = |series: usize| [Matcher::equal("s", format!("{series:03}"))];
    let before: Vec<_> = (0..6).map(|series| found(&early, &one(series), TimeRange::ALL).unwrap()).collect();
    assert!(matches!(found(&early, &[], TimeRange::ALL), Err(Error::Replaying)), "all series at once");
    let db = opening.finish(|_, _| {}).unwrap();
    for (series, before) in before.iter().enumerate() {
        same(before, &found(&db, &one(series), TimeRange::ALL).unwrap());
    }
    let late = found(&early, &one(0), TimeRange::ALL);
    assert!(matches!(late, Err(Error::Replaying)), "the log begins to change");
    db
}

/// Asserts that the first series of a selection are the first of all that it finds, and read the same.
fn check_first(db: &Db, matchers: &[Matcher], range: TimeRange) {
    let querier = db.querier().unwrap();
    let all = querier.select(matchers, range).unwrap();
    assert!((1..all.len()).all(|i| all.labels(i - 1) < all.labels(i)), "series are not in the order of their labels");
    for limit in [0, 1, 7, all.len() / 2, all.len().saturating_sub(1), all.len(), all.len() + 1, usize::MAX] {
        let first = querier.select_first(matchers, range, limit).unwrap();
        assert_eq!(first.len(), all.len().min(limit));
        let (mut expected, mut columns) = (Columns::default(), Columns::default());
        for index in 0..first.len() {
            assert_eq!(first.labels(index), all.labels(index), "{limit} of {}", all.len());
            all.read(index, range, &mut expected).unwrap();
            first.read(index, range, &mut columns).unwrap();
        }
        assert_eq!(columns.timestamps_ms, expected.timestamps_ms);
        assert!(columns.values.iter().map(|v| v.to_bits()).eq(expected.values.iter().map(|v| v.to_bits())));
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Scrapes of a target of some series, so many seconds apart.
    Scrape {
        scrapes: u8,
        step_s: i64,
        series: usize,
    },
    /// A pushed sample, so many seconds before the newest.
    Push {
        series: usize,
        back_s: i64,
        value: u8,
    },
    Stale {
        series: usize,
    },
    /// A sample of a sender whose clock is so many seconds ahead.
    Ahead {
        series: usize,
        ahead_s: i64,
    },
    Delete {
        series: usize,
        from_s: i64,
        to_s: i64,
    },
    CleanTombstones,
    Maintain,
    Reopen,
    /// Time passes.
    Wait {
        s: i64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u8..60, prop::sample::select(vec![15i64, 60, 600]), 1usize..6)
            .prop_map(|(scrapes, step_s, series)| Op::Scrape { scrapes, step_s, series }),
        6 => (0usize..8, prop_oneof![0i64..2000, Just(0), -500i64..0], 0u8..4)
            .prop_map(|(series, back_s, value)| Op::Push { series, back_s, value }),
        1 => (0usize..8).prop_map(|series| Op::Stale { series }),
        1 => (0usize..8, prop::sample::select(vec![60i64, 4000, 20_000, 40_000_000]))
            .prop_map(|(series, ahead_s)| Op::Ahead { series, ahead_s }),
        1 => (0usize..8, 0i64..20_000, 0i64..5000)
            .prop_map(|(series, from_s, n)| Op::Delete { series, from_s, to_s: from_s - n }),
        1 => Just(Op::CleanTombstones),
        5 => Just(Op::Maintain),
        2 => Just(Op::Reopen),
        2 => (1i64..9000).prop_map(|s| Op::Wait { s }),
    ]
}

/// A store, what it should hold, and the present.
struct World {
    disk: FaultFs,
    db: Option<Db>,
    column: SharedColumn,
    model: Model,
    /// What has been deleted: the last sample of a series is remembered even so, and refuses another at its time.
    deleted: Model,
    /// Exemplars: their value, which is that of their time.
    exemplars: Model,
    now: i64,
}

impl World {
    fn new() -> Self {
        let disk = FaultFs::default();
        let db = open(&disk).unwrap();
        let column = db.column();
        let (model, deleted, exemplars) = (Model::new(), Model::new(), Model::new());
        Self { disk, db: Some(db), column, model, deleted, exemplars, now: START }
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    fn push(&mut self, series: usize, at: i64, value: f64) {
        let mut appender = self.db().appender();
        let reference = appender.series(&labels(series)).unwrap();
        appender.append_at(reference, Timestamp::from_millis(at), None, value);
        let committed = appender.commit().unwrap();
        if committed.appended == 1 {
            // Of two at one time the first accepted stays, which a block may hold already.
            self.model.entry((series, at)).or_insert(value.to_bits());
        } else if committed.known + committed.duplicate == 1 {
            let key = (series, at);
            assert!(self.model.contains_key(&key) || self.deleted.contains_key(&key), "{committed:?}");
        }
    }

    fn apply(&mut self, op: Op) {
        self.db().set_clock(Clock::trusted(Timestamp::from_millis(self.now)));
        match op {
            Op::Scrape { scrapes, step_s, series } => {
                for _ in 0..scrapes {
                    self.now += step_s * 1000;
                    let db = self.db.as_ref().unwrap();
                    db.set_clock(Clock::trusted(Timestamp::from_millis(self.now)));
                    let mut appender = db.scrape_appender(&self.column, Timestamp::from_millis(self.now));
                    for s in 0..series {
                        let reference = appender.series(&labels(s)).unwrap();
                        appender.append(reference, (self.now / 1000 % 1000) as f64 + s as f64 / 10.0);
                        // Of half a second ago, so that a deletion may hit it alone.
                        if s % 2 == 0 && self.now / 1000 % 4 == 0 {
                            appender.exemplar(reference, exemplar(self.now - 500));
                            self.exemplars.insert((s, self.now - 500), (self.now as f64).to_bits());
                        }
                    }
                    let committed = appender.commit().unwrap();
                    assert_eq!(committed.appended, series, "{committed:?}");
                    for s in 0..series {
                        let value = (self.now / 1000 % 1000) as f64 + s as f64 / 10.0;
                        self.model.insert((s, self.now), value.to_bits());
                    }
                }
            }
            Op::Push { series, back_s, value } => {
                let at = self.now - back_s * 1000;
                self.now = self.now.max(at);
                self.push(series, at, value.into());
            }
            // Beside the seconds, so that nothing of the present meets it.
            Op::Ahead { series, ahead_s } => self.push(series, self.now + ahead_s * 1000 + 7, 1.0),
            Op::Stale { series } => {
                self.now += 1000;
                self.push(series, self.now, STALE_NAN);
            }
            Op::Delete { series, from_s, to_s } => {
                let range = TimeRange::from_millis(self.now - from_s * 1000, self.now - to_s * 1000);
                let matcher = [Matcher::new(MatchOp::Equal, "s", format!("{series:03}")).unwrap()];
                let planned = self.db().delete(&matcher, range, true).unwrap();
                let before = self.model.len();
                assert_eq!(held(self.db(), TimeRange::ALL).len(), before);
                assert_eq!(self.db().delete(&matcher, range, false).unwrap(), planned);
                let hit = |(s, at): &(usize, i64)| *s == series && range.contains(Timestamp::from_millis(*at));
                self.deleted.extend(self.model.iter().filter(|(key, _)| hit(key)).map(|(&key, &value)| (key, value)));
                self.model.retain(|key, _| !hit(key));
                self.exemplars.retain(|key, _| !hit(key));
                assert_eq!(planned.samples as usize, before - self.model.len());
            }
            Op::CleanTombstones => self.db().clean_tombstones().unwrap(),
            Op::Maintain => self.db().maintain(),
            Op::Reopen => {
                // Killed, not closed.
                drop(self.db.take());
                self.disk = self.disk.after_kill();
                let db = open_early(&self.disk);
                assert_eq!(db.recovery().damage, Vec::<String>::new());
                self.column = db.column();
                self.db = Some(db);
            }
            Op::Wait { s } => self.now += s * 1000,
        }
    }

    fn check(&self) {
        assert_eq!(self.db().maintenance().last_failure, None);
        same(&held(self.db(), TimeRange::ALL), &self.model);
        let recent = TimeRange::from_millis(self.now - HOUR, self.now);
        let mut model = self.model.clone();
        model.retain(|(_, at), _| recent.contains(Timestamp::from_millis(*at)));
        same(&held(self.db(), recent), &model);
        for range in [TimeRange::ALL, recent] {
            let mut exemplars = self.exemplars.clone();
            exemplars.retain(|(_, at), _| range.contains(Timestamp::from_millis(*at)));
            same(&exemplars_of(self.db(), range), &exemplars);
        }
        check_first(self.db(), &[], recent);
        check_first(self.db(), &[Matcher::new(MatchOp::NotEqual, "s", "001").unwrap()], TimeRange::ALL);
    }
}

/// One whose value says its time, half a second less.
fn exemplar(ms: i64) -> Exemplar {
    let labels = Labels::from_pairs([("trace_id", &format!("{ms:x}"))]);
    Exemplar { labels, value: (ms + 500) as f64, timestamp: Timestamp::from_millis(ms) }
}

fn exemplars_of(db: &Db, range: TimeRange) -> Model {
    let found = db.exemplars(&[vec![]], range, || false).unwrap();
    assert!(!found.is_partial && found.series.is_sorted_by(|a, b| a.0 < b.0));
    let mut all = Model::new();
    for (labels, exemplars) in found.series {
        assert!(exemplars.is_sorted_by(|a, b| a.timestamp < b.timestamp));
        let series = labels.get("s").unwrap().parse().unwrap();
        all.extend(exemplars.iter().map(|e| {
            assert_eq!(e.labels, exemplar(e.timestamp.millis()).labels);
            ((series, e.timestamp.millis()), e.value.to_bits())
        }));
    }
    all
}

/// Says what differs in few words.
#[track_caller]
fn same(held: &Model, model: &Model) {
    let lost: Vec<_> = model.iter().filter(|(key, value)| held.get(key) != Some(value)).collect();
    let more: Vec<_> = held.iter().filter(|(key, _)| !model.contains_key(key)).collect();
    let first = |list: &[_]| format!("{} {:?}", list.len(), &list[..list.len().min(3)]);
    assert!(lost.is_empty() && more.is_empty(), "lost or changed: {}; not deleted: {}", first(&lost), first(&more));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_holds_what_a_sorted_map_would(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
            world.check();
        }
        world.apply(Op::Reopen);
        world.check();
        prop_assert!(true);
    }
}

/// Scrapes of `series` series every 15 s for `hours`, maintained every ten minutes.
fn scrape_for(world: &mut World, hours: f64, series: usize) {
    for _ in 0..(hours * 6.0) as usize {
        world.apply(Op::Scrape { scrapes: 40, step_s: 15, series });
        world.apply(Op::Maintain);
    }
}

#[test]
fn the_head_keeps_hours_while_blocks_keep_the_rest() {
    let mut world = World::new();
    scrape_for(&mut world, 13.0, 4);
    world.check();
    let (stats, totals) = (world.db().head_stats(), world.db().maintenance());
    assert!(totals.flushes >= 4 && totals.checkpoints > totals.flushes, "{totals:?}");
    assert!(stats.min_time.millis() > world.now - 4 * HOUR, "the head begins at {}", stats.min_time);
    assert!(stats.wal_bytes < 20_000, "{} bytes of log after {} samples", stats.wal_bytes, world.model.len());
    assert!(stats.chunks <= 12, "{} chunks in memory", stats.chunks);
    world.apply(Op::Reopen);
    world.check();
    assert!(world.db().recovery().samples < 3000, "{:?}", world.db().recovery());
}

#[test]
fn the_first_series_are_the_same_in_head_and_blocks_and_however_few_of_them_are_asked_for() {
    let mut world = World::new();
    let begun = world.now;
    // Every third ends early, every fifth comes late: some are in the blocks only, some in the head only and without a place
    // in its order, most in both.
    for round in 0..30 {
        world.now += 10 * 60_000;
        let mut appender = world.db().appender();
        let comes =
            |series: usize| (!series.is_multiple_of(3) || round < 5) && (!series.is_multiple_of(5) || round > 28);
        for series in (0..1800).map(|n| n * 7919 % 1800).filter(|&series| comes(series)) {
            let reference = appender.series(&labels(series)).unwrap();
            appender.append_at(reference, Timestamp::from_millis(world.now), None, series as f64);
        }
        appender.commit().unwrap();
        if round < 29 {
            world.db().maintain();
        }
    }
    assert!(world.db().maintenance().flushes > 0);
    let hour = TimeRange::from_millis(world.now - HOUR, world.now);
    for range in [TimeRange::ALL, hour, TimeRange::from_millis(begun, begun + HOUR), TimeRange::from_millis(0, 1)] {
        check_first(world.db(), &[], range);
        for pattern in [".*[02468]", "00.", "1.*"] {
            check_first(world.db(), &[Matcher::new(MatchOp::Regex, "s", pattern).unwrap()], range);
        }
    }
}

#[test]
fn series_that_end_leave_the_head_within_minutes_and_lose_nothing() {
    let mut world = World::new();
    for generation in 0..3 {
        world.now += 60_000;
        for end in [false, true] {
            let at = Timestamp::from_millis(world.now + if end { 60_000 } else { 0 });
            let mut appender = world.db.as_ref().unwrap().appender();
            for series in 0..1200 {
                let reference = appender.series(&labels(generation * 1200 + series)).unwrap();
                let value = if end { STALE_NAN } else { series as f64 };
                appender.append_at(reference, at, None, value);
                world.model.insert((generation * 1200 + series, at.millis()), value.to_bits());
            }
            appender.commit().unwrap();
        }
        world.now += 7 * 60_000;
        world.push(9999, world.now, 1.0);
        (0..61).for_each(|_| world.db().maintain());
        same(&held(world.db(), TimeRange::ALL), &world.model);
        assert_eq!(world.db().series_count(), 1, "{:?}", world.db().maintenance());
        world.db().maintain();
        let symbols = world.db().head_stats().symbols;
        assert!(symbols <= 2 * labels(9999).iter().count() as u64, "{symbols} texts of one series");
    }
    assert_eq!(world.db().maintenance().evicted, 3600);
    // They come again, and to their old selves.
    world.push(5, world.now, 7.0);
    world.apply(Op::Reopen);
    same(&held(world.db(), TimeRange::ALL), &world.model);
}

#[test]
fn series_that_never_get_a_sample_are_let_go_and_may_come_again() {
    let world = World::new();
    let appender = world.db().appender();
    let given: Vec<_> = (0..3).map(|series| appender.series(&labels(series)).unwrap()).collect();
    drop(appender);
    let used = {
        let mut appender = world.db().appender();
        appender.append_at(given[1], Timestamp::from_millis(world.now), None, 1.0);
        appender.commit().unwrap()
    };
    assert_eq!((used.appended, world.db().series_count()), (1, 3));
    (0..31).for_each(|_| world.db().maintain());
    assert_eq!(world.db().series_count(), 3, "they have been seen once without a sample");
    (0..30).for_each(|_| world.db().maintain());
    assert_eq!((world.db().series_count(), world.db().maintenance().evicted), (1, 2));
    let mut appender = world.db().appender();
    let again = appender.series(&labels(0)).unwrap();
    assert_ne!(again, given[0]);
    for series in [given[0], given[1], again] {
        appender.append_at(series, Timestamp::from_millis(world.now + 1000), None, 2.0);
    }
    let committed = appender.commit().unwrap();
    assert_eq!((committed.appended, committed.unknown), (2, vec![given[0]]));
    let set = world.db().querier().unwrap().select(&[], TimeRange::ALL).unwrap();
    assert_eq!((0..set.len()).map(|i| set.labels(i)).collect::<Vec<_>>(), [labels(0), labels(1)]);
}

#[test]
fn who_reads_keeps_the_texts_of_what_is_let_go_meanwhile() {
    let mut world = World::new();
    let start = world.now;
    (0..1200).for_each(|series| world.push(series, start, 1.0));
    world.now += 60_000;
    (0..1200).for_each(|series| world.push(series, start + 60_000, STALE_NAN));
    let set = world.db().querier().unwrap().select(&[], TimeRange::ALL).unwrap();
    world.now += 7 * 60_000;
    world.push(9999, world.now, 1.0);
    (0..70).for_each(|_| world.db().maintain());
    let mut seen: Vec<_> = (0..set.len()).map(|i| set.labels(i)).collect();
    let mut all: Vec<_> = (0..1200).map(labels).collect();
    seen.sort();
    all.sort();
    assert_eq!(seen, all);
    drop(set);
    (0..3).for_each(|_| world.db().maintain());
    assert!(world.db().head_stats().symbols < 20, "{}", world.db().head_stats().symbols);
}

#[test]
fn who_reads_goes_on_reading_what_leaves_the_head_meanwhile() {
    let mut world = World::new();
    scrape_for(&mut world, 2.9, 3);
    let before = world.model.clone();
    let set = world.db().querier().unwrap().select(&[], TimeRange::ALL).unwrap();
    scrape_for(&mut world, 4.0, 3);
    assert!(world.db().maintenance().flushes > 0);
    for index in 0..3 {
        let mut columns = Columns::default();
        set.read(index, TimeRange::ALL, &mut columns).unwrap();
        let expected: Vec<i64> = before.keys().filter(|(s, _)| *s == index).map(|&(_, at)| at).collect();
        assert_eq!(columns.timestamps_ms, expected, "series {index}");
    }
    drop(set);
    world.apply(Op::Maintain);
    world.apply(Op::Maintain);
    world.check();
    assert!(world.db().head_stats().min_time.millis() > START + 2 * HOUR);
}

/// A workload that covers head, log, spilling, checkpoints, blocks, compaction and deletion, until the disk stops. Answers
/// what was acknowledged, and what may be there beside it.
fn until_the_disk_stops(disk: &FaultFs) -> (Model, Model) {
    let (mut acknowledged, mut tried) = (Model::new(), Model::new());
    let Ok(db) = open(disk) else { return (acknowledged, tried) };
    work(&db, &mut acknowledged, &mut tried);
    (acknowledged, tried)
}

/// So many of the series that are scraped have an exemplar beside each sample.
const TRACED: usize = 2;

/// The exemplars beside the samples of `model`.
fn beside(model: &Model) -> Model {
    let traced = model.keys().filter(|(s, _)| *s < TRACED);
    traced.map(|&(s, at)| ((s, at - 500), (at as f64).to_bits())).collect()
}

fn work(db: &Db, acknowledged: &mut Model, tried: &mut Model) {
    let column = db.column();
    let mut now = START;
    for step in 0..130 {
        now += 240_000;
        let mut appender = db.scrape_appender(&column, Timestamp::from_millis(now));
        let mut batch = Model::new();
        for s in 0..3 {
            let Ok(reference) = appender.series(&labels(s)) else { continue };
            appender.append(reference, f64::from(step) + s as f64);
            batch.insert((s, now), (f64::from(step) + s as f64).to_bits());
            if s < TRACED {
                appender.exemplar(reference, exemplar(now - 500));
            }
        }
        let late = now - 600_000 - 7;
        if let Ok(reference) = appender.series(&labels(3)) {
            appender.append_at(reference, Timestamp::from_millis(late), None, 1.5);
            batch.insert((3, late), 1.5f64.to_bits());
        }
        tried.extend(batch.clone());
        if appender.commit().is_err() {
            break;
        }
        acknowledged.extend(batch);
        if step % 5 == 4 {
            db.maintain();
        }
        if step == 70 {
            let matcher = [Matcher::new(MatchOp::Equal, "s", "001").unwrap()];
            let range = TimeRange::from_millis(START, START + 2 * HOUR + HOUR / 2);
            let deleted = db.delete(&matcher, range, false);
            acknowledged.retain(|(s, at), _| *s != 1 || !range.contains(Timestamp::from_millis(*at)));
            if deleted.is_ok() {
                tried.clone_from(acknowledged);
            }
        }
        if step == 100 {
            // What fails goes on being deleted.
            let _ = db.clean_tombstones();
        }
    }
}

/// Stops the disk at every `step`-th write, sync, creation or removal of a workload in turn, and looks at what a power cut
/// then leaves.
fn sweep(from: u64, step: usize) {
    let whole = FaultFs::default();
    let db = open(&whole).unwrap();
    work(&db, &mut Model::new(), &mut Model::new());
    let MaintenanceTotals { flushes, checkpoints, compactions, failures, .. } = db.maintenance();
    assert!(flushes > 2 && checkpoints > 2 && compactions > 0 && failures == 0, "{:?}", db.maintenance());
    drop(db);
    let operations = whole.operations();
    assert!(operations > 300, "{operations} operations");
    for stop in (from..=operations + 1).step_by(step) {
        let disk = FaultFs::default();
        disk.fail_from(stop);
        let (acknowledged, tried) = until_the_disk_stops(&disk);
        let torn = |n| (disk.after_torn_power_cut(stop * 2 + n), "torn power cut");
        for (left, what) in [(disk.after_power_cut(), "power cut"), (disk.after_kill(), "kill"), torn(0), torn(1)] {
            let db = open(&left).unwrap_or_else(|e| panic!("stopped at {stop}, {what}: {e}"));
            if what != "torn power cut" {
                assert_eq!(db.recovery().damage, Vec::<String>::new(), "stopped at {stop}, {what}");
            }
            let held = held(&db, TimeRange::ALL);
            let lost: Vec<_> =
                acknowledged.iter().filter(|(key, value)| held.get(key) != Some(value)).take(3).collect();
            assert!(lost.is_empty(), "stopped at {stop}, {what}: lost {lost:?}, {:?}", db.recovery());
            let more: Vec<_> = held.iter().filter(|(key, _)| !tried.contains_key(key)).take(3).collect();
            assert!(more.is_empty(), "stopped at {stop}, {what}: {more:?}");
            let exemplars = exemplars_of(&db, TimeRange::ALL);
            let (must, may) = (beside(&acknowledged), beside(&tried));
            let lost = must.keys().filter(|key| !exemplars.contains_key(key)).count();
            let more = exemplars.keys().filter(|key| !may.contains_key(key)).count();
            assert_eq!((lost, more), (0, 0), "stopped at {stop}, {what}: exemplars");
            // The commit that failed is there whole or not at all.
            if let Some((_, last)) = tried.keys().find(|key| !acknowledged.contains_key(key)) {
                let of_last = |(s, at): &&(usize, i64)| *s < 3 && at == last;
                let there = held.keys().filter(of_last).count();
                assert!(there == 0 || there == tried.keys().filter(of_last).count(), "stopped at {stop}: half a batch");
            }
        }
    }
}

#[test]
fn a_disk_that_stops_at_any_operation_loses_nothing_acknowledged() {
    // All of it: TSDB_SWEEP=full cargo test --release -p tsdb --features testing --test store disk_that_stops
    let full = std::env::var("TSDB_SWEEP").is_ok_and(|value| value == "full");
    sweep(1, if full { 1 } else { 41 });
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_all_is_in_fresh_files() {
    let mut world = World::new();
    scrape_for(&mut world, 0.5, 2);
    // The write goes through, the sync does not.
    world.disk.fail_from(world.disk.operations() + 2);
    let mut appender = world.db().appender();
    let reference = appender.series(&labels(0)).unwrap();
    appender.append_at(reference, Timestamp::from_millis(world.now + 1000), None, 1.0);
    assert!(appender.commit().is_err());
    world.disk.heal();
    let mut refused = world.db().appender();
    refused.append_at(reference, Timestamp::from_millis(world.now + 2000), None, 2.0);
    assert!(matches!(refused.commit(), Err(Error::Paused { .. })));
    assert!(world.db().paused().is_some_and(|why| why.contains("cannot be synced")), "{:?}", world.db().paused());
    assert_eq!(held(world.db(), TimeRange::ALL).len(), world.model.len(), "queries go on");
    world.db().maintain();
    assert_eq!(world.db().paused(), None);
    // What was logged but not acknowledged may be there: it is, now for good.
    world.model.insert((0, world.now + 1000), 1f64.to_bits());
    world.push(0, world.now + 3000, 3.0);
    world.check();
    world.disk = world.disk.after_power_cut();
    drop(world.db.take());
    world.db = Some(open(&world.disk).unwrap());
    world.check();
}

#[test]
fn a_full_disk_pauses_and_goes_on_by_itself() {
    let mut world = World::new();
    scrape_for(&mut world, 0.5, 2);
    world.disk.fail_from(world.disk.operations() + 1);
    let mut refused = world.db().appender();
    let reference = refused.series(&labels(0)).unwrap();
    refused.append_at(reference, Timestamp::from_millis(world.now + 1000), None, 1.0);
    assert!(refused.commit().is_err());
    world.db().maintain();
    assert!(world.db().paused().is_some());
    same(&held(world.db(), TimeRange::ALL), &world.model);
    world.disk.heal();
    world.db().maintain();
    assert_eq!(world.db().paused(), None, "over, though nobody has tried to write");
    world.push(0, world.now + 2000, 3.0);
    assert_eq!(world.db().paused(), None);
    world.db().maintain();
    world.apply(Op::Reopen);
    same(&held(world.db(), TimeRange::ALL), &world.model);
}

#[test]
fn exemplars_survive_restarts_and_the_end_of_their_series() {
    let mut world = World::new();
    let exemplar = |n: i64| Exemplar {
        labels: Labels::from_pairs([("trace_id", &format!("{n:x}"))]),
        value: n as f64,
        timestamp: Timestamp::from_millis(START + n * 60_000),
    };
    for n in 0..200 {
        world.now = START + n * 60_000;
        let mut appender = world.db.as_ref().unwrap().appender();
        let reference = appender.series(&labels(1)).unwrap();
        appender.append_at(reference, Timestamp::from_millis(world.now), None, n as f64);
        appender.exemplar(reference, exemplar(n));
        assert_eq!(appender.commit().unwrap().exemplars, 1);
        world.db().maintain();
    }
    let selectors = [vec![Matcher::new(MatchOp::Equal, "__name__", "m").unwrap()]];
    for _ in 0..2 {
        let found = world.db().exemplars(&selectors, TimeRange::ALL, || false).unwrap();
        let series = vec![(labels(1), (0..200).map(exemplar).collect::<Vec<_>>())];
        assert_eq!(found, FoundExemplars { series, is_partial: false });
        world.apply(Op::Reopen);
    }
    assert!(world.db().maintenance().failures == 0 && world.db().recovery().samples < 200);
}

#[test]
fn a_kill_while_the_first_block_is_cut_leaves_nothing_to_mend() {
    let whole = |disk: &FaultFs| {
        let mut world = World { db: open(disk).ok(), ..World::new() };
        world.column = world.db().column();
        world.disk = disk.clone();
        for _ in 0..30 {
            world.apply(Op::Scrape { scrapes: 1, step_s: 600, series: 2 });
        }
        world
    };
    let disk = FaultFs::default();
    let from = {
        let world = whole(&disk);
        let from = disk.operations();
        world.db().maintain();
        from..disk.operations()
    };
    assert!(from.end - from.start > 20, "{from:?}");
    for stop in from {
        let disk = FaultFs::default();
        let world = whole(&disk);
        disk.fail_from(stop + 1);
        world.db().maintain();
        let left = open(&disk.after_kill()).unwrap();
        assert_eq!(left.recovery().damage, Vec::<String>::new(), "stopped at {stop}");
        same(&held(&left, TimeRange::ALL), &world.model);
    }
}
