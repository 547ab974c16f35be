//! Any bytes as commits of the log, under right checksums: see `tsdb::testing::check_wal`.
//!
//! Run: `cargo +nightly fuzz run --fuzz-dir tests/fuzz wal`, or with a stable compiler `RUSTC_BOOTSTRAP=1 cargo fuzz …`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tsdb::testing::check_wal(bytes));
