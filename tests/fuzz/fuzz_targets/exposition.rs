//! Any bytes as a scraped page in text: see `scraper::testing::check_exposition`.
//!
//! Run: `cargo +nightly fuzz run --fuzz-dir tests/fuzz exposition`, or with a stable compiler `RUSTC_BOOTSTRAP=1 cargo fuzz …`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scraper::testing::check_exposition(bytes));
