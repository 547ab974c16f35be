//! Any bytes as records of a manifest under right checksums: see `tsdb::testing::check_manifest`.
//!
//! Run: `cargo +nightly fuzz run --fuzz-dir tests/fuzz manifest`, or with a stable compiler `RUSTC_BOOTSTRAP=1 cargo fuzz …`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tsdb::testing::check_manifest(bytes));
