//! Any bytes as a checkpoint and the log behind it, under right checksums: see `tsdb::testing::check_checkpoint`.
//!
//! Run: `cargo +nightly fuzz run --fuzz-dir tests/fuzz checkpoint`, or with a stable compiler `RUSTC_BOOTSTRAP=1 cargo fuzz …`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tsdb::testing::check_checkpoint(bytes));
