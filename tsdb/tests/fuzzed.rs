//! What the fuzzer found worth keeping (`tests/fuzz/corpus`) holds.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::path::Path;

/// Runs `check` on each file of a target's corpus.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        check(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 20, "only {count} files");
}

#[test]
fn chunks_hold() {
    replay("chunk", tsdb::testing::check_chunk);
}

#[test]
fn logs_hold() {
    replay("wal", tsdb::testing::check_wal);
}

#[test]
fn checkpoints_hold() {
    replay("checkpoint", tsdb::testing::check_checkpoint);
}

#[test]
fn files_hold() {
    replay("files", tsdb::testing::check_files);
}

#[test]
fn blocks_hold() {
    replay("block", tsdb::testing::blocks::check_block);
}
