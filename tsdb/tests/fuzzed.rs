//! What the fuzzer found worth keeping (`tests/fuzz/corpus`) holds.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

#[path = "../../tests/fuzz/replay.rs"]
mod replay;

use replay::replay;

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
fn manifests_hold() {
    replay("manifest", tsdb::testing::check_manifest);
}

#[test]
fn files_hold() {
    replay("files", tsdb::testing::check_files);
}

#[test]
fn blocks_hold() {
    replay("block", tsdb::testing::blocks::check_block);
}
