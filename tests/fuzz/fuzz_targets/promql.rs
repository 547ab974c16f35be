//! Any bytes as PromQL: see `query::testing::check_promql`.
//!
//! Run: `cargo +nightly fuzz run --fuzz-dir tests/fuzz promql`, or with a stable compiler `RUSTC_BOOTSTRAP=1 cargo fuzz …`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| query::testing::check_promql(bytes));
