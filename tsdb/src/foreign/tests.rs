#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::db::{Db, Options};
use crate::labels::Labels;
use crate::read_only::ReadOnlyDb;
use crate::sample::Timestamp;
use crate::testing::FaultFs;

const DIR: &str = "/data";
/// The beginning of a segment of Prometheus: a full record of eleven bytes, and its checksum.
const SEGMENT: &[u8] = b"\x01\x00\x0b\x1f\x2e\x3d\x4c\x01\x00\x00\x00\x00\x00\x00\x00\x07\x01\x08__name__\x02up";

fn put(disk: &FaultFs, name: &str, bytes: &[u8]) {
    let path = Path::new(DIR).join(name);
    drop(disk.remove(&path));
    disk.create(&path).unwrap().write_at(0, bytes).unwrap();
}

fn open(disk: &FaultFs) -> Result<Db, Error> {
    let fs: Arc<dyn Fs> = Arc::new(disk.clone());
    let options = Options {
        checkpoint_samples: 100,
        wal_segment_bytes: 4096,
        maintain_every: std::time::Duration::ZERO,
        ..Options::default()
    };
    Db::open(&fs, Path::new(DIR), &options, |_, _| {})
}

/// A store of ours with a checkpoint and a log.
fn ours() -> FaultFs {
    let disk = FaultFs::default();
    let db = open(&disk).unwrap();
    for at_ms in 0..300 {
        let mut appender = db.appender();
        let series = appender.series(&Labels::from_pairs([("__name__", "up")])).unwrap();
        appender.append_at(series, Timestamp::from_millis(at_ms), None, 1.0);
        appender.commit().unwrap();
        if at_ms == 200 {
            db.maintain();
        }
    }
    drop(db);
    disk.after_kill()
}

/// Every file and its bytes.
fn contents(disk: &FaultFs) -> Vec<(PathBuf, Vec<u8>)> {
    disk.files().into_iter().map(|path| (path.clone(), disk.bytes(&path).unwrap())).collect()
}

#[track_caller]
fn refused(disk: &FaultFs, found: &str, what: &str) {
    let (before, operations) = (contents(disk), disk.operations());
    match open(disk).map(drop) {
        Err(Error::Foreign { found: at, .. }) => assert_eq!(at, Path::new(DIR).join(found), "{what}"),
        other => panic!("{what}: {other:?}"),
    }
    assert_eq!(disk.operations(), operations, "{what}: something was written");
    assert!(contents(disk) == before && !disk.files().iter().any(|path| path.ends_with("lock")), "{what}");
}

#[test]
fn a_directory_of_another_program_is_refused_before_anything_is_written() {
    const BLOCK: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for (name, found) in [
        ("wal/00000000", "wal/00000000"),
        ("wal/00000001", "wal/00000001"),
        ("wal/checkpoint.00000012/00000000", "wal/checkpoint.00000012"),
        ("wal/something", "wal"),
        ("checkpoint.00000012/00000000", "checkpoint.00000012"),
        ("chunks_head/000001", "chunks_head"),
        ("wbl/00000000", "wbl"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV/meta.json", BLOCK),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV/chunks/000001", BLOCK),
        ("queries.active", "queries.active"),
        ("flock.lock", "flock.lock"),
        ("checkpoints/00000001", "checkpoints/00000001"),
        ("head/00000001", "head/00000001"),
        ("blocks/01ARZ3NDEKTSV4RRFFQ69G5FAV/index", "blocks/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("MANIFEST", "MANIFEST"),
    ] {
        let disk = FaultFs::default();
        put(&disk, name, SEGMENT);
        refused(&disk, found, name);
        let fs: Arc<dyn Fs> = Arc::new(disk);
        let read = ReadOnlyDb::open(&fs, Path::new(DIR), |_, _| {});
        assert!(matches!(read, Err(Error::Foreign { beside: Beside::NoManifest, .. })), "{name}: {read:?}");
    }
}

#[test]
fn a_log_of_zeros_without_a_manifest_is_refused() {
    for bytes in [&[0; 4096][..], &[]] {
        let disk = FaultFs::default();
        put(&disk, "wal/00000000", bytes);
        refused(&disk, "wal", "zeros");
    }
}

#[test]
fn a_file_of_another_program_beside_our_manifest_is_refused() {
    for (name, found) in [
        ("wal/00000000", "wal/00000000"),
        ("wal/00000099", "wal/00000099"),
        ("wal/checkpoint.00000003/00000000", "wal/checkpoint.00000003"),
        ("checkpoints/00000009", "checkpoints/00000009"),
        ("head/00000009", "head/00000009"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV/index", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("blocks/01ARZ3NDEKTSV4RRFFQ69G5FAV/index", "blocks/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ] {
        let disk = ours();
        drop(disk.remove(&Path::new(DIR).join("lock")));
        put(&disk, name, SEGMENT);
        refused(&disk, found, name);
        let fs: Arc<dyn Fs> = Arc::new(disk);
        ReadOnlyDb::open(&fs, Path::new(DIR), |_, _| {}).expect("what is ours can be read");
    }
}

#[test]
fn unrelated_files_and_unfinished_parts_of_ours_are_no_reason() {
    let disk = ours();
    let last = disk.files().into_iter().rfind(|path| path.starts_with("/data/wal")).unwrap();
    let number: u64 = last.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let next = format!("wal/{:08}", number + 1);
    let other = [
        ("lost+found/x", &b"x"[..]),
        ("prometheus.yml", b"global: {}"),
        ("checkpoints/model.ckpt", b"weights"),
        ("head/notes.txt", b"x"),
        ("wal/README", b"x"),
        ("blocks/README", b"x"),
        ("index.html", b"<html>"),
    ];
    // What a crash between the making of a segment and the writing of its header leaves, and one in the middle of it.
    for head in [&[0; 65_536][..], &[], b"SB", b"SBwl\x01\0\0\0\x09"] {
        let disk = disk.after_kill();
        put(&disk, &next, head);
        other.iter().for_each(|(name, bytes)| put(&disk, name, bytes));
        let db = open(&disk).unwrap();
        assert_eq!(db.recovery().damage, Vec::<String>::new());
        assert_eq!(db.head_stats().series, 1);
        drop(db);
        for (name, bytes) in &other {
            assert_eq!(disk.bytes(&Path::new(DIR).join(name)).as_deref(), Some(*bytes), "{name}");
        }
    }
    let empty = FaultFs::default();
    other.iter().take(2).for_each(|(name, bytes)| put(&empty, name, bytes));
    open(&empty).unwrap();
}

#[test]
fn a_damaged_header_of_ours_is_damage_and_no_reason() {
    let disk = ours();
    let framed: Vec<PathBuf> = disk.files().into_iter().filter(|path| !path.ends_with("lock")).collect();
    assert!(framed.iter().any(|path| path.starts_with("/data/head")), "{framed:?}");
    for path in framed {
        for (from, to) in [(0, 1), (0, 4), (0, 16), (3, 4)] {
            let disk = disk.after_kill();
            let mut bytes = disk.bytes(&path).unwrap();
            bytes[from..to].iter_mut().for_each(|byte| *byte ^= 0x5a);
            disk.set_bytes(&path, bytes);
            match open(&disk) {
                Err(error @ Error::Foreign { .. }) if path.starts_with("/data/head") && to - from == 16 => drop(error),
                Err(error) => panic!("{} {from}..{to}: {error}", path.display()),
                Ok(db) => assert_eq!(db.head_stats().series, 1, "{} {from}..{to}", path.display()),
            }
        }
    }
}

#[test]
fn without_its_manifest_a_store_of_ours_is_rebuilt_and_told_of() {
    let disk = ours();
    disk.remove(&Path::new(DIR).join(MANIFEST)).unwrap();
    let db = open(&disk).unwrap();
    assert_eq!(db.head_stats().series, 1);
    assert!(db.recovery().damage.iter().any(|what| what.contains("made anew")), "{:?}", db.recovery().damage);
}
