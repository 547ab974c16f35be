//! Any bytes as manifest, log, checkpoint and chunk file: see `tsdb::testing::check_files`.
//!
//! Run: `cargo +nightly fuzz run --fuzz-dir tests/fuzz files`, or with a stable compiler `RUSTC_BOOTSTRAP=1 cargo fuzz …`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tsdb::testing::check_files(bytes));
