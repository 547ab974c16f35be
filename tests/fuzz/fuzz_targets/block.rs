//! Any changes of a block, its index and its exemplars, under right checksums: see `tsdb::testing::blocks::check_block`.
//!
//! Run: `cargo +nightly fuzz run --fuzz-dir tests/fuzz block`, or with a stable compiler `RUSTC_BOOTSTRAP=1 cargo fuzz …`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tsdb::testing::blocks::check_block(bytes));
