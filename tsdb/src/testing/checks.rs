//! Bodies of fuzz targets: whatever the bytes are, nothing may panic, hang or take much memory. Proptests call them too.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::FaultFs;
use crate::chunk::{Column, TimesOfColumn, decode_chunk, decode_column};
use crate::db::{Db, Options};
use crate::fs::Fs;
use crate::querier::{Columns, Queryable, SeriesSet};
use crate::sample::{TimeRange, Timestamp};
use crate::wal::{SyncPolicy, begin_frame, finish_frame, segment_header};

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
    let dir = Path::new("/data");
    for (name, bytes) in files {
        let path = dir.join(name);
        disk.create_dir_all(path.parent().expect("it is below the directory")).expect("memory does not refuse");
        disk.create(&path).and_then(|file| file.write_at(0, bytes)).expect("memory does not refuse");
    }
    let fs: Arc<dyn Fs> = Arc::new(disk);
    let options = Options {
        shards: 2,
        sync: SyncPolicy::Never,
        wal_segment_bytes: 1 << 12,
        max_sealed_bytes: 0,
        maintain_every: Duration::ZERO,
        ..Options::default()
    };
    let Ok(db) = Db::open(&fs, dir, &options, |_, _| {}) else { return };
    let read = |db: &Db| {
        let set = db.querier().and_then(|querier| querier.select(&[], TimeRange::ALL));
        let Ok(set) = set else { return };
        let mut columns = Columns::default();
        for index in 0..set.len() {
            columns.clear();
            let _ = set.read(index, TimeRange::ALL, &mut columns);
        }
    };
    read(&db);
    db.maintain();
    read(&db);
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
