//! Exemplars over their whole life: in the head, in blocks, compacted, copied, imported, deleted.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tsdb::testing::FaultFs;
use tsdb::{
    BlockRange, Db, Error, Exemplar, FoundExemplars, Fs, Labels, Matcher, Omission, Options, Retention, STALE_NAN,
    SyncPolicy, TimeRange, Timestamp, verify,
};

const HOUR: i64 = 3_600_000;
/// Begins a range of two hours.
const START: i64 = 248_612 * 2 * HOUR;
const DIR: &str = "/data";

/// The head keeps the exemplars of three and a half hours, one a minute.
fn options() -> Options {
    Options {
        shards: 2,
        sync: SyncPolicy::EveryCommit,
        wal_segment_bytes: 1 << 16,
        max_exemplars: 210,
        maintain_every: Duration::ZERO,
        ..Options::default()
    }
}

fn open_with(disk: &FaultFs, options: &Options) -> Db {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    Db::open(&fs, Path::new(DIR), options, |_, _| {}).unwrap()
}

fn open(disk: &FaultFs) -> Db {
    open_with(disk, &options())
}

fn series(n: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("s", &format!("{n:04}"))])
}

fn exemplar(ms: i64) -> Exemplar {
    let labels = Labels::from_pairs([("trace_id", &format!("{ms:x}"))]);
    Exemplar { labels, value: ms as f64 / 7.0, timestamp: Timestamp::from_millis(ms) }
}

/// Pushes a sample and an exemplar.
fn push(db: &Db, n: usize, at_ms: i64, value: f64) {
    let mut appender = db.appender();
    let reference = appender.series(&series(n)).unwrap();
    appender.append_at(reference, Timestamp::from_millis(at_ms), None, value);
    appender.exemplar(reference, exemplar(at_ms));
    assert_eq!(appender.commit().unwrap().exemplars, 1);
}

/// A sample and an exemplar of series 0 each minute of these hours, maintained all the while. Gives the times.
fn fill(db: &Db, hours: std::ops::Range<i64>) -> Vec<i64> {
    let times: Vec<i64> = (hours.start * 60..hours.end * 60).map(|minute| START + minute * 60_000).collect();
    for &at_ms in &times {
        push(db, 0, at_ms, 1.0);
        db.maintain();
    }
    assert_eq!(db.maintenance().last_failure, None);
    times
}

fn all() -> [Vec<Matcher>; 1] {
    [vec![Matcher::equal("__name__", "m")]]
}

fn found(db: &Db, range: TimeRange) -> BTreeMap<Labels, Vec<Exemplar>> {
    let FoundExemplars { series, is_partial } = db.exemplars(&all(), range, || false).unwrap();
    assert!(!is_partial);
    series.into_iter().collect()
}

/// The times of the exemplars of series 0, which must be as they were written, asked for an hour at a time.
fn times(db: &Db, hours: std::ops::Range<i64>) -> Vec<i64> {
    let mut times = Vec::new();
    for hour in hours {
        let found = found(db, TimeRange::from_millis(START + hour * HOUR, START + (hour + 1) * HOUR - 1));
        for (labels, exemplars) in found {
            assert_eq!(labels, series(0));
            assert!(exemplars.iter().all(|e| *e == exemplar(e.timestamp.millis())));
            times.extend(exemplars.iter().map(|e| e.timestamp.millis()));
        }
    }
    times
}

fn in_blocks(db: &Db) -> u64 {
    db.blocks().iter().map(|block| block.stats.num_exemplars).sum()
}

fn verified(disk: &FaultFs) {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    verify(&fs, Path::new(DIR), |e| panic!("{e}"), |_, _| ()).unwrap();
}

#[test]
fn what_the_head_lets_go_of_is_in_blocks() {
    let disk = FaultFs::default();
    let db = open(&disk);
    let pushed = fill(&db, 0..13);
    assert!(in_blocks(&db) >= 600, "{:?}", db.blocks());
    assert_eq!(times(&db, 0..13), pushed);
    drop(db);
    let disk = disk.after_kill();
    let db = open(&disk);
    assert_eq!(db.recovery().damage, Vec::<String>::new());
    assert_eq!(times(&db, 0..13), pushed);
    // All at once is more than one may have: the newest.
    let newest = db.exemplars(&all(), TimeRange::ALL, || false).unwrap();
    let (newest, is_partial) = (&newest.series[0].1, newest.is_partial);
    let stopped = db.exemplars(&all(), TimeRange::ALL, || true).unwrap_err();
    assert!(matches!(stopped, Error::Cancelled), "{stopped}");
    assert!(is_partial && newest.iter().map(|e| e.timestamp.millis()).eq(pushed[pushed.len() - 210..].to_vec()));
    verified(&disk);
}

#[test]
fn blocks_that_overlap_give_each_exemplar_once_and_the_first_accepted() {
    let disk = FaultFs::default();
    let db = open(&disk);
    let pushed = fill(&db, 0..4);
    assert!(!db.blocks().is_empty());
    let before = in_blocks(&db);
    let imported = db.import::<Error>(Duration::from_secs(7200), |importer| {
        for &at_ms in &pushed[..60] {
            let (at, other) = (Timestamp::from_millis(at_ms), Exemplar { value: -1.0, ..exemplar(at_ms) });
            importer.float(&series(0), at, 5.0, None)?;
            importer.exemplar(&series(0), other)?;
            importer.exemplar(&series(1), exemplar(at_ms + 1))?;
        }
        Ok(())
    });
    assert_eq!(imported.unwrap().left_out.count(Omission::ExemplarWithoutSamples), 0);
    let of_1: Vec<_> = pushed[..60].iter().map(|at_ms| exemplar(at_ms + 1)).collect();
    let two_hours = TimeRange::from_millis(START, START + 2 * HOUR - 1);
    let expected = BTreeMap::from([
        (series(0), pushed[..120].iter().map(|&at_ms| exemplar(at_ms)).collect::<Vec<_>>()),
        (series(1), of_1),
    ]);
    assert_eq!(found(&db, two_hours), expected);
    assert_eq!(in_blocks(&db), before + 120);
    db.maintain();
    assert_eq!((db.maintenance().compactions, in_blocks(&db)), (1, before + 60), "{:?}", db.blocks());
    assert_eq!(found(&db, two_hours), expected);
    verified(&disk);
}

#[test]
fn blocks_of_series_that_ended_hold_their_exemplars_and_no_others() {
    let disk = FaultFs::default();
    let db = open_with(&disk, &Options { max_exemplars: 10_000, ..options() });
    for (at_ms, value) in [(START + 1000, 1.0), (START + 2000, STALE_NAN)] {
        (1..1201).for_each(|n| push(&db, n, at_ms, value));
        push(&db, 0, at_ms, 1.0);
    }
    push(&db, 0, START + 10 * 60_000, 1.0);
    (0..61).for_each(|_| db.maintain());
    assert_eq!(db.series_count(), 1, "{:?}", db.maintenance());
    assert_eq!(in_blocks(&db), 2400);
    let expected = |n: usize| {
        let last = if n == 0 { vec![exemplar(START + 10 * 60_000)] } else { vec![] };
        (series(n), [vec![exemplar(START + 1000), exemplar(START + 2000)], last].concat())
    };
    assert_eq!(found(&db, TimeRange::ALL), (0..1201).map(expected).collect());
}

#[test]
fn exemplars_go_with_their_blocks_when_these_are_too_old() {
    let disk = FaultFs::default();
    let retention = Retention { retention_ms: Some(6 * HOUR), ..Retention::default() };
    let db = open_with(&disk, &Options { retention, ..options() });
    let pushed = fill(&db, 0..14);
    db.maintain();
    assert!(db.maintenance().dropped > 0);
    let first = db.blocks().iter().map(|block| block.range.start_ms).min().unwrap();
    assert!(first > START, "{:?}", db.blocks());
    assert!(times(&db, 0..14).iter().eq(pushed.iter().filter(|&&at_ms| at_ms >= first)));
}

#[test]
fn a_snapshot_has_the_exemplars_of_blocks_and_of_the_head() {
    let disk = FaultFs::default();
    let db = open(&disk);
    let pushed = fill(&db, 0..6);
    db.snapshot(Path::new("/copy"), false).unwrap();
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    verify(&fs, Path::new("/copy"), |e| panic!("{e}"), |_, _| ()).unwrap();
    let copy = Db::open(&fs, Path::new("/copy"), &options(), |_, _| {}).unwrap();
    assert_eq!(copy.head_stats().series, 0);
    assert_eq!(times(&copy, 0..6), pushed);
}

#[test]
fn what_is_deleted_stays_deleted_in_the_head_and_in_blocks() {
    let mut disk = FaultFs::default();
    let db = open_with(&disk, &Options { max_exemplars: 10_000, ..options() });
    let pushed = fill(&db, 0..6);
    push(&db, 1, START + 6 * HOUR, 1.0);
    let [from, to] = [START + HOUR, START + 5 * HOUR + 1_800_000];
    let (range, one) = (TimeRange::from_millis(from, to), [Matcher::equal("s", "0000")]);
    let counted = db.delete(&one, range, true).unwrap();
    assert_eq!(times(&db, 0..6), pushed, "only counted");
    assert_eq!(db.delete(&one, range, false).unwrap(), counted);
    let left: Vec<i64> = pushed.into_iter().filter(|at_ms| !(from..=to).contains(at_ms)).collect();
    assert_eq!(times(&db, 0..6), left);
    drop(db);
    // Killed, not closed: first with all tombstones, then without one.
    for deleted in [180, 0] {
        disk = disk.after_kill();
        let db = open_with(&disk, &Options { max_exemplars: 10_000, ..options() });
        assert_eq!(times(&db, 0..6), left);
        let before = in_blocks(&db);
        db.clean_tombstones().unwrap();
        assert_eq!(in_blocks(&db), before - deleted, "{:?}", db.blocks());
        assert_eq!(times(&db, 0..6), left);
        assert_eq!(found(&db, TimeRange::ALL)[&series(1)], [exemplar(START + 6 * HOUR)]);
        verified(&disk);
    }
}

#[test]
fn exemplars_of_series_that_are_gone_from_the_head_can_be_deleted() {
    let disk = FaultFs::default();
    let options = Options { max_exemplars: 10_000, ..options() };
    let db = open_with(&disk, &options);
    push(&db, 1, START, 1.0);
    fill(&db, 0..5);
    assert_eq!(db.series_count(), 1, "the other has left the head");
    let one = [Matcher::equal("s", "0001")];
    db.delete(&one, TimeRange::ALL, false).unwrap();
    let of_1 = |db: &Db| found(db, TimeRange::ALL).contains_key(&series(1));
    assert!(!of_1(&db));
    drop(db);
    let db = open_with(&disk.after_kill(), &options);
    assert!(!of_1(&db), "though the checkpoint had it");
}

fn exemplar_files(disk: &FaultFs) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.ends_with("exemplars")).collect()
}

#[test]
fn a_file_that_is_missing_or_damaged_is_told() {
    let disk = FaultFs::default();
    let db = open(&disk);
    fill(&db, 0..5);
    db.close().unwrap();
    let path = exemplar_files(&disk).pop().unwrap();
    let bytes = disk.bytes(&path).unwrap();
    let mut damaged = bytes.clone();
    damaged[100] ^= 1;
    disk.set_bytes(&path, damaged);
    let db = open(&disk);
    let error = db.exemplars(&all(), TimeRange::ALL, || false).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { path: named, offset: 0, .. } if *named == path), "{error}");
    drop(db);
    disk.remove(&path).unwrap();
    let damage = open(&disk).recovery().damage.clone();
    assert!(damage.iter().any(|damage| damage.contains(path.to_str().unwrap())), "{damage:?}");
}

#[test]
fn an_exemplar_from_a_time_without_samples_stays_in_the_head() {
    let disk = FaultFs::default();
    let options = Options { max_exemplars: 10_000, ..options() };
    let db = open_with(&disk, &options);
    let mut appender = db.appender();
    let reference = appender.series(&series(0)).unwrap();
    appender.append_at(reference, Timestamp::from_millis(START), None, 1.0);
    appender.exemplar(reference, exemplar(START - 30 * HOUR));
    appender.commit().unwrap();
    fill(&db, 1..5);
    let old = TimeRange::from_millis(START - 31 * HOUR, START - 29 * HOUR);
    assert!(db.blocks().iter().all(|block| !block.range.overlaps(&BlockRange::aligned(old.end.millis(), HOUR))));
    drop(db);
    let found = found(&open_with(&disk.after_kill(), &options), old);
    assert_eq!(found, BTreeMap::from([(series(0), vec![exemplar(START - 30 * HOUR)])]));
}
