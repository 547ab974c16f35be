//! Exemplars beside the samples of a block.

use super::*;

fn series(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)])
}

/// A series `a` with samples, and exemplars of `a` and of `b`, which has no samples.
fn two() -> (Store, Exemplars) {
    let mut columns = Columns::default();
    (0..10).for_each(|t| columns.push(t * 1000, 1.0, 0));
    let exemplars = [series("a"), series("b")].map(|labels| (labels, [100, 2500, 9999].map(exemplar).to_vec()));
    (Store::from([(series("a"), columns)]), exemplars.into())
}

#[test]
fn exemplars_are_found_by_series_and_time_within_the_range_of_the_block() {
    let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
    let (store, mut exemplars) = two();
    exemplars.insert(series("c"), [-1, RANGE.end_ms].map(exemplar).to_vec());
    exemplars.get_mut(&series("a")).unwrap().push(exemplar(RANGE.end_ms));
    let meta = write_with(&fs, RANGE, &store, &exemplars).unwrap().unwrap();
    assert_eq!(meta.stats.num_exemplars, 6);
    let block = open(&fs, RANGE).unwrap();
    block.verify(|e| panic!("{e}"));
    assert_eq!(block.size_bytes(), meta.stats.bytes);
    assert_eq!(exemplars_of(&block, TimeRange::ALL).unwrap(), two().1);
    let found = exemplars_of(&block, TimeRange::from_millis(101, 9998)).unwrap();
    assert_eq!(found, [series("a"), series("b")].map(|labels| (labels, vec![exemplar(2500)])).into());
    let mut times = Vec::new();
    let selector = [vec![Matcher::equal("__name__", "b")]];
    block
        .find_exemplars(&selector, TimeRange::from_millis(0, 2500), &|| false, |_, e| times.push(e.timestamp.millis()))
        .unwrap();
    assert_eq!(times, [100, 2500]);
}

#[test]
fn a_block_without_exemplars_is_as_it_was_before_there_were_any() {
    let disk = FaultFs::default();
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let meta = write_with(&fs, RANGE, &two().0, &Exemplars::new()).unwrap().unwrap();
    assert!(!meta.to_json().contains("numExemplars"), "{}", meta.to_json());
    let files = disk.files();
    assert!(files.len() == 3 && !files.iter().any(|path| path.ends_with(EXEMPLARS_FILE)), "{files:?}");
    assert_eq!(exemplars_of(&open(&fs, RANGE).unwrap(), TimeRange::ALL).unwrap(), Exemplars::new());
}

#[test]
fn a_missing_file_of_exemplars_is_told() {
    let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
    let (store, exemplars) = two();
    write_with(&fs, RANGE, &store, &exemplars).unwrap();
    let path = block_dir(Path::new(DIR), spec(RANGE).id).join(EXEMPLARS_FILE);
    fs.remove(&path).unwrap();
    let error = open(&fs, RANGE).unwrap_err();
    assert!(matches!(&error, Error::Io { path: named, .. } if *named == path), "{error}");
}

#[test]
fn exemplars_alone_make_no_block() {
    let disk = FaultFs::default();
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    assert_eq!(write_with(&fs, RANGE, &Store::new(), &two().1).unwrap(), None);
    assert_eq!(disk.files(), Vec::<PathBuf>::new());
}

#[test]
fn exemplars_are_deleted_by_series_and_time_with_samples_or_without() {
    let fs: Arc<dyn Fs> = Arc::new(FaultFs::default());
    let (store, exemplars) = two();
    write_with(&fs, RANGE, &store, &exemplars).unwrap();
    let block = open(&fs, RANGE).unwrap();
    // Between two samples.
    let between = TimeRange::from_millis(2001, 2999);
    assert_eq!(block.delete(&[], between, true).unwrap(), 0);
    assert!(!block.has_deleted() && exemplars_of(&block, TimeRange::ALL).unwrap() == two().1);
    assert_eq!(block.delete(&[Matcher::equal("__name__", "b")], between, false).unwrap(), 0);
    assert_eq!(block.delete(&[Matcher::equal("__name__", "a")], TimeRange::from_millis(0, 1000), false).unwrap(), 2);
    let left = Exemplars::from([
        (series("a"), [2500, 9999].map(exemplar).to_vec()),
        (series("b"), [100, 9999].map(exemplar).to_vec()),
    ]);
    for block in [block, open(&fs, RANGE).unwrap()] {
        assert_eq!(exemplars_of(&block, TimeRange::ALL).unwrap(), left);
        assert_eq!((block.deleted_samples(), block.has_deleted()), (2, true));
        block.verify(|e| panic!("{e}"));
    }
}
