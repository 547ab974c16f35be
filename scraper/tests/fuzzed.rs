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
fn expositions_hold() {
    replay("exposition", scraper::testing::check_exposition);
}

#[test]
fn points_hold() {
    replay("points", scraper::testing::check_points);
}
