//! A store that is read beside the one that writes it, and proved to be whole.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tsdb::testing::FaultFs;
use tsdb::{
    Columns, Db, DiskFs, Error, Exemplar, Fs, Labels, Matcher, Options, Queryable, ReadOnlyDb, SyncPolicy, TimeRange,
    Timestamp, Verified, verify,
};

const HOUR: i64 = 3_600_000;
const START: i64 = 1_790_000_000_000;
const DIR: &str = "/data";

/// Values by series and time.
type Held = BTreeMap<(String, i64), u64>;

fn options() -> Options {
    Options {
        shards: 2,
        sync: SyncPolicy::Never,
        wal_segment_bytes: 2048,
        late_window: Duration::from_secs(1800),
        max_sealed_bytes: 200,
        checkpoint_samples: 300,
        maintain_every: Duration::ZERO,
        ..Options::default()
    }
}

fn held(db: &dyn Queryable) -> Result<Held, Error> {
    let set = db.querier()?.select(&[], TimeRange::ALL)?;
    let mut columns = Columns::default();
    let mut all = Held::new();
    for index in 0..set.len() {
        columns.clear();
        set.read(index, TimeRange::ALL, &mut columns)?;
        let name = set.labels(index).to_string();
        all.extend(columns.timestamps_ms.iter().zip(&columns.values).map(|(&at, v)| ((name.clone(), at), v.to_bits())));
    }
    Ok(all)
}

fn labels(series: usize) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("s", &format!("{series:03}"))])
}

/// One commit: `series` samples that are its number.
fn push(db: &Db, series: usize, number: i64, step_ms: i64) {
    let mut appender = db.appender();
    for s in 0..series {
        let reference = appender.series(&labels(s)).unwrap();
        appender.append_at(reference, Timestamp::from_millis(START + number * step_ms), None, number as f64);
        if number % 50 == 0 {
            let labels = Labels::from_pairs([("trace", "x")]);
            let timestamp = Timestamp::from_millis(START + number * step_ms);
            appender.exemplar(reference, Exemplar { labels, value: 1.0, timestamp });
        }
    }
    assert_eq!(appender.commit().unwrap().appended, series);
}

/// A store of blocks, tombstones, a checkpoint, chunk files and a log, whose files are all named.
fn stored() -> (FaultFs, Held) {
    let disk = FaultFs::default();
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let db = Db::open(&fs, Path::new(DIR), &options(), |_, _| {}).unwrap();
    for number in 0..300 {
        push(&db, 5, number, 60_000);
        if number % 10 == 0 {
            db.maintain();
        }
    }
    let minutes = TimeRange::from_millis(START, START + HOUR / 10);
    db.delete(&[Matcher::equal("s", "002")], minutes, false).unwrap();
    (300..340).for_each(|number| push(&db, 5, number, 60_000));
    db.close().unwrap();
    // What nothing names goes when the store is opened.
    let db = Db::open(&fs, Path::new(DIR), &options(), |_, _| {}).unwrap();
    let held = held(&db).unwrap();
    (340..343).for_each(|number| push(&db, 5, number, 60_000));
    let mut all = held;
    for number in 340..343 {
        let at = START + number * 60_000;
        all.extend((0..5).map(|s| ((labels(s).to_string(), at), (number as f64).to_bits())));
    }
    db.close().unwrap();
    (disk, all)
}

fn verified(fs: &Arc<dyn Fs>, dir: &Path) -> (Result<Verified, Error>, Vec<String>) {
    let mut faults = Vec::new();
    let verified = verify(fs, dir, |fault| faults.push(fault.to_string()), |_, _| {});
    (verified, faults)
}

#[test]
fn a_store_reads_the_same_and_nothing_is_written() {
    let (disk, all) = stored();
    let kinds = ["MANIFEST", "wal", "checkpoints", "head", "chunks", "index", "tombstones", "meta.json"];
    for kind in kinds {
        let is_kind = |path: &PathBuf| path.components().any(|part| part.as_os_str() == kind);
        assert!(disk.files().iter().any(is_kind), "there is no {kind}");
    }
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let operations = disk.operations();
    let db = ReadOnlyDb::open(&fs, Path::new(DIR), |_, _| {}).unwrap();
    assert_eq!(db.recovery().damage, Vec::<String>::new());
    assert_eq!(held(&db).unwrap(), all);
    assert_eq!(db.head_span().end.millis(), START + 342 * 60_000);
    let (verified, faults) = verified(&fs, Path::new(DIR));
    let verified = verified.unwrap();
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!((verified.blocks, verified.unfinished), (db.blocks().len(), None));
    assert!(verified.chunk_files > 0 && verified.segments > 0);
    assert_eq!(disk.operations(), operations, "something was written");
}

#[test]
fn a_directory_without_a_store_is_refused() {
    let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
    fs.create_dir_all(Path::new("/other")).unwrap();
    assert!(matches!(ReadOnlyDb::open(&fs, Path::new("/other"), |_, _| {}), Err(Error::NoStore { .. })));
    assert!(matches!(verified(&fs, Path::new("/other")).0, Err(Error::NoStore { .. })));
    assert!(matches!(ReadOnlyDb::open(&fs, Path::new("/nowhere"), |_, _| {}), Err(Error::Io { .. })));
}

/// Whether `path` is the last segment of the log: what is wrong at its end is a commit that was never finished.
fn is_log_end(disk: &FaultFs, path: &Path) -> bool {
    let is_log = |path: &&PathBuf| path.parent() == Some(&Path::new(DIR).join("wal"));
    disk.files().iter().filter(is_log).max().is_some_and(|last| last == path)
}

/// Damages `path` and asks: does verify find it, and does reading give an error, a note, or what there was?
fn found(disk: &FaultFs, path: &Path, damaged: Vec<u8>, all: &Held, what: &str) {
    let copy = disk.after_kill();
    copy.set_bytes(path, damaged);
    let fs: Arc<dyn Fs> = Arc::new(copy);
    let (verified, faults) = verified(&fs, Path::new(DIR));
    let verified = verified.unwrap();
    let name = path.display().to_string();
    let told = faults.iter().any(|fault| fault.contains(&name));
    let cut = is_log_end(disk, path) && verified.unfinished.is_some_and(|unfinished| unfinished.contains(&name));
    assert!(told || cut, "{name} {what}: {faults:?}");
    if let Ok(db) = ReadOnlyDb::open(&fs, Path::new(DIR), |_, _| {})
        && let Ok(read) = held(&db)
        && db.recovery().damage.is_empty()
    {
        // A last commit that was cut off is missing, or has not been there.
        let right = match db.unfinished() {
            None => read == *all,
            Some(_) => read.iter().all(|(key, value)| all.get(key) == Some(value)),
        };
        assert!(right, "{name} {what}: other data");
    }
}

#[test]
fn every_flipped_byte_is_found_and_never_read_as_data() {
    let (disk, all) = stored();
    let files: Vec<PathBuf> = disk.files().into_iter().filter(|path| !path.ends_with("lock")).collect();
    let mut flips = 0;
    for path in files {
        let good = disk.bytes(&path).unwrap();
        // All bytes where the frame of a file is, every seventh elsewhere.
        for at in (0..good.len()).filter(|&at| at < 24 || at + 24 > good.len() || at % 13 == 0) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            found(&disk, &path, bytes, &all, &format!("flipped at {at}"));
            flips += 1;
        }
    }
    assert!(flips > 500, "{flips} flips");
}

#[test]
fn every_cut_file_is_found_and_never_read_as_data() {
    let (disk, all) = stored();
    for path in disk.files().into_iter().filter(|path| !path.ends_with("lock")) {
        let good = disk.bytes(&path).unwrap();
        for len in (0..good.len()).filter(|&len| len < 30 || len + 10 > good.len() || len % 31 == 0) {
            // A segment that ends with a whole commit, or before its first, is a segment.
            let copy = disk.after_kill();
            copy.set_bytes(&path, good[..len].to_vec());
            let fs: Arc<dyn Fs> = Arc::new(copy);
            if path.parent() == Some(&Path::new(DIR).join("wal")) && verified(&fs, Path::new(DIR)).1.is_empty() {
                let read = held(&ReadOnlyDb::open(&fs, Path::new(DIR), |_, _| {}).unwrap()).unwrap();
                assert!(read.iter().all(|(key, value)| all.get(key) == Some(value)));
                continue;
            }
            found(&disk, &path, good[..len].to_vec(), &all, &format!("cut at {len}"));
        }
    }
}

#[test]
fn a_store_that_is_being_written_reads_as_whole_commits() {
    const SERIES: usize = 20;
    let temp = tempfile::tempdir().unwrap();
    let (fs, dir): (Arc<dyn Fs>, _) = (Arc::new(DiskFs), temp.path().join("data"));
    let options = Options { wal_segment_bytes: 1 << 14, checkpoint_samples: 4000, ..options() };
    let db = Db::open(&fs, &dir, &options, |_, _| {}).unwrap();
    push(&db, SERIES, 0, 5000);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut number = 1;
            while number < 4000 && !done.load(Ordering::Relaxed) {
                push(&db, SERIES, number, 5000);
                if number % 100 == 0 {
                    db.maintain();
                }
                number += 1;
            }
            (number, db.maintenance())
        });
        let mut commits = Vec::new();
        while !writer.is_finished() || commits.len() < 2 {
            let read = ReadOnlyDb::open(&fs, &dir, |_, _| {}).unwrap();
            assert_eq!(read.recovery().damage, Vec::<String>::new());
            let held = held(&read).unwrap();
            let last = held.keys().map(|(_, at)| (at - START) / 5000).max().unwrap();
            assert_eq!(held.len(), SERIES * (last as usize + 1), "some of commit {last} is missing, or of one before");
            let right = held.iter().all(|((_, at), bits)| f64::from_bits(*bits) == ((at - START) / 5000) as f64);
            assert!(right, "a value is not that of its commit");
            assert!(commits.last().is_none_or(|&before| before <= last), "a commit has gone");
            commits.push(last);
            let (verified, faults) = verified(&fs, &dir);
            assert_eq!(faults, Vec::<String>::new());
            verified.unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let (written, totals) = writer.join().unwrap();
        assert!(commits.last() > commits.first() && totals.checkpoints > 0, "{commits:?} of {written}, {totals:?}");
    });
}
