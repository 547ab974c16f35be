//! What is missing of a store is found: segments of the log, ends of segments, tombstones. And what a crash or a power cut leaves
//! is not taken for it.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tsdb::testing::FaultFs;
use tsdb::{
    Columns, Db, DiskFs, Error, Fs, Labels, Matcher, Options, Queryable, ReadOnlyDb, SyncPolicy, TimeRange, Timestamp,
};

const DIR: &str = "/data";
const SERIES: usize = 3;

fn options() -> Options {
    Options {
        shards: 1,
        sync: SyncPolicy::EveryCommit,
        wal_segment_bytes: 1024,
        checkpoint_samples: u64::MAX,
        maintain_every: Duration::ZERO,
        ..Options::default()
    }
}

fn open_with(disk: &FaultFs, options: &Options) -> Result<Db, Error> {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    Db::open(&fs, Path::new(DIR), options, |_, _| {})
}

fn open(disk: &FaultFs) -> Db {
    open_with(disk, &options()).unwrap()
}

fn commit(db: &Db, at_ms: i64) -> Result<(), Error> {
    let mut appender = db.appender();
    for s in 0..SERIES {
        let series = appender.series(&Labels::from_pairs([("__name__", "m"), ("s", &s.to_string())])).unwrap();
        appender.append_at(series, Timestamp::from_millis(at_ms), None, at_ms as f64);
    }
    appender.commit().map(drop)
}

/// Times at which all series have a sample.
fn times(source: &dyn Queryable) -> BTreeSet<i64> {
    let set = source.querier().unwrap().select(&[], TimeRange::ALL).unwrap();
    let mut counts = BTreeMap::<i64, usize>::new();
    for index in 0..set.len() {
        let mut columns = Columns::default();
        set.read(index, TimeRange::ALL, &mut columns).unwrap();
        columns.timestamps_ms.iter().for_each(|&at| *counts.entry(at).or_default() += 1);
    }
    assert!(counts.values().all(|&count| count == SERIES), "a commit is there in part");
    counts.into_keys().collect()
}

fn log(disk: &FaultFs) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.starts_with("/data/wal")).collect()
}

/// What start, a reader and `verify` tell, each in words.
fn told(disk: &FaultFs) -> [Vec<String>; 3] {
    let fs: Arc<dyn Fs> = Arc::new(disk.after_kill());
    let mut verified = Vec::new();
    match tsdb::verify(&fs, Path::new(DIR), |fault| verified.push(fault.to_string()), |_, _| {}) {
        // Nothing had been written yet.
        Err(Error::NoStore { .. } | Error::Io { .. }) => return [Vec::new(), Vec::new(), Vec::new()],
        other => drop(other.unwrap()),
    }
    let read = ReadOnlyDb::open(&fs, Path::new(DIR), |_, _| {}).unwrap().recovery().damage.clone();
    let started = open(&disk.after_kill()).recovery().damage.clone();
    [started, read, verified]
}

#[track_caller]
fn all_tell(disk: &FaultFs, path: &Path, what: &str) {
    for told in told(disk) {
        let is_it = |fault: &String| fault.starts_with(&format!("{}: ", path.display()));
        assert!(told.iter().any(is_it), "{what} of {}: {told:?}", path.display());
    }
}

#[track_caller]
fn nothing_told(disk: &FaultFs, what: &str) {
    for mut told in told(disk) {
        // A record cut short at its end is a change that never was to a start, and told of by `verify`: it may be damage.
        told.retain(|fault| !fault.starts_with("/data/MANIFEST: corrupt"));
        assert_eq!(told, Vec::<String>::new(), "{what}");
    }
}

/// A log of several segments that was killed.
fn killed() -> FaultFs {
    let disk = FaultFs::default();
    let db = open(&disk);
    (1..=200).for_each(|at| commit(&db, at).unwrap());
    drop(db);
    assert!(log(&disk).len() > 4, "{:?}", log(&disk));
    disk.after_kill()
}

#[test]
fn a_missing_segment_is_told_of_at_start_and_by_verify_also_the_last() {
    let disk = killed();
    nothing_told(&disk, "a kill");
    for path in log(&disk) {
        let disk = disk.after_kill();
        disk.remove(&path).unwrap();
        all_tell(&disk, &path, "removal");
        // And again after the next start, which has begun another.
        drop(open(&disk));
        all_tell(&disk, &path, "removal");
    }
    for path in log(&disk) {
        disk.remove(&path).unwrap();
    }
    all_tell(&disk, Path::new("/data/wal/00000001"), "removal of all");
}

#[test]
fn a_segment_that_ends_too_early_is_told_of_wherever_it_was_cut() {
    let disk = killed();
    let segments = log(&disk);
    for path in &segments[..segments.len() - 1] {
        let bytes = disk.bytes(path).unwrap();
        let frames = bytes.windows(4).enumerate().filter(|(_, magic)| *magic == b"SBfr").map(|(at, _)| at);
        for cut in frames.chain([0, 10, bytes.len() - 1]) {
            for zeros in [false, true] {
                let disk = disk.after_kill();
                let mut left = bytes[..cut].to_vec();
                if zeros {
                    left.resize(bytes.len(), 0);
                }
                disk.set_bytes(path, left);
                all_tell(&disk, path, &format!("cut at {cut}"));
            }
        }
    }
    // The last one likewise once it was ended by a clean stop.
    let db = open(&disk);
    commit(&db, 201).unwrap();
    commit(&db, 202).unwrap();
    db.close().unwrap();
    nothing_told(&disk, "a clean stop");
    let last = log(&disk).pop().unwrap();
    let bytes = disk.bytes(&last).unwrap();
    let frame = bytes.windows(4).rposition(|magic| magic == b"SBfr").unwrap();
    for left in [bytes[..frame].to_vec(), bytes[..bytes.len() - 3].to_vec()] {
        disk.set_bytes(&last, left.clone());
        all_tell(&disk, &last, "cut");
        drop(open(&disk));
        assert_eq!(disk.bytes(&last).unwrap(), left, "a damaged segment is left as it is");
    }
}

#[test]
fn a_zeroed_sector_anywhere_in_the_log_costs_only_what_was_in_it() {
    let disk = killed();
    let all = times(&open(&disk.after_kill()));
    assert_eq!(all.len(), 200);
    for path in log(&disk) {
        let bytes = disk.bytes(&path).unwrap();
        let end = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0);
        for from in (0..end).step_by(512) {
            let disk = disk.after_kill();
            let mut zeroed = bytes.clone();
            let to = (from + 512).min(bytes.len());
            zeroed[from..to].fill(0);
            disk.set_bytes(&path, zeroed);
            // The end of the last one is what a crash leaves of a commit, as far as anybody can know.
            let is_end = to > end && path == *log(&disk).last().unwrap();
            if !is_end {
                all_tell(&disk, &path, &format!("zeros at {from}"));
            }
            let db = open(&disk);
            // A frame is at most 100 bytes; where the series are named in it, what follows is without names.
            let left = times(&db).len();
            assert!(left >= 200 - 30 || db.recovery().orphans > 0, "{left} commits left, {from} in {}", path.display());
        }
    }
}

#[test]
fn tombstones_that_are_gone_or_those_of_before_are_told_of() {
    let disk = FaultFs::default();
    let db = open(&disk);
    let hour = 3_600_000;
    (0..300).for_each(|n| commit(&db, n * 60_000).unwrap());
    db.maintain();
    assert!(!db.blocks().is_empty());
    let delete = |s: &str, to| {
        let range = TimeRange::from_millis(0, to);
        assert!(db.delete(&[Matcher::equal("s", s)], range, false).unwrap().samples > 0);
    };
    delete("0", hour / 2);
    let tombstones: Vec<PathBuf> = disk.files().into_iter().filter(|path| path.ends_with("tombstones")).collect();
    assert!(!tombstones.is_empty());
    let before: Vec<_> = tombstones.iter().map(|path| disk.bytes(path).unwrap()).collect();
    delete("1", hour / 2);
    drop(db);
    nothing_told(&disk, "two deletions");
    for (path, before) in tombstones.iter().zip(before) {
        let gone = disk.after_kill();
        gone.remove(path).unwrap();
        all_tell(&gone, path, "removal");
        let older = disk.after_kill();
        older.set_bytes(path, before);
        all_tell(&older, path, "return of older ones");
    }
}

#[test]
fn no_crash_and_no_power_cut_makes_a_synced_log_look_shorter_than_it_was() {
    let work = |disk: &FaultFs| -> i64 {
        let Ok(db) = open_with(disk, &options()) else { return 0 };
        let acknowledged = (1..=60).take_while(|&at| commit(&db, at).is_ok()).last().unwrap_or(0);
        let _ = db.close();
        acknowledged
    };
    let whole = FaultFs::default();
    assert_eq!(work(&whole), 60);
    for stop in 1..=whole.operations() + 1 {
        let disk = FaultFs::default();
        disk.fail_from(stop);
        let acknowledged = work(&disk);
        for (left, what) in [(disk.after_kill(), "kill"), (disk.after_power_cut(), "power cut")] {
            nothing_told(&left, &format!("stopped at {stop}, {what}"));
            assert!(times(&open(&left)).len() as i64 >= acknowledged, "stopped at {stop}, {what}");
        }
        for seed in 0..3 {
            let left = disk.after_torn_power_cut(stop * 3 + seed);
            let found = times(&open(&left));
            assert!((1..=acknowledged).all(|at| found.contains(&at)), "stopped at {stop}, torn {seed}: {found:?}");
        }
    }
}

#[test]
fn a_disk_that_heals_by_itself_loses_nothing_acknowledged() {
    let whole = FaultFs::default();
    let work = |disk: &FaultFs, db: &Db| -> BTreeSet<i64> {
        let mut acknowledged = BTreeSet::new();
        for at in 1..=60 {
            if commit(db, at).is_ok() {
                acknowledged.insert(at);
            }
            if at % 7 == 0 {
                db.maintain();
            }
        }
        disk.heal();
        db.maintain();
        acknowledged
    };
    let db = open(&whole);
    assert_eq!(work(&whole, &db).len(), 60);
    drop(db);
    for from in 1..=whole.operations() {
        for many in [1, 2, 9] {
            let disk = FaultFs::default();
            let db = open(&disk);
            disk.fail_within(from..from + many);
            let acknowledged = work(&disk, &db);
            assert_eq!(db.paused(), None, "{many} from {from} on");
            commit(&db, 1000).unwrap();
            drop(db);
            let left = disk.after_power_cut();
            let db = open(&left);
            assert!(acknowledged.is_subset(&times(&db)), "{many} from {from} on: {:?}", db.recovery());
            assert_eq!(db.recovery().damage, Vec::<String>::new(), "{many} from {from} on");
        }
    }
}

#[test]
fn a_read_that_fails_keeps_a_store_from_opening_and_destroys_nothing() {
    let disk = FaultFs::default();
    let db = open_with(&disk, &Options { max_sealed_bytes: 0, ..options() }).unwrap();
    for n in 0..300 {
        commit(&db, n * 60_000).unwrap();
        if n % 100 == 99 {
            db.maintain();
        }
    }
    db.delete(&[Matcher::equal("s", "0")], TimeRange::from_millis(0, 5), false).unwrap();
    drop(db);
    let expected = open(&disk.after_kill());
    let (blocks, reads) = (expected.blocks().len(), {
        let counted = disk.after_kill();
        drop(open(&counted));
        counted.reads()
    });
    assert!(blocks > 0 && reads > 20, "{blocks} blocks, {reads} reads");
    for n in 1..=reads {
        let disk = disk.after_kill();
        disk.fail_reads_within(n..n + 1);
        let failed = open_with(&disk, &options());
        if let Ok(db) = &failed {
            assert_eq!(db.recovery().damage, Vec::<String>::new(), "read {n}");
        }
        drop(failed);
        disk.heal();
        nothing_told(&disk, &format!("read {n} had failed"));
        let db = open(&disk);
        assert_eq!(db.blocks().len(), blocks, "read {n} had failed");
        assert_eq!(db.recovery().samples, expected.recovery().samples, "read {n} had failed");
    }
}

#[test]
fn a_full_disk_at_start_gives_a_store_that_answers_and_goes_on_when_there_is_room() {
    let disk = killed();
    let left = disk.after_kill();
    left.set_capacity(Some(left.used()));
    let db = open(&left);
    assert!(db.paused().is_some_and(|why| why.contains("no storage space")), "{:?}", db.paused());
    assert_eq!(times(&db).len(), 200);
    assert!(commit(&db, 201).is_err());
    db.maintain();
    assert!(db.paused().is_some() && db.sync().is_ok());
    let _ = (db.head_stats(), db.disk_bytes());
    left.heal();
    db.maintain();
    assert_eq!(db.paused(), None);
    commit(&db, 202).unwrap();
    db.close().unwrap();
    nothing_told(&left, "a start on a full disk");
    assert_eq!(times(&open(&left)).len(), 201);
    // A new directory, of which nothing could be written.
    let empty = FaultFs::default();
    empty.create_dir_all(Path::new(DIR)).unwrap();
    empty.set_capacity(Some(0));
    let db = open(&empty);
    assert!(commit(&db, 1).is_err() && db.paused().is_some());
    empty.heal();
    db.maintain();
    commit(&db, 2).unwrap();
    drop(db);
    nothing_told(&empty, "a first start on a full disk");
}

#[test]
fn a_deleted_directory_stops_acknowledging_at_once_and_is_not_made_anew() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    for policy in [SyncPolicy::EveryCommit, SyncPolicy::Never] {
        let db = Db::open(&fs, &dir, &Options { sync: policy, ..options() }, |_, _| {}).unwrap();
        (1..50).for_each(|at| commit(&db, at).unwrap());
        std::fs::remove_dir_all(&dir).unwrap();
        let error = commit(&db, 50).unwrap_err().to_string();
        assert!(error.contains("was deleted while"), "{error}");
        assert!(db.paused().is_some());
        for _ in 0..3 {
            db.maintain();
            assert!(commit(&db, 51).is_err());
        }
        assert!(db.paused().is_some_and(|why| why.contains("start it again")), "{:?}", db.paused());
        assert!(!dir.exists(), "nothing is written to it");
        assert_eq!(times(&db).len(), 49, "queries go on");
    }
}

#[test]
fn a_moved_directory_is_noticed_by_the_next_pass() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, moved) = (temp.path().join("data"), temp.path().join("moved"));
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    let db = Db::open(&fs, &dir, &options(), |_, _| {}).unwrap();
    (1..50).for_each(|at| commit(&db, at).unwrap());
    std::fs::rename(&dir, &moved).unwrap();
    db.maintain();
    assert!(commit(&db, 50).is_err() && !dir.exists());
    drop(db);
    let db = Db::open(&fs, &moved, &options(), |_, _| {}).unwrap();
    assert_eq!((times(&db).len(), db.recovery().damage.len()), (49, 0));
}

#[test]
fn a_deleted_segment_is_made_good_by_a_checkpoint() {
    let disk = FaultFs::default();
    let db = open(&disk);
    (1..100).for_each(|at| commit(&db, at).unwrap());
    disk.remove(log(&disk).last().unwrap()).unwrap();
    assert!(commit(&db, 100).is_err() && db.paused().is_some());
    assert_eq!(times(&db).len(), 99);
    db.maintain();
    assert_eq!(db.paused(), None);
    commit(&db, 101).unwrap();
    drop(db);
    let left = disk.after_power_cut();
    nothing_told(&left, "a checkpoint");
    let found = times(&open(&left));
    assert!((1..100).chain([101]).all(|at| found.contains(&at)), "{found:?}");
}

/// Copies a directory.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn a_data_directory_of_version_0_1_opens_whole_twice() {
    let temp = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1");
    let expected = std::fs::read_to_string(data.join("expected.txt")).unwrap();
    copy(&data.join("data"), &temp.path().join("data"));
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    for _ in 0..2 {
        let db = Db::open(&fs, &temp.path().join("data"), &options(), |_, _| {}).unwrap();
        assert_eq!(db.recovery().damage, Vec::<String>::new());
        let set = db.querier().unwrap().select(&[], TimeRange::ALL).unwrap();
        let mut found = String::new();
        for index in 0..set.len() {
            let mut columns = Columns::default();
            set.read(index, TimeRange::ALL, &mut columns).unwrap();
            let (name, times) = (set.labels(index), &columns.timestamps_ms);
            let i = name.get("i").map(|i| format!("i={i}")).unwrap_or_default();
            let (first, last) = (times.first().unwrap(), times.last().unwrap());
            found.push_str(&format!("{}{i} {} {first} {last}\n", name.get("__name__").unwrap(), times.len()));
        }
        assert_eq!(found, expected);
        assert_eq!(db.exemplars(&[vec![]], TimeRange::ALL, || false).unwrap().series.len(), 2);
        db.close().unwrap();
        let mut faults = Vec::new();
        tsdb::verify(&fs, &temp.path().join("data"), |fault| faults.push(fault.to_string()), |_, _| {}).unwrap();
        assert_eq!(faults, Vec::<String>::new());
    }
}
