//! What the fuzzer found worth keeping (`tests/fuzz/corpus`) holds.

#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

#[path = "../../tests/fuzz/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn pushed_requests_hold() {
    replay("write", web::testing::check_write);
}
