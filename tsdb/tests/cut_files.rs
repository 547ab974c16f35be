//! Files of a store on the disk that somebody makes shorter while it is open: reading them is an error, never a signal and
//! never other data.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tsdb::{
    Columns, Db, DiskFs, Error, Exemplar, Fs, Labels, Matcher, Options, Queryable, SyncPolicy, TimeRange, Timestamp,
};

const START: i64 = 1_790_000_000_000;
const SERIES: usize = 40;

type Samples = BTreeMap<(Labels, i64), u64>;

/// A store with blocks, exemplars in them, and chunk files of its head.
fn store(dir: &Path) -> Db {
    let fs: Arc<dyn Fs> = Arc::new(DiskFs);
    let options = Options {
        shards: 2,
        sync: SyncPolicy::Never,
        max_sealed_bytes: 0,
        maintain_every: Duration::ZERO,
        ..Options::default()
    };
    let db = Db::open(&fs, dir, &options, |_, _| {}).unwrap();
    for step in 0..1200 {
        let at = START + step * 15_000;
        let mut appender = db.appender();
        for i in 0..SERIES {
            let labels = Labels::from_pairs([("__name__", "m"), ("i", &format!("{i:03}"))]);
            let series = appender.series(&labels).unwrap();
            // No two values alike: they take room in a block.
            let value = ((step * 7919 + i as i64 * 104_729) % 1_000_003) as f64 / 7.0;
            appender.append_at(series, Timestamp::from_millis(at), None, value);
            if step % 100 == 7 {
                let exemplar = Exemplar { labels: Labels::empty(), value, timestamp: Timestamp::from_millis(at) };
                appender.exemplar(series, exemplar);
            }
        }
        appender.commit().unwrap();
        if step % 200 == 199 {
            db.maintain();
        }
    }
    db.maintain();
    db
}

/// The samples of one series at a time, or the first error.
fn read(db: &Db) -> Result<Samples, Error> {
    let mut samples = Samples::new();
    for i in 0..SERIES {
        let matcher = [Matcher::equal("i", format!("{i:03}"))];
        let set = db.querier()?.select(&matcher, TimeRange::ALL)?;
        let mut columns = Columns::default();
        for index in 0..set.len() {
            columns.clear();
            set.read(index, TimeRange::ALL, &mut columns)?;
            let values = columns.values.iter().map(|value| value.to_bits());
            let labels = set.labels(index);
            samples.extend(columns.timestamps_ms.iter().map(|&at| (labels.clone(), at)).zip(values));
        }
    }
    Ok(samples)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[expect(clippy::disallowed_types, reason = "what is cut is a file")]
fn cut(path: &Path, len: u64) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[test]
fn a_mapped_file_that_is_cut_gives_an_error_that_names_it_and_never_other_samples() {
    for (name, is_checked) in [("chunks", true), ("index", true), ("exemplars", false), ("head", true)] {
        for (numerator, denominator) in [(0, 1), (1, 2), (1, 3), (9, 10)] {
            let temp = tempfile::tempdir().unwrap();
            let db = store(temp.path());
            let before = read(&db).unwrap();
            assert_eq!(before.len(), SERIES * 1200);
            let is_it = |path: &&PathBuf| {
                path.file_name().unwrap() == name || path.parent().unwrap().file_name().unwrap() == name
            };
            let all = files(temp.path());
            let path = all.iter().filter(is_it).max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
            let len = std::fs::metadata(path).unwrap().len() * numerator / denominator;
            cut(path, len);
            // All of it has been read before, and every page found good.
            match read(&db) {
                Ok(samples) => assert!(!is_checked && samples == before, "{name} cut to {len}"),
                Err(error) => assert!(error.to_string().contains(path.to_str().unwrap()), "{error}"),
            }
            let exemplars = db.exemplars(&[vec![]], TimeRange::ALL, || false);
            assert_eq!(exemplars.is_err(), name == "exemplars", "{name} cut to {len}: {exemplars:?}");
            let names = db.querier().unwrap().label_values("i", &[], TimeRange::ALL, usize::MAX);
            assert_eq!(names.is_err(), name == "index", "{name} cut to {len}: {names:?}");
            // What is broken is not made into other blocks, and ingestion goes on.
            db.maintain();
            assert!(db.clean_tombstones().is_ok());
            let mut appender = db.appender();
            let series = appender.series(&Labels::from_pairs([("__name__", "other")])).unwrap();
            appender.append_at(series, Timestamp::from_millis(START + 1300 * 15_000), None, 1.0);
            assert_eq!(appender.commit().unwrap().appended, 1);
        }
    }
}
