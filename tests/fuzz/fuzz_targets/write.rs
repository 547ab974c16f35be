//! Any bytes as what remote write pushes: see `web::testing::check_write`.
//!
//! Run: `cargo +nightly fuzz run --fuzz-dir tests/fuzz write`, or with a stable compiler `RUSTC_BOOTSTRAP=1 cargo fuzz …`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| web::testing::check_write(bytes));
