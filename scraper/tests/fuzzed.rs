//! What the fuzzer found worth keeping (`tests/fuzz/corpus`) holds.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

#[path = "../../tests/fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn expositions_hold() {
    replay("exposition", scraper::testing::check_exposition);
}

#[test]
fn points_hold() {
    replay("points", scraper::testing::check_points);
}
