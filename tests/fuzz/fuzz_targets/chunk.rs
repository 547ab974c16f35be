//! Any bytes as a sealed chunk: see `tsdb::testing::check_chunk`.
//!
//! Run: `cargo +nightly fuzz run --fuzz-dir tests/fuzz chunk`, or with a stable compiler `RUSTC_BOOTSTRAP=1 cargo fuzz …`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tsdb::testing::check_chunk(bytes));
