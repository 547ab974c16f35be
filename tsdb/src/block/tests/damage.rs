//! Blocks whose bytes changed, and disks that stop.

use super::*;

/// A block with everything in it: shared, own and irregular times, starts, histograms, deletions.
fn rich_store() -> Store {
    let mut store = Store::new();
    for i in 0..20u32 {
        let mut columns = Columns::default();
        for t in 0..100i64 {
            let jitter = if i % 5 == 4 { t * t % 7 } else { 0 };
            columns.push(t * 15_000 + jitter, f64::from(i) * 1.25 + (t % (1 + i64::from(i))) as f64, i64::from(i == 3));
        }
        if i == 7 {
            columns.histograms = (0..9)
                .map(|t| HistogramSample {
                    timestamp: Timestamp::from_millis(1 + i64::from(t) * 15_000),
                    start: Some(Timestamp::from_millis(1)),
                    histogram: Arc::new(histogram(t / 4 * 2 + 1, CounterResetHint::NotReset)),
                })
                .collect();
        }
        let name = ["up", "down"][i as usize % 2];
        store.insert(Labels::from_pairs([("__name__", name), ("i", &i.to_string())]), columns);
    }
    store
}

/// Exemplars of every other series of it.
fn rich_exemplars() -> Exemplars {
    let with = rich_store().into_keys().skip(1).step_by(2);
    with.zip(1..).map(|(labels, n)| (labels, (0..n).map(|i| exemplar(n * 90_000 + i * i * 20_000)).collect())).collect()
}

fn write_rich(fs: &Arc<dyn Fs>, store: &Store) -> Result<Option<BlockMeta>, Error> {
    write_with(fs, RANGE, store, &rich_exemplars())
}

fn rich_block() -> (FaultFs, Vec<(Labels, Floats, Histograms)>) {
    let fault = FaultFs::default();
    let fs: Arc<dyn Fs> = Arc::new(fault.clone());
    write_rich(&fs, &rich_store()).unwrap();
    let block = open(&fs, RANGE).unwrap();
    block.delete(&[Matcher::equal("i", "5")], TimeRange::from_millis(100_000, 400_000), false).unwrap();
    let right = read_all(&*block.select(&[], TimeRange::ALL).unwrap(), TimeRange::ALL);
    (fault, right)
}

/// The exemplars that are left of it.
fn left_exemplars() -> Exemplars {
    let deleted = TimeRange::from_millis(100_000, 400_000);
    let mut left = rich_exemplars();
    let of_5 = left.iter_mut().filter(|(labels, _)| labels.get("i") == Some("5"));
    of_5.for_each(|(_, exemplars)| exemplars.retain(|e| !deleted.contains(e.timestamp)));
    left.retain(|_, exemplars| !exemplars.is_empty());
    left
}

/// Opens and reads a block that may be damaged; panics on wrong data.
fn examine(fs: &FaultFs, damaged: &Path, right: &[(Labels, Floats, Histograms)]) -> Result<(), Error> {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let block = open(&fs, RANGE)?;
    let mut found = Ok(());
    block.verify(|e| {
        assert!(matches!(&e, Error::Corrupt { path, .. } if path == damaged), "{e}");
        found = Err(e);
    });
    // Opened anew: what verify has found is no help.
    let block = open(&fs, RANGE)?;
    let set = block.select(&[], TimeRange::ALL)?;
    let one = block.select(&[Matcher::equal("i", "7")], TimeRange::ALL)?;
    assert_eq!((set.len(), one.len()), (right.len(), 1));
    for (i, (labels, floats, histograms)) in right.iter().enumerate() {
        assert_eq!(&set.labels(i), labels);
        let mut columns = Columns::default();
        set.read(i, TimeRange::ALL, &mut columns)?;
        assert_eq!(flat(&columns), (floats.clone(), histograms.clone()));
    }
    let mut values = 0;
    block.label_values("i", &[], TimeRange::ALL, 99, |_| values += 1)?;
    assert_eq!(values, 20);
    assert_eq!(exemplars_of(&block, TimeRange::ALL)?, left_exemplars());
    found
}

#[test]
fn every_changed_byte_is_found_and_no_wrong_data_is_read() {
    let (fs, right) = rich_block();
    for path in fs.files() {
        let bytes = fs.bytes(&path).unwrap();
        for at in 0..bytes.len() {
            let change = if at % 3 == 0 { 0xff } else { 1 << (at % 8) };
            let mut changed = bytes.clone();
            changed[at] ^= change;
            fs.set_bytes(&path, changed);
            match examine(&fs, &path, &right) {
                Err(Error::Corrupt { path: named, .. }) => assert_eq!(named, path, "byte {at}"),
                other => panic!("{} byte {at}: {other:?}", path.display()),
            }
        }
        fs.set_bytes(&path, bytes);
    }
    examine(&fs, Path::new(""), &right).unwrap();
}

#[test]
fn all_blocks_of_a_directory_are_verified() {
    let (disk, _) = rich_block();
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let faults = || {
        let mut faults = Vec::new();
        assert_eq!(verify_blocks(&fs, Path::new(DIR), |e| faults.push(e.to_string())).unwrap(), 1);
        faults
    };
    assert_eq!(faults(), [] as [String; 0]);
    let path = block_dir(Path::new(DIR), spec(RANGE).id).join(CHUNKS_FILE);
    let mut bytes = disk.bytes(&path).unwrap();
    bytes[20] ^= 1;
    disk.set_bytes(&path, bytes);
    assert_eq!(faults(), [format!("{}: corrupt at byte 0: checksum of the page does not match", path.display())]);
    assert_eq!(verify_blocks(&fs, Path::new("/none"), |e| panic!("{e}")).unwrap(), 0);
}

#[test]
fn a_file_cut_anywhere_is_found() {
    let (fs, right) = rich_block();
    for path in fs.files() {
        let bytes = fs.bytes(&path).unwrap();
        for len in 0..bytes.len() {
            fs.set_bytes(&path, bytes[..len].to_vec());
            match examine(&fs, &path, &right) {
                Err(Error::Corrupt { path: named, .. }) => assert_eq!(named, path, "cut at {len}"),
                other => panic!("{} cut at {len}: {other:?}", path.display()),
            }
        }
        fs.set_bytes(&path, bytes);
    }
}

/// What a disk holds after it stopped and was swept: the block whole, or no trace of it.
fn is_there(disk: &FaultFs, right: &[(Labels, Floats, Histograms)]) -> bool {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    sweep(&*fs, Path::new(DIR)).unwrap();
    match list(&*fs, Path::new(DIR)).unwrap()[..] {
        [] => {
            assert!(disk.files().is_empty(), "{:?}", disk.files());
            false
        }
        [id] => {
            let block = Arc::new(Block::open(&fs, Path::new(DIR), id).unwrap());
            block.verify(|e| panic!("{e}"));
            assert_eq!(read_all(&*block.select(&[], TimeRange::ALL).unwrap(), TimeRange::ALL), right);
            assert_eq!(exemplars_of(&block, TimeRange::ALL).unwrap(), rich_exemplars());
            true
        }
        _ => panic!("more than one block"),
    }
}

#[test]
fn a_block_is_whole_or_absent_wherever_the_disk_stops() {
    let store = rich_store();
    let right = expected(&store, TimeRange::ALL, &[]);
    for n in 1.. {
        let disk = FaultFs::default();
        disk.fail_from(n);
        let fs: Arc<dyn Fs> = Arc::new(disk.clone());
        let written = write_rich(&fs, &store).is_ok();
        let kept = [is_there(&disk.after_kill(), &right), is_there(&disk.after_power_cut(), &right)];
        assert!(!written || kept == [true, true], "stopped at {n}: a block that was said to be there is not");
        if written {
            assert!(n > 8, "the disk was never stopped");
            break;
        }
    }
}

#[test]
fn a_removed_block_is_gone_or_whole_wherever_the_disk_stops() {
    let store = rich_store();
    let right = expected(&store, TimeRange::ALL, &[]);
    for n in 1.. {
        let disk = FaultFs::default();
        let fs: Arc<dyn Fs> = Arc::new(disk.clone());
        write_rich(&fs, &store).unwrap();
        disk.fail_from(disk.operations() + n);
        let removed = remove(&*fs, Path::new(DIR), spec(RANGE).id).is_ok();
        let kept = [is_there(&disk.after_kill(), &right), is_there(&disk.after_power_cut(), &right)];
        if removed {
            assert_eq!(kept, [false, false]);
            remove(&disk.after_kill(), Path::new(DIR), spec(RANGE).id).unwrap();
            break;
        }
    }
}

#[test]
fn a_deletion_is_whole_or_absent_wherever_the_disk_stops() {
    let store = rich_store();
    let whole = expected(&store, TimeRange::ALL, &[]);
    let mut left = whole.clone();
    left.retain(|(labels, ..)| labels.metric_name() != Some("up"));
    for n in 1.. {
        let disk = FaultFs::default();
        let fs: Arc<dyn Fs> = Arc::new(disk.clone());
        write_rich(&fs, &store).unwrap();
        disk.fail_from(disk.operations() + n);
        let deleted =
            open(&fs, RANGE).unwrap().delete(&[Matcher::equal("__name__", "up")], TimeRange::ALL, false).is_ok();
        for disk in [disk.after_kill(), disk.after_power_cut()] {
            let fs: Arc<dyn Fs> = Arc::new(disk);
            let block = open(&fs, RANGE).unwrap();
            block.verify(|e| panic!("{e}"));
            let mut read = read_all(&*block.select(&[], TimeRange::ALL).unwrap(), TimeRange::ALL);
            read.retain(|(_, floats, histograms)| !floats.is_empty() || !histograms.is_empty());
            assert!(read == left || (!deleted && read == whole), "stopped at {n}");
            let is_up = |labels: &Labels| labels.metric_name() == Some("up");
            let mut exemplars = rich_exemplars();
            exemplars.retain(|labels, _| read == whole || !is_up(labels));
            assert_eq!(exemplars_of(&block, TimeRange::ALL).unwrap(), exemplars, "stopped at {n}");
            // It can be done again.
            block.delete(&[], TimeRange::ALL, false).unwrap();
            assert_eq!(exemplars_of(&block, TimeRange::ALL).unwrap(), Exemplars::new());
        }
        if deleted {
            break;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_under_a_right_checksum_make_reading_panic(changes in prop::collection::vec(any::<u8>(), 4..24)) {
        crate::testing::blocks::check_block(&changes);
    }
}
