//! Bodies of fuzz targets: whatever the bytes are, nothing may panic, hang or take much memory. Proptests call them too.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::FaultFs;
use super::blocks::WritingBlock;
use crate::block::BlockRange;
use crate::blocks::blocks_dir;
use crate::chunk::{Column, TimesOfColumn, decode_chunk, decode_column};
use crate::db::{Db, Options};
use crate::fs::Fs;
use crate::labels::Labels;
use crate::manifest::{MANIFEST, MANIFEST_VERSION};
use crate::matcher::Matcher;
use crate::opening::Opening;
use crate::querier::{Columns, Queryable, SeriesSet};
use crate::sample::{TimeRange, Timestamp};
use crate::wal::{SyncPolicy, begin_frame, file_header, finish_frame, segment_header};

/// The data directory.
const DIR: &str = "/data";

/// Bytes as a sealed chunk, with each way of keeping times, and as a column of times.
pub fn check_chunk(bytes: &[u8]) {
    let column = Column::new(50);
    for i in 0..50 {
        column.push(Timestamp::from_millis(i * 15_000), 1);
    }
    let stored: Vec<i64> = (0..200).map(|i| i * 1000).collect();
    for times in [TimesOfColumn::None, TimesOfColumn::Open(&column), TimesOfColumn::Stored(&stored)] {
        for (visible, range) in [(usize::MAX, TimeRange::ALL), (7, TimeRange::from_millis(3000, 90_000))] {
            let mut columns = Columns::default();
            if decode_chunk(bytes, times, visible, range, &mut columns).is_ok() {
                assert_eq!(columns.timestamps_ms.len(), columns.values.len());
            }
        }
    }
    let _ = decode_column(bytes, &mut Vec::new());
}

/// Bytes as commits of the log under right checksums: as many bytes of each as the one before it says.
pub fn check_wal(bytes: &[u8]) {
    open_and_read(&[("wal/00000001", frames(1, bytes))]);
}

/// The same as a checkpoint, with a log behind it.
pub fn check_checkpoint(bytes: &[u8]) {
    let mut state = Vec::new();
    begin_frame(&mut state);
    // Checkpoint 1, from segment 1 on, nothing flushed, no blocks.
    state.extend_from_slice(&[1, 1, 0, 0]);
    finish_frame(&mut state);
    let mut manifest = segment_header(0);
    manifest.extend_from_slice(&state);
    let (checkpoint, log) = bytes.split_at(bytes.len() / 2);
    open_and_read(&[
        ("MANIFEST", manifest),
        ("checkpoints/00000001", frames(1, checkpoint)),
        ("wal/00000001", frames(1, log)),
    ]);
}

/// Bytes as the records of a manifest, under right checksums, of a store that has a block, a checkpoint and a log.
pub fn check_manifest(bytes: &[u8]) {
    for version in 1..=MANIFEST_VERSION {
        let disk = STORE.after_kill();
        let mut manifest = frames(0, bytes);
        let header = file_header(version, 0);
        manifest[..header.len()].copy_from_slice(&header);
        disk.set_bytes(&Path::new(DIR).join(MANIFEST), manifest);
        read_opened(disk);
    }
}

/// The store whose manifest is changed. The names of its files are always the same.
static STORE: LazyLock<FaultFs> = LazyLock::new(|| {
    let disk = FaultFs::default();
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let dir = Path::new(DIR);
    let labels = [Labels::from_pairs([("__name__", "a")]), Labels::from_pairs([("__name__", "b")])];
    let mut columns = Columns::default();
    (0..20).for_each(|i| columns.push(i * 1000, i as f64, 0));
    fs.create_dir_all(&blocks_dir(dir)).expect("memory does not refuse");
    let range = BlockRange { start_ms: 0, end_ms: 20_000 };
    let mut block = WritingBlock::begin(&fs, &blocks_dir(dir), range, 7).expect("memory does not refuse");
    labels.iter().for_each(|labels| block.add(labels, &columns).expect("labels are in order"));
    block.finish().expect("memory does not refuse");
    // Samples of the last steps are in the log only.
    let options = Options { checkpoint_samples: 100, ..options() };
    let db = Db::open(&fs, dir, &options, |_, _| {}).expect("what is missing is made");
    for step in 0..100 {
        let mut appender = db.appender();
        for labels in &labels {
            let series = appender.series(labels).expect("there is no limit");
            appender.append_at(series, Timestamp::from_millis(30_000 + step), None, step as f64);
        }
        appender.commit().expect("memory does not refuse");
        if step == 90 {
            db.maintain();
        }
    }
    disk
});

/// Bytes as they are, as manifest, log segment, checkpoint and chunk file.
pub fn check_files(bytes: &[u8]) {
    for path in ["MANIFEST", "wal/00000001", "checkpoints/00000001", "head/00000001"] {
        open_and_read(&[(path, bytes.to_vec())]);
    }
}

/// A segment whose frames hold `bytes`.
fn frames(number: u64, mut bytes: &[u8]) -> Vec<u8> {
    let mut out = segment_header(number);
    while let Some((&len, rest)) = bytes.split_first() {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(len).max(1)));
        let mut frame = Vec::new();
        begin_frame(&mut frame);
        frame.extend_from_slice(payload);
        finish_frame(&mut frame);
        out.extend_from_slice(&frame);
        bytes = rest;
    }
    out
}

fn open_and_read(files: &[(&str, Vec<u8>)]) {
    let disk = FaultFs::default();
    for (name, bytes) in files {
        let path = Path::new(DIR).join(name);
        disk.create_dir_all(path.parent().expect("it is below the directory")).expect("memory does not refuse");
        disk.create(&path).and_then(|file| file.write_at(0, bytes)).expect("memory does not refuse");
    }
    read_opened(disk);
}

fn options() -> Options {
    Options {
        shards: 2,
        sync: SyncPolicy::Never,
        wal_segment_bytes: 1 << 12,
        max_sealed_bytes: 0,
        maintain_every: Duration::ZERO,
        ..Options::default()
    }
}

/// Opens a store, if it can be, and reads all of it: a series before the log is replayed, the rest before and after
/// everything is moved to where it is to stay.
fn read_opened(disk: FaultFs) {
    let fs: Arc<dyn Fs> = Arc::new(disk);
    let read = |source: &dyn Queryable, matchers: &[Matcher]| {
        let set = source.querier().and_then(|querier| querier.select(matchers, TimeRange::ALL));
        let Ok(set) = set else { return };
        let mut columns = Columns::default();
        for index in 0..set.len() {
            columns.clear();
            let _ = set.read(index, TimeRange::ALL, &mut columns);
        }
    };
    let Ok(opening) = Opening::begin(&fs, Path::new(DIR), &options()) else { return };
    read(&opening.early(), &[Matcher::equal("__name__", "a")]);
    let Ok(db) = opening.finish(|_, _| {}) else { return };
    read(&db, &[]);
    db.maintain();
    read(&db, &[]);
}

/// Reads the newest samples of a series: they must be the end of `all`, which are those within `range`.
pub fn check_newest(set: &dyn SeriesSet, index: usize, range: TimeRange, all: &Columns) {
    let mut newest = Columns::default();
    newest.push(i64::MIN, 7.0, 0);
    set.prefetch(index..set.len().min(index + 20));
    set.read_newest(index, range, &mut newest).expect("what can be read whole can be read in part");
    let floats = newest.values.len() - 1;
    let from = all.values.len().checked_sub(floats).expect("no more floats than there are");
    assert_eq!(newest.timestamps_ms[1..], all.timestamps_ms[from..]);
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&newest.values[1..]), bits(&all.values[from..]));
    assert!((0..floats).all(|i| newest.start(i + 1) == all.start(from + i)), "other starts");
    let skipped = all.histograms.len().checked_sub(newest.histograms.len()).expect("no more histograms than there are");
    assert_eq!(format!("{:?}", newest.histograms), format!("{:?}", &all.histograms[skipped..]));
    assert_eq!(newest.values.len() == 1 && newest.histograms.is_empty(), all.is_empty());
    // All from some moment on: what is left out is earlier than what is there.
    let first = newest.timestamps_ms.get(1).copied().into_iter();
    let first = first.chain(newest.histograms.first().map(|h| h.timestamp.millis())).min().unwrap_or(i64::MAX);
    let left_out = all.timestamps_ms[..from].iter().copied();
    let left_out = left_out.chain(all.histograms[..skipped].iter().map(|h| h.timestamp.millis()));
    assert!(left_out.max().is_none_or(|last| last < first), "a sample before {first} is left out");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_whose_manifest_is_changed_has_all_that_one_can_name() {
        let manifest = Path::new(DIR).join(MANIFEST);
        let written = STORE.bytes(&manifest).expect("it is there");
        // The last record is one that the fuzzer can write.
        let header = segment_header(0).len() + crate::wal::FRAME_HEADER_BYTES;
        let mut state = None;
        let fs: Arc<dyn Fs> = Arc::new(STORE.after_kill());
        let visit = |frame: crate::wal::Frame<'_>| {
            state = Some(frame.payload.to_vec());
            Ok(())
        };
        crate::wal::read_frames(&*fs, &manifest, 0, &mut Vec::new(), visit, |_| ()).expect("memory does not refuse");
        let state = state.expect("there is a record");
        let mut bytes = vec![state.len() as u8];
        bytes.extend(&state);
        assert_eq!(frames(0, &bytes)[header..], written[written.len() - state.len()..]);
        let db = Db::open(&fs, Path::new(DIR), &options(), |_, _| {}).expect("it is whole");
        assert_eq!((db.blocks().len(), db.recovery().blocks), (1, 1));
        assert!(db.recovery().damage.is_empty() && db.recovery().series == 2, "{:?}", db.recovery());
        assert!(STORE.files().iter().any(|path| path.starts_with("/data/checkpoints")), "{:?}", STORE.files());
    }
}
